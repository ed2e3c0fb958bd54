//! The parent's side: starts the child, waits until it answers, starts it again when it dies, and ends it.
//!
//! The supervisor owns the listening socket for as long as it lives and lends it to each child, so the address never
//! changes, nobody else can take the port, and requests made while a child is being replaced wait in the socket's queue.
//! There is at most one child, and every child is waited for: no zombie, no second owner of the folder.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::Family;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::child::{EXIT_OWNED, KEY_VARIABLE};
use crate::configuration::DATABASE;
use crate::library::{self, LibraryError};
use crate::ready;

/// The user that clients name.
const USER: &str = "annals";
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A child that lived this long did not die of what the last one died of.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
const LINES_KEPT: usize = 20;

/// How the child is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to run; mostly this one, `std::env::current_exe()`.
    pub program: PathBuf,
    /// What the program needs before the child's own arguments, such as a subcommand.
    pub arguments: Vec<OsString>,
    /// The file of libchdb; looked for by [`library::find`] when none is given.
    pub library: Option<PathBuf>,
    /// The folder that the child owns.
    pub data: PathBuf,
    /// The most memory the engine may use, in bytes.
    pub memory_bytes_max: u64,
    /// How long a child may take until it answers.
    pub ready_within: Duration,
    /// How long a child may take to end before it is killed.
    pub stop_within: Duration,
    /// How long a child waits for another owner of the folder to end.
    pub lock_wait: Duration,
}

impl Options {
    /// The usual options: 2 GB of memory, 60 s to start, 8 s to end.
    pub fn new(program: PathBuf, data: PathBuf) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            library: None,
            data,
            memory_bytes_max: 2_000_000_000,
            ready_within: Duration::from_mins(1),
            stop_within: Duration::from_secs(8),
            lock_wait: Duration::from_secs(10),
        }
    }
}

/// Why the child did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no libchdb; the source says how to fetch it.
    #[error("analytics needs libchdb")]
    Library(#[from] LibraryError),
    /// No socket on the loopback interface.
    #[error("cannot listen on 127.0.0.1 for analytics")]
    Listen {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program does not start.
    #[error("cannot start {program} for analytics")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("another process owns the analytics folder {data}: {reason}")]
    Owned {
        /// The folder.
        data: PathBuf,
        /// What the child said.
        reason: String,
    },
    /// The child ended before it answered.
    #[error("the analytics child ended with {status} before it answered: {reason}")]
    Ended {
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last lines on standard error.
        reason: String,
    },
    /// The child did not answer in time, and was killed.
    #[error("the analytics child did not answer within {} s: {reason}", within.as_secs_f32())]
    Silent {
        /// The time it had.
        within: Duration,
        /// Its last lines on standard error.
        reason: String,
    },
}

impl StartError {
    /// The family of the error.
    pub fn family(&self) -> Family {
        match self {
            Self::Library(error) => error.family(),
            Self::Owned { .. } => Family::Conflict,
            Self::Listen { .. } | Self::Spawn { .. } | Self::Ended { .. } | Self::Silent { .. } => {
                Family::Unavailable
            }
        }
    }
}

/// What the child is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready {
        /// Its process id.
        pid: u32,
    },
    /// It died, and the next one is being started.
    Restarting {
        /// Starts that failed since one last answered.
        failures: u32,
        /// Why the last one ended.
        reason: String,
    },
    /// It was ended by `stop`.
    Stopped(Stopped),
}

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its exit code; none when a signal ended it, or there was no child.
    pub code: Option<i32>,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// A running child. Ends it when dropped, but only [`Supervisor::stop`] waits for that.
#[derive(Debug)]
pub struct Supervisor {
    address: SocketAddr,
    url: String,
    key: String,
    states: watch::Receiver<State>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Stopped>,
}

impl Supervisor {
    /// Starts the child and waits until it answers.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let library = match &options.library {
            Some(file) => file.clone(),
            None => library::find()?,
        };
        let listen = |source| StartError::Listen { source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let key = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let nursery = Nursery { options, library, listener, address, key: key.clone() };
        let running = nursery.start().await?;
        let (state, states) = watch::channel(State::Ready { pid: running.pid });
        let (stop, stopping) = oneshot::channel();
        let task = tokio::spawn(supervise(nursery, running, state, stopping));
        let url = format!("http://{address}");
        Ok(Self { address, url, key, states, stop, task })
    }

    /// The endpoint's URL; it stays the same over restarts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The endpoint's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The user for clients.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The key for clients (their password). A secret.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The database that the endpoint serves.
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// The child's process id, while there is one that answers.
    pub fn pid(&self) -> Option<u32> {
        match *self.states.borrow() {
            State::Ready { pid } => Some(pid),
            State::Restarting { .. } | State::Stopped(_) => None,
        }
    }

    /// What the child is at, now and from now on.
    pub fn states(&self) -> watch::Receiver<State> {
        self.states.clone()
    }

    /// Asks the child to end, waits, and kills it when it takes too long.
    pub async fn stop(self) -> Stopped {
        self.stop.send(()).ok();
        self.task.await.unwrap_or(Stopped { code: None, killed: false })
    }
}

