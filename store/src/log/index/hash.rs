//! Hashes of ids and terms that stay the same for ever, because index files hold them: SipHash-1-3 (J.-P. Aumasson, D. J.
//! Bernstein, 2012), keyed with the store's id.

use std::hash::Hasher;

use annals_core::EventId;
use siphasher::sip::SipHasher13;
use uuid::Uuid;

/// What an index can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term<'a> {
    /// The events of a stream.
    Stream(&'a str),
    /// The events of a type.
    Type(&'a str),
    /// The events that carry a tag.
    Tag(&'a str),
}

impl<'a> Term<'a> {
    /// The kind as stored, and the text.
    pub(crate) fn parts(self) -> (u8, &'a str) {
        match self {
            Term::Stream(name) => (1, name),
            Term::Type(name) => (2, name),
            Term::Tag(tag) => (3, tag),
        }
    }
}

/// A term with its hash, which is made once for a look at many parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) term: Term<'a>,
    pub(crate) hash: u64,
}

/// The hashes of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashes(SipHasher13);

impl Hashes {
    pub(crate) fn of(store: Uuid) -> Hashes {
        Hashes(SipHasher13::new_with_key(store.as_bytes()))
    }

    pub(crate) fn key<'a>(&self, term: Term<'a>) -> Key<'a> {
        Key { term, hash: self.term(term) }
    }

    pub(crate) fn term(&self, term: Term<'_>) -> u64 {
        let (kind, text) = term.parts();
        let mut hasher = self.0;
        hasher.write_u8(kind);
        hasher.write(text.as_bytes());
        hasher.finish()
    }

    /// The half that is kept of the hash of an event's identity: its id, and the stream in which no other has that id.
    pub(crate) fn id(&self, id: EventId, stream: &[u8]) -> u32 {
        let mut hasher = self.0;
        hasher.write(id.0.as_bytes());
        hasher.write(stream);
        u32::try_from(hasher.finish() >> 32).expect("32 bits are left")
    }
}

/// A kept half as a whole hash, for tables and filters.
pub(crate) fn spread(id: u32) -> u64 {
    u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
