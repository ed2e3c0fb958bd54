//! Reads the tree once for what compilers and lints do not see: what each file must begin with, how long it may be,
//! dead files, events without a schema, tests that check nothing, and words that do not belong in this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, in lines; those below may be longer, each for its reason.
const FILE_LINES_MAX: usize = 500;
/// The longest line, in characters. rustfmt keeps code within 100; this holds for what it does not break: comments,
/// texts and macros.
const LINE_COLUMNS_MAX: usize = 140;

/// Files that may pass [`FILE_LINES_MAX`], with the reason.
const LONG_FILES: &[(&str, &str)] = &[(
    "core/src/disk/simulated.rs",
    "one model of what a disk may take back, whose rules are read side by side",
)];

/// The folders that the design gives a meaning, with what makes each one real.
const FOLDERS: &[(&str, &str)] = &[
    ("core", "Cargo.toml"),
    ("oracle", "Cargo.toml"),
    ("store", "Cargo.toml"),
    ("events", "Cargo.toml"),
    ("schemas/avro", ""),
    ("commands", "Cargo.toml"),
    ("projections", "Cargo.toml"),
    ("fanout", "Cargo.toml"),
    ("workers", "Cargo.toml"),
    ("analytics", "Cargo.toml"),
    ("replay", "Cargo.toml"),
    ("src", "main.rs"),
    ("tests", "tidy.rs"),
    ("client", "Cargo.toml"),
    ("bench", "Cargo.toml"),
    ("torture", "Cargo.toml"),
];

/// A file of the tree: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == "rs")
    }

    fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file, but for what builds and runs leave behind.
fn tree() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("a folder of the tree");
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let hidden = name.starts_with('.') && name != ".ci";
                if !hidden && !["target", "__pycache__", "node_modules"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("below the root");
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "the tree was not found: {} files", files.len());
    files
}

#[track_caller]
fn check(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let begins = |file: &&File| !file.text.starts_with("//!");
    let complaints: Vec<_> = (tree().iter().filter(|file| file.is_rust()))
        .filter(begins)
        .map(|file| file.complaint(1, "does not begin with `//!`"))
        .collect();
    check(&complaints);
}

#[test]
fn files_and_lines_are_short() {
    let mut complaints = Vec::new();
    for file in tree().iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        if lines > FILE_LINES_MAX && !excused {
            complaints.push(file.complaint(lines, "more than 500 lines"));
        }
        if lines <= FILE_LINES_MAX && excused {
            complaints.push(file.complaint(lines, "needs no entry in LONG_FILES any more"));
        }
        for (number, line) in file.text.lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX {
                complaints.push(file.complaint(number + 1, "longer than 140 columns"));
            }
        }
    }
    check(&complaints);
}

/// `matches!(…);` on its own computes a truth and drops it: a test that cannot fail.
fn bare_matches(text: &str) -> Vec<usize> {
    let needle = concat!("matches", "!(");
    let mut found = Vec::new();
    for (place, _) in text.match_indices(needle) {
        let before = text[..place].trim_end();
        let statement = before.is_empty() || before.ends_with([';', '{', '}']);
        let mut depth = 0_usize;
        let end = text[place..].char_indices().find(|(_, character)| {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            *character == ')' && depth == 0
        });
        let dropped =
            end.is_some_and(|(end, _)| text[place + end + 1..].trim_start().starts_with(';'));
        if statement && dropped {
            found.push(text[..place].lines().count());
        }
    }
    found
}

#[test]
fn no_test_drops_what_it_asks() {
    assert_eq!(bare_matches("fn f() {\n    matches!(a, (B, _));\n}").len(), 1);
    assert_eq!(
        bare_matches("fn f() {\n    assert!(matches!(a, B));\n    matches!(a, B)\n}").len(),
        0
    );
    let complaints: Vec<_> = (tree()
        .iter()
        .filter(|file| file.is_rust() && file.path != "tests/tidy.rs"))
    .flat_map(|file| {
        let lines = bare_matches(&file.text);
        lines.into_iter().map(|line| file.complaint(line, "a truth is computed and dropped"))
    })
    .collect();
    check(&complaints);
}

#[test]
fn domain_code_names_every_event() {
    let needle = concat!("(_, _) ", "=>");
    let complaints: Vec<_> = (tree().iter())
        .filter(|file| file.is_rust())
        .filter(|file| {
            ["commands/", "projections/", "events/"].iter().any(|f| file.path.starts_with(f))
        })
        .flat_map(|file| {
            let lines = file.text.lines().enumerate().filter(|(_, line)| line.contains(needle));
            lines.map(|(number, _)| file.complaint(number + 1, "swallows events that come later"))
        })
        .collect();
    check(&complaints);
}

