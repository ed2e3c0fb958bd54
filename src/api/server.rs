//! The listener: HTTP/1.1 and HTTP/2 with prior knowledge on one port, or both over TLS, REST and gRPC side by side.
//! It refuses to listen beyond this machine without an API key or users, or in the clear with users, and ends without
//! cutting anybody off who is nearly done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals_core::Family;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic_reflection::server::Error as ReflectionError;

use super::edge::Edge;
use super::prompt::Prompt;
use super::state::ApiState;
use super::tls::{self, TlsError};
use super::turns::Turns;
use crate::config::Config;

/// How long after a failed accept the next one is tried; file descriptors may have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often metrics are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// An idle HTTP/2 connection is asked after this time whether anyone is there, and closed as long
/// after.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Requests that one HTTP/2 connection may have open: more than are served at once, so that whoever asks for too much is
/// told so instead of waiting for ever behind their own subscriptions.
const STREAMS_MAX: u32 = 16_384;

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be found.
    #[error("address {address} cannot be resolved")]
    Resolve {
        /// The address as configured.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The address is open to others, and nobody would have to sign in.
    #[error(
        "address {address} can be reached from other machines, and no api_key is configured; set \
         ANNALS_API_KEY, or listen on 127.0.0.1, or accept the risk with --insecure"
    )]
    Exposed {
        /// The address as configured.
        address: String,
    },
    /// The address is open to others, and passwords would go there in the clear.
    #[error(
        "address {address} can be reached from other machines, and users would sign in without TLS; set tls.certificate \
         and tls.key, or listen on 127.0.0.1, or, behind a proxy that ends TLS, accept it with --insecure"
    )]
    InTheClear {
        /// The address as configured.
        address: String,
    },
    /// The server cannot prove itself.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken, or not ours.
    #[error("listening on {address} failed")]
    Listen {
        /// The address as configured.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The description of the gRPC services is broken.
    #[error("the gRPC services cannot be described")]
    Reflection(#[source] ReflectionError),
}

impl ServeError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ServeError::Resolve { .. }
            | ServeError::Exposed { .. }
            | ServeError::InTheClear { .. } => Family::Malformed,
            ServeError::Tls(error) => error.family(),
            ServeError::Listen { .. } | ServeError::Reflection(_) => Family::Unavailable,
        }
    }
}

/// The address that was taken, and what the server proves itself with there.
pub struct Listening {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listening {
    /// The address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Takes the configured address. Nothing is answered until [`serve`].
///
/// # Errors
/// [`ServeError`].
pub async fn listen(config: &Config) -> Result<Listening, ServeError> {
    let tls = tls::acceptor(&config.tls)?;
    let address = || config.address.clone();
    let found = lookup_host(&config.address)
        .await
        .map_err(|source| ServeError::Resolve { address: address(), source })?;
    let found: Vec<SocketAddr> = found.collect();
    let exposed = found.iter().any(|address| !address.ip().is_loopback());
    if exposed && config.secured && tls.is_none() {
        if !config.insecure {
            return Err(ServeError::InTheClear { address: address() });
        }
        tracing::warn!(address = config.address, "users sign in here in the clear");
    }
    if exposed && !config.secured && config.api_key.is_none() {
        if !config.insecure {
            return Err(ServeError::Exposed { address: address() });
        }
        tracing::warn!(address = config.address, "anyone who reaches this address is served");
    }
    let listener = TcpListener::bind(&found[..])
        .await
        .map_err(|source| ServeError::Listen { address: address(), source })?;
    Ok(Listening { listener, tls })
}

/// Serves until `shutdown` ends. Then nobody new is let in, subscriptions end with UNAVAILABLE, and
/// requests have the configured time to end.
///
/// # Errors
/// [`ServeError`], before anything is served.
pub async fn serve(
    state: Arc<ApiState>,
    listening: Listening,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Listening { listener, tls } = listening;
    let edge = Edge::new(&state).map_err(ServeError::Reflection)?;
    let projections = Arc::clone(&state.system_projections);
    tokio::spawn(async move { projections.start().await });
    let answering = Answering {
        connections: connection_builder(&state),
        tls,
        handshake_timeout: Duration::from_millis(state.limits.header_timeout_ms),
        stopping: state.stopping.clone(),
    };
    let graceful = GracefulShutdown::new();
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            () = state.asked_to_stop.cancelled() => break,
            _ = tidy.tick() => {
                if let Some(metrics) = &state.parts.metrics {
                    metrics.tidy();
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        answering.answer(socket, edge.of(peer), &graceful);
    }
    drop(listener);
    state.stopping.cancel();
    let limit = Duration::from_millis(state.limits.shutdown_timeout_ms);
    if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!(?limit, "requests that did not end in time were cut off");
    }
    if tokio::time::timeout(limit, state.system_projections.close()).await.is_err() {
        tracing::warn!(?limit, "projections did not end in time");
    }
    if let Ok(read_models) = state.read_models() {
        read_models.close().await;
    }
    Ok(())
}

fn connection_builder(state: &ApiState) -> Arc<auto::Builder<TokioExecutor>> {
    let mut connections = auto::Builder::new(TokioExecutor::new());
    let header_timeout = Duration::from_millis(state.limits.header_timeout_ms);
    connections.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    connections
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(256 << 10)
        .max_concurrent_streams(STREAMS_MAX);
    Arc::new(connections)
}

/// How connections are answered, each in a task of its own.
struct Answering {
    connections: Arc<auto::Builder<TokioExecutor>>,
    tls: Option<TlsAcceptor>,
    handshake_timeout: Duration,
    stopping: CancellationToken,
}

impl Answering {
    fn answer(&self, socket: TcpStream, edge: Edge, graceful: &GracefulShutdown) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        let socket = Prompt::new(socket);
        let (connections, watcher) = (Arc::clone(&self.connections), graceful.watcher());
        let Some(tls) = self.tls.clone() else {
            tokio::spawn(answer_on(socket, connections, edge, watcher));
            return;
        };
        let (limit, stopping) = (self.handshake_timeout, self.stopping.clone());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(limit, tls.accept(socket));
            // Who has not shaken hands as the server stops has asked for nothing yet.
            match stopping.run_until_cancelled(handshake).await {
                Some(Ok(Ok(socket))) => {
                    answer_on(socket, connections, edge, watcher).await;
                }
                Some(Ok(Err(error))) => tracing::debug!(%error, "a handshake failed"),
                Some(Err(_)) => tracing::debug!(?limit, "a handshake took too long"),
                None => {}
            }
        });
    }
}

async fn answer_on<I>(
    socket: I,
    connections: Arc<auto::Builder<TokioExecutor>>,
    edge: Edge,
    watcher: Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = TokioIo::new(Turns::new(socket));
    let connection = connections.serve_connection_with_upgrades(socket, edge);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(error, "a connection broke");
    }
}
