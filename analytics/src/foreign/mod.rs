//! The one place with foreign calls: libchdb behind a safe API, and two calls into libc that have no safe form.
//!
//! Invariants: the library is never unloaded (its threads outlive every connection); a connection runs one call at
//! a time, because every call borrows it mutably; a stream borrows its connection and is cancelled when dropped
//! unfinished; every result is freed exactly once; text goes in by pointer and length, and comes out copied.

#![allow(unsafe_code, reason = "the foreign functions of libchdb are called here and nowhere else")]

mod connection;
mod functions;
mod process;
mod streams;

pub(crate) use connection::{Analysis, Class, Connection, Engine, Statistics};
pub(crate) use process::{exit_at_once, privatise_environment};

use std::path::PathBuf;

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot load the library {file}")]
    Open {
        file: PathBuf,
        #[source]
        source: libloading::Error,
    },
    #[error(
        "the library {file} has no function {function}: it is not libchdb {}",
        crate::library::VERSION
    )]
    Function {
        file: PathBuf,
        function: &'static str,
        #[source]
        source: libloading::Error,
    },
}

/// The engine gave no connection; its reason is on standard error, the library returns none.
#[derive(Debug, thiserror::Error)]
#[error("the engine gave no connection; its own reason is above, on standard error")]
pub(crate) struct ConnectError;

/// What the engine says about a statement: ClickHouse's error code, and its text for the client.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EngineError {
    /// ClickHouse's error code; 1001 (an exception of the standard library) when the engine names none.
    pub(crate) code: u32,
    /// The text as the engine gave it, `Code: N. DB::Exception: …`.
    pub(crate) message: String,
}

impl EngineError {
    /// The engine returns errors as text only; its form `Code: N. …` is ClickHouse's, and clients read it too.
    pub(crate) fn new(message: String) -> Self {
        let code = message
            .split_once("Code: ")
            .map_or("", |(_, rest)| rest)
            .split(|character: char| !character.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(1001);
        Self { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::EngineError;

    #[test]
    fn the_code_is_taken_from_the_engine_s_text() {
        let code = |text: &str| EngineError::new(text.to_owned()).code;
        assert_eq!(code("Code: 60. DB::Exception: no table. (UNKNOWN_TABLE)"), 60);
        assert_eq!(code("std::exception. Code: 1001, type: …"), 1001);
        assert_eq!(code("anything else"), 1001);
    }
}
