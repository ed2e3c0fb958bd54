//! One pass over the log for several folds at once: read, decode each event once a context, and hand what was decoded
//! to every lane of that context. Reading, decoding and folding run beside each other; every queue is bounded.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;

use annals_core::{Filter, Position, ReadQuery, RecordedEvent, Start};
use annals_workers::decoding::{Decoded, Decoder, FoldError};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::source::{ReplayError, ReplaySource};

/// Events that travel together.
const PIECE_EVENTS: usize = 4096;
/// Pieces in each queue.
const PIECES_AHEAD: usize = 4;
/// Pieces decoded at the same time.
const DECODERS: usize = 2;

/// What a lane does with decoded events. It runs on a thread of its own and may wait for a database.
pub(crate) trait Consumer: Send + 'static {
    /// Folds `events`, which reach up to `through`.
    fn take(&mut self, events: &Decoded, through: Position) -> Result<(), ReplayError>;
}

/// One projection in a scan.
pub(crate) struct Lane<C> {
    pub(crate) name: &'static str,
    pub(crate) decoder: Arc<dyn Decoder>,
    /// Where it stops (inclusive); nothing means at the end.
    pub(crate) until: Option<Position>,
    pub(crate) consumer: C,
    /// The events it was given.
    pub(crate) events: u64,
}

/// What a scan did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanned {
    /// Events read, of all contexts that were asked for.
    pub(crate) events: u64,
    /// The end of what was looked at.
    pub(crate) through: Option<Position>,
}

/// Events of the same decoder, and how far they reach.
struct Piece {
    groups: Vec<Vec<RecordedEvent>>,
    through: Position,
}

struct DecodedPiece {
    groups: Vec<Result<Decoded, FoldError>>,
    through: Position,
}

/// The decoders that a set of lanes needs, each once.
struct Groups {
    decoders: Vec<Arc<dyn Decoder>>,
    of_lane: Vec<usize>,
    contexts: Vec<&'static str>,
}

impl Groups {
    fn of<C>(lanes: &[Lane<C>]) -> Groups {
        let mut places: HashMap<(&'static str, TypeId), usize> = HashMap::new();
        let mut groups = Groups { decoders: Vec::new(), of_lane: Vec::new(), contexts: Vec::new() };
        for lane in lanes {
            let key = (lane.decoder.context(), lane.decoder.event_type());
            let place = *places.entry(key).or_insert_with(|| {
                groups.decoders.push(Arc::clone(&lane.decoder));
                groups.decoders.len() - 1
            });
            groups.of_lane.push(place);
        }
        groups.contexts = groups.decoders.iter().map(|decoder| decoder.context()).collect();
        groups
    }
}

/// Runs the events after `after`, up to what the log holds now, through the lanes; `on_piece` hears how many events
/// have been read, and the position reached.
pub(crate) async fn scan<C: Consumer>(
    source: &ReplaySource,
    after: Option<Position>,
    lanes: Vec<Lane<C>>,
    on_piece: &(dyn Fn(u64, Position) + Send + Sync),
) -> Result<(Vec<Lane<C>>, Scanned), ReplayError> {
    if lanes.is_empty() {
        return Ok((lanes, Scanned { events: 0, through: after }));
    }
    let groups = Groups::of(&lanes);
    let bounds: Vec<_> = lanes.iter().filter_map(|lane| lane.until).collect();
    let all_bounded = bounds.len() == lanes.len();
    let until = bounds.iter().copied().max().filter(|_| all_bounded);
    let (pieces, reader) = read(source, after, until, bounds, groups.contexts.clone());
    let mut senders = Vec::new();
    let mut threads = Vec::new();
    for (lane, group) in lanes.into_iter().zip(&groups.of_lane) {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        senders.push((*group, lane.until, lane.name, sender));
        threads.push(spawn_blocking(move || run_lane(lane, receiver)));
    }
    let outcome = feed_lanes(source, pieces, &groups, &senders, on_piece).await;
    drop(senders);
    let mut finished = Vec::new();
    let mut lane_error = None;
    for thread in threads {
        match joined(thread.await) {
            Ok(lane) => finished.push(lane),
            Err(error) => lane_error = lane_error.or(Some(error)),
        }
    }
    let read = joined(reader.await);
    if let Some(error) = lane_error {
        return Err(error);
    }
    let events = outcome?;
    Ok((finished, Scanned { events, through: read?.max(after) }))
}

fn joined<T>(
    result: Result<Result<T, ReplayError>, tokio::task::JoinError>,
) -> Result<T, ReplayError> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("no task of a scan is ever cancelled"),
        },
    }
}

fn run_lane<C: Consumer>(
    mut lane: Lane<C>,
    mut pieces: mpsc::Receiver<(Decoded, Position)>,
) -> Result<Lane<C>, ReplayError> {
    while let Some((decoded, through)) = pieces.blocking_recv() {
        lane.events += decoded.len() as u64;
        lane.consumer.take(&decoded, through)?;
    }
    Ok(lane)
}

