//! A client of the service of appends over several streams, made of the messages of its definition, and what it sends.

use annals_store::protocol::wire::google::rpc;
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::consistency_check::{
    StreamStateCheck, Type,
};
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::errors::{
    AppendConsistencyViolationErrorDetails, consistency_violation,
};
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::{
    AppendRecord, AppendRecordsRequest, AppendRecordsResponse, AppendRequest,
    AppendSessionResponse, ConsistencyCheck, SchemaFormat, SchemaInfo,
};
use http::uri::PathAndQuery;
use prost::Message;
use serde_json::json;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use uuid::Uuid;

/// A client, on a connection that its clones share.
#[derive(Clone)]
pub(crate) struct Transactions(Grpc<Channel>);

impl Transactions {
    pub(crate) async fn connect(address: &str) -> Transactions {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Transactions(Grpc::new(endpoint.connect().await.expect("the server listens")))
    }

    /// Any call with one request and one answer.
    pub(crate) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = self.0.clone();
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        client.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn append(
        &self,
        records: Vec<AppendRecord>,
        checks: &[(&str, i64)],
    ) -> Result<AppendRecordsResponse, Status> {
        let checks = checks.iter().map(|(stream, expected)| {
            let (stream, expected_state) = (Some((*stream).to_owned()), Some(*expected));
            let check = StreamStateCheck { stream, expected_state };
            ConsistencyCheck { r#type: Some(Type::StreamState(check)) }
        });
        let request = AppendRecordsRequest { records, checks: checks.collect() };
        self.call("/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords", request).await
    }

    pub(crate) async fn session(
        &self,
        requests: Vec<AppendRequest>,
    ) -> Result<AppendSessionResponse, Status> {
        let mut client = self.0.clone();
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
        let path = PathAndQuery::from_static(path);
        let requests = Request::new(futures::stream::iter(requests));
        let answer = client.client_streaming(requests, path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}

/// A record of this number, which is its id and stands in its data.
pub(crate) fn record(stream: &str, number: u64) -> AppendRecord {
    AppendRecord {
        record_id: Some(Uuid::from_u128(number.into()).to_string()),
        schema: Some(SchemaInfo {
            format: Some(SchemaFormat::Json.into()),
            name: Some("note.Taken".to_owned()),
            id: None,
        }),
        data: Some(json!({ "number": number }).to_string().into()),
        stream: Some(stream.to_owned()),
        ..AppendRecord::default()
    }
}

/// The streams that a status says are not as expected: the number of the check, the stream, and how it is.
#[track_caller]
pub(crate) fn violations(status: &Status) -> Vec<(i32, String, i64)> {
    let carried = rpc::Status::decode(status.details()).expect("a status within the status");
    let detail = &carried.details[1];
    let name = "kurrentdb.protocol.v2.streams.errors.AppendConsistencyViolationErrorDetails";
    assert_eq!(detail.type_url, format!("type.googleapis.com/{name}"));
    let detail = AppendConsistencyViolationErrorDetails::decode(detail.value.as_slice());
    let told = detail.expect("a right message").violations.into_iter().map(|violation| {
        let Some(consistency_violation::Type::StreamState(state)) = violation.r#type else {
            panic!("no state")
        };
        let (stream, actual) = (state.stream.expect("a stream"), state.actual_state);
        (violation.check_index.expect("a number"), stream, actual.expect("a state"))
    });
    told.collect()
}
