//! The `annals` binary. Everything is in the library, so that tests and benchmarks can call it.

use std::process::ExitCode;

// Without huge pages: batches of events come and go by the hundred kilobytes, and each huge page is zeroed whole.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    annals::cli::main()
}
