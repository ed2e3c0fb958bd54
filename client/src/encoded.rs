//! The message of an append stream, made of appends that are encoded one by one as their callers send them: what they are
//! made of lives no longer than that, and lies in the processor's cache when it is encoded.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

use super::proto::TaggedAppend;

/// A message that is encoded already. It stands for `AppendStreamRequest`, which the client only writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded(Bytes);

impl Message for Encoded {
    fn encode_raw(&self, out: &mut impl BufMut) {
        out.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        bytes: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, field, bytes, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// `appends` of `AppendStreamRequest`.
const APPENDS: u32 = 1;

/// Appends on their way into a message.
#[derive(Debug, Default)]
pub(crate) struct Appends(BytesMut);

impl Appends {
    /// Adds an append.
    pub(crate) fn add(&mut self, append: &TaggedAppend) {
        message::encode(APPENDS, append, &mut self.0);
    }

    /// The message of those that were added; none where none was. They are here no more.
    pub(crate) fn take(&mut self) -> Option<Encoded> {
        (!self.0.is_empty()).then(|| Encoded(self.0.split().freeze()))
    }
}
