//! Power cuts under a log on a real ext4. A device of ours records what the file system tells it while a process appends;
//! then, for many points of the recording, an image is made that a power cut at this point could have left, mounted, and
//! the log on it is held against what was acknowledged before that point. Nothing here knows how the log works.

mod device;
mod life;
mod machine;
mod recording;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use annals_core::random::{Random, SeededRandom, SystemRandom};
use annals_oracle::Held;
use annals_torture::appends::{self, AGAIN, Acknowledged, Failure};
use tokio::runtime::Runtime;

use life::Life;
use machine::Scratch;
use recording::{Cutter, Recording};

/// Cuts of one recording.
const CUTS_PER_LIFE: u64 = 40;
/// Lives of one device, each but the first on what a cut has left.
const LIVES_PER_DEVICE: u64 = 4;
/// Appends to a log that has come back.
const APPENDS_AFTER: u64 = 8;
/// How likely a sector that was not flushed is kept, in 16, by turns.
const KEPT: [u64; 5] = [0, 1, 8, 15, 16];

/// How much, and with which seed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many cuts
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    cuts: u64,
    /// What chooses cuts, and what is left after them; the appends' timing is not repeated by it
    #[arg(long, env = "ANNALS_SEED")]
    seed: Option<u64>,
    /// The device lies: it answers flushes and does not do them. Must end with exit code 1
    #[arg(long)]
    lie: bool,
}

/// Why a run has ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PowerError {
    /// The machine does not give what is needed.
    #[error("not run: needs root, FUSE and loop devices ({lacks})")]
    NotRun { lacks: String },
    /// The log shows what it must not.
    #[error("{place}: the log has failed ({kept})")]
    Violated {
        place: String,
        kept: String,
        #[source]
        failure: Box<Failure>,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Program { command: String, said: String },
    /// The machine would not do it.
    #[error("{attempt} failed")]
    Machine {
        attempt: &'static str,
        #[source]
        source: io::Error,
    },
    /// What is mounted is not the file system that was made.
    #[error("the log's file system is {found}, not ext4")]
    NotExt4 { found: String },
    /// The process that appends has ended by itself.
    #[error("the process that appends has ended with {status}")]
    Child { status: ExitStatus },
    /// There is nothing to check.
    #[error("nothing was acknowledged in {operations} operations of the device")]
    Idle { operations: usize },
}

impl PowerError {
    fn machine(attempt: &'static str) -> impl FnOnce(io::Error) -> PowerError {
        move |source| PowerError::Machine { attempt, source }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seed: u64,
    cuts: u64,
    lives: u64,
    operations: usize,
    acknowledged: usize,
    held: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { seed, cuts, lives, operations, acknowledged, held } = self;
        write!(
            f,
            "power: {cuts} cuts on ext4, {lives} lives, {operations} writes and flushes, {acknowledged} appends \
             acknowledged and looked for {held} times, 0 lost, ANNALS_SEED={seed}"
        )
    }
}

/// A device between two lives: what a cut has left on it, and what must be there.
struct Left {
    image: Vec<u8>,
    acknowledged: Vec<Acknowledged>,
    /// No append from this number on was sent.
    sent: u64,
}

/// Runs cuts as the options say.
pub(crate) fn run(options: &Options) -> Result<Tally, PowerError> {
    machine::prepare()?;
    let seed = options.seed.unwrap_or_else(|| SystemRandom.next_u64() >> 32);
    let random = SeededRandom::new(seed);
    let scratch = Scratch::new()?;
    let runtime = Runtime::new().map_err(PowerError::machine("starting threads"))?;
    let run = Run { scratch: &scratch, runtime: &runtime, random: &random, options };
    let mut tally = Tally { seed, ..Tally::default() };
    let mut left: Option<Left> = None;
    let goes_on = |lives: u64| !options.lie && !lives.is_multiple_of(LIVES_PER_DEVICE);
    while tally.cuts < options.cuts {
        let wanted = CUTS_PER_LIFE.min(options.cuts - tally.cuts);
        let before = match left.take().filter(|_| goes_on(tally.lives)) {
            Some(left) => left,
            None => Left { image: scratch.fresh()?, acknowledged: Vec::new(), sent: 0 },
        };
        left = Some(run.live_and_cut(&before, wanted, &mut tally)?);
    }
    Ok(tally)
}

/// What all lives of a run share.
struct Run<'a> {
    scratch: &'a Scratch,
    runtime: &'a Runtime,
    random: &'a SeededRandom,
    options: &'a Options,
}

