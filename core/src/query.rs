//! Which events a reader, a subscription or a condition means. The same words for every store.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{EventType, Position, RecordedEvent, Revision, StreamName};
use crate::metadata::Metadata;
use crate::store::ReadError;

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The whole log, in order of position.
    All,
    /// One stream, in order of revision.
    Stream(StreamName),
}

/// Where to begin. The event named is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first event (forwards) or the last one (backwards).
    Edge,
    /// At this revision; of a stream only.
    Revision(Revision),
    /// At this position, or the nearest one in the direction of reading.
    Position(Position),
    /// After this position (exclusive): what a checkpoint resumes from.
    After(Position),
    /// Forwards, at the first event that is not older; backwards, at the last one that is not younger.
    Time(Timestamp),
    /// Behind the last event: only what comes from now on; of a subscription only.
    End,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From older to younger.
    Forwards,
    /// From younger to older.
    Backwards,
}

/// Events by type and tag, in the terms of the specification of dynamic consistency boundaries (dcb.events): those that
/// match any of the items; without items, all events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// The items.
    pub items: Vec<QueryItem>,
}

/// One item of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryItem {
    /// The event has one of these types; empty asks nothing.
    pub types: Vec<EventType>,
    /// The event carries all of these tags.
    pub tags: BTreeSet<String>,
}

impl EventQuery {
    /// The events that carry all of these tags.
    pub fn tagged(tags: impl IntoIterator<Item = String>) -> EventQuery {
        let tags = tags.into_iter().collect();
        EventQuery { items: vec![QueryItem { types: Vec::new(), tags }] }
    }

    /// Whether every event matches.
    pub fn is_all(&self) -> bool {
        self.items.is_empty()
            || self.items.iter().any(|item| item.types.is_empty() && item.tags.is_empty())
    }

    /// Whether an event of this type and metadata (as stored) matches.
    pub fn matches(&self, event_type: &str, metadata: &[u8]) -> bool {
        if self.is_all() {
            return true;
        }
        let of_type = |item: &&QueryItem| {
            item.types.is_empty() || item.types.iter().any(|wanted| wanted.as_str() == event_type)
        };
        let mut items = self.items.iter().filter(of_type).peekable();
        if items.peek().is_none() {
            return false;
        }
        let tags = Metadata::tags_of(metadata);
        items.any(|item| item.tags.iter().all(|tag| tags.contains(&tag.as_str())))
    }
}

/// A regular expression over a name; look-around and back-references are allowed, and a match that takes too many
/// steps counts as none. How long it is, and how much memory it takes, is bounded.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<fancy_regex::Regex>);

/// Steps that a match may take back before it is given up.
const BACKTRACKS_MAX: usize = 10_000;
/// The longest expression.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// How many bytes a compiled expression, and what it remembers as it matches, may take each.
const COMPILED_BYTES_MAX: usize = 2 << 20;
/// How many steps a compiled expression may have.
const COMPILED_STEPS_MAX: usize = 100_000;

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`ReadError::Malformed`], with the place in the expression.
    pub fn new(expression: &str) -> Result<Pattern, ReadError> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            let (found, most) = (expression.len(), EXPRESSION_BYTES_MAX);
            let text = format!("a regular expression of {found} bytes; it may have {most}");
            return Err(ReadError::Malformed(text));
        }
        let built = fancy_regex::RegexBuilder::new(expression)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
            .max_prog_size(COMPILED_STEPS_MAX)
            .build();
        built.map(|regex| Pattern(Arc::new(regex))).map_err(|error| {
            let begin: String = expression.chars().take(64).collect();
            ReadError::Malformed(format!("the regular expression {begin:?} is wrong: {error}"))
        })
    }

    /// Whether it matches somewhere in `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name).unwrap_or(false)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Which events to leave out. All conditions that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The stream's name begins with one of these; empty asks nothing.
    pub stream_prefixes: Vec<String>,
    /// The event's type begins with one of these; empty asks nothing.
    pub type_prefixes: Vec<String>,
    /// This matches the stream's name.
    pub stream_pattern: Option<Pattern>,
    /// This matches the event's type.
    pub type_pattern: Option<Pattern>,
    /// The event matches this.
    pub query: EventQuery,
    /// System streams (`$…`) are left out.
    pub no_system: bool,
}

impl Filter {
    /// The events of one context.
    pub fn context(context: &str) -> Filter {
        Filter { type_prefixes: vec![format!("{context}.")], ..Filter::default() }
    }

