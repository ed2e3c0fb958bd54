//! Appends and reads over gRPC are linearizable whatever happens to the server: 16 clients write to small streams, with
//! expected revisions and without, and repeat with the same ids what they do not know the outcome of, while the server is
//! killed, stopped and continued, and connections are cut. What they sent and saw is then held against the log.
//! `ANNALS_SECONDS` lets it run longer, `ANNALS_SEED` repeats the choices.

#![allow(clippy::print_stdout, reason = "seeds and counts are told")]

mod harness;
#[path = "linearizable/messages.rs"]
mod messages;
#[path = "linearizable/proxy.rs"]
mod proxy;
#[path = "linearizable/worker.rs"]
mod worker;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_client::proto::{EventFilter, ReadRequest};
use annals_client::{Client, ConnectOptions};
use annals_core::random::SeededRandom;
use annals_core::{RecordedEvent, StreamName};
use annals_oracle::History;
use futures::TryStreamExt;
use parking_lot::Mutex;

use harness::server::Server;
use harness::{pause, scratch};
use proxy::Proxy;
use worker::Worker;

/// How many clients write and read at once.
const CLIENTS: u64 = 16;
/// For how long, unless `ANNALS_SECONDS` says otherwise.
const SECONDS: u64 = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn start(data: &Path) -> Server {
    Server::start(data, &["--role", "store"])
}

fn signal(server: &Server, signal: &str) {
    let sent = Command::new("kill").args([signal, &server.pid().to_string()]).status();
    assert!(sent.expect("kill").success(), "the server was gone already");
}

/// How often each thing was done to the server.
#[derive(Debug, Default)]
struct Faults {
    kills: u64,
    stops: u64,
    cuts: u64,
}

/// Does one thing after the other to the server, until the time is over; answers a server that runs.
fn torment(
    mut server: Server,
    data: &Path,
    proxy: &Proxy,
    until: Instant,
    random: &SeededRandom,
) -> (Server, Faults) {
    let mut faults = Faults::default();
    let mut first = 0;
    while Instant::now() < until {
        pause(Duration::from_millis(50 + random.below(500)));
        // Each once, then as it comes.
        let which = if first < 3 { first } else { random.below(3) };
        first += 1;
        match which {
            0 => {
                signal(&server, "-KILL");
                drop(server);
                server = start(data);
                proxy.lead_to(&server.address);
                faults.kills += 1;
            }
            1 => {
                signal(&server, "-STOP");
                pause(Duration::from_millis(random.below(600)));
                if random.below(2) == 0 {
                    proxy.cut();
                }
                signal(&server, "-CONT");
                faults.stops += 1;
            }
            _ => {
                proxy.cut();
                faults.cuts += 1;
            }
        }
    }
    (server, faults)
}

/// The whole log, read from a server that nothing stands in the way of.
async fn whole_log(server: &Server) -> Vec<RecordedEvent> {
    let address = format!("http://{}", server.address);
    let client = Client::connect(&address, ConnectOptions::default()).await.expect("it listens");
    let filter = Some(EventFilter { with_system: true, ..EventFilter::default() });
    let read = ReadRequest { filter, ..ReadRequest::default() };
    let batches = client.read(read).await.expect("a read");
    let batches: Vec<_> = batches.try_collect().await.expect("no error");
    batches
        .into_iter()
        .flat_map(|batch| batch.events)
        .map(|event| messages::recorded(&event))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_saw_has_one_order_whatever_happens_to_the_server() {
    let seconds = number("ANNALS_SECONDS").unwrap_or(SECONDS);
    let seed = number("ANNALS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{seconds} s, ANNALS_SEED={seed}");
    let folder = scratch();
    let data = folder.path().join("data");
    let server = start(&data);
    let proxy = Proxy::start(&server.address).await;
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let history = Arc::new(Mutex::new(History::default()));
    let workers: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let random = SeededRandom::new(seed ^ (client << 40));
            let (address, stop, history) =
                (proxy.address(), Arc::clone(&stop), Arc::clone(&history));
            tokio::spawn(Worker::new(client, address, random, begun, stop, history).run())
        })
        .collect();
    let until = begun + Duration::from_secs(seconds);
    let nemesis = tokio::task::spawn_blocking({
        let (data, proxy) = (data.clone(), proxy.clone());
        move || torment(server, &data, &proxy, until, &SeededRandom::new(seed))
    });
    let (server, faults) = nemesis.await.expect("the server started every time");
    stop.store(true, Ordering::Relaxed);
    let mut repeated = 0;
    for worker in workers {
        repeated += worker.await.expect("a client saw nothing that may not be");
    }
    let log = whole_log(&server).await;
    let history = history.lock();
    let counts = history.counts();
    println!("linearizable: {counts}, {repeated} sent again, {} events, {faults:?}", log.len());
    // What the server writes for itself stands in streams of its own.
    if let Err(violation) = history.check(&log, StreamName::is_system) {
        let number = violation.append().and_then(|number| usize::try_from(number).ok());
        panic!("{violation}: {:?}", number.map(|number| &history.sent()[number]));
    }
    assert!(faults.kills > 0 && faults.stops > 0 && faults.cuts > 0, "{faults:?}");
    // A run in which one of these does not happen shows little.
    assert!(counts.acknowledged > 50 && counts.reads > 20, "{counts}");
    assert!(counts.refused > 0 && repeated > 0, "{counts}, {repeated} sent again");
    server.stop().exits_with(0);
}
