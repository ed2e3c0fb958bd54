//! The child's main: opens the engine on its folder, serves the endpoint, and leaves without the engine's exit handlers.
//!
//! It has one owner of its folder (a lock of its own beside the engine's), and it ends when it is asked to, or when
//! the parent that started it is gone: the listening socket comes in as standard input, and standard output is a
//! pipe whose other end only the parent holds.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::{Family, chain};
use landlock::{RulesetError, RulesetStatus};
use nix::fcntl::{Flock, FlockArg};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::configuration::{self, DATABASE, Layout};
use crate::confinement;
use crate::deduplication;
use crate::foreign::{self, ConnectError, Connection, Engine, EngineError, LoadError};
use crate::server::{self, Connections, Credentials, Endpoint};

/// The environment variable that hands the key over; it is removed before anything else runs.
pub const KEY_VARIABLE: &str = "ANNALS_ANALYTICS_KEY";

/// How long requests at work may go on once the child is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the parent is gone, and with it whoever asked.
const GRACE_WITHOUT_PARENT: Duration = Duration::from_millis(500);
const LOCK_TRY_EVERY: Duration = Duration::from_millis(50);

/// What the child is started with. The key comes in the environment.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The folder that the child owns.
    #[arg(long)]
    pub data: PathBuf,
    /// The file of libchdb.
    #[arg(long)]
    pub library: PathBuf,
    /// Listen here; without it, standard input is the listening socket and the child ends with its parent.
    #[arg(long)]
    pub address: Option<SocketAddr>,
    /// The user that clients name.
    #[arg(long, default_value = "annals")]
    pub user: String,
    /// The most memory the engine may use, in bytes.
    #[arg(long, default_value_t = 2_000_000_000)]
    pub memory_bytes_max: u64,
    /// How long to wait for another owner of the folder to end, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    pub lock_wait_ms: u64,
}

