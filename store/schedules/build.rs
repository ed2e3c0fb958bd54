//! Says to the log's files that they are compiled for the schedules: `cfg(schedules)`.

#![allow(clippy::print_stdout, reason = "cargo reads it")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=schedules");
}