#[test]
fn every_folder_of_the_design_is_there_and_in_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for (folder, proof) in FOLDERS {
        assert!(root().join(folder).join(proof).exists(), "{folder}/{proof} is missing");
        assert!(map.contains(&format!("`{folder}/`")), "ARCHITECTURE.md does not name `{folder}/`");
    }
}

/// The modules that a file declares, with the file that each one may be in.
fn declared(file: &File) -> Vec<[PathBuf; 2]> {
    let path = Path::new(&file.path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().unwrap_or_default();
    let is_root = ["lib", "main", "mod", "build"].iter().any(|name| stem == *name)
        || ["tests", "examples", "benches"].iter().any(|name| folder.ends_with(name));
    let below = if is_root { folder.to_path_buf() } else { folder.join(stem) };
    let mut at: Option<PathBuf> = None;
    let mut found = Vec::new();
    for line in file.text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            at = path.strip_suffix("\"]").map(|path| folder.join(path));
        }
        let words: Vec<_> = line.strip_suffix(';').unwrap_or_default().split_whitespace().collect();
        let Some((&"mod", visibility)) = words.split_last().and_then(|(_, rest)| rest.split_last())
        else {
            continue;
        };
        if visibility.iter().all(|word| word.starts_with("pub") || word.ends_with(')')) {
            let name = words[words.len() - 1];
            let file = at.take().unwrap_or_else(|| below.join(format!("{name}.rs")));
            found.push([file, below.join(name).join("mod.rs")]);
        }
    }
    found
}

#[test]
fn every_rust_file_is_compiled() {
    let files = tree();
    let rust: BTreeMap<PathBuf, &File> = files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (PathBuf::from(&file.path), file))
        .collect();
    let is_root = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let crate_root = (folder.ends_with("src") && name == "lib.rs") || name == "main.rs";
        let target = ["tests", "examples", "benches", "bin", "fuzz_targets"];
        let target = target.iter().any(|it| folder.ends_with(it));
        crate_root || name == "build.rs" || target
    };
    let mut waiting: Vec<_> = rust.keys().filter(|path| is_root(path)).cloned().collect();
    let mut reached = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        let Some(file) = rust.get(&path) else { continue };
        if reached.insert(path) {
            waiting.extend(declared(file).into_iter().flatten());
        }
    }
    let complaints: Vec<_> = (rust.iter().filter(|(path, _)| !reached.contains(*path)))
        .map(|(_, file)| file.complaint(1, "no `mod` leads here: it is not compiled"))
        .collect();
    check(&complaints);
}

#[test]
fn nothing_speaks_of_where_it_was_made_or_fetched() {
    // Each in two pieces, so that this list does not find itself.
    let needles = [
        concat!("crates", ".io"),
        concat!("npm", "js.org"),
        concat!("npm", "js.com"),
        concat!("repo.maven", ".apache"),
        concat!("repo1", ".maven"),
        concat!("py", "pi.org"),
        concat!("deb.", "debian.org"),
        concat!("/wo", "rk/"),
        concat!("/root", "/."),
        concat!("/home", "/"),
        concat!("the is", "sue"),
    ];
    let complaints: Vec<_> = tree()
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
        .flat_map(|file| {
            let lines = file.text.lines().enumerate();
            let hits = lines.flat_map(|(number, line)| {
                let found = needles.iter().filter(move |needle| line.contains(**needle));
                found.map(move |needle| (number, needle))
            });
            hits.map(|(number, needle)| file.complaint(number + 1, &format!("holds {needle:?}")))
                .collect::<Vec<_>>()
        })
        .collect();
    check(&complaints);
}

/// The full names of the published schemas, which are also their files' names.
fn published() -> BTreeSet<String> {
    let folder = root().join("schemas/avro");
    let entries = fs::read_dir(folder).expect("schemas/avro");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "avsc"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a schema");
            let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let part = |name: &str| schema[name].as_str().unwrap_or_default().to_owned();
            let full = format!("{}.{}", part("namespace"), part("name"));
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(full.as_str()));
            full
        })
        .collect()
}

#[test]
fn every_event_has_its_schema_and_every_schema_its_event() {
    use annals_core::DomainEvent;
    let schemas = [
        annals_events::market::MarketEvent::schemas(),
        annals_events::trading::TradingEvent::schemas(),
    ];
    let events: BTreeSet<_> =
        schemas.into_iter().flatten().map(|schema| schema.event_type.to_string()).collect();
    assert_eq!(events, published());
}
