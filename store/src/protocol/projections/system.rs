//! What each system projection makes of an event: one link at most, in a stream whose name the event decides. Links are made
//! of what users wrote alone: no event of a system stream is linked, so that no projection feeds on itself or another.

use std::fmt;

use annals_core::event::NAME_BYTES_MAX;
use annals_core::{RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Serialize};

use super::super::correlation::correlation;
use super::super::names::STREAM_DELETED;

/// A system projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SystemProjection {
    /// Events by the category of their stream, in `$ce-CATEGORY`.
    ByCategory,
    /// Events by their correlation id, in `$bc-ID`.
    ByCorrelationId,
    /// Events by their type, in `$et-TYPE`.
    ByEventType,
    /// The first event of each stream, by the category of the stream, in `$category-CATEGORY`.
    StreamByCategory,
    /// The first event of each stream, in `$streams`.
    Streams,
}

/// There is no system projection of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no system projection {0:?}")]
pub struct UnknownProjection(pub String);

/// What a projection makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Emission {
    /// Nothing.
    Nothing,
    /// A link in this stream.
    Link(StreamName),
    /// A link in a stream that cannot be: its name is too long, or has a control character.
    Unnameable,
}

impl SystemProjection {
    /// All of them.
    pub const ALL: [SystemProjection; 5] = [
        SystemProjection::ByCategory,
        SystemProjection::ByCorrelationId,
        SystemProjection::ByEventType,
        SystemProjection::StreamByCategory,
        SystemProjection::Streams,
    ];

    /// Its name, as clients know it.
    pub const fn name(self) -> &'static str {
        match self {
            SystemProjection::ByCategory => "$by_category",
            SystemProjection::ByCorrelationId => "$by_correlation_id",
            SystemProjection::ByEventType => "$by_event_type",
            SystemProjection::StreamByCategory => "$stream_by_category",
            SystemProjection::Streams => "$streams",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<SystemProjection> {
        SystemProjection::ALL.into_iter().find(|projection| projection.name() == name)
    }

    /// What it makes of an event.
    pub(crate) fn emission(self, event: &RecordedEvent) -> Emission {
        let (stream, event_type) = (event.stream.as_str(), event.event_type.as_str());
        if stream.starts_with('$') {
            return Emission::Nothing;
        }
        // Links and what else the system writes to streams of users.
        let is_users = !event_type.starts_with('$');
        let begins = event.revision == Revision(0) && event_type != STREAM_DELETED;
        let target = match self {
            SystemProjection::ByCategory if is_users => {
                category(stream).map(|category| format!("$ce-{category}"))
            }
            SystemProjection::ByEventType if is_users => Some(format!("$et-{event_type}")),
            SystemProjection::ByCorrelationId if is_users => {
                correlation(event).map(|id| format!("$bc-{id}"))
            }
            SystemProjection::StreamByCategory if begins => {
                category(stream).map(|category| format!("$category-{category}"))
            }
            SystemProjection::Streams if begins => Some("$streams".to_owned()),
            SystemProjection::ByCategory
            | SystemProjection::ByEventType
            | SystemProjection::ByCorrelationId
            | SystemProjection::StreamByCategory
            | SystemProjection::Streams => None,
        };
        let Some(target) = target else { return Emission::Nothing };
        // Its metastream must have a name too: what is written there keeps a stream right that is deleted or begun again.
        let fits = target.len() + "$$".len() <= NAME_BYTES_MAX;
        let named = fits.then(|| StreamName::new(target)).and_then(Result::ok);
        named.map_or(Emission::Unnameable, Emission::Link)
    }
}

/// The category of a stream: the text before the first `-`, where there is one.
fn category(stream: &str) -> Option<&str> {
    stream.split_once('-').map(|(category, _)| category).filter(|category| !category.is_empty())
}

impl fmt::Display for SystemProjection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for SystemProjection {
    type Error = UnknownProjection;

    fn try_from(name: String) -> Result<SystemProjection, UnknownProjection> {
        SystemProjection::named(&name).ok_or(UnknownProjection(name))
    }
}

impl From<SystemProjection> for String {
    fn from(projection: SystemProjection) -> String {
        projection.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{correlated, event};
    use super::SystemProjection::*;
    use super::*;

    fn linked(projection: SystemProjection, event: &RecordedEvent) -> Option<String> {
        match projection.emission(event) {
            Emission::Nothing => None,
            Emission::Link(target) => Some(target.to_string()),
            Emission::Unnameable => panic!("{projection} cannot link {event:?}"),
        }
    }

    /// The streams in which an event is linked.
    #[track_caller]
    fn check(event: &RecordedEvent, expected: &[&str]) {
        let found: Vec<_> =
            SystemProjection::ALL.into_iter().filter_map(|it| linked(it, event)).collect();
        assert_eq!(found, expected, "{event:?}");
    }

    #[test]
    fn an_event_is_linked_by_what_it_says_of_itself() {
        check(
            &correlated("order-1-a", 0, "order.Placed", "c-1"),
            &["$ce-order", "$bc-c-1", "$et-order.Placed", "$category-order", "$streams"],
        );
        check(
            &correlated("order-1", 3, "order.Placed", "c-1"),
            &["$ce-order", "$bc-c-1", "$et-order.Placed"],
        );
        check(&event("order-1", 3, "order.Placed"), &["$ce-order", "$et-order.Placed"]);
        check(&event("lone", 0, "Noted"), &["$et-Noted", "$streams"]);
        check(&event("-1", 0, "Noted"), &["$et-Noted", "$streams"]);
    }

    #[test]
    fn what_the_system_wrote_is_not_linked() {
        check(&correlated("$ce-order", 0, "order.Placed", "c-1"), &[]);
        check(&event("$$order-1", 0, "$metadata"), &[]);
        check(&correlated("order-1", 4, "$>", "c-1"), &[]);
        check(&event("order-1", 4, "$streamDeleted"), &[]);
        // A stream that begins with a link is a stream; one that only ended is none.
        check(&correlated("index-1", 0, "$>", "c-1"), &["$category-index", "$streams"]);
        check(&event("order-1", 0, "$streamDeleted"), &[]);
    }

    #[test]
    fn a_name_that_cannot_be_is_told() {
        let room = NAME_BYTES_MAX - "$$$et-".len();
        let of = |length: usize| event("order-1", 1, &"t".repeat(length));
        assert_eq!(ByEventType.emission(&of(room + 1)), Emission::Unnameable);
        assert!(matches!(ByEventType.emission(&of(room)), Emission::Link(_)));
        let broken = correlated("order-1", 1, "order.Placed", "a\\nb");
        assert_eq!(ByCorrelationId.emission(&broken), Emission::Unnameable);
        check_named(&broken);
    }

    /// The other projections link it all the same.
    fn check_named(event: &RecordedEvent) {
        assert_eq!(linked(ByCategory, event).as_deref(), Some("$ce-order"));
    }

    #[test]
    fn a_projection_is_known_by_its_name() {
        for projection in SystemProjection::ALL {
            assert_eq!(SystemProjection::named(projection.name()), Some(projection));
        }
        let unknown = SystemProjection::try_from("$by_colour".to_owned());
        assert_eq!(unknown, Err(UnknownProjection("$by_colour".to_owned())));
    }
}
