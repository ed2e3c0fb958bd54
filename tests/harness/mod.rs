//! What the end-to-end tests share: running the built binary, scratch folders that PostgreSQL's account can enter, real
//! or made trades, and the independent count. A missing service or program is a failure here, never a skip.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) mod demo;
pub(crate) mod server;
pub(crate) mod services;

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The built binary, with an environment that holds no setting of the person who runs the tests.
pub(crate) fn annals() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    for (name, _) in std::env::vars() {
        let ours = name.starts_with("ANNALS_") && name != "ANNALS_CACHE";
        if ours || ["DATABASE_URL", "CLICKHOUSE_URL"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// A folder that is deleted at the end and that other accounts may enter, since PostgreSQL refuses to run as root.
pub(crate) fn scratch() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("annals-test-").tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    folder
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// Itself, after a check that the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits_with(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as exactly one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("standard output is not one JSON value ({error}): {}", self.stdout)
        })
    }

    /// A check that standard error holds each of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Finished {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing in: {}", self.stderr);
        }
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Finished {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Finished {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")).into()
}

/// A child process that is killed when the test leaves it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts a command with its output discarded.
    pub(crate) fn start(command: &mut Command) -> Running {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Running(child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// Ends it as a power cut would: no handler of its own runs.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("a child of ours");
    }

    /// Whether it ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.0.try_wait().expect("a child of ours").is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Looks until `found` gives something, at most `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(start.elapsed() < limit, "{what} did not come within {limit:?}");
        pause(Duration::from_millis(20));
    }
}

/// Waits a while: for a moment in a process that no event announces.
#[allow(clippy::disallowed_methods, reason = "a process of its own has no clock of ours")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The first `rows` real trades, as a CSV in `folder`; made ones where no real file is at hand.
pub(crate) fn trades(folder: &Path, rows: usize) -> PathBuf {
    let target = folder.join(format!("trades-{rows}.csv"));
    let mut out = fs::File::create(&target).expect("a file in the scratch folder");
    let text = match real_trades() {
        Some(path) => first_lines(&path, rows + 1),
        None => made_trades(rows),
    };
    out.write_all(text.as_bytes()).expect("room for the trades");
    target
}

/// The real trades: in the folder `ANNALS_DATA`, beside the repository, or in the cache that the demo fills.
fn real_trades() -> Option<PathBuf> {
    let shared = std::env::var_os("ANNALS_DATA")
        .map_or_else(|| repository().join("../shared/data"), PathBuf::from)
        .join("market/bitmex_xbtusd_trades_a.csv.zst");
    let cache = std::env::var_os("ANNALS_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/annals")));
    let cached = cache.map(|cache| cache.join("trades/bitmex_xbtusd_1m.csv"));
    [Some(shared), cached].into_iter().flatten().find(|path| path.is_file())
}

fn first_lines(path: &Path, lines: usize) -> String {
    let file = fs::File::open(path).expect("the trades");
    let reader: Box<dyn Read> = if path.extension().is_some_and(|ending| ending == "zst") {
        Box::new(zstd::Decoder::new(file).expect("a zstd file"))
    } else {
        Box::new(file)
    };
    let mut text = String::new();
    for line in BufReader::new(reader).lines().take(lines) {
        text.push_str(&line.expect("text"));
        text.push('\n');
    }
    text
}

/// A walk of the price with a little more than one trade a second: the same for every call.
pub(crate) fn made_trades(rows: usize) -> String {
    let mut text = String::from("timestamp,price,size\n");
    let (mut state, mut time, mut half_dollars) = (0x5EED_u64, 1_514_764_800_000_u64, 27_746_u64);
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % bound
    };
    for _ in 0..rows {
        time += below(1_900);
        half_dollars = (half_dollars + below(41)).saturating_sub(20).max(2);
        let size = 1 + below(20_000);
        let sign = if below(2) == 0 { "-" } else { "" };
        let half = if half_dollars % 2 == 1 { ".5" } else { "" };
        writeln!(text, "{time},{}{half},{sign}{size}", half_dollars / 2).expect("memory");
    }
    text
}

/// What `tests/trades_check.py` computes from the same file, by itself.
#[track_caller]
pub(crate) fn independent_count(trades: &Path) -> Value {
    let script = repository().join("tests/trades_check.py");
    run(Command::new("python3").arg(script).arg(trades)).exits_with(0).json()
}

/// A figure of the demo's JSON as text, whether it was written as a number or as text.
#[track_caller]
pub(crate) fn text_of(json: &Value, field: &str) -> String {
    match &json[field] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            panic!("{field} is no figure in {json}")
        }
    }
}

/// A count in the demo's JSON.
#[track_caller]
pub(crate) fn count_of(json: &Value, field: &str) -> u64 {
    json[field].as_u64().unwrap_or_else(|| panic!("{field} is no count in {json}"))
}
