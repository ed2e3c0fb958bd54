//! A copy of a store as text.

use std::fmt::Write;

use annals_store::copy::Copied;
use serde::Serialize;

use super::super::output::Look;
use super::{finish, grouped, table};

/// What `annals store copy` tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct StoreCopied {
    /// Events of the source that the target holds now.
    events: u64,
    /// Those of them that this copy appended.
    appended: u64,
    /// The streams that they stand in.
    streams: u64,
    /// The digest of every stream's events, the same on both sides, in hexadecimal.
    digest: String,
    /// Events of the source server's own streams, which stay behind.
    system_events: u64,
    /// Streams deleted for good, which must be deleted again.
    tombstones: u64,
    /// Streams of the target that the source does not have.
    other_streams: u64,
    /// How long it took.
    seconds: f64,
    /// Events appended over that time.
    events_per_second: f64,
}

impl StoreCopied {
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(in super::super) fn new(copied: &Copied, seconds: f64) -> StoreCopied {
        let mut digest = String::with_capacity(64);
        for byte in copied.digest {
            write!(digest, "{byte:02x}").expect("a string takes all");
        }
        StoreCopied {
            events: copied.events,
            appended: copied.appended,
            streams: copied.streams,
            digest,
            system_events: copied.system_events,
            tombstones: copied.tombstones,
            other_streams: copied.other_streams,
            seconds,
            events_per_second: copied.appended as f64 / seconds,
        }
    }
}

pub(in super::super) fn store_copied(copied: &StoreCopied, look: Look) -> String {
    let mut table = table(look, &["WHAT", "FIGURE"]);
    let rows = [
        ("events", grouped(copied.events)),
        ("of them appended now", grouped(copied.appended)),
        ("streams", grouped(copied.streams)),
        ("events per second", format!("{:.0}", copied.events_per_second)),
        ("seconds", format!("{:.2}", copied.seconds)),
        ("digest of both", copied.digest.clone()),
    ];
    table.add_rows(rows.map(|(what, figure)| [what.to_owned(), figure]));
    let mut text = finish(&table);
    text.push_str("\nverified; positions and times are the target's own");
    if copied.system_events > 0 {
        let count = grouped(copied.system_events);
        write!(text, "\n{count} events of the server's own streams ($…) stayed behind")
            .expect("a string takes all");
    }
    if copied.tombstones > 0 {
        let count = grouped(copied.tombstones);
        write!(text, "\n{count} streams were deleted for good: delete them in the target again")
            .expect("a string takes all");
    }
    if copied.other_streams > 0 {
        let count = grouped(copied.other_streams);
        write!(text, "\n{count} other streams are in the target").expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_told_with_what_stayed_behind() {
        let copied = Copied {
            events: 1_234_567,
            appended: 1_000_000,
            streams: 101,
            digest: [0xa1; 32],
            system_events: 12,
            tombstones: 1,
            other_streams: 2,
        };
        let text = store_copied(&StoreCopied::new(&copied, 8.0), Look::default());
        insta::assert_snapshot!(text, @r"
        WHAT                  FIGURE
        events                1,234,567
        of them appended now  1,000,000
        streams               101
        events per second     125000
        seconds               8.00
        digest of both        a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
        verified; positions and times are the target's own
        12 events of the server's own streams ($…) stayed behind
        1 streams were deleted for good: delete them in the target again
        2 other streams are in the target
        ");
    }
}
