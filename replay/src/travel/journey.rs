//! The three questions: state, history, difference. Each is one pass over the subject's events.

use std::sync::Arc;

use annals_core::{EventStore, Position, RecordedEvent, Revision, Schemas};
use serde_json::Value;

use super::changes::changes_between;
use super::error::TravelError;
use super::folds::Folds;
use super::point::{Point, Subject};
use super::report::{Change, Difference, History, Place, Snapshot};
use super::walk::{Step, Walk};

/// Travels through one store under one domain; clones share both.
#[derive(Clone)]
pub struct Travel {
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    folds: Arc<Folds>,
}

/// Which part of a history is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Not before this position.
    pub from: Option<Position>,
    /// Not after this point.
    pub to: Point,
    /// How many events at most.
    pub limit: usize,
    /// Which ones where there are more.
    pub keep: Keep,
}

/// Which events of a window are kept where there are more than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The oldest; [`History::next`] tells where to go on.
    Oldest,
    /// The youngest.
    Youngest,
}

impl Window {
    /// The first `limit` events.
    pub fn oldest(limit: usize) -> Window {
        Window { from: None, to: Point::Now, limit, keep: Keep::Oldest }
    }

    /// The last `limit` events.
    pub fn youngest(limit: usize) -> Window {
        Window { keep: Keep::Youngest, ..Window::oldest(limit) }
    }
}

impl Travel {
    /// Travels through `store`, whose writer schemas `schemas` holds.
    pub fn new(store: Arc<dyn EventStore>, schemas: Schemas, folds: Arc<Folds>) -> Travel {
        Travel { store, schemas, folds }
    }

    /// The folds it knows.
    pub fn folds(&self) -> &Folds {
        &self.folds
    }

    /// The subject as it was at a point. Before its first event it is there with no state.
    ///
    /// # Errors
    /// [`TravelError`]; an unknown subject is one that no event ever touched.
    pub async fn state(&self, subject: &Subject, at: Point) -> Result<Snapshot, TravelError> {
        let [state] = self.states(subject, [at]).await?;
        Ok(state)
    }

    /// How the subject differs between two points, of which either may be the earlier one.
    ///
    /// # Errors
    /// As [`Travel::state`].
    pub async fn diff(
        &self,
        subject: &Subject,
        from: Point,
        to: Point,
    ) -> Result<Difference, TravelError> {
        let [from, to] = self.states(subject, [from, to]).await?;
        let changes = changes_between(from.state.as_ref(), to.state.as_ref());
        Ok(Difference { subject: subject.clone(), from, to, changes })
    }

    /// The subject at several points, in one pass.
    async fn states<const N: usize>(
        &self,
        subject: &Subject,
        points: [Point; N],
    ) -> Result<[Snapshot; N], TravelError> {
        for point in points {
            self.check_position(point)?;
        }
        let mut walk = self.walk(subject)?;
        let mut found: [Option<Snapshot>; N] = [const { None }; N];
        let mut passed: Option<(Place, Revision)> = None;
        let mut events = 0;
        while found.iter().any(Option::is_none) {
            let step = walk.next(&points).await?;
            let next = match &step {
                Step::Event(event, number) => Some((event.as_ref(), *number)),
                Step::Beyond | Step::End => None,
            };
            if next.is_none() && passed.is_none() {
                return Err(unknown(subject));
            }
            for (point, found) in points.into_iter().zip(&mut found) {
                let ends = next.is_none_or(|(event, number)| !point.holds(event, number));
                if !ends || found.is_some() {
                    continue;
                }
                if next.is_none() {
                    check_revision(subject, point, passed.as_ref().map(|(_, number)| *number))?;
                }
                *found = Some(Snapshot {
                    subject: subject.clone(),
                    fold: walk.fold,
                    events,
                    last: passed.as_ref().map(|(place, _)| place.clone()),
                    state: walk.state()?,
                });
            }
            if let Some((event, number)) = next {
                walk.take();
                events += 1;
                passed = Some((Place::of(event), number));
            }
        }
        Ok(found.map(|found| found.expect("the loop ends once every point is found")))
    }

