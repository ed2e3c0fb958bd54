//! A server as a child process: started on a free port of the loopback address, waited for, told to stop, and killed
//! where it does not.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::PeerError;

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server; killed where it is dropped without having been stopped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a program whose standard output holds, once it answers, a line that begins with `ready`, and gives the
    /// rest of that line. The whole output goes on being read, so that the program is never held up by it.
    pub(crate) async fn start(
        program: &Path,
        arguments: &[&str],
        log: &Path,
        ready: &'static str,
    ) -> Result<(Server, String), PeerError> {
        let attempt = || format!("starting {}", program.display());
        let errors = File::create(log).map_err(PeerError::machine(attempt()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(PeerError::machine(attempt()))?;
        let output = child.stdout.take();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let (mut tell, Some(output)) = (Some(tell), output) else { return };
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(rest) = line.strip_prefix(ready)
                    && let Some(tell) = tell.take()
                {
                    // Whoever waited may have given up.
                    tell.send(rest.trim().to_owned()).unwrap_or_default();
                }
            }
        });
        if let Ok(Ok(rest)) = timeout(PATIENCE, told).await {
            Ok((Server { child }, rest))
        } else {
            let output = fs::read_to_string(log).unwrap_or_default();
            Err(PeerError::NotReady { program: program.to_owned(), output })
        }
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), PeerError> {
        let Some(process) = self.child.id() else { return Ok(()) };
        if let Ok(process) = i32::try_from(process) {
            kill(Pid::from_raw(process), Signal::SIGTERM)
                .map_err(|errno| PeerError::machine("stopping a server")(errno.into()))?;
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(PeerError::machine("waiting for a server")),
            Err(_) => Err(PeerError::StillThere { process }),
        }
    }
}

/// The first line that a program prints when asked for its version.
pub(crate) async fn version(program: &Path) -> Result<String, PeerError> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .await
        .map_err(PeerError::machine(format!("starting {}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").trim().to_owned())
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16, PeerError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(PeerError::machine("finding a free port"))
}

/// The bytes of every file in a folder, each up to its last byte that is not zero: files that are filled with zeros
/// ahead of what is written count only as far as something is written.
pub(crate) fn written_bytes(folder: &Path) -> Result<u64, PeerError> {
    let attempt = || format!("looking at {}", folder.display());
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(PeerError::machine(attempt()))? {
        let entry = entry.map_err(PeerError::machine(attempt()))?;
        let kind = entry.file_type().map_err(PeerError::machine(attempt()))?;
        if kind.is_dir() {
            bytes += written_bytes(&entry.path())?;
        } else if kind.is_file() {
            let file = File::open(entry.path()).map_err(PeerError::machine(attempt()))?;
            bytes += written_length(&file).map_err(PeerError::machine(attempt()))?;
        }
    }
    Ok(bytes)
}

fn written_length(file: &File) -> std::io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 1 << 16];
    while end > 0 {
        let begin = (end - 1) / BLOCK * BLOCK;
        let part = &mut block[..usize::try_from(end - begin).unwrap_or_default()];
        file.read_exact_at(part, begin)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// The load of the machine over the last minute, as the kernel gives it.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_ahead_of_what_is_written_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("below");
        fs::create_dir(&below).expect("a folder");
        for (name, length, last) in [("a", 200_000, 70_000), ("b", 65_536, 65_535)] {
            let mut bytes = vec![0_u8; length];
            bytes[last] = 1;
            fs::write(below.join(name), bytes).expect("a file");
        }
        fs::write(folder.path().join("c"), [0; 100]).expect("a file");
        assert_eq!(written_bytes(folder.path()).expect("readable"), 70_001 + 65_536);
    }
}
