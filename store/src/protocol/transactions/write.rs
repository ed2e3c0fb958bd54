//! Deciding a transaction and writing it, again where what it was decided on has passed.

use annals_core::{
    AppendError, Appended, Position, ReadQuery, Retention, Revision, Start, StreamName, Unmet,
};
use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};

use super::checks::{Role, Standing};
use super::errors::Refusal;
use super::plan::{Done, Found, Guard, Part, Plan, Revival, Sent};
use super::requests::{Named, Transaction};
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::original_of;
use crate::protocol::service::Protocol;

/// How often a transaction is decided; others delete, revive or describe its streams meanwhile.
const ATTEMPTS: usize = 64;

/// What the log's answer to a part of a transaction means.
enum Answer {
    /// It is there.
    Done(Appended),
    /// These streams are elsewhere.
    Unmet(Vec<Unmet>),
    /// Some of its ids are known, others are not.
    Partly,
}

impl Protocol {
    /// Writes all of a transaction or nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) async fn transact(&self, transaction: &Transaction) -> Result<Done, Refusal> {
        for _ in 0..ATTEMPTS {
            if let Some(done) = self.attempt(transaction).await? {
                return Ok(done);
            }
        }
        Err(ProtocolError::TooBusy.into())
    }

    /// The positions of these events, each a stream's, which all stand at a position or before it.
    ///
    /// # Errors
    /// Where they could not be read.
    pub(super) async fn positions(
        &self,
        until: Position,
        events: &[(StreamName, Revision)],
    ) -> Result<Vec<Position>, ProtocolError> {
        let places = events.iter().enumerate();
        let mut wanted: HashMap<_, _> =
            places.map(|(place, (stream, revision))| (stream, (place, *revision))).collect();
        let mut found = vec![until; events.len()];
        let query = ReadQuery::all().backwards().from(Start::Position(until));
        let mut batches = self.parts.store.read(query);
        while let Some(batch) = batches.try_next().await? {
            for event in batch.events.iter() {
                if let Some((place, revision)) = wanted.get(&event.stream).copied()
                    && event.revision == revision
                {
                    found[place] = event.position;
                    wanted.remove(&event.stream);
                }
            }
            if wanted.is_empty() {
                return Ok(found);
            }
        }
        let text = format!("an append up to position {until} is not there as it was acknowledged");
        Err(ProtocolError::Damage(text))
    }

    /// One attempt; nothing where what it was decided on has passed.
    async fn attempt(&self, transaction: &Transaction) -> Result<Option<Done>, Refusal> {
        let plan = Plan::new(transaction, self.find(transaction).await?);
        let has_revival = plan.has_revival();
        let mut is_partly = false;
        if !plan.is_over() {
            let sent = plan.append(Part::Whole);
            match self.send(&sent).await? {
                Answer::Done(appended) => return done(&plan, &sent, &appended),
                Answer::Unmet(unmet) if !has_revival => return violated(&plan, &unmet),
                Answer::Unmet(_) => {}
                Answer::Partly => is_partly = true,
            }
        }
        if has_revival {
            // What revives a stream is new each time; a repetition is one without that.
            let sent = plan.append(Part::Repetition);
            match self.send(&sent).await? {
                Answer::Done(appended) => return done(&plan, &sent, &appended),
                Answer::Unmet(_) => is_partly = false,
                Answer::Partly => is_partly = true,
            }
        }
        match self.send(&plan.append(Part::Expectations)).await? {
            Answer::Unmet(unmet) => violated(&plan, &unmet),
            Answer::Done(_) | Answer::Partly if is_partly => {
                Err(ProtocolError::from(AppendError::PartlyRepeated).into())
            }
            // It has become so meanwhile.
            Answer::Done(_) | Answer::Partly => Ok(None),
        }
    }

    async fn send(&self, sent: &Sent) -> Result<Answer, Refusal> {
        match self.parts.store.append(sent.append.clone()).await {
            Ok(appended) => Ok(Answer::Done(appended)),
            Err(AppendError::Conflict { stream, expected, actual, mut others }) => {
                others.push(Unmet { stream, expected, actual });
                Ok(Answer::Unmet(others))
            }
            Err(AppendError::PartlyRepeated) => Ok(Answer::Partly),
            Err(error) => Err(ProtocolError::from(error).into()),
        }
    }

    /// How the transaction's streams stand now.
    async fn find(&self, transaction: &Transaction) -> Result<Vec<Found>, ProtocolError> {
        let written = |named: &&Named| named.role == Role::Written;
        let written: HashSet<_> =
            transaction.streams.iter().filter(written).map(|named| &named.stream).collect();
        let mut found = Vec::with_capacity(transaction.streams.len());
        for (place, named) in transaction.streams.iter().enumerate() {
            found.push(match original_of(&named.stream) {
                Some(original) => self.find_metastream(transaction, place, &original).await?,
                None => self.find_stream(named, &written).await?,
            });
        }
        Ok(found)
    }

    async fn find_stream(
        &self,
        named: &Named,
        written: &HashSet<&StreamName>,
    ) -> Result<Found, ProtocolError> {
        let state = self.state(&named.stream).await?;
        let metastream = Retention::stream_of(&named.stream);
        let is_revived = named.role == Role::Written
            && Standing::from(&*state) == Standing::Deleted
            // Its metadata begin it again where the transaction writes them too.
            && !metastream.as_ref().is_some_and(|metastream| written.contains(metastream));
        let mut revival = None;
        if is_revived {
            let last = self.parts.store.stream_head(&named.stream).await?;
            revival = Some(Revival::First(self.revived(&state.metadata, last)));
        }
        let at = state.metadata_at;
        let guard = metastream.map(|metastream| Guard { metastream, at });
        Ok(Found { state, guard, revival })
    }

    /// A metastream that is written keeps its stream deleted as little as before, or as much.
    async fn find_metastream(
        &self,
        transaction: &Transaction,
        place: usize,
        original: &StreamName,
    ) -> Result<Found, ProtocolError> {
        let named = &transaction.streams[place];
        let mut found =
            Found { state: self.state(&named.stream).await?, guard: None, revival: None };
        if named.role == Role::Written {
            let state = self.state(original).await?;
            let metastream = named.stream.clone();
            found.guard = Some(Guard { metastream, at: state.metadata_at });
            let mut runs = transaction.runs.iter().rev();
            let last = runs.find(|run| run.place == place).and_then(|run| run.events.last());
            if let (Standing::Deleted, Some(metadata)) = (Standing::from(&*state), last) {
                let last = self.parts.store.stream_head(original).await?;
                found.revival = Some(Revival::Last(self.revived(&metadata.data, last)));
            }
        }
        Ok(found)
    }
}

fn done(plan: &Plan<'_>, sent: &Sent, appended: &Appended) -> Result<Option<Done>, Refusal> {
    let done = plan.done(sent, appended).ok_or_else(|| {
        ProtocolError::Damage("the log acknowledged records without their places".to_owned())
    })?;
    Ok(Some(done))
}

fn violated(plan: &Plan<'_>, unmet: &[Unmet]) -> Result<Option<Done>, Refusal> {
    plan.violations(unmet).map_or(Ok(None), |violations| Err(Refusal::Unmet(violations)))
}
