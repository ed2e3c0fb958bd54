//! A proxy between clients and a server: it keeps its address when the server gets another, and cuts connections.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The proxy; clones share it. It runs as long as the runtime does.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: String,
    upstream: Arc<Mutex<String>>,
    /// Every connection ends when the number changes.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    /// Listens on a free port and leads to that address.
    pub(crate) async fn start(upstream: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        let upstream = Arc::new(Mutex::new(upstream.to_owned()));
        let proxy = Proxy { address, upstream, cuts: watch::Sender::new(0) };
        let serving = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a listener accepts");
                tokio::spawn(serving.clone().carry(client));
            }
        });
        proxy
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead_to(&self, upstream: &str) {
        let mut held = self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        upstream.clone_into(&mut held);
    }

    /// Cuts every connection, in the middle of whatever it carries.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn carry(self, mut client: TcpStream) {
        let mut cuts = self.cuts.subscribe();
        let upstream = self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let carried = async {
            let mut server = TcpStream::connect(upstream).await?;
            server.set_nodelay(true)?;
            client.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut server).await
        };
        // However it ends, both ends see a broken connection: that is what is tested.
        tokio::select! {
            _ = carried => {}
            _ = cuts.changed() => {}
        }
    }
}
