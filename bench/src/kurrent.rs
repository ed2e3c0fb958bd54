//! KurrentDB's protocol: the `annals` program as its server, the published Rust client beside it on the same cores, and a
//! client that takes messages without looking into them, which shows what the server alone can send.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_store::protocol::wire::v1 as wire;
use bytes::{Buf, BufMut, Bytes};
use eventstore::{
    AppendToStreamOptions, BatchAppendClient, BatchAppendOptions, Client, EventData,
    ExpectedRevision, ReadAllOptions,
};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use crate::BenchError;
use crate::figure::{Figure, Latency, rate};
use crate::log::{self, Source};
use crate::peers::PeerError;
use crate::peers::load::{self, Calls, Timing, Unary, Window};
use crate::peers::server::Server;
use crate::peers::work::payload;

/// Events of the log that is read.
const READ_EVENTS: u64 = 1_000_000;
/// Streams of the log that is copied, and events in each.
const COPIED: (u64, u64) = (1_000, 200);
const TIMING: Timing = Timing { warm_up: Duration::from_secs(1), counted: Duration::from_secs(4) };
const STREAMS: u64 = 100;

/// The measurements' names.
pub(crate) const BATCH: &str = "kurrent batch append";
const APPEND: &str = "kurrent append";
const READ: &str = "kurrent read $all";
const COPY: &str = "store copy";

/// All of them, in this order.
pub(crate) fn measure(
    runtime: &Runtime,
    program: &Path,
    folder: &Path,
    runs: u32,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Figure>, BenchError> {
    let bench = Bench { program, folder, runs };
    let mut figures = Vec::new();
    if wanted(BATCH) {
        figures.push(runtime.block_on(bench.batch())?);
    }
    if wanted(APPEND) {
        figures.push(runtime.block_on(bench.append())?);
    }
    if wanted(READ) {
        figures.extend(runtime.block_on(bench.read())?);
    }
    if wanted(COPY) {
        figures.extend(runtime.block_on(bench.copy())?);
    }
    Ok(figures)
}

struct Bench<'a> {
    program: &'a Path,
    folder: &'a Path,
    runs: u32,
}

/// A server on a data folder, which is deleted with it.
struct Running {
    server: Server,
    address: String,
    folder: PathBuf,
}

impl Running {
    async fn start(program: &Path, folder: &Path) -> Result<Running, PeerError> {
        let path = folder.display().to_string();
        let arguments = ["serve", "--role", "store", "--address", "127.0.0.1:0", "--data", &path];
        let log = folder.with_extension("log");
        let (server, address) = Server::start(program, &arguments, &log, "ready ").await?;
        Ok(Running { server, address, folder: folder.to_owned() })
    }

    fn url(&self) -> String {
        format!("esdb://{}?tls=false", self.address)
    }

    fn client(&self) -> Result<Client, PeerError> {
        let settings = self.url().parse().expect("an address of this form is right");
        Client::new(settings).map_err(failed("connecting"))
    }

    async fn stop(self) -> Result<(), BenchError> {
        self.server.stop().await?;
        std::fs::remove_dir_all(&self.folder).map_err(BenchError::of("deleting a folder"))
    }
}

fn failed(attempt: &'static str) -> impl FnOnce(eventstore::Error) -> PeerError {
    move |source| PeerError::Kurrent { attempt, source: Box::new(source) }
}

/// A call of batch appends.
async fn batches(client: &Client) -> Result<BatchAppendClient, PeerError> {
    let options = BatchAppendOptions::default();
    client.batch_append(&options).await.map_err(failed("appending in batches"))
}

fn event(data: &Bytes) -> EventData {
    EventData::binary("bench.Measured", data.clone())
}

/// A connection that appends one event a call.
struct Appender {
    client: Client,
    stream: String,
    data: Bytes,
}

impl Unary for Appender {
    async fn call(&mut self) -> Result<u64, PeerError> {
        let options = AppendToStreamOptions::default().expected_revision(ExpectedRevision::Any);
        let append = self.client.append_to_stream(&*self.stream, &options, event(&self.data));
        append.await.map_err(failed("appending"))?;
        Ok(1)
    }
}

