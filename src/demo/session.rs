//! The demo's trading session: prints go in, commands come out. Each print first meets the open orders (the paper
//! exchange), then the strategies see it. Everything is decided in order and ahead of the disk, so the log is always a
//! beginning of one and the same sequence of events: a session that was cut off goes on where the log ends.

use std::collections::HashMap;
use std::sync::Arc;

use annals_commands::amounts::{Amount, Price, Quantity};
use annals_commands::names::{AccountId, Instrument, OrderId};
use annals_commands::paper_exchange::fill_command_id;
use annals_commands::{Account, AccountCommand, PaperExchange};
use annals_core::executor::{Envelope, Executor};
use annals_core::{DomainEvent, EventStore, Filter, ReadQuery, RecordedEvent, Schemas, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::OrderKind;
use futures::StreamExt;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::DemoError;
use super::latency::Latencies;
use super::strategy::{Desk, Intent, SLOWEST_PRINTS};

/// What each account begins with, in USD.
const DEPOSIT_USD: u32 = 100_000;

/// The session of a fixed number of accounts on one instrument.
pub(super) struct Session {
    executor: Arc<Executor<Account>>,
    instrument: Instrument,
    accounts: Vec<AccountId>,
    numbers: HashMap<String, usize>,
    desk: Desk,
    exchange: PaperExchange,
    /// The first print that may not have been acted upon: the log holds all that follows from the ones before.
    resume_at: u64,
    opened: bool,
    commands: Vec<AccountCommand>,
    intents: Vec<(usize, Intent)>,
}

impl Session {
    /// A session over what the log holds already.
    pub(super) async fn resume(
        executor: Arc<Executor<Account>>,
        instrument: Instrument,
        accounts: usize,
        store: &dyn EventStore,
        schemas: &Schemas,
    ) -> Result<Session, DemoError> {
        let name = |i| AccountId::new(format!("A{:03}", i + 1));
        let accounts: Vec<AccountId> =
            (0..accounts).map(name).collect::<Result<_, _>>().map_err(DemoError::Name)?;
        let numbers = accounts.iter().enumerate();
        let numbers = numbers.map(|(i, account)| (account.as_str().to_owned(), i)).collect();
        let history = history(store, schemas).await?;
        let resume_at = history.iter().filter_map(print_of).max().unwrap_or(0);
        let mut session = Session {
            executor,
            instrument,
            desk: Desk::new(accounts.len()),
            accounts,
            numbers,
            exchange: PaperExchange::default(),
            resume_at,
            opened: false,
            commands: Vec::new(),
            intents: Vec::new(),
        };
        // What follows from the last print may be incomplete: that one is done again, and its commands that were
        // carried out are answered as the first time. Acceptance follows its placing in the same append.
        let mut ahead = false;
        for event in &history {
            ahead = print_of(event).map_or(ahead, |print| print == resume_at && resume_at > 0);
            if !ahead {
                session.learn(event);
            }
        }
        Ok(session)
    }

    /// Opens the accounts and brings their cash in, once.
    pub(super) async fn open_accounts(
        &mut self,
        at: Timestamp,
        latencies: &mut Latencies,
    ) -> Result<(), DemoError> {
        if std::mem::replace(&mut self.opened, true) {
            return Ok(());
        }
        let amount = Amount::new(Decimal::from(DEPOSIT_USD)).map_err(DemoError::Amount)?;
        for account in self.accounts.clone() {
            let id = |what: &str| command_id(&[what, account.as_str()]);
            let (open, deposit) = (id("open"), id("deposit"));
            let owner = Some("paper".to_owned());
            let at = Some(at);
            let command = AccountCommand::OpenAccount { account: account.clone(), owner, at };
            self.give(command, open, latencies).await?;
            let command = AccountCommand::Deposit { account, amount, at };
            self.give(command, deposit, latencies).await?;
        }
        Ok(())
    }

    /// Acts upon one print, whose place in its market's stream is `print`.
    pub(super) async fn print(
        &mut self,
        print: u64,
        trade: &TradeRecorded,
        latencies: &mut Latencies,
    ) -> Result<(), DemoError> {
        if print < self.resume_at {
            // Acted upon already: only the averages must see it.
            if print + SLOWEST_PRINTS as u64 + 1 >= self.resume_at {
                self.desk.print(trade.price, &mut self.intents);
                self.intents.clear();
            }
            return Ok(());
        }
        let mut commands = std::mem::take(&mut self.commands);
        self.exchange.print(print, trade, &mut commands);
        for command in commands.drain(..) {
            let AccountCommand::FillOrder { account, order, print, .. } = &command else {
                unreachable!("the exchange only fills, it does not ask for {command:?}");
            };
            let id = fill_command_id(account.as_str(), order.as_str(), *print);
            self.give(command, id, latencies).await?;
        }
        self.commands = commands;
        let mut intents = std::mem::take(&mut self.intents);
        self.desk.print(trade.price, &mut intents);
        for (number, intent) in intents.drain(..) {
            let (command, id) = self.command(number, intent, print, trade.traded_at)?;
            self.give(command, id, latencies).await?;
        }
        self.intents = intents;
        Ok(())
    }

    fn command(
        &self,
        number: usize,
        intent: Intent,
        print: u64,
        at: Timestamp,
    ) -> Result<(AccountCommand, Uuid), DemoError> {
        let account = self.accounts[number].clone();
        let at = Some(at);
        let (side, quantity, limit) = match intent {
            Intent::Cancel { order } => {
                let id = command_id(&["cancel", account.as_str(), &order, &print.to_string()]);
                let order = OrderId::new(order).map_err(DemoError::Name)?;
                return Ok((AccountCommand::CancelOrder { account, order, as_of: print, at }, id));
            }
            Intent::Buy { quantity, limit } => (Side::Buy, quantity, limit),
            Intent::Sell { quantity, limit } => (Side::Sell, quantity, limit),
        };
        // An account places one order at a print at most.
        let order = format!("{}-{print}", account.as_str());
        let id = command_id(&["place", account.as_str(), &order]);
        let command = AccountCommand::PlaceOrder {
            account,
            order: OrderId::new(order).map_err(DemoError::Name)?,
            instrument: self.instrument.clone(),
            side,
            kind: if limit.is_some() { OrderKind::Limit } else { OrderKind::Market },
            quantity: Quantity::new(quantity).map_err(DemoError::Amount)?,
            limit_price: limit.map(Price::new).transpose().map_err(DemoError::Amount)?,
            as_of: print,
            at,
        };
        Ok((command, id))
    }

    async fn give(
        &mut self,
        command: AccountCommand,
        id: Uuid,
        latencies: &mut Latencies,
    ) -> Result<(), DemoError> {
        let submitted = self.executor.submit(command, &Envelope::new(id)).await;
        let submitted = submitted.map_err(DemoError::Account)?;
        for event in submitted.events() {
            self.learn(event);
        }
        latencies.watch(submitted).await
    }

    fn learn(&mut self, event: &TradingEvent) {
        self.exchange.learn(event);
        let Some(&number) = self.numbers.get(event.account()) else { return };
        match event {
            TradingEvent::OrderAccepted(accepted) => {
                self.desk.set_open_order(number, Some(accepted.order.clone()));
            }
            TradingEvent::OrderPartiallyFilled(fill) => {
                self.desk.set_position(number, fill.position_quantity);
            }
            TradingEvent::OrderFilled(fill) => {
                self.desk.set_position(number, fill.position_quantity);
                self.desk.set_open_order(number, None);
            }
            TradingEvent::OrderCancelled(_) => self.desk.set_open_order(number, None),
            TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_)
            | TradingEvent::OrderPlaced(_)
            | TradingEvent::OrderRejected(_) => {}
        }
    }
}

