//! As much of the interface of UmaDB 0.7 as is measured: the messages by their field numbers, and three calls.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// An event to append, or one that was read.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) tags: Vec<String>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) data: Bytes,
    #[prost(string, tag = "4")]
    pub(crate) uuid: String,
}

/// An event with its position.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SequencedEvent {
    #[prost(uint64, tag = "1")]
    pub(crate) position: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) event: Option<Event>,
}

/// One alternative of a query.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct QueryItem {
    #[prost(string, repeated, tag = "1")]
    pub(crate) types: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) tags: Vec<String>,
}

/// Which events are meant.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Query {
    #[prost(message, repeated, tag = "1")]
    pub(crate) items: Vec<QueryItem>,
}

/// Fails the append where such an event is there.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendCondition {
    #[prost(message, optional, tag = "1")]
    pub(crate) fail_if_events_match: Option<Query>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) after: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) events: Vec<Event>,
    #[prost(message, optional, tag = "2")]
    pub(crate) condition: Option<AppendCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AppendResponse {
    #[prost(uint64, tag = "1")]
    pub(crate) position: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadRequest {
    #[prost(uint32, optional, tag = "6")]
    pub(crate) batch_size: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) events: Vec<SequencedEvent>,
}

/// A client over one connection.
pub(crate) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    /// Speaks over this channel.
    pub(crate) fn new(channel: Channel) -> Client {
        // A message of what is read is larger than what a client takes by itself.
        Client { grpc: Grpc::new(channel).max_decoding_message_size(usize::MAX) }
    }

    /// Appends, and is answered once it is durable.
    pub(crate) async fn append(&mut self, request: AppendRequest) -> Result<u64, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/umadb.v1.DCB/Append");
        let codec = ProstCodec::<AppendRequest, AppendResponse>::default();
        let answer = self.grpc.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner().position)
    }

    /// Reads every event from the first to the one that is the last now.
    pub(crate) async fn read(
        &mut self,
        request: ReadRequest,
    ) -> Result<Streaming<ReadResponse>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/umadb.v1.DCB/Read");
        let codec = ProstCodec::<ReadRequest, ReadResponse>::default();
        Ok(self.grpc.server_streaming(Request::new(request), path, codec).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}