    /// The events that made the subject what it is, oldest first, and what each changed.
    ///
    /// # Errors
    /// As [`Travel::state`].
    pub async fn history(&self, subject: &Subject, window: Window) -> Result<History, TravelError> {
        self.check_position(window.to)?;
        let skip = match window.keep {
            Keep::Oldest => 0,
            Keep::Youngest => self.count(subject, window).await?.saturating_sub(window.limit),
        };
        let mut walk = self.walk(subject)?;
        let mut history =
            History { subject: subject.clone(), fold: walk.fold, changes: Vec::new(), next: None };
        let (mut inside, mut last) = (0, None);
        // The state before the next event, kept only while events are shown.
        let mut before: Option<Option<Value>> = None;
        loop {
            let (event, number) = match walk.next(&[window.to]).await? {
                Step::Event(event, number) => (event, number),
                Step::Beyond => break,
                Step::End if last.is_none() => return Err(unknown(subject)),
                Step::End => {
                    check_revision(subject, window.to, last)?;
                    break;
                }
            };
            last = Some(number);
            if !window.to.holds(&event, number) {
                break;
            }
            let shown = window.from.is_none_or(|from| event.position >= from);
            inside += usize::from(shown);
            if shown && history.changes.len() == window.limit {
                history.next = Some(event.position);
                break;
            }
            if !shown || inside <= skip {
                walk.take();
                continue;
            }
            let earlier = match before.take() {
                Some(earlier) => earlier,
                None => walk.state()?,
            };
            walk.take();
            let later = walk.state()?;
            let changes = changes_between(earlier.as_ref(), later.as_ref());
            history.changes.push(self.change(subject, &event, number, changes)?);
            before = Some(later);
        }
        Ok(history)
    }

    /// How many events stand in a window, whatever its limit.
    async fn count(&self, subject: &Subject, window: Window) -> Result<usize, TravelError> {
        let mut walk = self.walk(subject)?;
        let mut count = 0;
        while let Step::Event(event, number) = walk.next(&[window.to]).await? {
            if !window.to.holds(&event, number) {
                break;
            }
            count += usize::from(window.from.is_none_or(|from| event.position >= from));
        }
        Ok(count)
    }

    fn change(
        &self,
        subject: &Subject,
        event: &RecordedEvent,
        number: Revision,
        changes: Vec<super::FieldChange>,
    ) -> Result<Change, TravelError> {
        let json = self.folds.event_json(event, &self.schemas);
        let json = json.map_err(|source| {
            let subject = subject.clone();
            TravelError::Undecodable { subject, source }
        })?;
        let (place, metadata) = (Place::of(event), event.metadata());
        Ok(Change { number, place, metadata, event: json, changes })
    }

    fn walk<'a>(&'a self, subject: &'a Subject) -> Result<Walk<'a>, TravelError> {
        Walk::new(self.store.as_ref(), &self.schemas, &self.folds, subject)
    }

    fn check_position(&self, point: Point) -> Result<(), TravelError> {
        let head = self.store.head();
        match point {
            Point::Position(asked) if head.is_none_or(|head| asked > head) => {
                Err(TravelError::NoSuchPosition { asked, head })
            }
            Point::Position(_) | Point::Now | Point::Revision(_) | Point::Time(_) => Ok(()),
        }
    }
}

/// A revision that the whole history did not reach is not there.
fn check_revision(
    subject: &Subject,
    point: Point,
    last: Option<Revision>,
) -> Result<(), TravelError> {
    match (point, last) {
        (Point::Revision(asked), Some(last)) if asked > last => {
            Err(TravelError::NoSuchRevision { subject: subject.clone(), asked, last })
        }
        (Point::Now | Point::Revision(_) | Point::Position(_) | Point::Time(_), _) => Ok(()),
    }
}

fn unknown(subject: &Subject) -> TravelError {
    match subject {
        Subject::Stream { stream } => TravelError::UnknownStream { stream: stream.clone() },
        Subject::Row { read_model, key } => {
            TravelError::UnknownKey { read_model: read_model.clone(), key: key.clone() }
        }
    }
}
