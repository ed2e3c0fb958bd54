//! Mangled index files, and the file of the tree, beside segments that are sound: every read answers what the segments
//! say, and afterwards the files are again what they were.
#![no_main]

use std::path::Path;

use annals_core::ReadQuery;
use annals_fuzz::oracle::{files, hold};
use annals_fuzz::script;
use annals_fuzz::written::{self, open, read};

fn is_derived(path: &Path) -> bool {
    path.ends_with("tree") || path.extension().is_some_and(|extension| extension == "index")
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choice, steps)) = input.split_first() else { return };
    // Those with several segments, closed.
    let log = &written::logs()[if choice % 2 == 0 { 0 } else { 4 }];
    let disk = log.disk.fork();
    script::follow(steps, &disk, is_derived);
    hold(&disk.fork(), log);
    // Damage of a page is met when it is read; a file that does not fit is noticed when the log is opened.
    let opened = open(&disk).expect("the segments are sound");
    assert_eq!(read(&*opened, ReadQuery::all()).expect("the segments are sound"), log.events);
    drop(opened);
    let stale = annals_fuzz::oracle::verified(&disk).expect("it is sound").stale_indexes;
    let (now, then) = (files(&disk), files(&log.disk));
    for (path, bytes) in then.iter().filter(|(path, _)| is_derived(path)) {
        assert!(now.get(path) == Some(bytes) || stale.contains(path), "{} differs", path.display());
    }
});