impl Bench<'_> {
    async fn start(&self) -> Result<Running, PeerError> {
        Running::start(self.program, &self.folder.join("kurrent")).await
    }

    async fn batch(&self) -> Result<Figure, BenchError> {
        const IN_FLIGHT: usize = 1_000;
        let (mut rates, mut took) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let running = self.start().await?;
            let client = running.client()?;
            let batch = batches(&client).await?;
            let (data, mut calls) = (payload(), Calls::default());
            let window = Window::from_now(TIMING);
            let append = |number: u64, asked: Instant| {
                let stream = format!("bench-{}", number % STREAMS);
                let append =
                    batch.append_to_stream(stream, ExpectedRevision::Any, vec![event(&data)]);
                append.map_ok(move |_| asked)
            };
            let first = (0..IN_FLIGHT as u64).map(|number| append(number, Instant::now()));
            let mut in_flight: FuturesUnordered<_> = first.collect();
            let mut next = IN_FLIGHT as u64;
            while let Some(answer) = in_flight.next().await {
                let asked = answer.map_err(failed("appending in batches"))?;
                let answered = Instant::now();
                calls.add(&window, (asked, answered), 1);
                if !window.is_over_at(answered) {
                    in_flight.push(append(next, answered));
                    next += 1;
                }
            }
            drop(in_flight);
            self.check(&client, calls.acknowledged).await?;
            rates.push(rate(calls.counted, TIMING.counted));
            took.append(&mut calls.took);
            running.stop().await?;
        }
        let conditions = "1 call, 1,000 appends of 1 event in flight, client eventstore";
        Ok(with_latency(BATCH, rates, &mut took, conditions))
    }

    async fn append(&self) -> Result<Figure, BenchError> {
        let (mut rates, mut took) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let running = self.start().await?;
            let caller = |number| {
                let (client, stream) = (running.client()?, format!("bench-{number}"));
                Ok(Appender { client, stream, data: payload() })
            };
            let callers = (0..64).map(caller).collect::<Result<Vec<_>, PeerError>>()?;
            let mut calls = load::drive(callers, TIMING).await?;
            self.check(&running.client()?, calls.acknowledged).await?;
            rates.push(rate(calls.counted, TIMING.counted));
            took.append(&mut calls.took);
            running.stop().await?;
        }
        let conditions = "64 connections, 1 event a call, client eventstore";
        Ok(with_latency(APPEND, rates, &mut took, conditions))
    }

    /// Fills a log through the protocol and reads it by both clients.
    async fn read(&self) -> Result<[Figure; 2], BenchError> {
        const TOGETHER: u64 = 100;
        let running = self.start().await?;
        let client = running.client()?;
        let batch = batches(&client).await?;
        let data = payload();
        futures::stream::iter(0..READ_EVENTS / TOGETHER)
            .map(|number| {
                let stream = format!("bench-{}", number % STREAMS);
                let events = (0..TOGETHER).map(|_| event(&data)).collect();
                batch.append_to_stream(stream, ExpectedRevision::Any, events)
            })
            .buffer_unordered(64)
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(failed("appending in batches"))?;
        let (mut rates, mut raw_rates) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let start = Instant::now();
            self.check(&client, READ_EVENTS).await?;
            rates.push(rate(READ_EVENTS, start.elapsed()));
            let start = Instant::now();
            let messages = messages_of_all(&running.address).await?;
            if messages < READ_EVENTS {
                return Err(lost(READ_EVENTS, messages).into());
            }
            raw_rates.push(rate(messages, start.elapsed()));
        }
        running.stop().await?;
        let conditions = |client| format!("page cache, 1 call, client {client}");
        Ok([
            Figure::of(READ, "events/s", rates, conditions("eventstore")),
            Figure::of(
                "kurrent read $all, server",
                "events/s",
                raw_rates,
                conditions("that looks into no message"),
            ),
        ])
    }

    /// Copies a data folder to a server, and back, by the program.
    async fn copy(&self) -> Result<[Figure; 2], BenchError> {
        let (streams, events) = COPIED;
        let folder = self.folder.join("copied");
        let log = log::open(&folder.join("log"))?;
        let appends = (0..streams).flat_map(|number| {
            let mut source = Source::new(number);
            (0..events / 10).map(move |_| source.append(10)).collect::<Vec<_>>()
        });
        let waiting: Vec<_> =
            appends.map(|append| annals_core::EventStore::append(&*log, append)).collect();
        futures::stream::iter(waiting).buffered(256).try_for_each(|_| async { Ok(()) }).await?;
        log.close();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let running = self.start().await?;
            let returned = self.folder.join("returned");
            for (rates, from, to) in [
                (&mut there, folder.display().to_string(), running.url()),
                (&mut back, running.url(), returned.display().to_string()),
            ] {
                let start = Instant::now();
                self.copy_once(&from, &to)?;
                rates.push(rate(streams * events, start.elapsed()));
            }
            std::fs::remove_dir_all(&returned).map_err(BenchError::of("deleting a folder"))?;
            running.stop().await?;
        }
        let conditions = format!("{streams} streams of {events} events, verified");
        Ok([
            Figure::of("store copy to a server", "events/s", there, conditions.clone()),
            Figure::of("store copy from a server", "events/s", back, conditions),
        ])
    }

    fn copy_once(&self, from: &str, to: &str) -> Result<(), BenchError> {
        let done = Command::new(self.program)
            .args(["store", "copy", from, to])
            .stdout(Stdio::null())
            .output()
            .map_err(BenchError::of(format!("starting {}", self.program.display())))?;
        if done.status.success() {
            return Ok(());
        }
        Err(BenchError::Copy(String::from_utf8_lossy(&done.stderr).into_owned()))
    }

    /// Reads every event that a client wrote, and counts them.
    async fn check(&self, client: &Client, acknowledged: u64) -> Result<(), PeerError> {
        let options = ReadAllOptions::default().max_count(usize::MAX);
        let mut read = client.read_all(&options).await.map_err(failed("reading"))?;
        let mut found = 0;
        while let Some(event) = read.next().await.map_err(failed("reading"))? {
            found += u64::from(event.get_original_event().event_type == "bench.Measured");
        }
        if found == acknowledged { Ok(()) } else { Err(lost(acknowledged, found)) }
    }
}

