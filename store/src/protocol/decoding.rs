//! How requests become messages. Whatever bytes a client sends, the answer names what is wrong, and what is kept of a message
//! was copied out of it: a few bytes of an event never hold a large buffer in memory. A message that would take many times
//! its bytes is refused before it is decoded.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::wire::v1::streams::{BatchAppendReq, DeleteReq, ReadReq};

/// The largest message that asks for something and brings no events. The service of streams takes larger ones, for appends.
const QUESTION_BYTES_MAX: usize = 1 << 20;
/// So few bytes of a batch's message on average are no event with an id, a type and a content type.
const EVENT_BYTES_MIN: usize = 32;
/// Messages up to this size are decoded as they are.
const SMALL_BYTES: usize = 64 << 10;

/// Decodes requests, and encodes answers as always.
#[derive(Clone, Debug)]
pub struct RequestCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for RequestCodec<T, U> {
    fn default() -> RequestCodec<T, U> {
        RequestCodec(PhantomData)
    }
}

impl<T, U> Codec for RequestCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = RequestDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> RequestDecoder<U> {
        RequestDecoder(PhantomData)
    }
}

/// Decodes requests of one kind.
#[derive(Clone, Debug)]
pub struct RequestDecoder<U>(PhantomData<U>);

impl<U: Message + Default + 'static> Decoder for RequestDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decoded(bytes).map(Some)
    }
}

/// The message of these bytes.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn decoded<U: Message + Default + 'static>(bytes: &mut impl Buf) -> Result<U, Status> {
    let size = bytes.remaining();
    if is_question::<U>() && size > QUESTION_BYTES_MAX {
        let text = format!("a message of {size} bytes; it may have {QUESTION_BYTES_MAX}");
        return Err(Status::invalid_argument(text));
    }
    if size > SMALL_BYTES && is::<BatchAppendReq>(TypeId::of::<U>()) && is_crowded(bytes.chunk()) {
        let text = format!("a message of {size} bytes has more events than these can be");
        return Err(Status::invalid_argument(text));
    }
    U::decode(Copying(bytes)).map_err(|error| {
        Status::invalid_argument(format!("the message cannot be decoded: {error}"))
    })
}

fn is<T: 'static>(other: TypeId) -> bool {
    TypeId::of::<T>() == other
}

fn is_question<U: 'static>() -> bool {
    let this = TypeId::of::<U>();
    is::<ReadReq>(this) || is::<DeleteReq>(this)
}

/// Whether it has more fields than its size lets events be.
fn is_crowded(mut bytes: &[u8]) -> bool {
    let most = bytes.len() / EVENT_BYTES_MIN;
    for _ in 0..=most {
        let Ok((field, wire_type)) = decode_key(&mut bytes) else { return false };
        // What is wrong with it is found as it is decoded.
        if skip_field(wire_type, field, &mut bytes, DecodeContext::default()).is_err() {
            return false;
        }
        if bytes.is_empty() {
            return false;
        }
    }
    true
}

/// Bytes that are copied when they are taken, not shared.
struct Copying<'a, B>(&'a mut B);

impl<B: Buf> Buf for Copying<'_, B> {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic::Code;

    use super::super::wire::v1::streams::batch_append_req::ProposedMessage;
    use super::*;

    fn batch(events: usize, data: &[u8]) -> BatchAppendReq {
        let metadata = [("type", "t"), ("content-type", "application/json")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let event = ProposedMessage {
            metadata: metadata.into(),
            data: Bytes::copy_from_slice(data),
            ..ProposedMessage::default()
        };
        BatchAppendReq { proposed_messages: vec![event; events], ..BatchAppendReq::default() }
    }

    #[track_caller]
    fn refused<U: Message + Default + 'static>(mut bytes: Bytes, says: &str) {
        let Err(status) = decoded::<U>(&mut bytes) else { panic!("it was decoded") };
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(says), "{status}");
    }

    #[test]
    fn what_is_kept_does_not_hold_the_message() {
        let sent = vec![7; 100_000];
        let mut bytes = Bytes::from(batch(1, &sent).encode_to_vec());
        let whole = bytes.as_ptr_range();
        let message: BatchAppendReq = decoded(&mut bytes).expect("a right message");
        let data = &message.proposed_messages[0].data;
        assert_eq!(data, &sent[..]);
        assert!(!whole.contains(&data.as_ptr()), "it lies in the message");
    }

    #[test]
    fn a_message_of_many_real_events_is_taken() {
        let mut bytes = Bytes::from(batch(50_000, b"").encode_to_vec());
        let message: BatchAppendReq = decoded(&mut bytes).expect("a right message");
        assert_eq!(message.proposed_messages.len(), 50_000);
    }

    #[test]
    fn a_message_that_grows_as_it_is_decoded_is_refused() {
        let empty = vec![ProposedMessage::default(); 40_000];
        let empty = BatchAppendReq { proposed_messages: empty, ..BatchAppendReq::default() };
        refused::<BatchAppendReq>(empty.encode_to_vec().into(), "more events");
        refused::<ReadReq>(vec![0; QUESTION_BYTES_MAX + 1].into(), "it may have");
    }

    #[test]
    fn garbage_is_named() {
        refused::<BatchAppendReq>(vec![255; 100].into(), "cannot be decoded");
        refused::<BatchAppendReq>(vec![255; SMALL_BYTES + 1].into(), "cannot be decoded");
        refused::<ReadReq>(vec![10, 5, 1].into(), "cannot be decoded");
    }
}
