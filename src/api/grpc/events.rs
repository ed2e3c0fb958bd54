//! The log over gRPC: appends, reads and subscriptions. A caller who takes events slowly slows its own
//! stream alone; what is held for it is one batch. A subscription ends with UNAVAILABLE as the
//! server stops, and with the store's error.

use std::sync::Arc;

use annals_core::{
    Batch, Direction, EventQuery, EventType, Filter, Pattern, Position, QueryItem, ReadError,
    ReadQuery, RecordedEvent, Revision, Source, Start,
};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::append::{answer, take};
use super::append_stream::Answers;
use super::encoded::{EventMessage, Payload};
use super::proto;
use super::proto::events_server::Events;
use super::proto::subscribe_request::Start as ProtoStart;
use super::proto::subscribe_response::Content;
use super::proto::{
    AppendRequest, AppendResponse, AppendStreamRequest, AppendStreamResponse, CaughtUp, Checkpoint,
    EventFilter, ReadRequest, SubscribeRequest, SubscribeResponse,
};
use crate::api::log::read_problem;
use crate::api::parameters::stream_name;
use crate::api::problem::Problem;
use crate::api::state::ApiState;

/// A message is sent once its events have this many bytes: few enough to stay in a processor's cache on their way, and to
/// be decoded while the next are read.
const MESSAGE_BYTES: usize = 64 << 10;

/// The service.
pub(super) struct EventService(pub(super) Arc<ApiState>);

/// Which form of the payload is asked for.
#[derive(Clone, Copy)]
enum Form {
    Stored,
    Json,
    Both,
}

impl Form {
    fn of(payload: i32) -> Result<Form, Problem> {
        match proto::Payload::try_from(payload) {
            Ok(proto::Payload::Unspecified | proto::Payload::Avro) => Ok(Form::Stored),
            Ok(proto::Payload::Json) => Ok(Form::Json),
            Ok(proto::Payload::Both) => Ok(Form::Both),
            Err(_) => Err(Problem::malformed("wrong-value", "payload has an unknown value")),
        }
    }
}

fn source(stream: &str) -> Result<Source, Problem> {
    if stream.is_empty() { Ok(Source::All) } else { stream_name(stream).map(Source::Stream) }
}

fn filter(filter: Option<EventFilter>, source: &Source) -> Result<Filter, Problem> {
    let filter = filter.unwrap_or_default();
    let pattern = |expression: &str| {
        if expression.is_empty() {
            return Ok(None);
        }
        let pattern = Pattern::new(expression);
        pattern.map(Some).map_err(|error| Problem::malformed("wrong-value", error.to_string()))
    };
    Ok(Filter {
        stream_prefixes: filter.stream_prefixes,
        type_prefixes: filter.type_prefixes,
        stream_pattern: pattern(&filter.stream_pattern)?,
        type_pattern: pattern(&filter.type_pattern)?,
        query: query(filter.items)?,
        // Who names one stream means it.
        no_system: !filter.with_system && *source == Source::All,
    })
}

/// A query, from its items.
///
/// # Errors
/// The problem of a type that is none.
pub(super) fn query(items: Vec<proto::QueryItem>) -> Result<EventQuery, Problem> {
    let item = |item: proto::QueryItem| {
        let types = item.types.iter().map(EventType::new).collect::<Result<Vec<_>, _>>();
        let types = types.map_err(|error| Problem::malformed("wrong-value", error.to_string()))?;
        Ok(QueryItem { types, tags: item.tags.into_iter().collect() })
    };
    let items = items.into_iter().map(item).collect::<Result<Vec<_>, Problem>>()?;
    Ok(EventQuery { items })
}

/// Events in messages of bounded size.
async fn messages(
    state: &ApiState,
    batch: &Arc<Vec<RecordedEvent>>,
    form: Form,
) -> Vec<EventMessage> {
    let (mut messages, mut message) = (Vec::new(), EventMessage::begin(batch, 0));
    for event in batch.iter() {
        message.add(payload(state, event, form).await);
        if message.len() >= MESSAGE_BYTES {
            let next = EventMessage::begin(batch, message.end());
            messages.push(std::mem::replace(&mut message, next));
        }
    }
    if message.len() > 0 {
        messages.push(message);
    }
    messages
}

async fn payload(state: &ApiState, event: &RecordedEvent, form: Form) -> Payload {
    let json = match form {
        Form::Stored => None,
        Form::Json | Form::Both => json(state, event).await,
    };
    match (json, form) {
        (None, _) => Payload::Stored,
        (Some(json), Form::Both) => Payload::Both(json),
        (Some(json), Form::Json | Form::Stored) => Payload::Json(json),
    }
}

/// The payload as JSON; none where it has no such form. An object could be taken for a payload; the bytes as stored tell
/// all there is.
async fn json(state: &ApiState, event: &RecordedEvent) -> Option<String> {
    state.know_schema(event).await;
    let json = state.parts.travel.folds().event_json(event, &state.parts.schemas);
    json.ok().map(|json| json.to_string())
}

/// Turns one batch into messages.
type Render<T> = fn(Vec<EventMessage>, &Batch, &mut Progress) -> Vec<T>;

/// How far a subscription is.
#[derive(Default)]
struct Progress {
    through: Option<Position>,
    caught_up: bool,
}

struct Delivery<T> {
    state: Arc<ApiState>,
    batches: BoxStream<'static, Result<Batch, ReadError>>,
    form: Form,
    render: Render<T>,
    progress: Progress,
    /// Held as long as the stream is open.
    _permit: OwnedSemaphorePermit,
}

