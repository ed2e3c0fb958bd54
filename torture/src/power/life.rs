//! One life of a log on a recorded device: a process of its own mounts nothing and only appends; this one serves the
//! device, and so never touches what is mounted on it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use annals_core::random::SeededRandom;

use super::PowerError;
use super::device::{Device, FILE};
use super::machine::{Mounted, Scratch};
use super::recording::Recording;

/// The longest that a life may take.
const LONGEST: Duration = Duration::from_mins(1);
/// A life ends when it has written this much, so that a few of them fit on the device.
const WRITTEN_MAX: usize = 6 << 20;

/// How a life goes.
#[derive(Debug)]
pub(crate) struct Life {
    /// The number of the first append.
    pub(crate) first: u64,
    /// Appends under way at a time.
    pub(crate) flying: usize,
    pub(crate) segment_bytes: u64,
    /// How many operations of the device it has, about.
    operations: usize,
    /// Whether the log is closed at its end; else its process is killed.
    closed: bool,
    device_seed: u64,
    lies: bool,
}

impl Life {
    pub(crate) fn new(first: u64, random: &SeededRandom, lies: bool) -> Life {
        let flying = [1, 8, 64][usize::try_from(random.below(3)).expect("it is small")];
        let segment_bytes =
            [64 << 10, 256 << 10, 1 << 20][usize::try_from(random.below(3)).expect("it is small")];
        let operations = 100 + usize::try_from(random.below(500)).expect("it is small");
        let (closed, device_seed) = (random.below(2) == 0, random.below(u64::MAX));
        Life { first, flying, segment_bytes, operations, closed, device_seed, lies }
    }

    /// Lives it on a device that holds `base`, and gives what the device was told.
    pub(crate) fn record(&self, scratch: &Scratch, base: &[u8]) -> Result<Recording, PowerError> {
        let device = Device::new(base, self.device_seed, self.lies);
        let (served, live) = (scratch.served(), scratch.live());
        let session = fuser::Session::new(device.clone(), &served, &fuser::Config::default());
        let session = session.and_then(fuser::Session::spawn);
        let session = session.map_err(PowerError::machine("serving a file through FUSE"))?;
        let fuse = Mounted::fuse(&served);
        let mounted = Mounted::image(&served.join(FILE), &live)?;
        let mut child = self.start(&live.join("log"))?;
        let told = child.stdout.take().expect("it is piped");
        device.listen_to(told).map_err(PowerError::machine("listening"))?;
        device.wait(self.operations, WRITTEN_MAX, LONGEST);
        self.end(child)?;
        mounted.unmount()?;
        fuse.unmount()?;
        session.join().map_err(PowerError::machine("serving a file through FUSE"))?;
        let recording = device.recording().map_err(PowerError::machine("listening"))?;
        if recording.told.is_empty() {
            return Err(PowerError::Idle { operations: recording.operations.len() });
        }
        Ok(recording)
    }

    fn start(&self, log: &Path) -> Result<Child, PowerError> {
        let this = std::env::current_exe().map_err(PowerError::machine("finding this program"))?;
        let mut command = Command::new(this);
        command.arg("append").arg(log);
        command.args(["--first", &self.first.to_string()]);
        command.args(["--flying", &self.flying.to_string()]);
        command.args(["--segment-bytes", &self.segment_bytes.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map_err(PowerError::machine("starting this program again"))
    }

    fn end(&self, mut child: Child) -> Result<(), PowerError> {
        let machine = PowerError::machine;
        if let Some(status) = child.try_wait().map_err(machine("asking for the child"))? {
            return Err(PowerError::Child { status });
        }
        if self.closed {
            drop(child.stdin.take());
            let status = child.wait().map_err(machine("waiting for the child"))?;
            if !status.success() {
                return Err(PowerError::Child { status });
            }
        } else {
            child.kill().map_err(machine("killing the child"))?;
            child.wait().map_err(machine("waiting for the child"))?;
        }
        Ok(())
    }
}
