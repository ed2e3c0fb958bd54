//! Requests as transactions: which streams they name, what they expect of them, and the records in their order. Of what is
//! the same stream, a request is asked without regard to case; names in the log differ by case all the same.

use annals_core::{NewEvent, StreamName};
use futures::{Stream, StreamExt, pin_mut};
use hashbrown::HashMap;
use tonic::Status;

use super::checks::{Expected, Role};
use super::errors::Refusal;
use super::records::{Measured, event};
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::stream_named;
use crate::protocol::proposed::Names;
use crate::protocol::service::Protocol;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::consistency_check::Type;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::{
    AppendRecord, AppendRecordsRequest, AppendRequest, ConsistencyCheck,
};

/// How many streams one transaction may name.
const STREAMS_MAX: usize = 16_384;

/// What a client wants to happen at once, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Each stream once, in the order in which the protocol counts checks.
    pub(super) streams: Vec<Named>,
    /// The records, in the order in which they stand in the log.
    pub(super) runs: Vec<Run>,
}

/// A stream that a transaction names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) stream: StreamName,
    pub(super) expected: Expected,
    pub(super) role: Role,
}

/// Records that follow each other in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The stream's place among those of the transaction.
    pub(super) place: usize,
    pub(super) events: Vec<NewEvent>,
}

fn malformed<T>(text: String) -> Result<T, Refusal> {
    Err(ProtocolError::Malformed(text).into())
}

/// The transaction of a session, each of whose requests brings the records of a stream.
///
/// # Errors
/// The status that the session ends with.
pub(super) async fn of_session(
    protocol: &Protocol,
    requests: impl Stream<Item = Result<AppendRequest, Status>>,
) -> Result<Transaction, Status> {
    let mut gathered = Gathered::new(protocol);
    let stopping = protocol.parts.stopping.clone();
    pin_mut!(requests);
    loop {
        let Some(next) = stopping.run_until_cancelled(requests.next()).await else {
            return Err(ProtocolError::Stopping.into());
        };
        let Some(request) = next.transpose()? else { break };
        gathered.request(request).map_err(Refusal::of_session)?;
    }
    gathered.done().map_err(Refusal::of_session)
}

/// The transaction of records with checks.
///
/// # Errors
/// [`Refusal`] where the request is wrong.
pub(super) fn of_records(
    protocol: &Protocol,
    request: AppendRecordsRequest,
) -> Result<Transaction, Refusal> {
    let mut gathered = Gathered::new(protocol);
    for check in request.checks {
        gathered.check(check)?;
    }
    for record in request.records {
        gathered.record_of_its_stream(record)?;
    }
    gathered.done()
}

/// A transaction as far as it was received.
struct Gathered<'a> {
    protocol: &'a Protocol,
    transaction: Transaction,
    /// The streams' places, by name without regard to case.
    places: HashMap<String, usize>,
    names: Names,
    bytes: usize,
}

impl Gathered<'_> {
    fn new(protocol: &Protocol) -> Gathered<'_> {
        Gathered {
            protocol,
            transaction: Transaction::default(),
            places: HashMap::new(),
            names: Names::default(),
            bytes: 0,
        }
    }

    /// One request of a session.
    fn request(&mut self, request: AppendRequest) -> Result<(), Refusal> {
        let stream = stream_named(request.stream.as_deref().unwrap_or_default())?;
        let expected = request.expected_revision.map_or(Some(Expected::Any), Expected::of_written);
        let Some(expected) = expected else {
            let given = request.expected_revision.unwrap_or_default();
            return malformed(format!("{given} is no revision to expect of stream '{stream}'"));
        };
        if self.place(&stream).is_some() {
            return Err(Refusal::AlreadyInSession(stream));
        }
        if request.records.is_empty() {
            return malformed(format!("the session brings no record for stream '{stream}'"));
        }
        let place = self.name(&stream, expected, Role::Written)?;
        for record in request.records {
            if let Some(other) = record.stream.as_deref()
                && other != stream.as_str()
            {
                let text = format!("a record for stream '{stream}' says it is for '{other}'");
                return malformed(text);
            }
            self.record(place, record)?;
        }
        Ok(())
    }

    fn check(&mut self, check: ConsistencyCheck) -> Result<(), Refusal> {
        let Some(Type::StreamState(check)) = check.r#type else {
            return malformed("a check says nothing that it checks".to_owned());
        };
        let stream = stream_named(check.stream.as_deref().unwrap_or_default())?;
        let Some(given) = check.expected_state else {
            return malformed(format!("the check of stream '{stream}' expects no state"));
        };
        let Some(expected) = Expected::of(given) else {
            return malformed(format!("{given} is no state to expect of stream '{stream}'"));
        };
        if let Some(place) = self.place(&stream) {
            let other = &self.transaction.streams[place].stream;
            return malformed(format!("stream '{other}' is checked twice, once as '{stream}'"));
        }
        self.name(&stream, expected, Role::Checked).map(|_| ())
    }

    fn record_of_its_stream(&mut self, record: AppendRecord) -> Result<(), Refusal> {
        let stream = stream_named(record.stream.as_deref().unwrap_or_default())?;
        let last = self.transaction.runs.last().map(|run| run.place);
        let same = |place: &usize| self.transaction.streams[*place].stream == stream;
        let place = match last.filter(same).or_else(|| self.place(&stream)) {
            Some(place) => place,
            None => self.name(&stream, Expected::Any, Role::Written)?,
        };
        let named = &mut self.transaction.streams[place];
        if named.stream != stream {
            let other = &named.stream;
            return malformed(format!(
                "streams '{other}' and '{stream}' differ by case alone, and one request names both"
            ));
        }
        named.role = Role::Written;
        self.record(place, record)
    }

    fn record(&mut self, place: usize, record: AppendRecord) -> Result<(), Refusal> {
        let stream = &self.transaction.streams[place].stream;
        let Measured { event, bytes } = event(record, stream, &mut self.names, self.protocol)?;
        self.bytes += bytes;
        let most = self.protocol.parts.settings.append_bytes_max;
        if self.bytes > most {
            return Err(Refusal::TooLarge { size: self.bytes, most });
        }
        match self.transaction.runs.last_mut() {
            Some(run) if run.place == place => run.events.push(event),
            Some(_) | None => self.transaction.runs.push(Run { place, events: vec![event] }),
        }
        Ok(())
    }

    /// The place of a stream that was named.
    fn place(&self, stream: &StreamName) -> Option<usize> {
        self.places.get(&folded(stream)).copied()
    }

    fn name(
        &mut self,
        stream: &StreamName,
        expected: Expected,
        role: Role,
    ) -> Result<usize, Refusal> {
        let place = self.transaction.streams.len();
        if place == STREAMS_MAX {
            return malformed(format!("the request names more than {STREAMS_MAX} streams"));
        }
        self.places.insert(folded(stream), place);
        self.transaction.streams.push(Named { stream: stream.clone(), expected, role });
        Ok(place)
    }

    fn done(self) -> Result<Transaction, Refusal> {
        if self.transaction.runs.is_empty() {
            return malformed("the request has no record".to_owned());
        }
        Ok(self.transaction)
    }
}

fn folded(stream: &StreamName) -> String {
    stream.as_str().to_lowercase()
}
