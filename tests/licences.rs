//! Holds the licences of the whole dependency tree against deny.toml, without cargo-deny: what is shipped is
//! "MIT OR Apache-2.0, everything in it", so no dependency may ask more of who ships it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn policy() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    text.parse().expect("TOML")
}

fn texts(value: &toml::Value) -> BTreeSet<String> {
    let list = value.as_array().expect("a list");
    list.iter().map(|item| item.as_str().expect("text").to_owned()).collect()
}

/// Splits at `word` where no parenthesis is open.
fn split<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (place, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && place >= start && expression[place..].starts_with(word) {
            parts.push(&expression[start..place]);
            start = place + word.len();
        }
    }
    parts.push(&expression[start..]);
    parts
}

/// Whether an SPDX expression can be met with these licences alone. `/` is the old way to write `OR`.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.trim();
    for alternative in [" OR ", "/"] {
        let parts = split(expression, alternative);
        if parts.len() > 1 {
            return parts.iter().any(|part| met(part, allowed));
        }
    }
    let parts = split(expression, " AND ");
    if parts.len() > 1 {
        return parts.iter().all(|part| met(part, allowed));
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => met(inner, allowed),
        None => allowed.contains(expression),
    }
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    // It asks for what other platforms need too, which no build has fetched.
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    let output = cargo.current_dir(root()).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn the_reader_of_licences_reads() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("Apache-2.0 OR MIT", true),
        ("Apache-2.0/MIT", true),
        ("MIT AND Apache-2.0", false),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", false),
    ] {
        assert_eq!(met(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_dependency_may_be_shipped() {
    let allowed = texts(&policy()["licenses"]["allow"]);
    let refused: Vec<_> = (packages().iter())
        .filter(|package| !met(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml:\n{}", refused.join("\n"));
}

#[test]
fn no_banned_crate_is_in_the_tree_and_all_come_from_the_registry() {
    let policy = policy();
    let banned: BTreeSet<_> = (policy["bans"]["deny"].as_array().expect("a list").iter())
        .filter_map(|entry| entry["crate"].as_str().map(str::to_owned))
        .collect();
    assert!(banned.contains("trade_aggregation"));
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        let source = package["source"].as_str().unwrap_or("registry+ours");
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
    }
}

#[test]
fn both_licence_texts_are_there() {
    for (file, holds) in [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")] {
        let text = std::fs::read_to_string(root().join(file)).expect(file);
        assert!(text.contains(holds) && text.contains("The Annals authors"), "{file}");
    }
}