fn lost(acknowledged: u64, found: u64) -> PeerError {
    PeerError::Lost { system: crate::peers::System::Annals, acknowledged, found }
}

fn with_latency(name: &str, rates: Vec<f64>, took: &mut [Duration], conditions: &str) -> Figure {
    let conditions = format!("durable, {conditions}, {} s", TIMING.counted.as_secs());
    let mut figure = Figure::of(name, "events/s", rates, conditions);
    figure.latency_ms = Latency::of(took);
    figure
}

/// Reads all events and counts the messages, without decoding them.
async fn messages_of_all(address: &str) -> Result<u64, PeerError> {
    use wire::streams::read_req::options::{
        AllOptions, CountOption, FilterOption, StreamOption, UuidOption, all_options, uuid_option,
    };
    let options = wire::streams::read_req::Options {
        read_direction: 0,
        resolve_links: false,
        uuid_option: Some(UuidOption {
            content: Some(uuid_option::Content::String(wire::Empty {})),
        }),
        stream_option: Some(StreamOption::All(AllOptions {
            all_option: Some(all_options::AllOption::Start(wire::Empty {})),
        })),
        count_option: Some(CountOption::Count(u64::MAX)),
        filter_option: Some(FilterOption::NoFilter(wire::Empty {})),
        control_option: None,
    };
    let request = wire::streams::ReadReq { options: Some(options) }.encode_to_vec().into();
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(PeerError::Connect)?;
    let channel = endpoint.connect().await.map_err(PeerError::Connect)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(PeerError::Connect)?;
    let path = http::uri::PathAndQuery::from_static("/event_store.client.streams.Streams/Read");
    let call = client.server_streaming(Request::new(request), path, Counting);
    let mut messages = call.await.map_err(PeerError::call("reading"))?.into_inner();
    let mut count = 0;
    while messages.message().await.map_err(PeerError::call("reading"))?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Sends bytes as they are, and passes over what comes.
#[derive(Clone, Copy)]
struct Counting;

impl Codec for Counting {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Counting;
    type Decoder = Counting;

    fn encoder(&mut self) -> Counting {
        Counting
    }

    fn decoder(&mut self) -> Counting {
        Counting
    }
}

impl Encoder for Counting {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Counting {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        message.advance(message.remaining());
        Ok(Some(()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
