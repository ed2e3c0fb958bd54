//! Annals as a log server: the `annals` program, started as anybody would, and clients over its gRPC interface. Single
//! calls go through the generated client over a plain connection, streams of appends through Annals' own client.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use annals_client::proto::events_client::EventsClient;
use annals_client::proto::{
    AppendRequest, Condition, NewEvent, QueryItem, ReadRequest, StreamWrite,
};
use annals_client::{AppendStream, Client, ConnectOptions};
use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use super::load::{Caller, Calls, Unary, Window};
use super::server::{self, Server};
use super::work::{Load, check, new_id, payload};
use super::{Peer, PeerError, System};

/// A running server.
pub(crate) struct Annals {
    program: PathBuf,
    server: Server,
    folder: PathBuf,
    address: String,
}

impl Peer for Annals {
    const SYSTEM: System = System::Annals;
    type Caller = Appender;

    async fn start(program: &Path, folder: &Path) -> Result<Annals, PeerError> {
        let data = folder.join("data");
        let path = data.display().to_string();
        let arguments = ["serve", "--role", "store", "--address", "127.0.0.1:0", "--data", &path];
        let log = folder.join("annals.log");
        let (server, address) = Server::start(program, &arguments, &log, "ready ").await?;
        let address = format!("http://{address}");
        Ok(Annals { program: program.to_owned(), server, folder: data, address })
    }

    async fn version(&mut self) -> Result<String, PeerError> {
        Ok(format!("{}, role store", server::version(&self.program).await?))
    }

    async fn callers(&self, load: Load) -> Result<Vec<Appender>, PeerError> {
        let mut callers = Vec::new();
        for number in 0..load.connections {
            let source = Source { load, stream: format!("bench-{number}"), data: payload() };
            callers.push(match load.in_flight {
                None => Appender::Unary(Calling { events: self.connect().await?, source }),
                Some(in_flight) => {
                    let client = Client::connect(&self.address, ConnectOptions::default())
                        .await
                        .map_err(PeerError::client("connecting to Annals"))?;
                    let stream = client
                        .append_stream()
                        .await
                        .map_err(PeerError::client("opening a stream of appends"))?;
                    Appender::Stream { stream, in_flight, source }
                }
            });
        }
        Ok(callers)
    }

    async fn read_all(&mut self) -> Result<u64, PeerError> {
        let mut client = self.connect().await?;
        let request = ReadRequest::default();
        let answer = client.read(request).await.map_err(PeerError::call("reading Annals"))?;
        let mut batches = answer.into_inner();
        let (mut events, mut last) = (0, None);
        while let Some(batch) =
            batches.message().await.map_err(PeerError::call("reading Annals"))?
        {
            for event in &batch.events {
                check(last < Some(event.position), event.data().len());
                last = Some(event.position);
            }
            events += batch.events.len() as u64;
        }
        Ok(events)
    }

    async fn stop(self) -> Result<u64, PeerError> {
        self.server.stop().await?;
        server::written_bytes(&self.folder.join("log"))
    }
}

impl Annals {
    async fn connect(&self) -> Result<EventsClient<Channel>, PeerError> {
        let endpoint = Endpoint::from_shared(self.address.clone()).map_err(PeerError::Connect)?;
        let channel = endpoint.connect().await.map_err(PeerError::Connect)?;
        Ok(EventsClient::new(channel).max_decoding_message_size(usize::MAX))
    }
}

/// What a connection appends.
pub(crate) struct Source {
    load: Load,
    stream: String,
    data: Bytes,
}

impl Source {
    fn event(&self, tags: Vec<String>) -> NewEvent {
        NewEvent {
            id: new_id(),
            r#type: "bench.Measured".to_owned(),
            tags,
            data: self.data.clone(),
            ..NewEvent::default()
        }
    }

    /// Either plain events of this connection's stream, or one with a tag that no event may have yet.
    fn request(&self) -> AppendRequest {
        let (events, condition) = if self.load.condition {
            let tag = new_id();
            let item = QueryItem { types: Vec::new(), tags: vec![tag.clone()] };
            let condition = Condition { fail_if_events_match: vec![item], after_position: None };
            (vec![self.event(vec![tag])], Some(condition))
        } else {
            ((0..self.load.events).map(|_| self.event(Vec::new())).collect(), None)
        };
        let write = StreamWrite { stream: self.stream.clone(), expected: None, events };
        AppendRequest { writes: vec![write], condition }
    }
}

/// One connection that appends.
pub(crate) enum Appender {
    /// A call an append.
    Unary(Calling),
    /// All appends on one call.
    Stream { stream: AppendStream, in_flight: usize, source: Source },
}

/// One connection with a call an append.
pub(crate) struct Calling {
    events: EventsClient<Channel>,
    source: Source,
}

impl Unary for Calling {
    async fn call(&mut self) -> Result<u64, PeerError> {
        let request = self.source.request();
        self.events.append(request).await.map_err(PeerError::call("appending to Annals"))?;
        Ok(self.source.load.events as u64)
    }
}

impl Caller for Appender {
    async fn drive(self, window: Window) -> Result<Calls, PeerError> {
        match self {
            Appender::Unary(calling) => calling.drive(window).await,
            Appender::Stream { stream, in_flight, source } => {
                drive_stream(&stream, in_flight, &source, window).await
            }
        }
    }
}

/// Keeps so many appends without an answer as it may. They are answered in the order in which they were sent.
async fn drive_stream(
    stream: &AppendStream,
    in_flight: usize,
    source: &Source,
    window: Window,
) -> Result<Calls, PeerError> {
    let failed = || PeerError::client("appending to Annals by a stream");
    let mut calls = Calls::default();
    let mut waiting = VecDeque::with_capacity(in_flight);
    let mut now = Instant::now();
    loop {
        while waiting.len() < in_flight && !window.is_over_at(now) {
            let answer = stream.send(source.request()).await.map_err(failed())?;
            waiting.push_back((now, answer));
        }
        let Some((asked, answer)) = waiting.pop_front() else { return Ok(calls) };
        answer.await.map_err(failed())?;
        now = Instant::now();
        calls.add(&window, (asked, now), source.load.events as u64);
    }
}
