//! Imports trades by commands. A batch of lines is one command, whose id is made of what it holds: importing a file
//! again, or going on after a crash, adds nothing twice.

use std::collections::VecDeque;
use std::path::Path;

use annals_commands::amounts::{Amount, InvalidAmount, Price};
use annals_commands::market::TRADES_MAX;
use annals_commands::market::Trade;
use annals_commands::names::Instrument;
use annals_commands::{Market, MarketCommand, MarketRefusal};
use annals_core::executor::{CommandError, Envelope, Executor};
use annals_core::{AppendError, Family};
use annals_events::market::Side;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::trades::{TradeLine, TradesError, TradesFile};

/// Trades in one command.
pub const BATCH_TRADES: usize = TRADES_MAX;
/// Commands on their way to the disk at once.
const IN_FLIGHT: usize = 4;

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Trades in the file.
    pub trades: u64,
    /// Of these, those that the log did not hold before.
    pub added: u64,
}

/// Why an import ended early. The batches before the one that failed are imported; doing it again goes on there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error(transparent)]
    Trades(#[from] TradesError),
    /// A number in the file is none that an event can hold.
    #[error("the trade at {at}: {source}")]
    Amount {
        /// Its time.
        at: annals_core::Timestamp,
        /// What is wrong with it.
        source: InvalidAmount,
    },
    /// A command was not carried out.
    #[error("recording trades failed")]
    Command(#[source] CommandError<MarketRefusal>),
}

impl ImportError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ImportError::Trades(source) => source.family(),
            ImportError::Amount { .. } => Family::Malformed,
            ImportError::Command(source) => source.family(),
        }
    }
}

impl From<AppendError> for ImportError {
    fn from(error: AppendError) -> ImportError {
        ImportError::Command(CommandError::Append(error))
    }
}

/// The batches of a file, read ahead on a thread of its own. A broken line comes in place of its batch and ends them.
pub fn read_ahead(
    path: &Path,
) -> Result<mpsc::Receiver<Result<Vec<TradeLine>, TradesError>>, TradesError> {
    let mut file = TradesFile::open(path)?;
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    tokio::task::spawn_blocking(move || {
        loop {
            let batch = file.batch(BATCH_TRADES);
            let last = batch.as_ref().map_or(true, |lines| lines.len() < BATCH_TRADES);
            let empty = batch.as_ref().is_ok_and(Vec::is_empty);
            if empty || sender.blocking_send(batch).is_err() || last {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The command that records a batch, and its id: the same for the same batch of the same file, for ever.
///
/// # Errors
/// [`ImportError::Amount`].
pub fn command(
    instrument: &Instrument,
    number: u64,
    lines: &[TradeLine],
) -> Result<(MarketCommand, Envelope), ImportError> {
    let mut content = Vec::with_capacity(64 + lines.len() * 48);
    content.extend_from_slice(format!("trades\n{}\n{number}\n", instrument.as_str()).as_bytes());
    let mut trades = Vec::with_capacity(lines.len());
    for line in lines {
        content.extend_from_slice(&line.traded_at.0.to_le_bytes());
        content.extend_from_slice(&line.price.normalize().serialize());
        content.extend_from_slice(&line.size.normalize().serialize());
        content.push(u8::from(line.seller_took));
        trades.push(trade(line)?);
    }
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &content);
    let command = MarketCommand::RecordTrades { instrument: instrument.clone(), trades };
    Ok((command, Envelope::new(id)))
}

fn trade(line: &TradeLine) -> Result<Trade, ImportError> {
    let wrong = |source| ImportError::Amount { at: line.traded_at, source };
    Ok(Trade {
        traded_at: line.traded_at,
        price: Price::new(line.price).map_err(wrong)?,
        size: Amount::new(line.size).map_err(wrong)?,
        taker_side: if line.seller_took { Side::Sell } else { Side::Buy },
    })
}

/// Imports a file of trades as the market of `instrument`; `progress` is told how many trades are durable.
///
/// # Errors
/// [`ImportError`].
pub async fn trades(
    executor: &Executor<Market>,
    path: &Path,
    instrument: &Instrument,
    progress: impl Fn(u64),
) -> Result<Imported, ImportError> {
    let mut batches = read_ahead(path)?;
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
    let mut imported = Imported::default();
    let mut number = 0;
    loop {
        let batch = batches.recv().await.transpose()?;
        if in_flight.len() == IN_FLIGHT || batch.is_none() {
            let Some((submitted, trades)) = in_flight.pop_front() else { return Ok(imported) };
            settle(submitted, trades, &mut imported).await?;
            progress(imported.trades);
        }
        if let Some(lines) = batch {
            let (command, envelope) = command(instrument, number, &lines)?;
            let submitted = executor.submit(command, &envelope).await;
            let submitted = submitted.map_err(ImportError::Command)?;
            in_flight.push_back((submitted, lines.len() as u64));
            number += 1;
        }
    }
}

type Submitted = annals_core::executor::Submitted<annals_events::MarketEvent>;

async fn settle(
    submitted: Submitted,
    trades: u64,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let fresh = !submitted.is_repeated();
    submitted.durable().await?;
    imported.trades += trades;
    imported.added += if fresh { trades } else { 0 };
    Ok(())
}
