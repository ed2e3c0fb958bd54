//! What was verified, backed up, restored and repaired, as text.

use std::fmt::Write as _;

use annals_core::Timestamp;
use annals_store::log::{Backup, Damage, Repaired, Replaced, Restored, Verified};
use serde::Serialize;

use super::super::output::Look;
use super::{Paint, finish, grouped, number, paint, table};

/// What `annals store verify` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in super::super) struct LogVerified {
    /// The folder of the log.
    pub(in super::super) folder: String,
    /// Whether all that was read is as it was written.
    pub(in super::super) sound: bool,
    /// The store's identity and epoch, where they can be read.
    pub(in super::super) id: Option<uuid::Uuid>,
    pub(in super::super) epoch: Option<u32>,
    /// Segments read.
    pub(in super::super) segments: u64,
    /// Sound events in them.
    pub(in super::super) events: u64,
    /// The position of the last of them.
    pub(in super::super) head: Option<u64>,
    /// Bytes read.
    pub(in super::super) bytes: u64,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
    /// The hash chain at the end of what was read, in hexadecimal.
    pub(in super::super) chain: Option<String>,
    /// The root of the Merkle tree over all events, where all were read.
    pub(in super::super) tree_root: Option<String>,
    /// What is damaged.
    pub(in super::super) damages: Vec<DamagedPlace>,
    /// Where a write was cut off.
    pub(in super::super) torn_tail: Option<DamagedPlace>,
    /// Index files that are made again when the log is opened.
    pub(in super::super) stale_indexes: Vec<String>,
}

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct DamagedPlace {
    file: String,
    offset: u64,
    /// The first event that cannot be trusted.
    position: Option<u64>,
    what: String,
}

/// What a backup holds, and what was copied for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct BackupMade {
    folder: String,
    id: uuid::Uuid,
    epoch: u32,
    begun: Timestamp,
    events: u64,
    /// The last position in it.
    head: Option<u64>,
    last_time: Option<Timestamp>,
    chain: String,
    segments: u64,
    bytes: u64,
    copied_segments: u64,
    copied_bytes: u64,
    in_use: bool,
    seconds: f64,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct LogRestored {
    folder: String,
    id: uuid::Uuid,
    epoch: u32,
    events: u64,
    /// The last position in it.
    head: Option<u64>,
    last_time: Option<Timestamp>,
    /// Events of the backup behind it.
    left_out: u64,
    chain: String,
    segments: u64,
    bytes: u64,
    seconds: f64,
}

/// What was repaired.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct LogRepaired {
    folder: String,
    id: uuid::Uuid,
    epoch: u32,
    events: u64,
    chain: String,
    replaced: Vec<ReplacedFile>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ReplacedFile {
    #[serde(flatten)]
    damage: DamagedPlace,
    /// The damaged file's name now.
    kept: Option<String>,
    bytes_from_backup: u64,
    own_bytes: u64,
}

fn hexadecimal(chain: [u8; 32]) -> String {
    let mut text = String::with_capacity(2 * chain.len());
    for byte in chain {
        write!(text, "{byte:02x}").expect("text takes everything");
    }
    text
}

impl From<&Damage> for DamagedPlace {
    fn from(damage: &Damage) -> DamagedPlace {
        DamagedPlace {
            file: damage.file.display().to_string(),
            offset: damage.offset,
            position: damage.position,
            what: damage.flaw.to_string(),
        }
    }
}

impl LogVerified {
    pub(in super::super) fn new(folder: String, found: &Verified, seconds: f64) -> LogVerified {
        LogVerified {
            folder,
            sound: found.damages.is_empty(),
            id: Some(found.identity.id),
            epoch: Some(found.identity.epoch),
            segments: found.segments,
            events: found.events,
            head: found.end.checked_sub(1),
            bytes: found.bytes,
            seconds,
            chain: found.chain.map(hexadecimal),
            tree_root: found.tree_root.map(hexadecimal),
            damages: found.damages.iter().map(DamagedPlace::from).collect(),
            torn_tail: found.torn_tail.as_ref().map(DamagedPlace::from),
            stale_indexes: found.stale_indexes.iter().map(|p| p.display().to_string()).collect(),
        }
    }

    /// The log whose beginning cannot be read.
    pub(in super::super) fn unreadable(folder: String, damage: &Damage) -> LogVerified {
        LogVerified { folder, damages: vec![damage.into()], ..LogVerified::default() }
    }
}