/// Where children come from: everything that stays the same over restarts.
struct Nursery {
    options: Options,
    library: PathBuf,
    listener: TcpListener,
    address: SocketAddr,
    key: String,
}

struct Running {
    child: Child,
    pid: u32,
    since: Instant,
    lines: Lines,
}

/// The last lines that a child wrote.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        lines.push_back(line);
        if lines.len() > LINES_KEPT {
            lines.pop_front();
        }
    }

    fn joined(&self) -> String {
        Vec::from(self.0.lock().clone()).join("; ")
    }
}

impl Nursery {
    fn command(&self) -> io::Result<Command> {
        let Options { program, arguments, data, memory_bytes_max, lock_wait, .. } = &self.options;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--data")
            .arg(data)
            .arg("--library")
            .arg(&self.library)
            .args(["--user", USER])
            .args(["--memory-bytes-max", &memory_bytes_max.to_string()])
            .args(["--lock-wait-ms", &lock_wait.as_millis().to_string()])
            .env_clear()
            .env(KEY_VARIABLE, &self.key)
            .envs(
                ["PATH", "RUST_LOG", "RUST_BACKTRACE"]
                    .iter()
                    .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
            )
            // A Ctrl-C in the terminal is for the parent, which ends the child in its turn.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(self.listener.try_clone()?)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts one child and waits until it answers; one that does not is killed and waited for.
    async fn start(&self) -> Result<Running, StartError> {
        let program = &self.options.program;
        let spawn = |source| StartError::Spawn { program: program.clone(), source };
        let mut child = self.command().map_err(spawn)?.spawn().map_err(spawn)?;
        let pid = child.id().ok_or_else(|| spawn(io::Error::other("it has no process id")))?;
        let lines = Lines::default();
        let said = follow(child.stderr.take(), lines.clone());
        follow(child.stdout.take(), Lines::default());
        let within = self.options.ready_within;
        tokio::select! {
            () = ready::wait(self.address) => {
                tracing::info!(pid, address = %self.address, "analytics is ready");
                Ok(Running { child, pid, since: Instant::now(), lines })
            }
            status = child.wait() => {
                // The reason may still be on its way through the pipe.
                tokio::time::timeout(Duration::from_secs(2), said).await.ok();
                let reason = lines.joined();
                match status.map_err(spawn)? {
                    status if status.code() == Some(i32::from(EXIT_OWNED)) => {
                        Err(StartError::Owned { data: self.options.data.clone(), reason })
                    }
                    status => Err(StartError::Ended { status, reason }),
                }
            }
            () = tokio::time::sleep(within) => {
                child.kill().await.map_err(spawn)?;
                Err(StartError::Silent { within, reason: lines.joined() })
            }
        }
    }
}

/// Logs what the child writes, and keeps its last lines.
fn follow(output: Option<impl AsyncRead + Unpin + Send + 'static>, lines: Lines) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(output) = output else { return };
        let mut reader = BufReader::new(output).split(b'\n');
        while let Ok(Some(line)) = reader.next_segment().await {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !line.is_empty() {
                tracing::debug!(target: "annals_analytics::child", "{line}");
                lines.push(line);
            }
        }
    })
}

async fn supervise(
    nursery: Nursery,
    mut running: Running,
    state: watch::Sender<State>,
    mut stopping: oneshot::Receiver<()>,
) -> Stopped {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let ended = tokio::select! {
            status = running.child.wait() => status,
            _ = &mut stopping => {
                let stopped = end(&mut running, nursery.options.stop_within).await;
                state.send_replace(State::Stopped(stopped));
                return stopped;
            }
        };
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut reason = format!("{how}: {}", running.lines.joined());
        tracing::warn!(pid = running.pid, reason, "the analytics child died; starting it again");
        if running.since.elapsed() > HEALTHY_AFTER {
            backoff = BACKOFF_FIRST;
        }
        let mut failures = 0;
        running = loop {
            state.send_replace(State::Restarting { failures, reason });
            let next = async {
                tokio::time::sleep(backoff).await;
                nursery.start().await
            };
            let next = tokio::select! {
                next = next => next,
                _ = &mut stopping => {
                    // Dropping `next` kills a child that is only half started.
                    let stopped = Stopped { code: None, killed: true };
                    state.send_replace(State::Stopped(stopped));
                    return stopped;
                }
            };
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match next {
                Ok(running) => break running,
                Err(error) => {
                    failures += 1;
                    reason = error.to_string();
                    tracing::error!(failures, reason, "the analytics child does not start");
                }
            }
        };
        state.send_replace(State::Ready { pid: running.pid });
    }
}

/// SIGTERM, then SIGKILL.
async fn end(running: &mut Running, within: Duration) -> Stopped {
    if let Ok(pid) = i32::try_from(running.pid) {
        // It may have ended by itself; it is not waited for yet, so the number is still its own.
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
    }
    if let Ok(Ok(status)) = tokio::time::timeout(within, running.child.wait()).await {
        return Stopped { code: status.code(), killed: false };
    }
    tracing::warn!(pid = running.pid, "the analytics child did not end in time; killing it");
    running.child.kill().await.ok();
    Stopped { code: None, killed: true }
}
