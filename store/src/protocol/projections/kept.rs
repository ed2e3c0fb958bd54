//! What stands of a projection in the store: the last event of its stream `$projections-NAME-checkpoint` says whether it
//! runs, how far it has come and in which generation it writes. Each such event expects the one before it, and a batch's
//! links are written with it as one append: after a crash there are both or neither.

use std::sync::Arc;

use annals_core::{
    Content, ExpectedRevision, Position, ReadError, ReadQuery, Revision, StreamName, StreamWrite,
};
use serde::{Deserialize, Serialize};

use super::super::service::Protocol;
use super::system::SystemProjection;

/// The type of the events.
const CHECKPOINT: &str = "$ProjectionCheckpoint";

/// What is kept of a projection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Whether it is to run.
    pub(crate) running: bool,
    /// How often it was begun again.
    #[serde(default)]
    pub(crate) generation: u32,
    /// Everything through this position is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) through: Option<Position>,
    /// Events through this position were linked by an earlier generation. Where this generation first writes to a stream
    /// for one of them, it hides what stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renew_through: Option<Position>,
    /// Events of this generation that were passed over though the projection is about them.
    #[serde(default)]
    pub(crate) skipped: u64,
}

/// What is kept, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What is kept.
    pub(crate) kept: Kept,
    /// The revision of the event that says so; nothing where there is none.
    pub(crate) at: Option<Revision>,
}

/// What is kept cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// The store cannot be read.
    #[error("the checkpoint could not be read")]
    Read(#[from] ReadError),
    /// It is not what we write.
    #[error("the checkpoint in {stream} at revision {at} is none")]
    Broken {
        /// The stream.
        stream: StreamName,
        /// The event.
        at: Revision,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Somebody hid it.
    #[error("the metadata of {0} hides the checkpoint")]
    Hidden(StreamName),
}

/// The stream of a projection's checkpoints.
pub(crate) fn stream_of(projection: SystemProjection) -> StreamName {
    let name = format!("$projections-{projection}-checkpoint");
    StreamName::new(name).expect("a name of ours is right")
}

impl Kept {
    /// It begins again: all that it wrote is to be hidden stream by stream as it is written anew.
    pub(crate) fn reset(&mut self) {
        self.generation = super::emitted::next_generation(self.generation);
        self.renew_through = self.renew_through.max(self.through.take());
        self.skipped = 0;
    }
}

impl Standing {
    /// What is kept of a projection; nothing where it was never turned on.
    pub(crate) async fn load(
        protocol: &Protocol,
        projection: SystemProjection,
    ) -> Result<Option<Standing>, KeptError> {
        let stream = stream_of(projection);
        if protocol.parts.store.stream_head(&stream).await?.is_none() {
            return Ok(None);
        }
        let query = ReadQuery::stream(stream.clone()).backwards().limit(1);
        let Some(last) = protocol.first_of(query).await? else {
            return Err(KeptError::Hidden(stream));
        };
        let at = last.revision;
        let kept = serde_json::from_slice(&last.data);
        let broken = |error| KeptError::Broken { stream, at, source: Arc::new(error) };
        Ok(Some(Standing { kept: kept.map_err(broken)?, at: Some(at) }))
    }

    /// The write that says `kept` from here on, if nobody has said anything else.
    pub(crate) fn write(
        &self,
        protocol: &Protocol,
        projection: SystemProjection,
        kept: &Kept,
    ) -> StreamWrite {
        let data = serde_json::to_vec(kept).expect("it has a JSON form");
        let event = protocol.own_event(CHECKPOINT, Content::Json, data.into());
        let expected = ExpectedRevision::Behind(self.at);
        StreamWrite { stream: stream_of(projection), expected, events: vec![event] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_begins_again_and_knows_what_was_written() {
        let mut kept = Kept { running: true, skipped: 3, ..Kept::default() };
        kept.reset();
        let expected = Kept { running: true, generation: 1, ..Kept::default() };
        assert_eq!(kept, expected);

        kept.through = Some(Position(9));
        kept.reset();
        let renew_through = Some(Position(9));
        assert_eq!(kept, Kept { generation: 2, renew_through, ..expected.clone() });

        // Once more before it has come so far again.
        kept.through = Some(Position(4));
        kept.reset();
        assert_eq!(kept, Kept { generation: 3, renew_through, ..expected });
    }

    #[test]
    fn what_is_kept_is_plain_json() {
        let kept = Kept { running: true, through: Some(Position(7)), ..Kept::default() };
        let json = serde_json::to_string(&kept).expect("JSON");
        assert_eq!(json, r#"{"running":true,"generation":0,"through":7,"skipped":0}"#);
        assert_eq!(serde_json::from_str::<Kept>(&json).expect("what was written"), kept);
        assert_eq!(
            stream_of(SystemProjection::ByCategory).as_str(),
            "$projections-$by_category-checkpoint"
        );
    }
}
