//! What events come to, on the way to the store: links in log order, gathered by the stream that each goes to. The id of a
//! link says of which projection and generation it is, so that what stands in a stream can be told apart from what an
//! earlier generation wrote there, and from what clients did.

use std::hash::Hasher as _;

use annals_core::{EventId, Position, RecordedEvent, StreamName};
use bytes::Bytes;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use uuid::Uuid;

use super::super::names::shown_revision;
use super::system::{Emission, SystemProjection};

/// Generations are counted in so many bits, and then from the beginning again.
const GENERATION_BITS: u32 = 28;
/// What a stored event takes beside its names and its data, about.
const FRAME_BYTES: usize = 128;

/// What one event came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    /// Where the event stands.
    pub(crate) source: Position,
    /// The link to it; nothing where the link's stream cannot be.
    pub(crate) link: Option<Link>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its stream.
    pub(crate) target: StreamName,
    /// What it names, as `REVISION@STREAM`.
    pub(crate) data: Bytes,
}

impl Emitted {
    /// What an event comes to; nothing where the projection passes it over.
    pub(crate) fn of(projection: SystemProjection, event: &RecordedEvent) -> Option<Emitted> {
        let link = match projection.emission(event) {
            Emission::Nothing => return None,
            Emission::Unnameable => None,
            Emission::Link(target) => {
                let data = format!("{}@{}", shown_revision(event), event.stream).into();
                Some(Link { target, data })
            }
        };
        Some(Emitted { source: event.position, link })
    }

    /// The bytes that it takes in the store, about.
    pub(crate) fn bytes(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.target.as_str().len() + link.data.len())
            + FRAME_BYTES
    }
}

/// The links of one stream, in log order, each with the place of its event.
pub(crate) type OfStream<'a> = (&'a StreamName, Vec<(Position, &'a Link)>);

/// The links by their streams, which stand in the order of their first links.
pub(crate) fn by_stream<'a>(emitted: impl Iterator<Item = &'a Emitted>) -> Vec<OfStream<'a>> {
    let mut places: HashMap<&StreamName, usize> = HashMap::new();
    let mut streams: Vec<OfStream<'a>> = Vec::new();
    for Emitted { source, link } in emitted {
        let Some(link) = link else { continue };
        let place = *places.entry(&link.target).or_insert_with(|| {
            streams.push((&link.target, Vec::new()));
            streams.len() - 1
        });
        streams[place].1.push((*source, link));
    }
    streams
}

/// The generation behind one.
pub(crate) fn next_generation(generation: u32) -> u32 {
    (generation + 1) % (1 << GENERATION_BITS)
}

/// The id of the link to an event: a UUID of version 8 that holds the projection, the generation and the event's place.
pub(crate) fn link_id(projection: SystemProjection, generation: u32, source: Position) -> EventId {
    let generation = u64::from(generation);
    let high = (mark(projection) << 32) | (generation >> 12 << 16) | (8 << 12);
    EventId(Uuid::from_u64_pair(high | (generation & 0xFFF), (0b10 << 62) | (source.0 << 2 >> 2)))
}

/// The generation of a link, where the id is that of one of the projection's.
pub(crate) fn generation_of(projection: SystemProjection, id: EventId) -> Option<u32> {
    let (high, low) = id.0.as_u64_pair();
    let is_ours = high >> 32 == mark(projection) && (high >> 12) & 0xF == 8 && low >> 62 == 0b10;
    let generation = ((high >> 16) & 0xFFFF) << 12 | (high & 0xFFF);
    is_ours.then(|| u32::try_from(generation).unwrap_or(u32::MAX))
}

/// 32 bits that stand for a projection.
fn mark(projection: SystemProjection) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(projection.name().as_bytes());
    hasher.finish() >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::{correlated, event};
    use super::*;

    #[test]
    fn a_links_id_tells_its_projection_and_generation() {
        let last = (1 << GENERATION_BITS) - 1;
        for generation in [0, 1, 0xFFF, 0x1000, 0xABC_DEF1, last] {
            for source in [0, 1, u64::MAX >> 2] {
                for projection in SystemProjection::ALL {
                    let id = link_id(projection, generation, Position(source));
                    assert_eq!(id.0.get_version_num(), 8);
                    assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
                    for other in SystemProjection::ALL {
                        let expected = (other == projection).then_some(generation);
                        assert_eq!(generation_of(other, id), expected, "{other} {id}");
                    }
                }
            }
        }
        let one = link_id(SystemProjection::Streams, 1, Position(7));
        assert_ne!(one, link_id(SystemProjection::Streams, 2, Position(7)));
        assert_ne!(one, link_id(SystemProjection::Streams, 1, Position(8)));
        let foreign = EventId(Uuid::from_u128(0xf7e5_5044_10b1_426f_9247_bb68_0e5f_e0c8));
        assert_eq!(generation_of(SystemProjection::Streams, foreign), None);
        assert_eq!((next_generation(0), next_generation(last)), (1, 0));
    }

    const STREAMS: &[&str] = &["a-1", "a-2", "b-1", "b", "-", "$a-1", "$$a-1"];
    const TYPES: &[&str] = &["Noted", "Done", "$>", "$metadata", "$streamDeleted"];
    const CORRELATIONS: &[&str] = &["x", "y", "\\t"];

    /// A log of events whose names come from few, so that they meet.
    fn logs() -> impl Strategy<Value = Vec<RecordedEvent>> {
        let written = (
            prop::sample::select(STREAMS),
            prop::sample::select(TYPES),
            prop::option::of(prop::sample::select(CORRELATIONS)),
        );
        prop::collection::vec(written, 0..60).prop_map(|events| {
            let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
            let numbered = events.into_iter().enumerate();
            let recorded = numbered.map(|(place, (stream, event_type, correlation))| {
                let head = heads.entry(stream).or_default();
                let revision = *head;
                *head += 1;
                let recorded = match correlation {
                    Some(id) => correlated(stream, revision, event_type, id),
                    None => event(stream, revision, event_type),
                };
                RecordedEvent { position: Position(place as u64), ..recorded }
            });
            recorded.collect()
        })
    }

    proptest! {
        #[test]
        fn batches_of_any_size_give_what_the_whole_log_gives(
            log in logs(),
            sizes in prop::collection::vec(1_usize..9, 60),
        ) {
            for projection in SystemProjection::ALL {
                let expected = super::super::testing::naive(projection, &log);
                let emitted: Vec<_> =
                    log.iter().filter_map(|event| Emitted::of(projection, event)).collect();
                let (mut found, mut rest) = (BTreeMap::<String, Vec<String>>::new(), &emitted[..]);
                for size in &sizes {
                    let (batch, behind) = rest.split_at((*size).min(rest.len()));
                    rest = behind;
                    for (target, links) in by_stream(batch.iter()) {
                        prop_assert!(links.is_sorted_by(|(one, _), (two, _)| one < two));
                        let data = links.iter().map(|(_, link)| {
                            String::from_utf8_lossy(&link.data).into_owned()
                        });
                        found.entry(target.to_string()).or_default().extend(data);
                    }
                }
                prop_assert_eq!(&found, &expected, "{}", projection);
            }
        }
    }
}