/// The print upon which an event was decided, where it says so.
fn print_of(event: &TradingEvent) -> Option<u64> {
    match event {
        TradingEvent::OrderPlaced(placed) => Some(placed.as_of),
        TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => {
            Some(fill.print)
        }
        TradingEvent::OrderCancelled(cancelled) => Some(cancelled.as_of),
        TradingEvent::AccountOpened(_)
        | TradingEvent::CashDeposited(_)
        | TradingEvent::CashWithdrawn(_)
        | TradingEvent::OrderAccepted(_)
        | TradingEvent::OrderRejected(_) => None,
    }
}

async fn history(
    store: &dyn EventStore,
    schemas: &Schemas,
) -> Result<Vec<TradingEvent>, DemoError> {
    let query = ReadQuery::all().filtered(Filter::context(TradingEvent::CONTEXT));
    let mut batches = store.read(query);
    let mut events = Vec::new();
    while let Some(batch) = batches.next().await {
        let decode = |recorded: &RecordedEvent| TradingEvent::decode(recorded, schemas);
        let batch = batch.map_err(DemoError::Read)?;
        for event in batch.events.iter().map(decode) {
            events.push(event.map_err(DemoError::Decode)?);
        }
    }
    Ok(events)
}

fn command_id(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("demo\n{}", parts.join("\n")).as_bytes())
}
