//! One account's story: its largest realised loss, the account before and after, and the events that made its row.

use annals_core::{Position, StreamName};
use annals_replay::travel::{Difference, History, Point, Subject, Window};

use super::totals::lines;
use super::{DemoError, INSTRUMENT};
use crate::engine::{Engine, Views};

/// How many of the row's events are shown.
const EVENTS_SHOWN: usize = 5;

/// What happened to the account that realised the largest loss in one fill.
#[derive(Clone, Debug)]
pub struct Story {
    /// The account.
    pub account: String,
    /// What it lost in that fill, in USD, below 0.
    pub realised_pnl: String,
    /// The position of that fill in the log.
    pub position: u64,
    /// The account before and after it.
    pub difference: Difference,
    /// The last events that made the account's position what it was then.
    pub history: History,
}

/// Finds the largest realised loss and looks back at it.
pub(super) async fn tell(engine: &Engine, views: &Views) -> Result<Option<Story>, DemoError> {
    let sql = "SELECT account, position, toString(realised_pnl) FROM trading_fills \
        WHERE realised_pnl < 0 ORDER BY realised_pnl, position LIMIT 1";
    let found = lines(views, sql).await?;
    let Some(line) = found.first() else { return Ok(None) };
    let fields: Vec<&str> = line.split('\t').collect();
    let [account, position, realised_pnl] = fields[..] else { return Ok(None) };
    let Ok(position) = position.parse::<u64>() else { return Ok(None) };
    let Ok(stream) = StreamName::of("account", account) else { return Ok(None) };

    let before = Point::Position(Position(position.saturating_sub(1)));
    let after = Point::Position(Position(position));
    let difference = engine.travel.diff(&Subject::stream(stream), before, after).await;
    let row = Subject::row("trading_positions", format!("{account}/{INSTRUMENT}"));
    let window = Window { to: after, ..Window::youngest(EVENTS_SHOWN) };
    let history = engine.travel.history(&row, window).await;
    Ok(Some(Story {
        account: account.to_owned(),
        realised_pnl: realised_pnl.to_owned(),
        position,
        difference: difference.map_err(DemoError::Travel)?,
        history: history.map_err(DemoError::Travel)?,
    }))
}
