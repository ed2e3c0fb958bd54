//! The service itself: each method hands on to the module of its own.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::append::append;
use super::batch::Answers;
use super::expected::Given;
use super::options::Asked;
use super::read::{read_log, read_stream};
use super::subscription::{subscribe_to_log, subscribe_to_stream};
use crate::protocol::access::{Caller, Right};
use crate::protocol::deletion::Deletion;
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::stream_name;
use crate::protocol::service::Protocol;
use crate::protocol::wire::v1::Empty;
use crate::protocol::wire::v1::streams::streams_server::Streams;
use crate::protocol::wire::v1::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq,
    ReadResp, delete_resp,
};

/// The service.
pub struct StreamsService(pub Arc<Protocol>);

impl StreamsService {
    async fn delete_as(
        &self,
        caller: &Caller,
        request: DeleteReq,
        deletion: Deletion,
    ) -> Result<DeleteResp, ProtocolError> {
        use delete_resp::{Position, PositionOption};
        let given = Given::of_deletion(request.options.unwrap_or_default());
        let stream = stream_name(given.stream.as_ref())?;
        let expected = given.expected?;
        self.0.may(caller, Right::Delete, &stream).await?;
        let limit = self.0.parts.settings.write_timeout;
        let deleted = self.0.delete(&stream, expected, deletion);
        let deleted = tokio::time::timeout(limit, deleted).await.unwrap_or_else(|_| {
            Err(ProtocolError::TimedOut(format!("the deletion of {stream} is not durable yet")))
        })?;
        let option = deleted.map_or(PositionOption::NoPosition(Empty {}), |at| {
            PositionOption::Position(Position { commit_position: at.0, prepare_position: at.0 })
        });
        Ok(DeleteResp { position_option: Some(option) })
    }
}

#[tonic::async_trait]
impl Streams for StreamsService {
    type ReadStream = BoxStream<'static, Result<ReadResp, Status>>;
    type BatchAppendStream = BoxStream<'static, Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let caller = self.0.caller(request.extensions());
        let asked = Asked::of(request.into_inner())?;
        let protocol = Arc::clone(&self.0);
        let responses = match asked {
            Asked::Stream(read) => read_stream(protocol, caller, read).await?,
            Asked::Log(read) => read_log(protocol, caller, read).await?,
            Asked::StreamSubscription(asked) => {
                subscribe_to_stream(protocol, caller, asked).await?
            }
            Asked::LogSubscription(asked) => subscribe_to_log(protocol, caller, asked).await?,
        };
        Ok(Response::new(responses))
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let caller = self.0.caller(request.extensions());
        append(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let caller = self.0.caller(request.extensions());
        let answers = Answers::new(Arc::clone(&self.0), caller, request.into_inner())?;
        Ok(Response::new(answers.boxed()))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let caller = self.0.caller(request.extensions());
        Ok(Response::new(self.delete_as(&caller, request.into_inner(), Deletion::Soft).await?))
    }

    async fn tombstone(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let caller = self.0.caller(request.extensions());
        Ok(Response::new(self.delete_as(&caller, request.into_inner(), Deletion::Tombstone).await?))
    }
}
