//! The client: one connection, many calls.

use futures::{Stream, TryStreamExt};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::append_stream::AppendStream;
use super::connect::{ConnectOptions, SignIn, connect};
use super::error::ClientError;
use super::proto::events_client::EventsClient;
use super::proto::{
    AppendRequest, AppendResponse, ReadRequest, ReadResponse, SubscribeRequest, SubscribeResponse,
};

/// The largest message taken: an event may have 16 MiB, and comes with its form as JSON where that is asked for.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A client of a server's log. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Client {
    events: EventsClient<InterceptedService<Channel, SignIn>>,
}

impl Client {
    /// Connects to a server, `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`ClientError::Address`], [`ClientError::Connect`].
    pub async fn connect(address: &str, options: ConnectOptions) -> Result<Client, ClientError> {
        let channel = connect(address, options.flush).await?;
        let events = EventsClient::with_interceptor(channel, SignIn(options.api_key))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Client { events })
    }

    /// Appends, and returns once it is durable.
    ///
    /// # Errors
    /// [`ClientError::Refused`]. Where its code is `unknown-outcome`, or the connection broke, the events may or may
    /// not be stored: repeat the append with the same ids.
    pub async fn append(&self, append: AppendRequest) -> Result<AppendResponse, ClientError> {
        Ok(self.events.clone().append(append).await?.into_inner())
    }

    /// Opens a call for many appends.
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn append_stream(&self) -> Result<AppendStream, ClientError> {
        AppendStream::open(self.events.clone()).await
    }

    /// What the log holds now, in batches.
    ///
    /// # Errors
    /// [`ClientError::Refused`], also as the last item.
    pub async fn read(
        &self,
        read: ReadRequest,
    ) -> Result<
        impl Stream<Item = Result<ReadResponse, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        Ok(self.events.clone().read(read).await?.into_inner().map_err(ClientError::from))
    }

    /// What the log holds, and then what is added to it. Ends only with an error.
    ///
    /// # Errors
    /// [`ClientError::Refused`], also as the last item; with the status `Unavailable` go on after the last position or
    /// checkpoint received.
    pub async fn subscribe(
        &self,
        subscribe: SubscribeRequest,
    ) -> Result<
        impl Stream<Item = Result<SubscribeResponse, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        Ok(self.events.clone().subscribe(subscribe).await?.into_inner().map_err(ClientError::from))
    }
}