type Sender = (usize, Option<Position>, &'static str, mpsc::Sender<(Decoded, Position)>);

async fn feed_lanes(
    source: &ReplaySource,
    pieces: mpsc::Receiver<Piece>,
    groups: &Groups,
    senders: &[Sender],
    on_piece: &(dyn Fn(u64, Position) + Send + Sync),
) -> Result<u64, ReplayError> {
    let decoding = futures::stream::unfold(pieces, |mut pieces| async move {
        Some((pieces.recv().await?, pieces))
    })
    .map(|piece| decode(source, &groups.decoders, piece))
    .buffered(DECODERS);
    let mut decoding = std::pin::pin!(decoding);
    let mut events = 0;
    while let Some(piece) = decoding.next().await {
        let piece = piece?;
        for (group, until, name, sender) in senders {
            if until.is_some_and(|until| piece.through > until) {
                continue;
            }
            let decoded = match &piece.groups[*group] {
                Ok(decoded) => decoded.clone(),
                Err(error) => {
                    return Err(ReplayError::Fold { name, source: error.clone() });
                }
            };
            if decoded.is_empty() {
                continue;
            }
            if sender.send((decoded, piece.through)).await.is_err() {
                return Ok(events); // The lane has failed; it tells why itself.
            }
        }
        events += piece.groups.iter().flatten().map(|decoded| decoded.len() as u64).sum::<u64>();
        on_piece(events, piece.through);
    }
    Ok(events)
}

async fn decode(
    source: &ReplaySource,
    decoders: &[Arc<dyn Decoder>],
    piece: Piece,
) -> Result<DecodedPiece, ReplayError> {
    let decoders = decoders.to_vec();
    let schemas = source.schemas.clone();
    let groups = Arc::new(piece.groups);
    let run = {
        let groups = Arc::clone(&groups);
        let (decoders, schemas) = (decoders.clone(), schemas.clone());
        move || decode_groups(&decoders, &groups, &schemas)
    };
    let mut decoded = joined(spawn_blocking(move || Ok(run())).await)?;
    if decoded.iter().any(|group| group.as_ref().is_err_and(FoldError::lacks_schema)) {
        schemas.refresh(source.store.as_ref()).await?;
        decoded = decode_groups(&decoders, &groups, &schemas);
    }
    Ok(DecodedPiece { groups: decoded, through: piece.through })
}

fn decode_groups(
    decoders: &[Arc<dyn Decoder>],
    groups: &[Vec<RecordedEvent>],
    schemas: &annals_core::Schemas,
) -> Vec<Result<Decoded, FoldError>> {
    decoders.iter().zip(groups).map(|(decoder, events)| decoder.decode(events, schemas)).collect()
}

/// Reads on a task of its own; the task answers the end of what was looked at.
fn read(
    source: &ReplaySource,
    after: Option<Position>,
    until: Option<Position>,
    bounds: Vec<Position>,
    contexts: Vec<&'static str>,
) -> (mpsc::Receiver<Piece>, JoinHandle<Result<Option<Position>, ReplayError>>) {
    let prefixes = contexts.iter().map(|context| format!("{context}.")).collect();
    let filter = Filter { type_prefixes: prefixes, ..Filter::default() };
    let start = after.map_or(Start::Edge, Start::After);
    let mut batches = source.store.read(ReadQuery::all().from(start).filtered(filter));
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let reader = tokio::spawn(async move {
        let mut cutter = Cutter { contexts, bounds, groups: Vec::new(), held: 0, last: None };
        let mut through = None;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            through = through.max(batch.through);
            for event in Arc::unwrap_or_clone(batch.events) {
                if until.is_some_and(|until| event.position > until) {
                    break;
                }
                if let Some(piece) = cutter.before(&event)
                    && sender.send(piece).await.is_err()
                {
                    return Ok(through);
                }
                cutter.add(event);
            }
            if until.is_some() && through >= until {
                through = until;
                break;
            }
        }
        if let Some(piece) = cutter.cut()
            && sender.send(piece).await.is_err()
        {
            return Ok(through);
        }
        Ok(through)
    });
    (receiver, reader)
}

/// Cuts the stream of events into pieces: when they are full, and at every lane's end.
struct Cutter {
    contexts: Vec<&'static str>,
    bounds: Vec<Position>,
    groups: Vec<Vec<RecordedEvent>>,
    held: usize,
    last: Option<Position>,
}

impl Cutter {
    /// The piece that must end before this event, if one must.
    fn before(&mut self, event: &RecordedEvent) -> Option<Piece> {
        let last = self.last?;
        let crosses = self.bounds.iter().any(|bound| last <= *bound && event.position > *bound);
        if self.held >= PIECE_EVENTS || crosses { self.cut() } else { None }
    }

    fn add(&mut self, event: RecordedEvent) {
        self.groups.resize_with(self.contexts.len(), Vec::new);
        self.last = Some(event.position);
        self.held += 1;
        let context = event.event_type.context();
        let mut places = self.contexts.iter().enumerate().filter(|(_, c)| **c == context);
        let Some((first, _)) = places.next() else { return };
        for (other, _) in places {
            self.groups[other].push(event.clone());
        }
        self.groups[first].push(event);
    }

    fn cut(&mut self) -> Option<Piece> {
        let through = self.last.take()?;
        self.held = 0;
        Some(Piece { groups: std::mem::take(&mut self.groups), through })
    }
}
