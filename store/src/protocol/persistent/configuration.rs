//! A group as it is kept: what it follows, from where, and its settings. Each change is one event of the stream
//! `$persistentSubscriptionConfig`; what there is now is the fold over them.

use std::collections::BTreeMap;

use annals_core::{Filter, Pattern, Position, ReadError, Revision, Source, Start, StreamName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::settings::Settings;

/// The stream of the changes.
pub(crate) const CONFIGURATIONS: &str = "$persistentSubscriptionConfig";
/// The type of the event that a group was made or changed.
pub(crate) const SAVED: &str = "$persistentSubscriptionSaved";
/// The type of the event that a group was deleted.
pub(crate) const REMOVED: &str = "$persistentSubscriptionRemoved";
/// What the whole log is called.
pub(crate) const ALL: &str = "$all";

/// What names a group: what it follows, and its own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct GroupKey {
    /// The stream, or `$all`.
    pub(crate) source: StreamName,
    /// The group.
    pub(crate) group: String,
}

impl GroupKey {
    /// Whether it follows the whole log.
    pub(crate) fn is_all(&self) -> bool {
        self.source.as_str() == ALL
    }

    /// What clients know a subscription by.
    pub(crate) fn subscription_id(&self) -> String {
        format!("{}::{}", self.source, self.group)
    }
}

/// Where a group was told to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StartFrom {
    /// At the first event.
    Start,
    /// Behind the last one.
    End,
    /// At this revision or position.
    At(u64),
}

/// Where a group without a checkpoint reads: what [`StartFrom`] meant when it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Begin {
    /// At the first event.
    First,
    /// At this place.
    At(u64),
    /// Behind this place.
    Behind(u64),
}

/// Which events of the whole log a group wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Whether types are asked, or else streams.
    pub(crate) by_type: bool,
    /// A regular expression; it comes before the prefixes.
    pub(crate) pattern: Option<String>,
    /// Prefixes.
    pub(crate) prefixes: Vec<String>,
}

impl Wanted {
    /// The filter of a read.
    ///
    /// # Errors
    /// [`ReadError::Malformed`] where the expression is none.
    pub(crate) fn filter(&self) -> Result<Filter, ReadError> {
        let pattern = self.pattern.as_deref().map(Pattern::new).transpose()?;
        let prefixes = if pattern.is_none() { self.prefixes.clone() } else { Vec::new() };
        let filter = Filter::default();
        Ok(if self.by_type {
            Filter { type_pattern: pattern, type_prefixes: prefixes, ..filter }
        } else {
            Filter { stream_pattern: pattern, stream_prefixes: prefixes, ..filter }
        })
    }
}

/// A group as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// Which group.
    pub(crate) key: GroupKey,
    /// Tells it apart from earlier ones of the same name: their checkpoints are not its own.
    pub(crate) id: Uuid,
    /// Which events.
    pub(crate) wanted: Option<Wanted>,
    /// Where it was told to start.
    pub(crate) start_from: StartFrom,
    /// What that meant.
    pub(crate) begin: Begin,
    /// Its settings.
    pub(crate) settings: Settings,
}

impl Configuration {
    /// What it reads.
    pub(crate) fn source(&self) -> Source {
        if self.key.is_all() { Source::All } else { Source::Stream(self.key.source.clone()) }
    }

    /// Where it reads on after a place, or begins.
    pub(crate) fn start(&self, after: Option<u64>) -> Start {
        let begin = after.map_or(self.begin, Begin::Behind);
        match (begin, self.key.is_all()) {
            (Begin::First, _) => Start::Edge,
            (Begin::At(place), true) => Start::Position(Position(place)),
            (Begin::Behind(place), true) => Start::After(Position(place)),
            (Begin::At(place), false) => Start::Revision(Revision(place)),
            (Begin::Behind(place), false) => Start::Revision(Revision(place.saturating_add(1))),
        }
    }

    /// A place as clients are told it.
    pub(crate) fn place_text(&self, place: u64) -> String {
        if self.key.is_all() { format!("C:{place}/P:{place}") } else { place.to_string() }
    }

    /// Where it was told to start, as clients are told.
    pub(crate) fn start_text(&self) -> String {
        match self.start_from {
            StartFrom::Start => self.place_text(0),
            StartFrom::At(place) => self.place_text(place),
            StartFrom::End if self.key.is_all() => "C:-1/P:-1".to_owned(),
            StartFrom::End => "-1".to_owned(),
        }
    }
}

/// The groups that there are after one more change.
pub(crate) fn apply(
    groups: &mut BTreeMap<GroupKey, Configuration>,
    event_type: &str,
    data: &[u8],
) -> Result<(), serde_json::Error> {
    match event_type {
        SAVED => {
            let saved: Configuration = serde_json::from_slice(data)?;
            groups.insert(saved.key.clone(), saved);
        }
        REMOVED => {
            let removed: GroupKey = serde_json::from_slice(data)?;
            groups.remove(&removed);
        }
        _ => {} // A later version's change.
    }
    Ok(())
}