impl BackupMade {
    pub(in super::super) fn new(folder: String, made: &Backup, seconds: f64) -> BackupMade {
        BackupMade {
            folder,
            id: made.identity.id,
            epoch: made.identity.epoch,
            begun: made.begun,
            events: made.events,
            head: made.events.checked_sub(1),
            last_time: made.last_time,
            chain: hexadecimal(made.chain),
            segments: made.segments,
            bytes: made.bytes,
            copied_segments: made.copied_segments,
            copied_bytes: made.copied_bytes,
            in_use: made.in_use,
            seconds,
        }
    }
}

impl LogRestored {
    pub(in super::super) fn new(folder: String, done: &Restored, seconds: f64) -> LogRestored {
        LogRestored {
            folder,
            id: done.identity.id,
            epoch: done.identity.epoch,
            events: done.events,
            head: done.events.checked_sub(1),
            last_time: done.last_time,
            left_out: done.left_out,
            chain: hexadecimal(done.chain),
            segments: done.segments,
            bytes: done.bytes,
            seconds,
        }
    }
}

impl LogRepaired {
    pub(in super::super) fn new(folder: String, done: &Repaired) -> LogRepaired {
        let replaced = |one: &Replaced| ReplacedFile {
            damage: (&one.damage).into(),
            kept: one.kept.as_ref().map(|path| path.display().to_string()),
            bytes_from_backup: one.from_backup,
            own_bytes: one.own,
        };
        LogRepaired {
            folder,
            id: done.identity.id,
            epoch: done.identity.epoch,
            events: done.events,
            chain: hexadecimal(done.chain),
            replaced: done.replaced.iter().map(replaced).collect(),
        }
    }
}

