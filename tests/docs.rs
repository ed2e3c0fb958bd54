//! Runs what the documentation shows. Every `console` block of README.md and docs/ is a session in one folder: lines
//! that begin with `$ ` are commands, the rest is what they print. In the output `…` stands for any text within a line,
//! a line of `⋮` alone for any number of lines, and columns may be wider or narrower; nothing else may differ. A command
//! that ends with `&` goes on until the page ends, and `127.0.0.1:2113` is then wherever it listens.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::server::Server;
use harness::{repository, scratch};

/// Where the documentation says that a server listens.
const DOCUMENTED_ADDRESS: &str = "127.0.0.1:2113";

/// A command with the output that the page shows for it.
#[derive(Debug, PartialEq)]
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
}

/// The steps of a page, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continued = false;
        } else if inside && continued {
            let step = steps.last_mut().expect("a continued command");
            step.command = format!("{}\n{line}", step.command);
            continued = goes_on(&step.command);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { line: number + 1, command: command.to_owned(), output: Vec::new() });
            continued = goes_on(command);
        } else if inside {
            let step =
                steps.last_mut().unwrap_or_else(|| panic!("line {}: no command", number + 1));
            step.output.push(line.trim_end().to_owned());
        }
    }
    steps
}

/// Whether the next line is part of this command still.
fn goes_on(command: &str) -> bool {
    command.ends_with('\\') || command.matches('\'').count() % 2 == 1
}

/// The text with each run of spaces as one, so that columns may be wider or narrower.
fn spaced(text: &str) -> String {
    text.split_inclusive(' ').filter(|word| *word != " ").collect()
}

/// Whether a line is as the page shows it.
fn line_matches(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (spaced(shown), spaced(printed));
    let parts: Vec<&str> = shown.split('…').collect();
    let [only] = parts.as_slice() else {
        let (first, last) = (parts[0], parts[parts.len() - 1]);
        let Some(mut rest) = printed.strip_prefix(first) else { return false };
        for part in &parts[1..parts.len() - 1] {
            let Some(place) = rest.find(part) else { return false };
            rest = &rest[place + part.len()..];
        }
        return rest.ends_with(last);
    };
    *only == printed
}

/// Whether an output is as the page shows it.
fn matches(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "⋮" => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| line_matches(line, first) && matches(rest, others)),
    }
}

/// A folder in which `annals` is the program that was built.
struct Session {
    folder: tempfile::TempDir,
    path: String,
    server: Option<Server>,
}

impl Session {
    fn new() -> Session {
        let program = Path::new(env!("CARGO_BIN_EXE_annals")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", program.display());
        Session { folder: scratch(), path, server: None }
    }

    fn bash(&self, command: &str) -> Command {
        let address = self.server.as_ref().map_or(DOCUMENTED_ADDRESS, |server| &server.address);
        let mut bash = Command::new("bash");
        let command = command.replace(DOCUMENTED_ADDRESS, address);
        bash.args(["-o", "pipefail", "-c", &command]).current_dir(self.folder.path());
        bash.env("PATH", &self.path).env("NO_COLOR", "1").stdin(Stdio::null());
        bash.env("ANNALS_LOG_LEVEL", "error");
        bash
    }

    /// Runs a step; tells what differs.
    fn run(&mut self, step: &Step) -> Result<(), String> {
        if let Some(background) = step.command.strip_suffix(" &") {
            let words = background.strip_prefix("annals serve").expect("only a server stays");
            let command = format!("exec annals serve{words} --address 127.0.0.1:0");
            self.server = Some(Server::start_command(&mut self.bash(&command)));
            return Ok(());
        }
        let both = format!("{{ {}\n}} 2>&1", step.command);
        let mut printed = harness::run(&mut self.bash(&both)).stdout;
        if let Some(server) = &self.server {
            printed = printed.replace(&server.address, DOCUMENTED_ADDRESS);
        }
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        if matches(&step.output, &lines) {
            return Ok(());
        }
        Err(format!("$ {}\nprints\n{printed}", step.command))
    }
}

#[track_caller]
fn check(page: &Path) {
    let text = fs::read_to_string(page).expect("a page");
    let mut session = Session::new();
    let wrong: Vec<String> = (steps(&text).iter())
        .filter_map(|step| {
            let wrong = session.run(step).err()?;
            Some(format!("{}:{}: {wrong}", page.display(), step.line))
        })
        .collect();
    if let Some(server) = session.server.take() {
        assert_eq!(server.stop().code, Some(0));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_shows_what_happens() {
    let page = repository().join("README.md");
    assert!(steps(&fs::read_to_string(&page).expect("README.md")).len() >= 5);
    check(&page);
}

#[test]
fn the_other_pages_show_what_happens() {
    for page in pages() {
        check(&page);
    }
}

/// The pages in docs/.
fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join("docs")).expect("docs/");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut all = pages();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        all.push(repository().join(name));
    }
    let mut broken = Vec::new();
    for page in all {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || file.is_empty();
            if !outside && !page.parent().expect("a folder").join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_reader_of_pages_reads() {
    let page = "text\n```console\n$ one \\\n  'a\n  b'\nout\n$ two\n```\n```sh\n$ not this\n```\n";
    let one = "one \\\n  'a\n  b'".to_owned();
    let expected = [
        Step { line: 3, command: one, output: vec!["out".to_owned()] },
        Step { line: 7, command: "two".to_owned(), output: vec![] },
    ];
    assert_eq!(steps(page), expected);

    let shown = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    for (page, printed, same) in [
        ("a … c", "a b c", true),
        ("a … c", "a b d", false),
        ("…s", "1.5 s", true),
        ("a\n⋮\nd", "a\nb\nc\nd", true),
        ("a\n⋮\nd", "a\nd", true),
        ("a\n⋮\nd", "a\nb", false),
        ("a", "a\nb", false),
        ("1,000 … in … s", "1,000 events in 2.3 s", true),
        ("│ in   …s │", "│ in      1.5 s │", true),
        ("│ in   …s │", "│ out     1.5 s │", false),
    ] {
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(matches(&shown(page), &printed), same, "{page:?} against {printed:?}");
    }
}
