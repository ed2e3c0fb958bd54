//! The service itself: requests to transactions, and what became of them to answers.

use std::sync::Arc;

use annals_core::{Position, Revision};
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::checks::Role;
use super::errors::Refusal;
use super::plan::Done;
use super::requests::{Transaction, of_records, of_session};
use crate::protocol::access::{Caller, Right};
use crate::protocol::errors::{ProtocolError, counted};
use crate::protocol::service::Protocol;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::streams_service_server::StreamsService;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::{
    AppendRecordsRequest, AppendRecordsResponse, AppendRequest, AppendResponse,
    AppendSessionResponse, StreamRevision,
};

/// The service.
pub struct TransactionsService(pub Arc<Protocol>);

#[tonic::async_trait]
impl StreamsService for TransactionsService {
    async fn append_session(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<AppendSessionResponse>, Status> {
        let caller = self.0.caller(request.extensions());
        append_session(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn append_records(
        &self,
        request: Request<AppendRecordsRequest>,
    ) -> Result<Response<AppendRecordsResponse>, Status> {
        let caller = self.0.caller(request.extensions());
        append_records(&self.0, &caller, request.into_inner()).await.map(Response::new)
    }
}

/// Takes the requests of a session, and writes them once the client has sent them all.
///
/// # Errors
/// What the call ends with instead of an answer.
pub(super) async fn append_session(
    protocol: &Protocol,
    caller: &Caller,
    requests: impl Stream<Item = Result<AppendRequest, Status>>,
) -> Result<AppendSessionResponse, Status> {
    // What it holds until its end is bounded, and so is how many sessions hold something.
    let _permit = protocol.open()?;
    let transaction = of_session(protocol, requests).await?;
    let done = write(protocol, caller, &transaction).await.map_err(Refusal::of_session)?;
    let positions = protocol.positions(done.until, &done.revisions).await?;
    let told = done.revisions.iter().zip(&positions);
    let output = told.map(|((stream, revision), position)| AppendResponse {
        stream: Some(stream.to_string()),
        stream_revision: Some(number(*revision)),
        position: Some(number_of(*position)),
    });
    let output = output.collect();
    Ok(AppendSessionResponse { output, position: positions.iter().max().copied().map(number_of) })
}

/// Writes records, if what is expected is so.
///
/// # Errors
/// What the call ends with instead of an answer.
pub(super) async fn append_records(
    protocol: &Protocol,
    caller: &Caller,
    request: AppendRecordsRequest,
) -> Result<AppendRecordsResponse, Status> {
    let transaction = of_records(protocol, request).map_err(Refusal::of_records)?;
    let done = write(protocol, caller, &transaction).await.map_err(Refusal::of_records)?;
    let position = if done.ends_with_record {
        Some(done.until)
    } else {
        protocol.positions(done.until, &done.revisions).await?.into_iter().max()
    };
    let revisions = done.revisions.iter().map(|(stream, revision)| StreamRevision {
        stream: Some(stream.to_string()),
        revision: Some(number(*revision)),
    });
    let revisions = revisions.collect();
    Ok(AppendRecordsResponse { revisions, position: position.map(number_of) })
}

async fn write(
    protocol: &Protocol,
    caller: &Caller,
    transaction: &Transaction,
) -> Result<Done, Refusal> {
    for named in &transaction.streams {
        let right = match named.role {
            Role::Written => Right::Write,
            // What is answered tells where it is.
            Role::Checked => Right::Read,
        };
        protocol.may(caller, right, &named.stream).await.map_err(|error| {
            if error != ProtocolError::AccessDenied {
                return error.into();
            }
            let login = caller.login().map(str::to_owned);
            Refusal::Denied { stream: named.stream.clone(), right, login }
        })?;
    }
    let limit = protocol.parts.settings.write_timeout;
    tokio::time::timeout(limit, protocol.transact(transaction)).await.unwrap_or_else(|_| {
        let count = transaction.streams.len();
        let text = format!("the append over {count} streams is not durable yet");
        Err(ProtocolError::TimedOut(text).into())
    })
}

fn number(revision: Revision) -> i64 {
    counted(Some(revision))
}

fn number_of(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}
