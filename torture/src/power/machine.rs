//! What the machine must give: root, FUSE, loop devices, and the programs that make, mount and unmount a file system.
//! Everything is mounted in a mount namespace of this process, which is gone with it however it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use tempfile::TempDir;

use super::PowerError;

/// How large the device is.
pub(crate) const DEVICE_BYTES: usize = 48 << 20;
/// A file system's block: what of an image is all zeros is not written.
const BLOCK_BYTES: usize = 4096;
/// How often an unmounting that finds its folder busy is tried, and how long it waits between.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(20);

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) -> Result<String, PowerError> {
    let failed = |said: String| PowerError::Program {
        command: format!("{program} {}", arguments.join(" ")),
        said,
    };
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the folders are named here")
}

fn lacking(what: impl Into<String>) -> PowerError {
    PowerError::NotRun { lacks: what.into() }
}

/// Sees that the machine gives what is needed, and steps into a mount namespace of its own. Call it before any thread
/// is started.
pub(crate) fn prepare() -> Result<(), PowerError> {
    if !nix::unistd::Uid::effective().is_root() {
        return Err(lacking("this is not root"));
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        let opened = OpenOptions::new().read(true).write(true).open(device);
        opened.map_err(|error| lacking(format!("{device}: {error}")))?;
    }
    let programs = [
        ("mkfs.ext4", "-V", "e2fsprogs"),
        ("mount", "--version", "mount"),
        ("umount", "--version", "mount"),
    ];
    for (program, option, package) in programs {
        run(program, &[option])
            .map_err(|_| lacking(format!("{program} is missing, Debian's package {package}")))?;
    }
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| lacking(format!("a mount namespace: {error}")))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| lacking(format!("a mount namespace: {error}")))
}

/// Something that is mounted; unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    at: PathBuf,
    unmounted: bool,
}

impl Mounted {
    /// Mounts the ext4 in the file `image` on `at`, through a loop device that is given back with it.
    pub(crate) fn image(image: &Path, at: &Path) -> Result<Mounted, PowerError> {
        let mounted = Mounted::new("ext4", "loop,nodiscard", image, at)?;
        let found = statfs(at)
            .map_err(|error| PowerError::machine("looking at the mount")(error.into()))?;
        if found.filesystem_type() == EXT4_SUPER_MAGIC {
            Ok(mounted)
        } else {
            Err(PowerError::NotExt4 { found: format!("{:?}", found.filesystem_type()) })
        }
    }

    fn new(kind: &str, options: &str, from: &Path, at: &Path) -> Result<Mounted, PowerError> {
        run("mount", &["-t", kind, "-o", options, text(from), text(at)])?;
        Ok(Mounted { at: at.to_owned(), unmounted: false })
    }

    /// What FUSE has mounted on `at`.
    pub(crate) fn fuse(at: &Path) -> Mounted {
        Mounted { at: at.to_owned(), unmounted: false }
    }

    pub(crate) fn unmount(mut self) -> Result<(), PowerError> {
        self.unmounted = true;
        let mut result = run("umount", &[text(&self.at)]);
        // The kernel lets go of a loop device's file a moment after the device.
        for _ in 0..TRIES {
            if result.is_ok() {
                break;
            }
            wait(BETWEEN);
            result = run("umount", &[text(&self.at)]);
        }
        result.map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.unmounted {
            // Something else has failed and is told; the namespace ends with the process.
            drop(run("umount", &["--lazy", text(&self.at)]));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the kernel does not tell when it has let go")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// The folders that a run mounts on. Images lie in memory: what a power cut leaves of them is for the recording to say,
/// and no disk has part in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    memory: Option<Mounted>,
    folder: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Result<Scratch, PowerError> {
        let folder = TempDir::with_prefix("annals-power-");
        let folder = folder.map_err(PowerError::machine("making a folder"))?;
        let mut scratch = Scratch { memory: None, folder };
        for name in ["served", "live", "images", "cut"] {
            let made = std::fs::create_dir(scratch.folder.path().join(name));
            made.map_err(PowerError::machine("making a folder"))?;
        }
        let images = scratch.folder.path().join("images");
        scratch.memory = Some(Mounted::new("tmpfs", "size=128m", Path::new("tmpfs"), &images)?);
        Ok(scratch)
    }

    /// Where FUSE serves the recorded device's file.
    pub(crate) fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    /// Where the recorded device's file system is mounted.
    pub(crate) fn live(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    /// A fresh ext4, with a small journal that begins again often.
    pub(crate) fn fresh(&self) -> Result<Vec<u8>, PowerError> {
        let image = self.folder.path().join("images/fresh");
        let file = File::create(&image).map_err(PowerError::machine("making an image"))?;
        file.set_len(DEVICE_BYTES as u64).map_err(PowerError::machine("making an image"))?;
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let block = BLOCK_BYTES.to_string();
        let path = text(&image);
        run("mkfs.ext4", &["-q", "-F", "-b", &block, "-J", "size=4", "-E", options, path])?;
        std::fs::read(&image).map_err(PowerError::machine("reading an image"))
    }

    /// Mounts an image, which recovers its journal.
    pub(crate) fn mount(&self, image: &[u8]) -> Result<(Mounted, PathBuf), PowerError> {
        let path = self.folder.path().join("images/cut");
        write_image(&path, image).map_err(PowerError::machine("writing an image"))?;
        let at = self.folder.path().join("cut");
        Ok((Mounted::image(&path, &at)?, at))
    }
}

/// Writes an image to a file, with holes where it is zeros.
pub(crate) fn write_image(path: &Path, image: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(image.len() as u64)?;
    for (number, block) in image.chunks(BLOCK_BYTES).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, (number * BLOCK_BYTES) as u64)?;
        }
    }
    Ok(())
}
