//! Runs the paper exchange beside a server: it follows the log, and where a print meets an open order it asks the
//! order's account to fill. Its state is a fold of the log, so it needs no checkpoint: at start it reacts to all of
//! history without carrying anything out, forgets what history shows as done, and then does what is left. Every fill
//! has an id of its own for ever, so nothing is filled twice, whoever else ran the exchange before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals_commands::paper_exchange::fill_command_id;
use annals_commands::{Account, AccountCommand, PaperExchange};
use annals_core::executor::{CommandError, Envelope, Executor};
use annals_core::{
    Batch, DecodeError, DomainEvent, EventStore, Filter, Metadata, ReadError, ReadQuery,
    RecordedEvent, Schemas,
};
use annals_events::{MarketEvent, TradingEvent};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The running exchange. Dropping it ends it where it is, which is safe.
pub struct RunningExchange {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl RunningExchange {
    /// Starts it; needs a tokio runtime.
    pub fn start(
        store: Arc<dyn EventStore>,
        schemas: Schemas,
        accounts: Arc<Executor<Account>>,
    ) -> RunningExchange {
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(run(store, schemas, accounts, stopping));
        RunningExchange { task, stop }
    }

    /// Ends it after the fill under way.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the paper exchange died");
        }
    }
}

impl Drop for RunningExchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why the exchange began again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("the log cannot be read")]
    Read(#[source] ReadError),
    #[error("the log cannot be understood")]
    Decode(#[source] DecodeError),
    #[error("a fill could not be carried out")]
    Fill(#[source] CommandError<annals_commands::AccountRefusal>),
    #[error("the store ended the subscription")]
    Ended,
}

async fn run(
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    accounts: Arc<Executor<Account>>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        let following = follow(&*store, &schemas, &accounts, stopping.clone());
        let Err(error) = following.await else { return };
        tracing::warn!(error = &error as &dyn std::error::Error, "the paper exchange begins again");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn follow(
    store: &dyn EventStore,
    schemas: &Schemas,
    accounts: &Executor<Account>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Interrupted> {
    let contexts = [MarketEvent::CONTEXT, TradingEvent::CONTEXT];
    let type_prefixes = contexts.map(|context| format!("{context}.")).into();
    let filter = Filter { type_prefixes, ..Filter::default() };
    let mut batches = store.subscribe(ReadQuery::all().filtered(filter));
    let mut desk = Desk::default();
    loop {
        let batch = tokio::select! {
            batch = batches.next() => batch.ok_or(Interrupted::Ended)?.map_err(Interrupted::Read)?,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        };
        desk.see(&batch, schemas).map_err(Interrupted::Decode)?;
        if !batch.caught_up {
            continue;
        }
        for (id, command) in desk.due() {
            if *stopping.borrow() {
                return Ok(());
            }
            match accounts.execute(command, &Envelope::new(id)).await {
                Ok(answer) => answer.events.iter().for_each(|event| desk.exchange.learn(event)),
                Err(CommandError::Refused(refusal)) => {
                    tracing::debug!(%refusal, "a fill was refused");
                }
                Err(error) => return Err(Interrupted::Fill(error)),
            }
        }
    }
}

/// The exchange and the fills that it asked for and history does not show yet, by order.
#[derive(Default)]
struct Desk {
    exchange: PaperExchange,
    asked: HashMap<(String, String), Vec<Asked>>,
    asked_so_far: u64,
    commands: Vec<AccountCommand>,
}

struct Asked {
    sequence: u64,
    id: Uuid,
    command: AccountCommand,
}

impl Desk {
    fn see(&mut self, batch: &Batch, schemas: &Schemas) -> Result<(), DecodeError> {
        for recorded in batch.events.iter() {
            if recorded.event_type.context() == MarketEvent::CONTEXT {
                let MarketEvent::TradeRecorded(trade) = MarketEvent::decode(recorded, schemas)?;
                let mut commands = std::mem::take(&mut self.commands);
                self.exchange.print(recorded.revision.0, &trade, &mut commands);
                commands.drain(..).for_each(|command| self.ask(command));
                self.commands = commands;
            } else {
                let event = TradingEvent::decode(recorded, schemas)?;
                self.exchange.learn(&event);
                self.forget(recorded, &event);
            }
        }
        Ok(())
    }

    fn ask(&mut self, command: AccountCommand) {
        let AccountCommand::FillOrder { account, order, print, .. } = &command else { return };
        let id = fill_command_id(account.as_str(), order.as_str(), *print);
        let of_order = (account.as_str().to_owned(), order.as_str().to_owned());
        let sequence = self.asked_so_far;
        self.asked_so_far += 1;
        self.asked.entry(of_order).or_default().push(Asked { sequence, id, command });
    }

    /// Takes what history shows as done, or as pointless because the order ended, off the list.
    fn forget(&mut self, recorded: &RecordedEvent, event: &TradingEvent) {
        let (order, ended) = match event {
            TradingEvent::OrderPartiallyFilled(fill) => (&fill.order, false),
            TradingEvent::OrderFilled(fill) => (&fill.order, true),
            TradingEvent::OrderCancelled(cancelled) => (&cancelled.order, true),
            TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_)
            | TradingEvent::OrderPlaced(_)
            | TradingEvent::OrderAccepted(_)
            | TradingEvent::OrderRejected(_) => return,
        };
        let of_order = (event.account().to_owned(), order.clone());
        if ended {
            self.asked.remove(&of_order);
        } else if let Some(asked) = self.asked.get_mut(&of_order) {
            let done = Metadata::causation_of(&recorded.metadata);
            asked.retain(|asked| Some(asked.id) != done);
        }
    }

    /// What is to be done now, in the order of the prints.
    fn due(&mut self) -> Vec<(Uuid, AccountCommand)> {
        let mut due: Vec<Asked> = self.asked.drain().flat_map(|(_, asked)| asked).collect();
        due.sort_by_key(|asked| asked.sequence);
        due.into_iter().map(|asked| (asked.id, asked.command)).collect()
    }
}

#[cfg(test)]
mod tests;
