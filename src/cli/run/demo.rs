//! `annals demo`: the main job on real trades. What it does stands in `crate::demo`; this shows it.

use std::path::PathBuf;

use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::super::arguments::DemoArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::{progress, render};
use crate::config::Config;
use crate::demo::{self, Demo, Step};
use crate::engine::Parts;

/// Columns of the plot, at most.
const PLOT_COLUMNS_MAX: u16 = 100;
/// The file that `make demo` fetches, in the folder of caches.
const FETCHED: &str = "trades/bitmex_xbtusd_1m.csv";

pub(super) async fn demo(config: &Config, arguments: DemoArguments) -> Result<Done, CliError> {
    let trades = arguments.trades.or_else(fetched).ok_or(CliError::NoTrades)?;
    let steps = Steps::default();
    let done = with_engine(config, Parts::Views, Missing::Make, async |engine| {
        let found = Box::pin(demo::run(engine, &trades, &|step| steps.show(&step))).await;
        Ok(found?)
    })
    .await;
    steps.end();
    let done = done?;
    let mut output = Output::new(arguments.shape.json);
    if output.json {
        output.json(&done.report)?;
    } else {
        let mut folder = config.data_folder.display().to_string();
        if !config.store.is_embedded() {
            // An address may hold a password.
            folder.push_str(" --store …");
        }
        let text = told(&done, &output, &folder);
        output.text(&text)?;
    }
    let well = done.report.verify.mismatches == 0;
    Ok(if well { Done::Well } else { Done::Differences })
}

/// What `make demo` has fetched before.
fn fetched() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/annals"));
    let caches = std::env::var_os("ANNALS_CACHE").map(PathBuf::from).or_else(home)?;
    Some(caches.join(FETCHED)).filter(|file| file.is_file())
}

fn told(done: &Demo, output: &Output, folder: &str) -> String {
    let mut text = demo::summary(&done.report);
    if let Some(story) = &done.story {
        text = format!(
            "{text}\n\nThe largest realised loss of one fill: account {}, {} USD, position {}.\n\n{}\n\
             What made its position, the last events:\n\n{}",
            story.account,
            story.realised_pnl,
            story.position,
            render::difference(&story.difference, output.look),
            render::history(&story.history, output.look),
        );
    }
    let columns = output.look.columns.unwrap_or(PLOT_COLUMNS_MAX).min(PLOT_COLUMNS_MAX);
    let plot = demo::plot(&done.closes, u32::from(columns.saturating_sub(12)));
    text = format!("{text}\nOne-minute closing prices, USD over hours:\n\n{plot}\n");
    let story = done.story.as_ref();
    let account = story.map_or("A001", |story| story.account.as_str());
    format!(
        "{text}What to try next:\n\
         \x20 annals debug history account-{account} --last 5 --data {folder}\n\
         \x20 annals debug diff trading_accounts {account} --from revision:1 --data {folder}\n\
         \x20 annals events read --type trading.OrderFilled --backwards --limit 5 --data {folder}\n\
         \x20 annals projection verify --all --data {folder}\n\
         \x20 annals serve --data {folder}\n"
    )
}

/// One bar after the other, a step each.
#[derive(Default)]
struct Steps(Mutex<Option<(&'static str, ProgressBar)>>);

impl Steps {
    fn show(&self, step: &Step) {
        let (name, at, total) = match *step {
            Step::Trades(trades) => ("trading", trades, None),
            Step::CatchUp(at, head) => ("views catch up", at, Some(head)),
            Step::Rebuild(at, total) => ("rebuilding every view", at, Some(total)),
            Step::Verify(at, total) => ("verifying against history", at, Some(total)),
        };
        let mut current = self.0.lock();
        if current.as_ref().is_none_or(|(shown, _)| *shown != name) {
            if let Some((_, bar)) = current.take() {
                bar.finish();
            }
            let bar = match total {
                Some(total) => progress::bar(name, total, ""),
                None => progress::counter(name, "trades"),
            };
            *current = Some((name, bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(at);
        }
    }

    fn end(&self) {
        if let Some((_, bar)) = self.0.lock().take() {
            bar.finish();
        }
    }
}