impl Run<'_> {
    /// Records a life, cuts it `wanted` times, and gives what one of the cuts has left.
    fn live_and_cut(
        &self,
        before: &Left,
        wanted: u64,
        tally: &mut Tally,
    ) -> Result<Left, PowerError> {
        // Some of what was acknowledged, and all of which nobody knows, is sent again.
        let next = before.acknowledged.iter().map(|it| it.number + 1).max().unwrap_or(0);
        let life = Life::new(next.saturating_sub(AGAIN), self.random, self.options.lie);
        let recording = life.record(self.scratch, &before.image)?;
        // What is under way when the pipe ends, and what was answered and not told, was sent too.
        let sent = life.first + (recording.told.len() + 2 * life.flying) as u64;
        let sent = sent.max(before.sent);
        tally.lives += 1;
        tally.operations += recording.operations.len();
        tally.acknowledged += recording.told.len();
        self.tell(&life, &recording, tally);
        let mut cuts: Vec<usize> = (0..wanted).map(|_| self.any_cut(&recording)).collect();
        cuts.sort_unstable();
        let goes_on = self.random.below(wanted);
        let mut cutter = Cutter::new(&recording);
        let mut left = None;
        for (number, cut) in (0..).zip(cuts) {
            let kept = KEPT[usize::try_from(self.random.below(5)).expect("it is small")];
            let image = cutter.image(cut, kept, self.random);
            let mut acknowledged = before.acknowledged.clone();
            acknowledged.extend(recording.acknowledged(cut));
            let after = Left { image, acknowledged, sent };
            tally.cuts += 1;
            tally.held += after.acknowledged.len();
            self.check(&after, life.segment_bytes)?.map_err(|failure| {
                let place = format!(
                    "seed {}, life {}, cut after operation {cut} of {}, {kept}/16 of the rest kept",
                    tally.seed,
                    tally.lives,
                    recording.operations.len()
                );
                let kept = self.keep(&after.image, tally);
                PowerError::Violated { place, kept, failure: Box::new(failure) }
            })?;
            if number == goes_on {
                left = Some(after);
            }
        }
        Ok(left.expect("one of the cuts was chosen"))
    }

    fn any_cut(&self, recording: &Recording) -> usize {
        let points = recording.operations.len() as u64 + 1;
        usize::try_from(self.random.below(points)).expect("it is an index")
    }

    /// Mounts what a cut has left, and holds the log on it against what must be there.
    fn check(&self, left: &Left, segment_bytes: u64) -> Result<Result<(), Failure>, PowerError> {
        let (mounted, at) = match self.scratch.mount(&left.image) {
            // A lie may hit the file system as well, which tells nothing of the log.
            Err(PowerError::Program { .. }) if self.options.lie => return Ok(Ok(())),
            mounted => mounted?,
        };
        let found = self.runtime.block_on(holds(&at.join("log"), left, segment_bytes));
        mounted.unmount()?;
        Ok(found)
    }

    /// Keeps an image on which the log has failed, but not where it was meant to.
    fn keep(&self, image: &[u8], tally: &Tally) -> String {
        if self.options.lie {
            return "as it should with a device that lies".to_owned();
        }
        let name = format!("annals-power-{}-{}.img", tally.seed, tally.cuts);
        let path: PathBuf = std::env::temp_dir().join(name);
        match machine::write_image(&path, image) {
            Ok(()) => format!("the disk before it was mounted: {}", path.display()),
            Err(error) => format!("the disk could not be kept: {error}"),
        }
    }

    #[allow(clippy::print_stderr, reason = "a long run tells how far it is")]
    fn tell(&self, life: &Life, recording: &Recording, tally: &Tally) {
        let (operations, told) = (recording.operations.len(), recording.told.len());
        eprintln!(
            "power: {} cuts; life {} has {operations} writes and flushes, {told} acknowledgements, {} at a time, \
             segments of {} KiB{}",
            tally.cuts,
            tally.lives,
            life.flying,
            life.segment_bytes >> 10,
            if self.options.lie { ", and a device that lies" } else { "" }
        );
    }
}

/// Holds the log in `folder` against what must be there, and sees that it goes on.
async fn holds(folder: &Path, left: &Left, segment_bytes: u64) -> Result<(), Failure> {
    let log = appends::open(folder, segment_bytes)?;
    let mut held = Held::default();
    appends::read_on(&mut held, &log, left.sent).await?;
    left.acknowledged.iter().try_for_each(|it| held.check(it.number, &it.answer))?;
    log.close();
    appends::verify(folder)?;
    let log = appends::open(folder, segment_bytes)?;
    let mut acknowledged = Vec::new();
    for number in left.sent..left.sent + APPENDS_AFTER {
        acknowledged.push(appends::append_one(&log, number).await?);
    }
    appends::read_on(&mut held, &log, left.sent + APPENDS_AFTER).await?;
    acknowledged.iter().try_for_each(|it| held.check(it.number, &it.answer))?;
    log.close();
    appends::verify(folder)
}
