//! The names and ids of the protocol: streams, event types that mean something to it, and UUIDs in their two forms.

use annals_core::{RecordedEvent, StreamName};
use uuid::Uuid;

use super::access::tells_of_users;
use super::errors::ProtocolError;
use super::wire::v1::uuid::{Structured, Value};
use super::wire::v1::{StreamIdentifier, Uuid as WireUuid};

/// The type of the events of a metastream.
pub const METADATA: &str = "$metadata";
/// The type of the event that ends a stream for ever.
pub const STREAM_DELETED: &str = "$streamDeleted";
/// The type of an event that stands for another one, which its data names as `REVISION@STREAM`.
pub const LINK: &str = "$>";
/// The type of our own event in the metastream of a stream that has ended, beside its `$streamDeleted`: an append that
/// was decided before expects an older revision of the metastream and so fails. No client sees it.
pub const TOMBSTONE_MARK: &str = "$annals.tombstone";
/// The `$tb` of a deleted stream, and the revision that its last event is shown with once it has ended for ever.
pub const DELETED: u64 = i64::MAX as u64;

/// In which form a client wants UUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidForm {
    /// Two numbers.
    Structured,
    /// Text.
    String,
}

/// The stream that a message names.
///
/// # Errors
/// [`ProtocolError::Malformed`] where it names none.
pub fn stream_name(identifier: Option<&StreamIdentifier>) -> Result<StreamName, ProtocolError> {
    let name = identifier.map_or(&b""[..], |identifier| &identifier.stream_name);
    let Ok(name) = std::str::from_utf8(name) else {
        return Err(ProtocolError::Malformed("the stream's name is not UTF-8".to_owned()));
    };
    stream_named(name)
}

/// The stream of a name.
///
/// # Errors
/// [`ProtocolError::Malformed`] where a stream cannot have it.
pub fn stream_named(name: &str) -> Result<StreamName, ProtocolError> {
    if name == "$$" {
        let text = "the stream name \"$$\" names the metadata of no stream";
        return Err(ProtocolError::Malformed(text.to_owned()));
    }
    StreamName::new(name).map_err(|error| ProtocolError::Malformed(error.to_string()))
}

/// How many prefixes a filter may have.
const PREFIXES_MAX: usize = 1000;
/// How many bytes they may have together.
const PREFIXES_BYTES_MAX: usize = 64 << 10;

/// Whether a filter may have these prefixes: every event is held against each.
///
/// # Errors
/// [`ProtocolError::Malformed`] where they are too many.
pub fn check_prefixes(prefixes: &[String]) -> Result<(), ProtocolError> {
    let (count, bytes) = (prefixes.len(), prefixes.iter().map(String::len).sum::<usize>());
    if count > PREFIXES_MAX || bytes > PREFIXES_BYTES_MAX {
        return Err(ProtocolError::Malformed(format!(
            "{count} prefixes of {bytes} bytes; a filter may have {PREFIXES_MAX} of {PREFIXES_BYTES_MAX}"
        )));
    }
    Ok(())
}

/// A stream as messages name it.
pub fn identifier(stream: &StreamName) -> StreamIdentifier {
    StreamIdentifier { stream_name: stream.as_str().to_owned().into() }
}

/// The stream whose metadata this stream holds.
pub fn original_of(stream: &StreamName) -> Option<StreamName> {
    StreamName::new(stream.as_str().strip_prefix("$$")?).ok()
}

/// The UUID that a message gives.
///
/// # Errors
/// [`ProtocolError::Malformed`] where it gives none.
pub fn uuid(given: Option<&WireUuid>) -> Result<Uuid, ProtocolError> {
    match given.and_then(|uuid| uuid.value.as_ref()) {
        Some(Value::Structured(halves)) => Ok(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
        Some(Value::String(text)) => Uuid::try_parse(text)
            .map_err(|_| ProtocolError::Malformed(format!("{:?} is no UUID", beginning(text)))),
        None => Err(ProtocolError::Malformed("a UUID is missing".to_owned())),
    }
}

/// The beginning of a text that a client gave, as errors tell it.
pub(crate) fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A UUID as messages have it.
pub fn wire_uuid(uuid: Uuid, form: UuidForm) -> WireUuid {
    let value = match form {
        UuidForm::Structured => {
            let (high, low) = uuid.as_u64_pair();
            Value::Structured(Structured {
                most_significant_bits: high.cast_signed(),
                least_significant_bits: low.cast_signed(),
            })
        }
        UuidForm::String => Value::String(uuid.hyphenated().to_string()),
    };
    WireUuid { value: Some(value) }
}

/// The whole log as a stream, which has metadata of its own.
pub fn whole_log() -> StreamName {
    StreamName::new("$all").expect("a constant of the protocol")
}

/// Whether no reader is shown the event: our own marks, in whatever stream is read, and in the whole log what tells of
/// users, whose password hashes are for `$admins` alone, and what persistent subscriptions to the whole log write, which
/// would feed on itself.
pub fn is_hidden(event: &RecordedEvent, whole_log: bool) -> bool {
    if event.event_type.as_str() == TOMBSTONE_MARK {
        return true;
    }
    if whole_log && tells_of_users(&event.stream) {
        return true;
    }
    let group = event.stream.as_str().strip_prefix("$persistentsubscription-$all::");
    let kept = |group: &str| group.ends_with("-checkpoint") || group.ends_with("-parked");
    whole_log && group.is_some_and(kept)
}

/// The revision that an event is shown with.
pub fn shown_revision(event: &RecordedEvent) -> u64 {
    if event.event_type.as_str() == STREAM_DELETED { DELETED } else { event.revision.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &[u8]) -> Result<StreamName, ProtocolError> {
        stream_name(Some(&StreamIdentifier { stream_name: name.to_vec().into() }))
    }

    #[test]
    fn a_name_is_utf_8_and_names_something() {
        assert_eq!(named("Å-1".as_bytes()).expect("a name").as_str(), "Å-1");
        assert_eq!(named(b"$$a").expect("a name").as_str(), "$$a");
        for wrong in [&b""[..], b"$$", b"\xff", b"a\n", &[b'a'; 2000]] {
            assert!(matches!(named(wrong), Err(ProtocolError::Malformed(_))), "{wrong:?}");
        }
        assert!(matches!(stream_name(None), Err(ProtocolError::Malformed(_))));
    }

    #[test]
    fn a_uuid_is_the_same_in_both_forms() {
        let id = Uuid::try_parse("f7e55044-10b1-426f-9247-bb680e5fe0c8").expect("a UUID");
        for form in [UuidForm::Structured, UuidForm::String] {
            assert_eq!(uuid(Some(&wire_uuid(id, form))), Ok(id), "{form:?}");
        }
        let wrong = WireUuid { value: Some(Value::String("7".to_owned())) };
        for wrong in [None, Some(&WireUuid { value: None }), Some(&wrong)] {
            assert!(matches!(uuid(wrong), Err(ProtocolError::Malformed(_))), "{wrong:?}");
        }
    }
}
