//! The main job, start to end, on real trades: import, trade on paper, catch up, rebuild, verify, and look back in time.
//! Run again on the same folder it adds nothing; cut off anywhere, the next run goes on where the log ends.

mod latency;
mod report;
mod session;
mod story;
mod strategy;
mod totals;

use std::path::Path;
use std::time::{Duration, Instant};

use annals_commands::amounts::InvalidAmount;
use annals_commands::names::{Instrument, InvalidName};
use annals_commands::{Account, AccountRefusal, Market};
use annals_core::executor::{CommandError, Executor};
use annals_core::{AppendError, DecodeError, Family, Position, ReadError};
use annals_events::MarketEvent;
use annals_replay::{ReplayError, ReplaySource, rebuild, verify};
use annals_workers::{ClickHouseError, WaitError};

use crate::engine::{Engine, Views};
use crate::import::{self, ImportError};
use crate::trades::TradesError;
use latency::Latencies;
use session::Session;

pub use report::{Percentiles, Report, Seconds, Verified, plot, summary};
pub use story::Story;

/// Paper accounts.
pub const ACCOUNTS: usize = 128;
/// What is traded.
pub const INSTRUMENT: &str = "XBTUSD";
/// How long the views may take to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_mins(10);

/// Where the demo is; for progress bars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Trades imported and acted upon so far.
    Trades(u64),
    /// The position that the view furthest behind has reached, and the one aimed at.
    CatchUp(u64, u64),
    /// Events folded by the rebuild so far, of so many.
    Rebuild(u64, u64),
    /// Positions of the log held against the views so far, of so many.
    Verify(u64, u64),
}

/// Everything that the demo shows.
#[derive(Debug)]
pub struct Demo {
    /// Its figures.
    pub report: Report,
    /// One account's story; none where no account ever realised a loss.
    pub story: Option<Story>,
    /// The closing price of each candle: hours since the first one, and USD.
    pub closes: Vec<(f32, f32)>,
}

