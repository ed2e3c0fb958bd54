//! The one table from the family of an error to the exit code of the program, and how an error is told: once, on
//! standard error, with its causes and what to do next.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use annals_core::{Family, causes};

use super::error::CliError;
use super::output::colours_wanted;

/// How a verb ended that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// All is well.
    Well,
    /// A check was carried out and found differences.
    Differences,
    /// A check was carried out and found damage.
    Damaged,
}

impl Done {
    pub(super) fn code(self) -> ExitCode {
        match self {
            Done::Well => ExitCode::SUCCESS,
            Done::Differences => ExitCode::from(1),
            Done::Damaged => ExitCode::from(code(Family::Damage)),
        }
    }
}

/// The exit code of a family. 4 says that the answer is no, be it that the domain refuses or that there is no such thing.
pub(super) fn code(family: Family) -> u8 {
    match family {
        Family::Malformed => 2,
        Family::Unauthenticated | Family::Denied => 3,
        Family::Refusal | Family::NotFound => 4,
        Family::Conflict => 5,
        Family::TooMuch => 6,
        Family::Unavailable => 7,
        Family::Damage => 8,
    }
}

/// Tells an error on standard error and gives its exit code.
pub(super) fn report(error: &CliError) -> ExitCode {
    if error.is_closed_output() {
        // Whoever read the output has seen enough, as with `annals … | head`.
        return ExitCode::SUCCESS;
    }
    let mut stderr = std::io::stderr().lock();
    let text = told(error, error.hint().as_deref(), colours_wanted(stderr.is_terminal()));
    // Where standard error is closed, the exit code is all that is left to say.
    stderr.write_all(text.as_bytes()).ok();
    ExitCode::from(code(error.family()))
}

/// An error with its causes, a line each.
pub(super) fn told(error: &dyn Error, hint: Option<&str>, colours: bool) -> String {
    let (red, bold, plain) =
        if colours { ("\x1b[31;1m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let texts = causes(error);
    let mut text = format!("{red}error:{plain} {}\n", texts[0]);
    for cause in &texts[1..] {
        text = format!("{text}  caused by: {cause}\n");
    }
    if let Some(hint) = hint {
        text = format!("{text}{bold}hint:{plain} {hint}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_table_is_a_contract() {
        let mut table = String::new();
        for family in Family::ALL {
            writeln!(table, "{family:?} {}", code(family)).expect("text");
        }
        insta::assert_snapshot!(table.trim(), @r"
        Malformed 2
        Unauthenticated 3
        Denied 3
        NotFound 4
        Refusal 4
        Conflict 5
        TooMuch 6
        Unavailable 7
        Damage 8
        ");
    }

    #[test]
    fn an_error_is_told_once_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("no such file")]
        struct Inner;
        #[derive(Debug, thiserror::Error)]
        enum Outer {
            #[error("reading failed")]
            Reading(#[source] Inner),
            #[error(transparent)]
            Same(Box<Outer>),
        }
        let error = Outer::Same(Box::new(Outer::Reading(Inner)));
        insta::assert_snapshot!(told(&error, Some("look for it"), false), @r"
        error: reading failed
          caused by: no such file
        hint: look for it
        ");
    }
}
