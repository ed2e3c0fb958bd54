//! Writes the first inputs of every target into the folder `seeds`, from the golden files of the store and from what the
//! targets' own logs hold: `cargo +nightly run --example seeds` in this folder.

use std::fs;
use std::path::{Path, PathBuf};

use annals_core::Metadata;
use annals_core::disk::SimulatedDisk;
use annals_fuzz::golden::pack;
use annals_fuzz::hostile::driver::METHODS;
use annals_fuzz::written::{FOLDER, write};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = root().join("seeds").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), bytes).expect("room for a seed");
}

/// A step of a script for each kind of damage, on a file of that number.
fn steps(file: u8) -> impl Iterator<Item = [u8; 8]> {
    (0..9).map(move |kind| [file, kind, 70, 16, 1, 0, 40, 0])
}

fn in_golden(name: &str) -> Option<Vec<u8>> {
    let golden: PathBuf = root().join("../store/tests/golden/format-1");
    fs::read(golden.join(name)).ok()
}

fn in_disk(disk: &SimulatedDisk) -> impl Fn(&str) -> Option<Vec<u8>> {
    move |name| disk.contents(Path::new(FOLDER).join(name))
}

fn main() {
    for (target, files) in [("recovery", 6), ("index_file", 2), ("backup", 4)] {
        for file in 0..files {
            let all: Vec<u8> = steps(file).flatten().collect();
            put(target, &format!("file-{file}"), &[&[file][..], &all[..32]].concat());
            put(target, &format!("file-{file}-more"), &[&[50][..], &all[32..]].concat());
        }
    }
    let two = write(7, true, |_| 500);
    for (name, switches) in [("plain", 0), ("sealed", 1), ("chained", 3)] {
        put("forged", &format!("golden-{name}"), &pack(switches, in_golden));
        put("forged", &format!("two-{name}"), &pack(switches, in_disk(&two.disk)));
    }
    let segment = in_golden("00000001.segment").expect("the golden files are there");
    put("append", "golden", &segment[4096..4900]);
    put("append", "zeros", &[0; 64]);
    let metadata = Metadata {
        actor: Some("ann".to_owned()),
        tags: ["course:1".to_owned()].into(),
        ..Metadata::default()
    };
    put("metadata", "actor", &metadata.encode());
    put("metadata", "tenant", b"\x04\x02eu");
    // A call of each method, with whatever the bytes behind its number choose.
    for method in 0..METHODS.len() {
        let number = u8::try_from(method).expect("few methods");
        for (name, step) in [("few", 1_u8), ("many", 37)] {
            let choices = (0..200_u8).map(|place| place.wrapping_mul(step));
            let bytes: Vec<u8> = [number].into_iter().chain(choices).collect();
            put("protocol", &format!("method-{method}-{name}"), &bytes);
        }
    }
}