/// Why the demo ended early. It can be run again on the same folder.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The file cannot be read, or its trades not be recorded.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The folder's log holds another file's trades.
    #[error("the log already holds other trades than {path}; give another --data folder")]
    OtherTrades {
        /// The file.
        path: std::path::PathBuf,
    },
    /// The file holds no trades.
    #[error("{path} holds no trades")]
    NoTrades {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A name that the demo makes is none; a defect.
    #[error("the demo made an invalid name")]
    Name(#[source] InvalidName),
    /// An amount that the demo makes is none; a defect.
    #[error("the demo made an invalid amount")]
    Amount(#[source] InvalidAmount),
    /// An account's command was not carried out.
    #[error("an account's command was not carried out")]
    Account(#[source] CommandError<AccountRefusal>),
    /// The events of a command were not stored.
    #[error("the events of a command were not stored")]
    Append(#[source] AppendError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[source] ReadError),
    /// An event cannot be decoded.
    #[error("the log cannot be understood")]
    Decode(#[source] DecodeError),
    /// The views did not catch up.
    #[error("the views did not catch up")]
    CatchUp(#[source] WaitError),
    /// The rebuild or verification failed.
    #[error("{what} failed")]
    Replay {
        /// Which of them.
        what: &'static str,
        /// The cause.
        #[source]
        source: ReplayError,
    },
    /// PostgreSQL did not answer a query.
    #[error("the read models cannot be queried")]
    Postgres(#[source] sqlx::Error),
    /// ClickHouse did not answer a query.
    #[error("the facts cannot be queried")]
    ClickHouse(#[source] ClickHouseError),
    /// Time travel failed.
    #[error("looking back in time failed")]
    Travel(#[source] annals_replay::travel::TravelError),
    /// The demo needs the databases.
    #[error(
        "the demo needs its views; PostgreSQL and libchdb must be there (run scripts/setup.sh)"
    )]
    NoViews,
    /// A background task ended; the program is stopping.
    #[error("the demo was cut off")]
    CutOff,
}

impl From<TradesError> for DemoError {
    fn from(error: TradesError) -> DemoError {
        DemoError::Import(ImportError::Trades(error))
    }
}

impl DemoError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            DemoError::Import(source) => source.family(),
            DemoError::OtherTrades { .. }
            | DemoError::NoTrades { .. }
            | DemoError::Name(_)
            | DemoError::Amount(_) => Family::Malformed,
            DemoError::Account(source) => source.family(),
            DemoError::Append(source) => source.family(),
            DemoError::Read(source) => source.family(),
            DemoError::Decode(_) => Family::Damage,
            DemoError::CatchUp(source) => source.family(),
            DemoError::Replay { source, .. } => source.family(),
            DemoError::Travel(source) => source.family(),
            DemoError::Postgres(_)
            | DemoError::ClickHouse(_)
            | DemoError::NoViews
            | DemoError::CutOff => Family::Unavailable,
        }
    }
}

/// Runs the main job over the trades in `path`.
///
/// # Errors
/// [`DemoError`].
pub async fn run(
    engine: &Engine,
    path: &Path,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Demo, DemoError> {
    let views = engine.views.as_ref().ok_or(DemoError::NoViews)?;
    let begun = Instant::now();
    let before = totals::events(engine).await?;
    let millis = trade(engine, path, progress).await?;
    let import = begun.elapsed();

    let head = engine.store.head();
    catch_up(views, head, progress).await?;
    let whole = begun.elapsed();
    let appended = totals::events(engine).await? - before;

    let source = ReplaySource {
        store: engine.store.clone(),
        schemas: engine.schemas.clone(),
        catalogue: (*engine.catalogue).clone(),
        pool: views.pool.clone(),
        analytics: views.analytics.clone(),
    };
    let rebuilding = |at: rebuild::RebuildProgress| {
        // By positions, which a server does not count one by one.
        let total = at.head.map_or(0, |head| head.0 + 1);
        progress(Step::Rebuild(at.position.map_or(0, |at| at.0 + 1).min(total), total));
    };
    let read_models = engine.catalogue.read_models().iter();
    let read_models: Vec<String> = read_models.map(|model| model.spec().name.to_owned()).collect();
    let rebuilt = rebuild::rebuild(&source, &read_models, rebuilding)
        .await
        .map_err(|source| DemoError::Replay { what: "the rebuild", source })?;
    if let Some(head) = head {
        views.workers.wait_for_all(head, CATCH_UP_WITHIN).await.map_err(DemoError::CatchUp)?;
    }
    let total = head.map_or(0, |head| head.0 + 1);
    let verifying = |_, at: Position| progress(Step::Verify(at.0 + 1, total));
    let verified = verify::verify(&source, &[], verifying)
        .await
        .map_err(|source| DemoError::Replay { what: "the verification", source })?;

    let totals = totals::read(engine, views).await?;
    let report = Report {
        trades: totals.trades,
        volume_usd: totals.volume_usd,
        events: totals.events,
        accounts: totals.accounts,
        orders: totals.orders,
        fills: totals.fills,
        candles: totals.candles,
        last_price: totals.last_price,
        seconds: Seconds {
            import: import.as_secs_f64(),
            catch_up: whole.saturating_sub(import).as_secs_f64(),
            rebuild: rebuilt.seconds,
        },
        events_per_second: rate(appended, whole),
        command_ms: Percentiles::of(millis),
        rebuild_events_per_second: rebuilt.events_per_second,
        verify: Verified {
            projections: verified.projections.len() as u64,
            rows: verified.projections.iter().map(|projection| projection.rows).sum(),
            mismatches: verified.projections.iter().map(|projection| projection.mismatches).sum(),
        },
        store_bytes: totals.store_bytes,
    };
    let story = story::tell(engine, views).await?;
    let closes = totals::closes(views).await?;
    Ok(Demo { report, story, closes })
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(events: u64, within: Duration) -> f64 {
    events as f64 / within.as_secs_f64()
}

/// Imports the trades and trades on them; the latencies of the commands that were decided, in milliseconds.
async fn trade(
    engine: &Engine,
    path: &Path,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Vec<f64>, DemoError> {
    let market: std::sync::Arc<Executor<Market>> =
        engine.router.executor().expect("the market is registered");
    let accounts = engine.router.executor::<Account>().expect("accounts are registered");
    let instrument = Instrument::new(INSTRUMENT).map_err(DemoError::Name)?;
    let mut session =
        Session::resume(accounts, instrument.clone(), ACCOUNTS, &*engine.store, &engine.schemas)
            .await?;
    let mut batches = import::read_ahead(path)?;
    let mut latencies = Latencies::new();
    let mut trades = 0_u64;
    let mut number = 0;
    while let Some(lines) = batches.recv().await {
        let (command, envelope) = import::command(&instrument, number, &lines?)?;
        let submitted =
            market.submit(command, &envelope).await.map_err(|error| refused(error, path))?;
        let prints: Vec<MarketEvent> = submitted.events().to_vec();
        let last = submitted.revision().map(|revision| revision.0);
        let expected = trades + prints.len() as u64;
        if last.map(|last| last + 1) != Some(expected) {
            return Err(DemoError::OtherTrades { path: path.to_owned() });
        }
        if !submitted.is_repeated() {
            latencies.watch(submitted).await?;
        }
        for print in &prints {
            let MarketEvent::TradeRecorded(trade) = print;
            session.open_accounts(trade.traded_at, &mut latencies).await?;
            session.print(trades, trade, &mut latencies).await?;
            trades += 1;
        }
        number += 1;
        progress(Step::Trades(trades));
    }
    if trades == 0 {
        return Err(DemoError::NoTrades { path: path.to_owned() });
    }
    latencies.finish().await
}

/// Another file's trades are most often refused as out of order.
fn refused(error: CommandError<annals_commands::MarketRefusal>, path: &Path) -> DemoError {
    if matches!(error, CommandError::Refused(_)) {
        return DemoError::OtherTrades { path: path.to_owned() };
    }
    DemoError::Import(ImportError::Command(error))
}

async fn catch_up(
    views: &Views,
    head: Option<Position>,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<(), DemoError> {
    let Some(head) = head else { return Ok(()) };
    let waiting = views.workers.wait_for_all(head, CATCH_UP_WITHIN);
    tokio::pin!(waiting);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            done = &mut waiting => return done.map_err(DemoError::CatchUp),
            _ = tick.tick() => {
                let reached = views.workers.status().iter().map(|s| s.position.map_or(0, |p| p.0)).min();
                progress(Step::CatchUp(reached.unwrap_or(0), head.0));
            }
        }
    }
}
