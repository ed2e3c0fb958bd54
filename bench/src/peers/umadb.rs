//! UmaDB, as its package for Python installs it: the same server, started by a small script, with its own defaults,
//! under which an append is answered after its sync.

mod wire;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use super::load::Unary;
use super::server::{self, Server};
use super::work::{Load, check, new_id, payload};
use super::{Peer, PeerError, System};
use wire::{AppendCondition, AppendRequest, Client, Event, Query, QueryItem, ReadRequest};

/// Events in a message of what is read: with more it became no faster.
const READ_BATCH: u32 = 1_000;

/// A running server.
pub(crate) struct Umadb {
    program: PathBuf,
    server: Server,
    folder: PathBuf,
    address: String,
}

impl Peer for Umadb {
    const SYSTEM: System = System::Umadb;
    type Caller = Appender;

    async fn start(program: &Path, folder: &Path) -> Result<Umadb, PeerError> {
        let data = folder.join("data");
        std::fs::create_dir_all(&data).map_err(PeerError::machine("making a folder"))?;
        let listen = format!("127.0.0.1:{}", server::free_port()?);
        let path = data.display().to_string();
        let arguments = ["--listen", &listen, "--db-path", &path];
        let log = folder.join("umadb.log");
        let (server, _) = Server::start(program, &arguments, &log, "UmaDB started in").await?;
        let address = format!("http://{listen}");
        Ok(Umadb { program: program.to_owned(), server, folder: data, address })
    }

    async fn version(&mut self) -> Result<String, PeerError> {
        server::version(&self.program).await
    }

    async fn callers(&self, load: Load) -> Result<Vec<Appender>, PeerError> {
        let mut callers = Vec::new();
        for number in 0..load.connections {
            let client = Client::new(self.connect().await?);
            callers.push(Appender {
                client,
                load,
                tag: format!("bench-{number}"),
                data: payload(),
            });
        }
        Ok(callers)
    }

    async fn read_all(&mut self) -> Result<u64, PeerError> {
        let mut client = Client::new(self.connect().await?);
        let request = ReadRequest { batch_size: Some(READ_BATCH) };
        let mut batches = client.read(request).await.map_err(PeerError::call("reading UmaDB"))?;
        let (mut events, mut last) = (0, 0);
        while let Some(batch) = batches.message().await.map_err(PeerError::call("reading UmaDB"))? {
            for read in &batch.events {
                let bytes = read.event.as_ref().map_or(0, |event| event.data.len());
                check(read.position > last, bytes);
                last = read.position;
            }
            events += batch.events.len() as u64;
        }
        Ok(events)
    }

    async fn stop(self) -> Result<u64, PeerError> {
        self.server.stop().await?;
        server::written_bytes(&self.folder)
    }
}

impl Umadb {
    async fn connect(&self) -> Result<Channel, PeerError> {
        let endpoint = Endpoint::from_shared(self.address.clone()).map_err(PeerError::Connect)?;
        endpoint.connect().await.map_err(PeerError::Connect)
    }
}

/// One connection that appends. What is a stream elsewhere is a tag here.
pub(crate) struct Appender {
    client: Client,
    load: Load,
    tag: String,
    data: Bytes,
}

impl Appender {
    fn event(&self, tag: String) -> Event {
        Event {
            kind: "bench.Measured".to_owned(),
            tags: vec![tag],
            data: self.data.clone(),
            uuid: new_id(),
        }
    }

    /// Either plain events of this connection's tag, or one with a tag that no event may have yet.
    fn request(&self) -> AppendRequest {
        if !self.load.condition {
            let events = (0..self.load.events).map(|_| self.event(self.tag.clone())).collect();
            return AppendRequest { events, condition: None };
        }
        let tag = new_id();
        let item = QueryItem { types: Vec::new(), tags: vec![tag.clone()] };
        let query = Query { items: vec![item] };
        let condition = AppendCondition { fail_if_events_match: Some(query), after: None };
        AppendRequest { events: vec![self.event(tag)], condition: Some(condition) }
    }
}

impl Unary for Appender {
    async fn call(&mut self) -> Result<u64, PeerError> {
        let request = self.request();
        let events = request.events.len() as u64;
        self.client.append(request).await.map_err(PeerError::call("appending to UmaDB"))?;
        Ok(events)
    }
}
