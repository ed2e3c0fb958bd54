//! The service: it turns requests into what groups are asked, and a consumer's call into its line to the group.

use std::sync::Arc;

use annals_core::StreamName;
use base64::Engine as _;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::super::access::{Caller, Right};
use super::super::errors::ProtocolError;
use super::super::names::{UuidForm, stream_name};
use super::super::service::Protocol;
use super::super::wire::v1::Empty;
use super::super::wire::v1::persistent_subscriptions as wire;
use super::super::wire::v1::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptions;
use super::consumers::{About, ConsumerId};
use super::groups::{Groups, Running, whole_log};
use super::message::Message;
use super::{requests, runner};

/// The most events that one consumer may have at once.
const CONSUMER_BUFFER_MAX: i32 = 65_536;
/// So many characters of a reason are kept.
const REASON_MAX: usize = 1000;

/// The service.
#[derive(Clone)]
pub struct PersistentService {
    protocol: Arc<Protocol>,
    groups: Arc<Groups>,
}

impl PersistentService {
    /// The service over the store of the protocol.
    pub fn new(protocol: &Arc<Protocol>) -> PersistentService {
        let groups = Arc::new(Groups::new(Arc::clone(protocol)));
        PersistentService { protocol: Arc::clone(protocol), groups }
    }

    /// Loads the groups in a task of its own: they are there before anybody asks.
    pub fn load_in_background(&self) {
        let groups = Arc::clone(&self.groups);
        tokio::spawn(async move { groups.load().await });
    }

    /// Starts all groups again, each from its checkpoint; consumers are dropped.
    ///
    /// # Errors
    /// Where the groups cannot be read.
    pub async fn restart(&self) -> Result<(), ProtocolError> {
        self.groups.restart().await
    }

    /// All but reading is for those who look after the server.
    fn manage(&self, extensions: &Extensions) -> Result<(), ProtocolError> {
        self.protocol.may_operate(&self.protocol.caller(extensions))
    }
}

/// The name that a caller gives where nobody asks for one.
fn unchecked_user(metadata: &MetadataMap) -> String {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let basic = header.and_then(|value| value.strip_prefix("Basic "));
    let decoded = basic
        .and_then(|basic| base64::engine::general_purpose::STANDARD.decode(basic).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let name = decoded.and_then(|pair| pair.split_once(':').map(|(name, _)| name.to_owned()));
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "anonymous".to_owned())
}

fn about(request: &Request<Streaming<wire::ReadReq>>, caller: &Caller) -> About {
    let connection = request.metadata().get("connection-name");
    let connection = connection.and_then(|name| name.to_str().ok()).unwrap_or("<unknown>");
    About {
        buffer_size: 0,
        user: caller.login().map_or_else(|| unchecked_user(request.metadata()), str::to_owned),
        from: request.remote_addr().map(|from| from.to_string()).unwrap_or_default(),
        connection: connection.to_owned(),
    }
}

/// A consumer's call.
struct Call {
    messages: mpsc::Receiver<Message>,
    end: oneshot::Receiver<ProtocolError>,
    /// Told once the client sends no more, with what was wrong where something was.
    hung_up: oneshot::Receiver<Result<(), Status>>,
    form: UuidForm,
    protocol: Arc<Protocol>,
    caller: Caller,
    /// The stream that the group follows, or the whole log.
    source: StreamName,
    _permit: OwnedSemaphorePermit,
    /// Ends the reading of what the client sends.
    _reading: DropGuard,
}

