//! How a connection is made.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::coalesced::Coalesced;
use super::error::ClientError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection with open calls is asked after this time whether anyone is there, and given up as long after.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How many bytes of one call the server may send ahead.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// How many bytes of all calls it may send ahead.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// What the server knows the caller by; none where it asks for nothing.
    pub api_key: Option<ApiKey>,
    /// When written bytes go out.
    pub flush: Flush,
}

/// When written bytes go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// With what else is written within one turn of the scheduler: fewer packets, and fewer wakes of the server.
    #[default]
    Coalesced,
    /// Each for itself, as other clients do.
    Immediate,
}

/// An API key. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct ApiKey(MetadataValue<Ascii>);

impl ApiKey {
    /// Takes a key.
    ///
    /// # Errors
    /// [`ClientError::ApiKey`] where it cannot stand in a header.
    pub fn new(key: &str) -> Result<ApiKey, ClientError> {
        let mut value = MetadataValue::try_from(key).map_err(|_| ClientError::ApiKey)?;
        value.set_sensitive(true);
        Ok(ApiKey(value))
    }
}

/// Puts the key into each request.
#[derive(Clone)]
pub(crate) struct SignIn(pub(crate) Option<ApiKey>);

impl Interceptor for SignIn {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(ApiKey(key)) = &self.0 {
            request.metadata_mut().insert("x-api-key", key.clone());
        }
        Ok(request)
    }
}

/// Makes a connection, which is made again when it breaks.
pub(crate) async fn connect(address: &str, flush: Flush) -> Result<Channel, ClientError> {
    let wrong = |source| ClientError::Address { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(Some(error)))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
        return Err(wrong(None));
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let channel = match flush {
        Flush::Coalesced => endpoint.connect_with_connector(tower::service_fn(dial)).await,
        Flush::Immediate => endpoint.connect().await,
    };
    channel.map_err(|source| ClientError::Connect { address: address.to_owned(), source })
}

async fn dial(uri: Uri) -> io::Result<TokioIo<Coalesced<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    socket.set_nodelay(true)?;
    Ok(TokioIo::new(Coalesced::new(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_show() {
        let options = ConnectOptions {
            api_key: Some(ApiKey::new("a-canary-of-this-test").expect("visible ASCII")),
            ..ConnectOptions::default()
        };
        assert!(!format!("{options:?}").contains("canary"));
        assert!(ApiKey::new("line\nbreak").is_err());
    }

    #[tokio::test]
    async fn a_wrong_address_is_told() {
        for address in ["", "127.0.0.1:2113", "https://127.0.0.1:2113", "http://"] {
            let error = connect(address, Flush::Coalesced).await.expect_err(address);
            assert!(matches!(error, ClientError::Address { .. }), "{address}: {error:?}");
        }
    }
}
