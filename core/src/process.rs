//! Process managers: what follows from events. Pure like deciders; whoever runs one executes its commands. A process
//! never runs in a rebuild, so replaying history sends nothing twice.

/// The state of a process and its reaction to one event at a time.
pub trait Process: Default + Send + 'static {
    /// The events that it watches.
    type Event;
    /// The commands that follow.
    type Command;

    /// Takes note of an event and appends what should be done now to `commands`, in order.
    fn react(&mut self, event: &Self::Event, commands: &mut Vec<Self::Command>);
}