impl<T: Send + 'static> Delivery<T> {
    fn into_stream(self) -> BoxStream<'static, Result<T, Status>> {
        let steps = stream::unfold(Some(self), |delivery| async move {
            let mut delivery = delivery?;
            let stopping = delivery.state.stopping.clone();
            let batch = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    let detail = "the server is stopping; go on after the last position received";
                    let problem = Problem::unavailable("stopping", detail);
                    return Some((vec![Err(Status::from(problem))], None));
                }
                batch = delivery.batches.next() => batch?,
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let status = Status::from(read_problem(&error));
                    return Some((vec![Err(status)], None));
                }
            };
            let messages = messages(&delivery.state, &batch.events, delivery.form).await;
            let rendered = (delivery.render)(messages, &batch, &mut delivery.progress);
            Some((rendered.into_iter().map(Ok).collect(), Some(delivery)))
        });
        steps.flat_map(stream::iter).boxed()
    }
}

fn read_messages(
    mut messages: Vec<EventMessage>,
    batch: &Batch,
    _: &mut Progress,
) -> Vec<EventMessage> {
    let last = messages.pop();
    if last.is_none() && batch.through.is_none() {
        return Vec::new();
    }
    let mut rendered = Vec::with_capacity(messages.len() + 1);
    rendered.extend(messages.into_iter().map(|message| {
        let through = message.last();
        message.with_through(through)
    }));
    rendered.push(last.unwrap_or_default().with_through(batch.through));
    rendered
}

fn subscription_messages(
    messages: Vec<EventMessage>,
    batch: &Batch,
    progress: &mut Progress,
) -> Vec<SubscribeResponse> {
    let idle = messages.is_empty();
    let mut contents: Vec<Content> = messages.into_iter().map(Content::Batch).collect();
    let moved = batch.through > progress.through;
    progress.through = progress.through.max(batch.through);
    if let Some(position) = batch.through.filter(|_| moved) {
        contents.push(Content::Checkpoint(Checkpoint { position: position.0 }));
    }
    // Told once each time that it becomes so: after events, and at the very beginning.
    if batch.caught_up && (!progress.caught_up || !idle) {
        let position = progress.through.map(|through| through.0);
        contents.push(Content::CaughtUp(CaughtUp { position }));
    }
    progress.caught_up = batch.caught_up;
    contents.into_iter().map(|content| SubscribeResponse { content: Some(content) }).collect()
}

impl EventService {
    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0.subscriptions).try_acquire_owned().map_err(|_| {
            let most = self.0.limits.subscriptions_max;
            let detail = format!("{most} streams of events are open, which is the bound");
            Problem::new(annals_core::Family::TooMuch, "too-many-subscriptions", detail)
        })
    }
}

#[tonic::async_trait]
impl Events for EventService {
    type ReadStream = BoxStream<'static, Result<EventMessage, Status>>;
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;
    type AppendStreamStream = BoxStream<'static, Result<AppendStreamResponse, Status>>;

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        let parts = &self.0.parts;
        let waiting = take(&*parts.store, &parts.schemas, &mut None, request.into_inner())?;
        let limit = self.0.limits.command_timeout();
        let Ok(outcome) = tokio::time::timeout(limit, waiting).await else {
            let detail = format!(
                "the append was not durable after {} ms; repeat it with the same event ids",
                limit.as_millis()
            );
            return Err(Problem::unavailable("unknown-outcome", detail).into());
        };
        Ok(Response::new(answer(outcome)?))
    }

    async fn append_stream(
        &self,
        request: Request<tonic::Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let permit = self.permit()?;
        let state = Arc::clone(&self.0);
        let mut checked = None;
        let place =
            move |append| take(&*state.parts.store, &state.parts.schemas, &mut checked, append);
        let stopping = self.0.stopping.clone();
        Ok(Response::new(Answers::new(request.into_inner(), place, stopping, permit).boxed()))
    }

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let form = Form::of(request.payload)?;
        let source = source(&request.stream)?;
        let start = match (request.from_revision, request.from_position) {
            (None, None) => Start::Edge,
            (Some(revision), None) if source != Source::All => Start::Revision(Revision(revision)),
            (None, Some(position)) => Start::Position(Position(position)),
            (Some(_), _) => {
                let detail = "from_revision goes with stream, and not with from_position";
                return Err(Problem::malformed("wrong-start", detail).into());
            }
        };
        let query = ReadQuery {
            direction: if request.backwards { Direction::Backwards } else { Direction::Forwards },
            start,
            limit: Some(request.limit).filter(|limit| *limit > 0),
            filter: filter(request.filter, &source)?,
            source,
        };
        let permit = self.permit()?;
        let delivery = Delivery {
            state: Arc::clone(&self.0),
            batches: self.0.parts.store.read(query),
            form,
            render: read_messages,
            progress: Progress::default(),
            _permit: permit,
        };
        Ok(Response::new(delivery.into_stream()))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let form = Form::of(request.payload)?;
        let source = source(&request.stream)?;
        let start = match request.start {
            None | Some(ProtoStart::FromEnd(false)) => Start::Edge,
            Some(ProtoStart::FromPosition(position)) => Start::Position(Position(position)),
            Some(ProtoStart::AfterPosition(position)) => Start::After(Position(position)),
            Some(ProtoStart::FromEnd(true)) => Start::End,
        };
        let filter = filter(request.filter, &source)?;
        let query = ReadQuery { source, start, filter, ..ReadQuery::all() };
        let permit = self.permit()?;
        let delivery = Delivery {
            state: Arc::clone(&self.0),
            batches: self.0.parts.store.subscribe(query),
            form,
            render: subscription_messages,
            progress: Progress::default(),
            _permit: permit,
        };
        Ok(Response::new(delivery.into_stream()))
    }
}
