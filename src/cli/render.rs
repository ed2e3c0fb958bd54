//! Data as text for people: pure functions, so that a snapshot can hold each. JSON is not made here, it is the data.

mod copy;
mod debug;
mod events;
mod log;
mod projections;
mod store;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::output::Look;

pub(super) use copy::{StoreCopied, store_copied};
pub(super) use debug::{difference, history, snapshot};
pub(super) use events::event_line;
pub(super) use log::{
    BackupMade, LogRepaired, LogRestored, LogVerified, backup_made, log_repaired, log_restored,
    log_verified,
};
pub(super) use projections::{Projections, Rebuilt, Verified, rebuilt, statuses, verified};
pub(super) use store::{SchemaInfo, StoreInfo, imported, schemas, store_info};

/// A table without lines, headings in capitals.
fn table(look: Look, headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if let Some(columns) = look.columns {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    table.set_header(headings.iter().map(|heading| paint(look, Paint::Faint, heading)));
    table
}

/// The table's text, without the blanks that padding leaves at the ends of lines.
fn finish(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// A number's cell.
fn number(value: impl std::fmt::Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// What a colour means.
#[derive(Clone, Copy)]
enum Paint {
    /// Beside the point.
    Faint,
    /// What is looked for.
    Bold,
    /// Came in.
    Green,
    /// Went out, or is wrong.
    Red,
    /// Wants attention.
    Yellow,
}

fn paint(look: Look, paint: Paint, text: &str) -> String {
    if !look.colours {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Faint => 2,
        Paint::Bold => 1,
        Paint::Green => 32,
        Paint::Red => 31,
        Paint::Yellow => 33,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A value on one line: text bare, everything else as JSON.
fn short(value: &Value) -> String {
    let bare = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    value.as_str().filter(bare).map_or_else(|| value.to_string(), str::to_owned)
}

/// Cuts a line to the columns there are.
fn cut(line: &str, columns: Option<u16>) -> String {
    let Some(columns) = columns.map(usize::from) else { return line.to_owned() };
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
