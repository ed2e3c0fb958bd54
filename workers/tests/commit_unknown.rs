//! A connection that breaks between a commit and its answer, or at any other message: the worker cannot know what
//! happened, and yet every event takes effect once.

mod toy;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_workers::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use toy::{Balances, Postgres, Totals, Toy, WAIT, events};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The commit never reaches the server.
    BeforeCommit,
    /// The commit reaches the server, and nobody waits for its answer.
    AtCommit,
    /// The server has answered, and its answer is lost.
    AfterCommit,
    /// After this many messages to the server, whatever they are.
    AfterMessages(u64),
}

/// Passes messages on, and cuts a connection when told to.
#[derive(Default)]
struct Proxy {
    /// The next cut; it happens once.
    cut: parking_lot::Mutex<Option<Cut>>,
    cuts: AtomicU64,
}

impl Proxy {
    fn start(folder: &Path, server: PathBuf) -> Arc<Proxy> {
        let proxy = Arc::new(Proxy::default());
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("it listens");
        let accepting = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&server).await else { continue };
                tokio::spawn(Arc::clone(&accepting).pass(client, server));
            }
        });
        proxy
    }

    /// Whether this message is where to cut; then nobody else cuts.
    fn cuts_here(&self, message: &[u8], count: u64) -> Option<Cut> {
        let mut cut = self.cut.lock();
        let commit = message.windows(6).any(|bytes| bytes == b"COMMIT");
        let here = match (*cut)? {
            Cut::AfterMessages(after) => count >= after,
            Cut::BeforeCommit | Cut::AtCommit | Cut::AfterCommit => commit,
        };
        if !here {
            return None;
        }
        self.cuts.fetch_add(1, Ordering::SeqCst);
        cut.take()
    }

    async fn pass(self: Arc<Proxy>, mut client: UnixStream, mut server: UnixStream) {
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut count = 0;
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    count += 1;
                    match self.cuts_here(&up[..length], count) {
                        Some(Cut::BeforeCommit) => return,
                        Some(Cut::AtCommit | Cut::AfterMessages(_)) => {
                            server.write_all(&up[..length]).await.expect("it reaches the server");
                            return;
                        }
                        Some(Cut::AfterCommit) => {
                            server.write_all(&up[..length]).await.expect("it reaches the server");
                            assert!(server.read(&mut down).await.expect("it answers") > 0);
                            return;
                        }
                        None => {
                            if server.write_all(&up[..length]).await.is_err() {
                                return;
                            }
                        }
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_anywhere_has_no_double_effect() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let folder = toy::folder();
    let sockets = postgres.folder.path().join("postgres/socket");
    let proxy = Proxy::start(folder.path(), sockets.join(".s.PGSQL.5432"));
    let real = sockets.canonicalize().expect("it is there");
    let url = postgres.server.url();
    let through_proxy =
        url.replace(&real.display().to_string(), &folder.path().display().to_string());
    assert_ne!(url, through_proxy);
    let pool = connect(&through_proxy, 4).await.expect("it answers");
    let workers = toy.workers(&pool, None).await;
    let commits = [Cut::BeforeCommit, Cut::AtCommit, Cut::AfterCommit].into_iter().cycle().take(15);
    let boundaries = (1..=24).map(Cut::AfterMessages);
    for (round, cut) in (0..).zip(commits.chain(boundaries)) {
        *proxy.cut.lock() = Some(cut);
        // Sizes that are written as JSON, and sizes that are copied.
        let size = if round % 3 == 0 { 900 } else { 7 };
        toy.append(events(round * 1000, size, 800)).await;
        workers.wait_for_all(toy.head(), WAIT).await.expect("caught up after a cut");
        assert_eq!(postgres.rows::<Totals>().await, toy.fold::<Totals>(), "after {cut:?}");
    }
    assert_eq!(postgres.rows::<Balances>().await, toy.fold::<Balances>());
    assert!(proxy.cuts.load(Ordering::SeqCst) >= 15, "connections were cut");
    workers.stop().await;
    tokio::time::timeout(Duration::from_secs(10), pool.close()).await.expect("it closes");
    postgres.stop().await;
}