    /// Whether an event of this stream and type can match at all: what a reader asks before it builds the event.
    pub fn admits(&self, stream: &str, event_type: &str) -> bool {
        let begins = |prefixes: &[String], name: &str| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        let fits = |pattern: &Option<Pattern>, name: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
        };
        begins(&self.stream_prefixes, stream)
            && begins(&self.type_prefixes, event_type)
            && !(self.no_system && stream.starts_with('$'))
            && fits(&self.stream_pattern, stream)
            && fits(&self.type_pattern, event_type)
    }

    /// Whether matching may take long: it has a regular expression.
    pub fn has_pattern(&self) -> bool {
        self.stream_pattern.is_some() || self.type_pattern.is_some()
    }

    /// Whether the event matches.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        let event_type = event.event_type.as_str();
        self.admits(event.stream.as_str(), event_type)
            && self.query.matches(event_type, &event.metadata)
    }
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// Which events.
    pub source: Source,
    /// In which direction.
    pub direction: Direction,
    /// From where.
    pub start: Start,
    /// How many matching events at most.
    pub limit: Option<u64>,
    /// Which to leave out.
    pub filter: Filter,
}

impl ReadQuery {
    /// The whole log, forwards from the first event.
    pub fn all() -> ReadQuery {
        ReadQuery {
            source: Source::All,
            direction: Direction::Forwards,
            start: Start::Edge,
            limit: None,
            filter: Filter::default(),
        }
    }

    /// One stream, forwards from its first event.
    pub fn stream(stream: StreamName) -> ReadQuery {
        ReadQuery { source: Source::Stream(stream), ..ReadQuery::all() }
    }

    /// The same from another start.
    pub fn from(self, start: Start) -> ReadQuery {
        ReadQuery { start, ..self }
    }

    /// The same with a filter.
    pub fn filtered(self, filter: Filter) -> ReadQuery {
        ReadQuery { filter, ..self }
    }

    /// The same backwards.
    pub fn backwards(self) -> ReadQuery {
        ReadQuery { direction: Direction::Backwards, ..self }
    }

    /// The same with at most `limit` events.
    pub fn limit(self, limit: u64) -> ReadQuery {
        ReadQuery { limit: Some(limit), ..self }
    }

    /// Whether the query's source holds the event, and a read in its direction has begun by then.
    pub fn reaches(&self, event: &RecordedEvent) -> bool {
        let of_source = match &self.source {
            Source::All => true,
            Source::Stream(stream) => event.stream == *stream,
        };
        of_source && self.has_begun(event)
    }

    fn has_begun(&self, event: &RecordedEvent) -> bool {
        let forwards = self.direction == Direction::Forwards;
        match self.start {
            Start::Edge => true,
            Start::End => false,
            Start::Revision(start) if forwards => event.revision >= start,
            Start::Revision(start) => event.revision <= start,
            Start::Position(start) if forwards => event.position >= start,
            Start::Position(start) => event.position <= start,
            Start::After(start) if forwards => event.position > start,
            Start::After(start) => event.position < start,
            Start::Time(start) if forwards => event.time >= start,
            Start::Time(start) => event.time <= start,
        }
    }

    /// Whether it makes sense, the same for every store.
    ///
    /// # Errors
    /// [`ReadError::Malformed`].
    pub fn check(&self) -> Result<(), ReadError> {
        match (&self.source, self.start) {
            (Source::All, Start::Revision(_)) => {
                Err(ReadError::Malformed("a revision starts a read of one stream only".to_owned()))
            }
            (_, Start::End) => {
                Err(ReadError::Malformed("only a subscription starts at the end".to_owned()))
            }
            (
                Source::All | Source::Stream(_),
                Start::Edge | Start::Position(_) | Start::After(_) | Start::Time(_),
            )
            | (Source::Stream(_), Start::Revision(_)) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(expression: &str) -> bool {
        matches!(Pattern::new(expression), Err(ReadError::Malformed(_)))
    }

    #[test]
    fn expressions_that_clients_use_are_taken() {
        let streams: Vec<_> = (0..900).map(|number| format!("order-{number}$")).collect();
        let left_out = Pattern::new(&format!("^(?!({}))", streams.join("|"))).expect("it is right");
        assert!(left_out.matches("order-900") && !left_out.matches("order-899"));
        let words = Pattern::new(r"^(\w+)-\1$").expect("it is right");
        assert!(words.matches("a-a") && !words.matches("a-b"));
    }

    #[test]
    fn an_expression_that_grows_is_refused() {
        for expression in [
            "a".repeat(EXPRESSION_BYTES_MAX + 1),
            "(".repeat(10_000) + &")".repeat(10_000),
            r"((\w{1000}){1000}){1000}".to_owned(),
            r"(?=(a{1000}){1000}b)((a|b){500}){500}".to_owned(),
            r"(?<a>x\g<a>?\g<a>?\g<a>?\g<a>?)".to_owned(),
        ] {
            assert!(refused(&expression), "{expression:.40}");
        }
    }

    #[test]
    fn a_match_that_never_ends_counts_as_none() {
        let name = "a".repeat(1000) + "!";
        for expression in ["^(a+)+(?=$)", "^(?=(a|aa)+$)(a*)*b", r"^(a*)*\1b", "^(.*?,){11}(?!x)P"]
        {
            let pattern = Pattern::new(expression).expect("it is right");
            let began = std::time::Instant::now();
            assert!(!pattern.matches(&name), "{expression}");
            assert!(began.elapsed().as_secs() < 5, "{expression}: {:?}", began.elapsed());
        }
    }
}
