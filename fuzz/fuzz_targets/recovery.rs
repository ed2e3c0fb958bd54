//! A folder whose files were mangled in any way: the first byte chooses the log, the rest is a script of damage. What is
//! served is what was written or, where nothing says that more was durable, a prefix of it; or the damage is named.
#![no_main]

use annals_fuzz::{oracle, script, written};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choice, steps)) = input.split_first() else { return };
    let logs = written::logs();
    let log = &logs[usize::from(*choice) % logs.len()];
    let disk = log.disk.fork();
    script::follow(steps, &disk, |_| true);
    oracle::hold(&disk, log);
});