/// Why the child could not start or go on.
#[derive(Debug, thiserror::Error)]
#[allow(private_interfaces, reason = "the sources are printed, never matched, outside")]
pub enum ChildError {
    /// The environment holds no key.
    #[error("no key in {KEY_VARIABLE}")]
    NoKey,
    /// The listening socket is unusable.
    #[error("cannot listen")]
    Listen {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be prepared.
    #[error("cannot prepare the folder {folder}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("another process owns the folder {folder}; one process at a time can use it")]
    Owned {
        /// The folder.
        folder: PathBuf,
    },
    /// The runtime, a signal or the server failed.
    #[error("cannot run")]
    Run {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel's fence cannot be put up.
    #[error("cannot confine the process")]
    Confine(#[from] RulesetError),
    /// The library cannot be used.
    #[error(transparent)]
    Library(#[from] LoadError),
    /// The engine does not start.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The engine starts, but its database cannot be made.
    #[error("cannot make the database {DATABASE}")]
    Database {
        /// What the engine said.
        #[source]
        source: EngineError,
    },
}

/// The exit code of a child whose folder has another owner.
pub(crate) const EXIT_OWNED: u8 = 5;

impl ChildError {
    /// The family of the error.
    pub fn family(&self) -> Family {
        match self {
            Self::NoKey => Family::Malformed,
            Self::Owned { .. } => Family::Conflict,
            Self::Library(_) => Family::NotFound,
            Self::Listen { .. }
            | Self::Folder { .. }
            | Self::Run { .. }
            | Self::Confine(_)
            | Self::Connect(_)
            | Self::Database { .. } => Family::Unavailable,
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::NoKey => 2,
            Self::Owned { .. } => EXIT_OWNED,
            Self::Library(_)
            | Self::Listen { .. }
            | Self::Folder { .. }
            | Self::Run { .. }
            | Self::Confine(_)
            | Self::Connect(_)
            | Self::Database { .. } => 7,
        }
    }
}

/// Runs the child to its end. Call it first of all in a process, before any other thread is started: it changes the
/// working folder and the environment. Ends the process itself with code 0 when it was asked to end.
pub fn run(arguments: Arguments) -> ExitCode {
    match start(arguments) {
        Ok(()) => foreign::exit_at_once(0),
        Err(error) => {
            eprintln!("analytics: {}", chain(&error));
            // The engine may be half open, so its exit handlers must not run here either.
            foreign::exit_at_once(i32::from(error.exit_code()))
        }
    }
}

fn start(arguments: Arguments) -> Result<(), ChildError> {
    let listener = listener(arguments.address).map_err(|source| ChildError::Listen { source })?;
    let parent = match arguments.address {
        Some(_) => None,
        None => Some(parent_pipe().map_err(|source| ChildError::Listen { source })?),
    };
    let folder = |source| ChildError::Folder { folder: arguments.data.clone(), source };
    let library = std::path::absolute(&arguments.library).map_err(folder)?;
    let layout = Layout::create(&arguments.data).map_err(folder)?;
    std::env::set_current_dir(&layout.home).map_err(folder)?;
    let key = std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty());
    foreign::privatise_environment(&layout.home, &[KEY_VARIABLE]);
    let credentials =
        Credentials { user: arguments.user.clone(), key: key.ok_or(ChildError::NoKey)? };
    // Before any other thread is started, so that all of them are confined.
    match confinement::confine(layout.folder(), &library)? {
        RulesetStatus::FullyEnforced => {}
        status @ (RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced) => {
            eprintln!("analytics: the kernel confines this process only partly: {status:?}");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(128)
        .enable_all()
        .build()
        .map_err(|source| ChildError::Run { source })?;
    let done = runtime.block_on(serve(arguments, library, layout, listener, parent, credentials));
    // A statement that did not end within the grace still blocks a thread; it must not hold the end up.
    runtime.shutdown_background();
    done
}

fn listener(address: Option<SocketAddr>) -> io::Result<TcpListener> {
    let listener = if let Some(address) = address {
        TcpListener::bind(address)?
    } else {
        let socket = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        // The engine looks at standard input on its own; it must find nothing there.
        let nothing = std::fs::File::open("/dev/null")?;
        nix::unistd::dup2_stdin(nothing)?;
        socket
    };
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn parent_pipe() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

async fn serve(
    arguments: Arguments,
    library: PathBuf,
    layout: Layout,
    listener: TcpListener,
    parent: Option<OwnedFd>,
    credentials: Credentials,
) -> Result<(), ChildError> {
    let run = |source| ChildError::Run { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(run)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(run)?;
    let parent = parent.map(pipe::Sender::from_owned_fd).transpose().map_err(run)?;
    let lock = lock(&layout.lock, Duration::from_millis(arguments.lock_wait_ms)).await?;
    let opened =
        tokio::task::spawn_blocking(move || open(&library, &layout, arguments.memory_bytes_max));
    let (anchor, connections) = opened.await.map_err(|error| run(io::Error::other(error)))??;

    let endpoint = Arc::new(Endpoint::new(connections, credentials));
    let listener = tokio::net::TcpListener::from_std(listener).map_err(run)?;
    if arguments.address.is_some() {
        eprintln!("analytics: ready {}", listener.local_addr().map_err(run)?);
    }
    let (ending, ended) = tokio::sync::oneshot::channel::<()>();
    let router = server::router(Arc::clone(&endpoint));
    let served = tokio::spawn(async move {
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            stream.set_nodelay(true).ok();
        });
        axum::serve(listener, router)
            .with_graceful_shutdown(async { ended.await.unwrap_or(()) })
            .await
    });
    let grace = tokio::select! {
        _ = terminate.recv() => GRACE,
        _ = interrupt.recv() => GRACE,
        () = parent_gone(parent.as_ref()) => GRACE_WITHOUT_PARENT,
    };
    tracing::info!("analytics is ending");
    // Stop accepting, let what is at work end, then close every connection: with one open, the exit would crash.
    ending.send(()).ok();
    let deadline = tokio::time::Instant::now() + grace;
    tokio::time::timeout_at(deadline, served).await.ok();
    let turns = endpoint.turns.acquire_many(server::STATEMENTS_MAX);
    let idle = tokio::time::timeout_at(deadline, turns).await.is_ok();
    endpoint.turns.close();
    endpoint.connections.close();
    if idle {
        drop(anchor);
    } else {
        // Statements still hold connections; `_exit` runs no destructor of theirs either.
        std::mem::forget(anchor);
    }
    drop(lock);
    Ok(())
}

/// Waits until the parent's end of the pipe is closed; for ever where there is no such pipe.
async fn parent_gone(pipe: Option<&pipe::Sender>) {
    match pipe {
        None => std::future::pending().await,
        Some(pipe) => {
            if pipe.ready(Interest::ERROR).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Takes the folder for this process. Waits a while: the owner may be a child whose parent has just gone.
async fn lock(file: &Path, wait: Duration) -> Result<Flock<std::fs::File>, ChildError> {
    let folder = || file.parent().unwrap_or(file).to_owned();
    let deadline = Instant::now() + wait;
    loop {
        let opened =
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(file);
        let opened = opened.map_err(|source| ChildError::Folder { folder: folder(), source })?;
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_TRY_EVERY).await;
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                return Err(ChildError::Owned { folder: folder() });
            }
            Err((_, error)) => {
                return Err(ChildError::Folder { folder: folder(), source: error.into() });
            }
        }
    }
}

/// Opens the engine and its database. The first connection is kept to the end, so that the engine stays up.
fn open(
    library: &Path,
    layout: &Layout,
    memory_bytes_max: u64,
) -> Result<(Connection, Connections), ChildError> {
    let arguments = configuration::write(layout, memory_bytes_max)
        .map_err(|source| ChildError::Folder { folder: layout.configuration.clone(), source })?;
    let forgotten = deduplication::forget_unfinished_inserts(&layout.engine)
        .map_err(|source| ChildError::Folder { folder: layout.engine.clone(), source })?;
    if forgotten > 0 {
        eprintln!("analytics: {forgotten} inserts that a kill cut off can be made again");
    }
    let engine = Engine::load(library, arguments)?;
    let mut anchor = engine.connect()?;
    let sql = format!("CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic");
    anchor.query(sql.as_bytes(), "Null", &[]).map_err(|source| ChildError::Database { source })?;
    Ok((anchor, Connections::new(engine)))
}
