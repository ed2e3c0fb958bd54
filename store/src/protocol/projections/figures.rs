//! What is told of a projection's work: written by its task, read by whoever asks.

use std::time::Duration;

use annals_core::Position;
use parking_lot::Mutex;

use super::super::wire::v1::projections::statistics_resp::Details;
use super::kept::Kept;
use super::system::SystemProjection;

/// The figures of a projection.
#[derive(Default)]
pub(crate) struct Figures(Mutex<Numbers>);

/// What there is to tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// What stands in the store.
    pub(crate) kept: Kept,
    /// The log was looked at through this position.
    pub(crate) looked: Option<Position>,
    /// Events that were looked at since the projection started.
    pub(crate) processed: u64,
    /// Links that wait to be written.
    pub(crate) waiting: usize,
    /// An append is under way.
    pub(crate) is_writing: bool,
    /// The next batch of events is waited for.
    pub(crate) is_reading: bool,
    /// What holds the projection up.
    pub(crate) trouble: Option<String>,
    /// How long events were worked on.
    pub(crate) busy: Duration,
}

/// Whether the task of a projection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// It does.
    Runs,
    /// It has ended, or never began.
    Ended,
}

impl Figures {
    /// Before any work.
    pub(crate) fn of(kept: Kept) -> Figures {
        let looked = kept.through;
        Figures(Mutex::new(Numbers { kept, looked, ..Numbers::default() }))
    }

    /// Changes them.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Numbers) -> T) -> T {
        change(&mut self.0.lock())
    }

    /// The task is held up by this; true where it was not before.
    pub(crate) fn hold_up(&self, trouble: String) -> bool {
        self.change(|numbers| {
            (numbers.waiting, numbers.is_writing, numbers.is_reading) = (0, false, false);
            // What waited is read again.
            numbers.looked = numbers.kept.through;
            numbers.trouble.replace(trouble).is_none()
        })
    }

    /// The task goes on; true where it was held up.
    pub(crate) fn go_on(&self) -> bool {
        self.change(|numbers| numbers.trouble.take().is_some())
    }

    /// What a client is told, of a log that ends at `head`.
    pub(crate) fn told(
        &self,
        projection: SystemProjection,
        task: Task,
        head: Option<Position>,
    ) -> Details {
        let numbers = self.0.lock().clone();
        let Numbers { kept, looked, .. } = numbers;
        let status = match (task, kept.running) {
            (Task::Runs, _) => "Running",
            (Task::Ended, true) => "Faulted",
            (Task::Ended, false) => "Stopped",
        };
        let waiting = i32::try_from(numbers.waiting).unwrap_or(i32::MAX);
        Details {
            core_processing_time: i64::try_from(numbers.busy.as_millis()).unwrap_or(i64::MAX),
            version: kept.generation.into(),
            epoch: kept.generation.into(),
            effective_name: projection.name().to_owned(),
            writes_in_progress: numbers.is_writing.into(),
            reads_in_progress: numbers.is_reading.into(),
            partitions_cached: 0,
            status: status.to_owned(),
            state_reason: reason(numbers.trouble, kept.skipped),
            name: projection.name().to_owned(),
            mode: "Continuous".to_owned(),
            position: place(looked),
            progress: progress(looked, head),
            last_checkpoint: place(kept.through),
            events_processed_after_restart: i64::try_from(numbers.processed).unwrap_or(i64::MAX),
            checkpoint_status: String::new(),
            buffered_events: waiting.into(),
            write_pending_events_before_checkpoint: waiting,
            write_pending_events_after_checkpoint: 0,
        }
    }
}

/// What holds it up, and what it passed over.
fn reason(trouble: Option<String>, skipped: u64) -> String {
    let skipped = (skipped > 0).then(|| {
        format!(
            "{skipped} events are not linked: the name of the stream would be too long or have a control character, or \
             the stream has ended for ever"
        )
    });
    let reasons: Vec<_> = trouble.into_iter().chain(skipped).collect();
    reasons.join("; ")
}

/// A position as clients are told it.
fn place(position: Option<Position>) -> String {
    position.map_or_else(|| "C:-1/P:-1".to_owned(), |Position(at)| format!("C:{at}/P:{at}"))
}

/// How much of the log was looked at, in percent.
fn progress(looked: Option<Position>, head: Option<Position>) -> f32 {
    let count = |position: Option<Position>| position.map_or(0, |Position(at)| at + 1);
    let (looked, all) = (count(looked), count(head));
    if looked >= all {
        return 100.0;
    }
    // In hundredths, which a float holds exactly enough.
    let hundredths = u128::from(looked) * 10_000 / u128::from(all);
    f32::from(u16::try_from(hundredths).unwrap_or(u16::MAX)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECTION: SystemProjection = SystemProjection::ByCategory;

    #[test]
    fn a_client_is_told_how_far_a_projection_is() {
        let figures = Figures::of(Kept { running: true, through: None, ..Kept::default() });
        let told = |head: u64| figures.told(PROJECTION, Task::Runs, Some(Position(head)));
        let percent = |told: &Details| told.progress.to_string();
        let begun = told(9);
        assert_eq!((begun.status.as_str(), begun.mode.as_str()), ("Running", "Continuous"));
        assert_eq!((begun.position.as_str(), percent(&begun).as_str()), ("C:-1/P:-1", "0"));
        figures.change(|numbers| numbers.looked = Some(Position(4)));
        figures.change(|numbers| numbers.kept.through = Some(Position(2)));
        let half = told(9);
        assert_eq!((half.position.as_str(), percent(&half).as_str()), ("C:4/P:4", "50"));
        assert_eq!(half.last_checkpoint, "C:2/P:2");
        assert_eq!(percent(&told(4)), "100");
        assert_eq!(percent(&told(5)), "83.33");
        assert_eq!(percent(&told(2_999_999)), "0");
        assert_eq!(percent(&figures.told(PROJECTION, Task::Runs, None)), "100");
    }

    #[test]
    fn a_client_is_told_what_holds_a_projection_up() {
        let figures = Figures::of(Kept { running: true, skipped: 3, ..Kept::default() });
        assert!(figures.hold_up("no room".to_owned()), "it is news");
        assert!(!figures.hold_up("no room yet".to_owned()), "it is none");
        let reason = figures.told(PROJECTION, Task::Runs, None).state_reason;
        assert!(reason.starts_with("no room yet; 3 events are not linked"), "{reason}");
        assert!(figures.go_on() && !figures.go_on());
        let reason = figures.told(PROJECTION, Task::Runs, None).state_reason;
        assert!(reason.starts_with("3 events"), "{reason}");
        assert_eq!(figures.told(PROJECTION, Task::Ended, None).status, "Faulted");
        figures.change(|numbers| numbers.kept.running = false);
        assert_eq!(figures.told(PROJECTION, Task::Ended, None).status, "Stopped");
    }
}