/// How far a log or a backup reaches.
fn reach(events: u64, head: Option<u64>, last_time: Option<Timestamp>) -> String {
    let Some(head) = head else { return "no event".to_owned() };
    let (events, head) = (grouped(events), grouped(head));
    let time = last_time.map(|time| format!(", recorded at {time}")).unwrap_or_default();
    format!("{events} events, the last at position {head}{time}")
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(bytes: u64, seconds: f64) -> String {
    if bytes < 1_000_000 {
        return format!("{} bytes in {seconds:.2} s", grouped(bytes));
    }
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB in {seconds:.2} s, {:.0} MB/s", megabytes / seconds.max(1e-9))
}

fn damages(places: &[DamagedPlace], look: Look) -> String {
    let mut table = table(look, &["FILE", "OFFSET", "POSITION", "WHAT IS WRONG"]);
    for place in places {
        let position =
            place.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        table.add_row([
            place.file.clone().into(),
            number(place.offset),
            number(position),
            place.what.clone().into(),
        ]);
    }
    finish(&table)
}

pub(in super::super) fn log_verified(found: &LogVerified, look: Look) -> String {
    let mut lines = Vec::new();
    if found.sound {
        let read = reach(found.events, found.head.filter(|_| found.events > 0), None);
        lines.push(format!("{}: {read}", paint(look, Paint::Green, "all is well")));
        let segments = if found.segments == 1 { "segment" } else { "segments" };
        let rate = rate(found.bytes, found.seconds);
        lines.push(format!("{} {segments} read: {rate}", grouped(found.segments)));
        lines.extend(found.chain.as_ref().map(|chain| format!("hash chain {chain}")));
        lines.extend(found.tree_root.as_ref().map(|root| format!("tree root  {root}")));
    } else {
        let count = found.damages.len();
        let places =
            if count == 1 { "1 place is".to_owned() } else { format!("{count} places are") };
        lines.push(damages(&found.damages, look));
        lines.push(String::new());
        lines.push(paint(look, Paint::Red, &format!("{places} damaged, nothing was changed")));
    }
    if let Some(torn) = &found.torn_tail {
        let (file, offset) = (&torn.file, torn.offset);
        lines.push(format!(
            "a write was cut off in {file} at offset {offset}, before it was acknowledged"
        ));
    }
    if !found.stale_indexes.is_empty() {
        let count = found.stale_indexes.len();
        lines.push(format!(
            "index files missing or stale: {count}; they are made again once the log is opened"
        ));
    }
    lines.join("\n")
}

pub(in super::super) fn backup_made(made: &BackupMade, look: Look) -> String {
    let reach = reach(made.events, made.head, made.last_time);
    let mut lines = vec![format!("{} holds {reach}", made.folder)];
    let (copied, segments) = (grouped(made.copied_segments), grouped(made.segments));
    if made.copied_segments == 0 {
        lines.push(format!("nothing was new; it has {segments} segments"));
    } else {
        let rate = rate(made.copied_bytes, made.seconds);
        lines.push(format!("segments copied, new or grown: {copied} of {segments}; {rate}"));
    }
    lines.push(format!("hash chain {}", made.chain));
    if made.in_use {
        let note = "the log was in use; what was appended meanwhile may be in the next backup only";
        lines.push(paint(look, Paint::Faint, note));
    }
    lines.join("\n")
}

pub(in super::super) fn log_restored(done: &LogRestored, _look: Look) -> String {
    let reach = reach(done.events, done.head, done.last_time);
    let mut lines = vec![format!("{} holds {reach}", done.folder)];
    if done.left_out > 0 {
        lines.push(format!("{} later events of the backup were left out", grouped(done.left_out)));
    }
    lines.push(format!(
        "store {}, epoch {}; {}",
        done.id,
        done.epoch,
        rate(done.bytes, done.seconds)
    ));
    lines.push(format!("hash chain {}", done.chain));
    lines.join("\n")
}

pub(in super::super) fn log_repaired(done: &LogRepaired, look: Look) -> String {
    let events = grouped(done.events);
    if done.replaced.is_empty() {
        return format!("nothing is damaged: {events} events\nhash chain {}", done.chain);
    }
    let places: Vec<_> = done.replaced.iter().map(|one| one.damage.clone()).collect();
    let mut lines = vec![damages(&places, look), String::new()];
    for one in &done.replaced {
        let (file, bytes) = (&one.damage.file, grouped(one.bytes_from_backup));
        let own = match one.own_bytes {
            0 => String::new(),
            own => format!(" and {} of its own", grouped(own)),
        };
        let kept = match &one.kept {
            Some(kept) => format!("the damaged file is {kept}"),
            None => "there was no file".to_owned(),
        };
        lines.push(format!("{file} has {bytes} bytes of the backup{own}; {kept}"));
    }
    lines.push(format!("{}: {events} events", paint(look, Paint::Green, "all is well again")));
    lines.push(format!("hash chain {}", done.chain));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str) -> DamagedPlace {
        let (file, what) = (file.to_owned(), "the checksum does not fit".to_owned());
        DamagedPlace { file, offset: 4_321, position: Some(17), what }
    }

    #[test]
    fn a_verification_says_plainly_what_it_found() {
        let sound = LogVerified {
            sound: true,
            segments: 3,
            events: 1_234_567,
            head: Some(1_234_566),
            bytes: 160_000_000,
            seconds: 0.25,
            chain: Some("00ff".to_owned()),
            tree_root: Some("ff00".to_owned()),
            torn_tail: Some(place("log/00000003.segment")),
            stale_indexes: vec!["log/00000001.index".to_owned()],
            ..LogVerified::default()
        };
        insta::assert_snapshot!(log_verified(&sound, Look::default()), @r"
        all is well: 1,234,567 events, the last at position 1,234,566
        3 segments read: 160.0 MB in 0.25 s, 640 MB/s
        hash chain 00ff
        tree root  ff00
        a write was cut off in log/00000003.segment at offset 4321, before it was acknowledged
        index files missing or stale: 1; they are made again once the log is opened
        ");
        let header = DamagedPlace { position: None, offset: 0, ..place("log/00000002.segment") };
        let damaged = LogVerified {
            sound: false,
            torn_tail: None,
            stale_indexes: Vec::new(),
            damages: vec![place("log/00000001.segment"), header],
            ..sound
        };
        insta::assert_snapshot!(log_verified(&damaged, Look::default()), @r"
        FILE                  OFFSET  POSITION  WHAT IS WRONG
        log/00000001.segment    4321        17  the checksum does not fit
        log/00000002.segment       0         -  the checksum does not fit

        2 places are damaged, nothing was changed
        ");
    }

    #[test]
    fn a_repair_says_what_it_replaced() {
        let one = ReplacedFile {
            damage: place("log/00000001.segment"),
            kept: Some("log/00000001.segment.damaged".to_owned()),
            bytes_from_backup: 5_000,
            own_bytes: 1_000,
        };
        let done = LogRepaired {
            folder: "log".to_owned(),
            id: uuid::Uuid::from_u128(7),
            epoch: 1,
            events: 1_234,
            chain: "00ff".to_owned(),
            replaced: vec![one],
        };
        insta::assert_snapshot!(log_repaired(&done, Look::default()), @r"
        FILE                  OFFSET  POSITION  WHAT IS WRONG
        log/00000001.segment    4321        17  the checksum does not fit

        log/00000001.segment has 5,000 bytes of the backup and 1,000 of its own; the damaged file is log/00000001.segment.damaged
        all is well again: 1,234 events
        hash chain 00ff
        ");
    }
}
