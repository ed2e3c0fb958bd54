//! Standard output: the answer, as JSON or as text. A closed pipe is told as an error of its own, so that
//! `annals … | head` ends quietly.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::error::CliError;

/// How text may look where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Colours may be used.
    pub(super) colours: bool,
    /// Columns of the terminal; none where it is no terminal, and lines may be as long as they like.
    pub(super) columns: Option<u16>,
}

/// Standard output with its look and form.
pub(super) struct Output {
    out: io::BufWriter<io::Stdout>,
    pub(super) look: Look,
    pub(super) json: bool,
}

/// Whether to use colours on a terminal or something else (<https://no-color.org>).
pub(super) fn colours_wanted(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Output {
    /// Standard output, as JSON or as text.
    pub(super) fn new(json: bool) -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let columns = terminal.then(|| comfy_table::Table::new().width()).flatten();
        let look = Look { colours: colours_wanted(terminal), columns };
        Output { out: io::BufWriter::new(stdout), look, json }
    }

    /// The answer: JSON where that is asked for, else what `text` makes of it.
    pub(super) fn answer<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&T, Look) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            return self.json(answer);
        }
        let text = text(answer, self.look);
        self.text(&text)
    }

    /// One JSON value and a line end; spread over lines for people.
    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = if self.look.columns.is_some() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.text(&text.map_err(|error| CliError::Output(error.into()))?)
    }

    /// One JSON value on one line.
    pub(super) fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
        self.line(&text)
    }

    /// One line, shown when the buffer is full or [`Output::flush`]ed.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(CliError::Output)?;
        self.out.write_all(b"\n").map_err(CliError::Output)
    }

    /// Shows what was written.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::Output)
    }

    /// Text, with a line end where it lacks one, shown at once.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.line(text.trim_end_matches('\n'))?;
        self.flush()
    }
}

/// Says something beside the answer, on standard error.
pub(super) fn note(text: &str) {
    // Where standard error is closed, nobody wants notes.
    writeln!(io::stderr(), "note: {text}").ok();
}
