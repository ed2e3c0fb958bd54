//! Two process-wide calls without a safe form: changing the environment, and leaving without exit handlers.

use std::path::Path;

/// Makes the process's environment private: `HOME` is the folder given, the time zone is UTC, the named variables are
/// gone. The engine would otherwise read files of whoever started the process, and print times in their zone.
///
/// Must be called while the process has one thread; `child::run` does so first of all.
pub(crate) fn privatise_environment(home: &Path, remove: &[&str]) {
    // SAFETY: the caller has started no other thread yet, so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var("HOME", home);
        std::env::set_var("TZ", "UTC");
        for name in remove {
            std::env::remove_var(name);
        }
    }
}

/// Ends the process at once, without exit handlers or destructors: the engine's crash when they run in a process
/// with its threads still there.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}
