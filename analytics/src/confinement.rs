//! The kernel's fence around the child (Landlock): it reads and writes its own folder, reads the library and what the
//! system's loader needs, and opens no connection to anywhere. So a hole in the engine's own fence reads no file of the
//! user's and reaches no other service. Kernels without Landlock (before 5.13, or switched off) leave the other fences.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

/// What the loader and the engine read outside the folder. Those that do not exist are left out. Of `/proc` only
/// what is about this process or the machine: another process's environment may hold secrets.
const READABLE: [&str; 17] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/sys/fs/cgroup",
    "/sys/devices/system",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/sys/vm",
    "/proc/sys/kernel",
];
const READABLE_AND_WRITABLE: [&str; 2] = ["/dev/null", "/dev/urandom"];

/// Confines this thread and all that it starts from now on. Says how much of it the kernel enforces.
pub(crate) fn confine(folder: &Path, library: &Path) -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V6;
    let read = AccessFs::from_read(abi);
    let all = AccessFs::from_all(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        // Handled and never granted: no connection out, no other port.
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let readable = READABLE.iter().map(|path| (Path::new(path), read));
    let writable =
        READABLE_AND_WRITABLE.iter().map(|path| (Path::new(path), AccessFs::from_file(abi)));
    let own = [(folder, all), (library, read)];
    for (path, access) in readable.chain(writable).chain(own) {
        // What is not there needs no rule.
        let Ok(opened) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(abi) };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_confined_thread_has_its_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let library = other.path().join("library");
        fs::write(&library, b"code").unwrap();
        fs::write(other.path().join("secret"), b"secret").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Only the thread that asks for it is confined, and this one ends with the test.
        std::thread::spawn(move || {
            if confine(folder.path(), &library).unwrap() == RulesetStatus::NotEnforced {
                eprintln!("this kernel has no Landlock; the confinement cannot be tested here");
                return;
            }
            fs::write(folder.path().join("mine"), b"mine").unwrap();
            assert_eq!(fs::read(&library).unwrap(), b"code");
            let denied = std::io::ErrorKind::PermissionDenied;
            assert_eq!(fs::read(other.path().join("secret")).unwrap_err().kind(), denied);
            assert_eq!(fs::read("/etc/passwd").unwrap_err().kind(), denied);
            assert_eq!(fs::write(other.path().join("new"), b"").unwrap_err().kind(), denied);
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), denied);
        })
        .join()
        .unwrap();
    }
}
