//! What the tests share: the real library (fetched once when it is not there), a supervised child, clients.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use annals_analytics::{Options, State, Supervisor, library};
use clickhouse::{Client, Compression};
use tempfile::TempDir;

/// The library's file. Fetches it when it is absent; fails when that fails.
pub(crate) fn libchdb() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        library::find().unwrap_or_else(|_| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch-libchdb.sh");
            let status = Command::new(script).status().expect("the fetch script runs");
            assert!(status.success(), "libchdb could not be fetched: {status}");
            library::find().expect("libchdb is there once it was fetched")
        })
    })
    .clone()
}

pub(crate) fn child_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_annals-analytics-child"))
}

pub(crate) fn options(data: &Path) -> Options {
    Options { library: Some(libchdb()), ..Options::new(child_program(), data.to_owned()) }
}

/// A supervised child on a folder of its own.
pub(crate) struct Analytics {
    pub(crate) supervisor: Supervisor,
    pub(crate) folder: TempDir,
}

impl Analytics {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let supervisor = Supervisor::start(options(folder.path())).await.expect("the child starts");
        Self { supervisor, folder }
    }

    pub(crate) fn client(&self) -> Client {
        Client::default()
            .with_url(self.supervisor.url())
            .with_user(self.supervisor.user())
            .with_password(self.supervisor.key())
            .with_database(self.supervisor.database())
            .with_compression(Compression::None)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client().query(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first number of an answer.
    pub(crate) async fn number(&self, sql: &str) -> u64 {
        let number = self.client().query(sql).fetch_one::<u64>().await;
        number.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A request as any HTTP client would make it: a query string, and a body.
    pub(crate) async fn post(
        &self,
        query: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        answer(self.request(reqwest::Method::POST, query).body(body)).await
    }

    pub(crate) async fn get(&self, query: &[(&str, &str)]) -> (u16, String) {
        answer(self.request(reqwest::Method::GET, query)).await
    }

    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        query: &[(&str, &str)],
    ) -> reqwest::RequestBuilder {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        reqwest::Client::new()
            .request(method, format!("{}/?{}", self.supervisor.url(), pairs.join("&")))
            .header("X-ClickHouse-User", self.supervisor.user())
            .header("X-ClickHouse-Key", self.supervisor.key())
    }

    /// Kills the child as a crash would, and waits until the next one answers.
    pub(crate) async fn kill(&self) {
        let mut states = self.supervisor.states();
        let pid = self.supervisor.pid().expect("a child that answers");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.try_into().expect("a process id")),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("the child is there to be killed");
        let next = |state: &State| matches!(state, State::Ready { pid: next } if *next != pid);
        let waited = tokio::time::timeout(Duration::from_mins(1), states.wait_for(next)).await;
        waited.expect("the child is started again").expect("the supervisor lives");
    }

    /// Ends the child; it must do so in time and with code 0.
    pub(crate) async fn stop(self) -> TempDir {
        let stopped = self.supervisor.stop().await;
        assert_eq!((stopped.code, stopped.killed), (Some(0), false));
        self.folder
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = response.bytes().await.expect("a whole answer");
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

fn percent(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        write!(escaped, "%{byte:02X}").expect("a string takes any text");
    }
    escaped
}

/// The code in an error of the client.
pub(crate) fn code_of(error: &clickhouse::error::Error) -> u32 {
    let text = error.to_string();
    let digits = text.split("Code: ").nth(1).and_then(|rest| rest.split('.').next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no code in {text}"))
}