impl Call {
    /// Whether the consumer may still read the stream, and may read what a link stands for.
    async fn check(&self, message: &Message) -> Result<(), ProtocolError> {
        self.protocol.may(&self.caller, Right::Read, &self.source).await?;
        match (&message.content.link, &message.content.event) {
            (Some(_), Some(event)) => {
                self.protocol.may(&self.caller, Right::Read, &event.stream).await
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    async fn next(mut self) -> Option<(Result<wire::ReadResp, Status>, Option<Call>)> {
        tokio::select! {
            biased;
            why = &mut self.end => {
                let why = why.unwrap_or(ProtocolError::Stopping);
                Some((Err(why.into()), None))
            }
            heard = &mut self.hung_up => {
                let wrong = heard.ok()?.err()?;
                Some((Err(wrong), None))
            }
            message = self.messages.recv() => {
                if let Some(message) = message {
                    if let Err(denied) = self.check(&message).await {
                        return Some((Err(denied.into()), None));
                    }
                    return Some((Ok(requests::event(&message, self.form)), Some(self)));
                }
                // The group says why, or has left without a word.
                let why = (&mut self.end).await.unwrap_or(ProtocolError::Stopping);
                Some((Err(why.into()), None))
            }
        }
    }
}

/// Hands on what a consumer says, until it says no more.
async fn listen(
    mut requests: Streaming<wire::ReadReq>,
    group: Running,
    consumer: ConsumerId,
) -> Result<(), Status> {
    use wire::read_req::Content;
    while let Some(request) = requests.message().await? {
        let heard = match request.content {
            Some(Content::Ack(ack)) => group.acknowledge(consumer, requests::ids(&ack.ids)?).await,
            Some(Content::Nack(nack)) => {
                let action = requests::action(nack.action)?;
                let reason: String = nack.reason.chars().take(REASON_MAX).collect();
                group.reject(consumer, requests::ids(&nack.ids)?, action, reason).await
            }
            Some(Content::Options(_)) | None => {
                let text = "only events are answered once a subscription is open";
                return Err(ProtocolError::Malformed(text.to_owned()).into());
            }
        };
        if !heard {
            break;
        }
    }
    Ok(())
}

fn options(request: wire::ReadReq) -> Option<wire::read_req::Options> {
    match request.content? {
        wire::read_req::Content::Options(options) => Some(options),
        wire::read_req::Content::Ack(_) | wire::read_req::Content::Nack(_) => None,
    }
}

fn form(options: &wire::read_req::Options) -> Result<UuidForm, ProtocolError> {
    use wire::read_req::options::uuid_option::Content;
    match options.uuid_option.as_ref().and_then(|option| option.content.as_ref()) {
        Some(Content::Structured(_)) => Ok(UuidForm::Structured),
        Some(Content::String(_)) => Ok(UuidForm::String),
        None => Err(ProtocolError::Malformed("the form of UUIDs is missing".to_owned())),
    }
}

#[tonic::async_trait]
impl PersistentSubscriptions for PersistentService {
    type ReadStream = BoxStream<'static, Result<wire::ReadResp, Status>>;

    async fn create(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        self.manage(request.extensions())?;
        self.groups.create(&requests::create(request.into_inner())?).await?;
        Ok(Response::new(wire::CreateResp {}))
    }

    async fn update(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        self.manage(request.extensions())?;
        self.groups.update(&requests::create(request.into_inner())?).await?;
        Ok(Response::new(wire::UpdateResp {}))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        self.manage(request.extensions())?;
        self.groups.delete(&requests::deleted(request.into_inner())?).await?;
        Ok(Response::new(wire::DeleteResp {}))
    }

    async fn read(
        &self,
        request: Request<Streaming<wire::ReadReq>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        use wire::read_req::options::StreamOption;
        let caller = self.protocol.caller(request.extensions());
        self.protocol.may_be_here(&caller)?;
        let permit = self.protocol.open()?;
        let about = about(&request, &caller);
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(options);
        let first = first.ok_or_else(|| {
            ProtocolError::Malformed("a subscription begins with its options".to_owned())
        })?;
        let form = form(&first)?;
        let of = match &first.stream_option {
            Some(StreamOption::All(_)) => requests::Of::All,
            Some(StreamOption::StreamIdentifier(identifier)) => {
                requests::Of::Stream(Some(identifier))
            }
            None => requests::Of::Stream(None),
        };
        let key = requests::key(&of, &first.group_name)?;
        self.protocol.may(&caller, Right::Read, &key.source).await?;
        let size = first.buffer_size.clamp(1, CONSUMER_BUFFER_MAX);
        let about = About { buffer_size: usize::try_from(size).unwrap_or(1), ..about };
        let group = self.groups.find(&key).await?;
        let runner::Connected { id, messages, end } = group.connect(about).await?;
        let confirmation =
            wire::read_resp::SubscriptionConfirmation { subscription_id: group.subscription_id() };
        let confirmation = wire::ReadResp {
            content: Some(wire::read_resp::Content::SubscriptionConfirmation(confirmation)),
        };
        let (reading, (heard, hung_up)) = (CancellationToken::new(), oneshot::channel());
        let call = Call {
            messages,
            end,
            hung_up,
            form,
            protocol: Arc::clone(&self.protocol),
            caller,
            source: key.source,
            _permit: permit,
            _reading: reading.clone().drop_guard(),
        };
        tokio::spawn(async move {
            let listened = reading.run_until_cancelled(listen(requests, group.clone(), id)).await;
            group.leave(id).await;
            drop(heard.send(listened.unwrap_or(Ok(()))));
        });
        let events = stream::unfold(Some(call), |call| async move { call?.next().await });
        Ok(Response::new(stream::iter([Ok(confirmation)]).chain(events).boxed()))
    }

    async fn get_info(
        &self,
        request: Request<wire::GetInfoReq>,
    ) -> Result<Response<wire::GetInfoResp>, Status> {
        self.manage(request.extensions())?;
        let group = self.groups.find(&requests::asked_about(request.into_inner())?).await?;
        let subscription_info = Some(requests::info(group.describe().await?));
        Ok(Response::new(wire::GetInfoResp { subscription_info }))
    }

    async fn replay_parked(
        &self,
        request: Request<wire::ReplayParkedReq>,
    ) -> Result<Response<wire::ReplayParkedResp>, Status> {
        self.manage(request.extensions())?;
        let (key, before) = requests::replayed(request.into_inner())?;
        self.groups.find(&key).await?.replay(before).await?;
        Ok(Response::new(wire::ReplayParkedResp {}))
    }

    async fn truncate_parked(
        &self,
        request: Request<wire::ReplayParkedReq>,
    ) -> Result<Response<wire::TruncateParkedResp>, Status> {
        self.manage(request.extensions())?;
        let (key, before) = requests::replayed(request.into_inner())?;
        self.groups.find(&key).await?.truncate(before).await?;
        Ok(Response::new(wire::TruncateParkedResp {}))
    }

    async fn list(
        &self,
        request: Request<wire::ListReq>,
    ) -> Result<Response<wire::ListResp>, Status> {
        use wire::list_req::options::ListOption;
        use wire::list_req::stream_option::StreamOption;
        self.manage(request.extensions())?;
        let options = request.into_inner().options.and_then(|options| options.list_option);
        let of = match options {
            None => {
                let text = "neither all groups nor those of a stream are asked for";
                return Err(ProtocolError::Malformed(text.to_owned()).into());
            }
            Some(ListOption::ListAllSubscriptions(_)) => None,
            Some(ListOption::ListForStream(of)) => Some(match of.stream_option {
                Some(StreamOption::All(_)) => whole_log(),
                Some(StreamOption::Stream(identifier)) => stream_name(Some(&identifier))?,
                None => stream_name(None)?,
            }),
        };
        let mut subscriptions = Vec::new();
        for group in self.groups.list(of.as_ref()).await? {
            subscriptions.push(requests::info(group.describe().await?));
        }
        Ok(Response::new(wire::ListResp { subscriptions }))
    }

    async fn restart_subsystem(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.manage(request.extensions())?;
        self.groups.restart().await?;
        Ok(Response::new(Empty {}))
    }
}
