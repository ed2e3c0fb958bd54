//! What an event log must hold, whatever happened to it: nothing acknowledged is lost, nothing stands twice, nothing
//! stands there that was refused or never sent, every append is whole or absent, as it was sent and where it expected to
//! be, positions and revisions have no gap, and one order explains what all clients saw. It refuses to know how appends
//! are sent, what was done to the log, and how a log works.

mod held;
mod history;
mod order;
#[cfg(test)]
mod tests;
mod violation;

pub use held::{Held, Origin};
pub use history::{Counts, History, Moment, Outcome, Sent, Ticket};
pub use violation::{Violation, Wrong};
