//! What a killed predecessor left behind: a server that still runs on our data folder is stopped before ours starts.
//! A left-over pid file whose process is gone, or is another program by now, is no obstacle to PostgreSQL itself.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::{Plan, PostgresServerError, system};

/// Stops the server that runs on the data folder, if there is one.
pub(super) async fn stop_predecessor(plan: &Plan) -> Result<(), PostgresServerError> {
    let Some(process) = predecessor(&plan.data) else { return Ok(()) };
    tracing::warn!(process = process.as_raw(), "stopping the PostgreSQL of a killed predecessor");
    // Fast first (a clean stop), then immediate (its log replays at the next start).
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL] {
        match kill(process, signal) {
            Ok(()) => {}
            Err(nix::errno::Errno::ESRCH) => return Ok(()),
            Err(errno) => {
                let attempt = format!("stopping the PostgreSQL process {process}");
                return Err(system(attempt)(errno.into()));
            }
        }
        let deadline = Instant::now() + plan.options.stop_timeout;
        while Instant::now() < deadline {
            if predecessor(&plan.data) != Some(process) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// The live server process that the data folder's pid file names.
fn predecessor(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    let process = Pid::from_raw(number);
    (number > 1 && is_server_of(number, data)).then_some(process)
}

/// Whether the process is a PostgreSQL server that works in this data folder: the number in a stale pid file may
/// belong to anyone by now.
fn is_server_of(process: i32, data: &Path) -> bool {
    let entry = Path::new("/proc").join(process.to_string());
    if !entry.exists() {
        // Either gone, or a system without /proc: there, PostgreSQL's own check of the pid file has to do.
        return false;
    }
    let name = std::fs::read_to_string(entry.join("comm")).unwrap_or_default();
    let zombie = std::fs::read_to_string(entry.join("stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")));
    let folder = std::fs::read_link(entry.join("cwd"));
    name.trim() == "postgres" && !zombie && folder.is_ok_and(|folder| folder == data)
}
