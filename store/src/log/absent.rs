//! Streams that appends asked for and that have no event. To find that out, every segment's filter is asked; and each append of
//! a KurrentDB client asks for the metastream of its stream, which hardly any stream has.

use std::cell::RefCell;

use annals_core::StreamName;
use hashbrown::HashSet;

/// How many streams are remembered.
const STREAMS_MAX: usize = 65_536;

/// Streams without an event. Only who appends all events can keep it.
#[derive(Default)]
pub(crate) struct AbsentStreams(RefCell<HashSet<StreamName>>);

impl AbsentStreams {
    /// Whether the stream is known to have no event.
    pub(crate) fn holds(&self, stream: &StreamName) -> bool {
        self.0.borrow().contains(stream)
    }

    /// The stream was found to have no event.
    pub(crate) fn found(&self, stream: &StreamName) {
        let mut streams = self.0.borrow_mut();
        if streams.len() >= STREAMS_MAX {
            streams.clear();
        }
        streams.insert(stream.clone());
    }

    /// The stream gets its first event.
    pub(crate) fn begins(&self, stream: &StreamName) {
        self.0.borrow_mut().remove(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_absent_until_it_begins() {
        let absent = AbsentStreams::default();
        let stream = |number: usize| StreamName::new(format!("a-{number}")).unwrap();
        absent.found(&stream(1));
        assert!(absent.holds(&stream(1)) && !absent.holds(&stream(2)));
        absent.begins(&stream(1));
        assert!(!absent.holds(&stream(1)));
        for number in 0..=STREAMS_MAX {
            absent.found(&stream(number));
        }
        assert!(absent.holds(&stream(STREAMS_MAX)) && !absent.holds(&stream(0)));
    }
}
