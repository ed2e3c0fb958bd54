//! Keeps the server running: starts it, waits until it answers, starts it again when it dies, stops it when told.

use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::files::last_lines;
use super::{PORT, Plan, PostgresServerError, system};
use crate::worker::told;

const RESTART_DELAY_MIN: Duration = Duration::from_millis(50);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);
/// A server that ran this long is started again without delay.
const STEADY: Duration = Duration::from_secs(30);

pub(super) struct Supervisor {
    stopping: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The process id, 0 while none runs.
    process: AtomicU32,
    restarts: AtomicU64,
}

impl Supervisor {
    /// Starts the server and waits until it answers.
    pub(super) async fn start(plan: Arc<Plan>) -> Result<Supervisor, PostgresServerError> {
        let state = Arc::new(State::default());
        let child = first_start(&plan, &state).await?;
        let (stopping, stop) = watch::channel(false);
        let task = tokio::spawn(supervise(plan, child, stop, Arc::clone(&state)));
        Ok(Supervisor { stopping, task: Some(task), state })
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        Some(self.state.process.load(Ordering::SeqCst)).filter(|process| *process != 0)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.state.restarts.load(Ordering::SeqCst)
    }

    pub(super) async fn stop(mut self) -> Result<(), PostgresServerError> {
        self.stopping.send_replace(true);
        if let Some(task) = self.task.take() {
            task.await
                .map_err(|error| system("stopping PostgreSQL")(std::io::Error::other(error)))?;
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The runtime may be gone already: the signal goes out here, and nobody waits.
        self.stopping.send_replace(true);
        if let (Some(_), Some(process)) = (&self.task, self.process_id()) {
            signal(process, Signal::SIGINT);
        }
    }
}

fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process).unwrap_or(0));
    if process.as_raw() > 1
        && let Err(error) = kill(process, signal)
    {
        tracing::debug!(%error, "PostgreSQL was gone before it was signalled");
    }
}

fn spawn(plan: &Plan) -> Result<Child, PostgresServerError> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&plan.log)
        .map_err(system(format!("opening {}", plan.log.display())))?;
    let settings = [
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        format!("unix_socket_directories={}", plan.sockets.display()),
        "unix_socket_permissions=0700".to_owned(),
        format!("shared_buffers={}MB", plan.options.shared_buffers_mib),
        format!("max_connections={}", plan.options.connections_max),
        // Everything here can be folded from the log again, but a torn table cannot be told from a good one.
        "fsync=on".to_owned(),
        "full_page_writes=on".to_owned(),
        "max_wal_size=2GB".to_owned(),
        "checkpoint_timeout=15min".to_owned(),
        "wal_compression=on".to_owned(),
        "wal_level=minimal".to_owned(),
        "max_wal_senders=0".to_owned(),
        "random_page_cost=1.1".to_owned(),
        "jit=off".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    let mut command = plan.account.command(&plan.programs.folder.join("postgres"), &plan.data);
    command.arg("-D").arg(&plan.data);
    for setting in &settings {
        command.arg("-c").arg(setting);
    }
    let copy = log.try_clone().map_err(system("opening the log of PostgreSQL"))?;
    // Its own process group: an interrupt typed at the terminal is for us, who then stop it in order.
    command
        .stdout(Stdio::from(copy))
        .stderr(Stdio::from(log))
        .process_group(0)
        .spawn()
        .map_err(system(format!("starting {}", plan.programs.folder.join("postgres").display())))
}

async fn first_start(plan: &Plan, state: &State) -> Result<Child, PostgresServerError> {
    let started = Instant::now();
    truncate_log(plan)?;
    loop {
        let mut child = spawn(plan)?;
        let remaining = plan.options.start_timeout.saturating_sub(started.elapsed());
        match answers(plan, &mut child, remaining).await {
            Answer::Yes => {
                state.process.store(child.id().unwrap_or(0), Ordering::SeqCst);
                return Ok(child);
            }
            // Backends of a killed server may hold its shared memory for a moment longer.
            Answer::Ended(_) if started.elapsed() < Duration::from_secs(15) => {
                sleep(Duration::from_millis(200)).await;
            }
            Answer::Ended(status) => {
                return Err(PostgresServerError::Program {
                    program: "postgres",
                    status: status.to_string(),
                    output: log_end(plan),
                });
            }
            Answer::No => {
                signal(child.id().unwrap_or(0), Signal::SIGQUIT);
                let waited = started.elapsed();
                return Err(PostgresServerError::Silent { waited, output: log_end(plan) });
            }
        }
    }
}

fn truncate_log(plan: &Plan) -> Result<(), PostgresServerError> {
    const LOG_BYTES_MAX: u64 = 1 << 20;
    if std::fs::metadata(&plan.log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        let old = plan.log.with_extension("log.old");
        std::fs::rename(&plan.log, old)
            .map_err(system(format!("rotating {}", plan.log.display())))?;
    }
    Ok(())
}

fn log_end(plan: &Plan) -> String {
    last_lines(&std::fs::read_to_string(&plan.log).unwrap_or_default())
}

enum Answer {
    Yes,
    Ended(ExitStatus),
    No,
}

async fn answers(plan: &Plan, child: &mut Child, within: Duration) -> Answer {
    let options: PgConnectOptions = match plan.url("postgres").parse() {
        Ok(options) => options,
        Err(_) => return Answer::No,
    };
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Answer::Ended(status);
        }
        let attempt = timeout(Duration::from_secs(2), PgConnection::connect_with(&options));
        if let Ok(Ok(connection)) = attempt.await {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "the first connection did not close in order");
            }
            return Answer::Yes;
        }
        sleep(Duration::from_millis(20)).await;
    }
    Answer::No
}

async fn supervise(
    plan: Arc<Plan>,
    mut child: Child,
    mut stop: watch::Receiver<bool>,
    state: Arc<State>,
) {
    let mut delay = RESTART_DELAY_MIN;
    loop {
        let since = Instant::now();
        tokio::select! {
            () = told(&mut stop) => {
                stop_child(&plan, &mut child).await;
                state.process.store(0, Ordering::SeqCst);
                return;
            }
            status = child.wait() => {
                state.process.store(0, Ordering::SeqCst);
                let (code, by) = status.map_or((None, None), |s| (s.code(), s.signal()));
                tracing::warn!(code, signal = by, "PostgreSQL ended and is started again");
            }
        }
        if since.elapsed() > STEADY {
            delay = RESTART_DELAY_MIN;
        }
        child = loop {
            tokio::select! {
                () = told(&mut stop) => return,
                () = sleep(delay) => {}
            }
            delay = (delay * 2).min(RESTART_DELAY_MAX);
            match spawn(&plan) {
                Ok(child) => break child,
                Err(error) => tracing::error!(%error, "PostgreSQL cannot be started"),
            }
        };
        state.process.store(child.id().unwrap_or(0), Ordering::SeqCst);
        state.restarts.fetch_add(1, Ordering::SeqCst);
    }
}

async fn stop_child(plan: &Plan, child: &mut Child) {
    for by in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL] {
        signal(child.id().unwrap_or(0), by);
        if timeout(plan.options.stop_timeout, child.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(signal = %by, "PostgreSQL did not stop in time");
    }
}
