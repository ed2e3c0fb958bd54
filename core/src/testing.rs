//! The given/when/then kit: a decider's history, a command, and what must follow. Used by every domain crate's tests.

use std::fmt::Debug;

use crate::decider::Decider;

/// A history, ready for a command.
#[derive(Debug)]
pub struct Given<D>(D);

/// What a command led to.
#[derive(Debug)]
pub struct Outcome<D: Decider> {
    state: D,
    result: Result<Vec<D::Event>, D::Refusal>,
}

/// The state after these events.
pub fn given<D: Decider>(history: impl IntoIterator<Item = D::Event>) -> Given<D> {
    Given(history.into_iter().fold(D::default(), |state, event| state.evolve(&event)))
}

impl<D: Decider> Given<D> {
    /// Gives the command.
    pub fn when(self, command: D::Command) -> Outcome<D> {
        let result = self.0.decide(command);
        Outcome { state: self.0, result }
    }
}

impl<D: Decider> Outcome<D> {
    /// Exactly these events follow.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D>
    where
        D::Refusal: Debug,
    {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(self.result, Ok(expected.clone()), "the command's events");
        Given(expected.iter().fold(self.state, D::evolve))
    }

    /// It was so already: no event follows.
    #[track_caller]
    pub fn then_nothing(self) -> Given<D> {
        self.then([])
    }

    /// The domain says no, with this refusal.
    #[track_caller]
    pub fn refused(self, expected: D::Refusal) {
        assert_eq!(self.result, Err(expected), "the command's refusal");
    }
}
