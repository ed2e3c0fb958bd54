//! The vocabulary and kernel of Annals: what an event is, the four pure functions a domain is made of, the seams to
//! the world, and the executor that runs deciders over any event store. It knows no domain and no storage format.

pub mod append;
pub mod causes;
pub mod clock;
pub mod codec;
pub mod decider;
pub mod disk;
pub mod event;
pub mod executor;
pub mod family;
pub mod feed;
pub mod memory;
pub mod metadata;
pub mod process;
pub mod projection;
pub mod query;
pub mod random;
pub mod retention;
pub mod store;
pub mod testing;

pub use causes::{causes, chain};
pub use clock::{Clock, Timestamp};
pub use codec::{DecodeError, DomainEvent, EventSchema, SchemaFingerprint, Schemas};
pub use decider::{Decider, DeciderRegistry};
pub use event::{
    EventId, EventType, NewEvent, Position, Recorded, RecordedEvent, Revision, StreamName,
};
pub use family::Family;
pub use feed::{Batch, Feed};
pub use metadata::{Content, Metadata};
pub use process::Process;
pub use projection::{Facts, Projection, ProjectionRegistry, RowKey, RowScope};
pub use query::{Direction, EventQuery, Filter, Pattern, QueryItem, ReadQuery, Source, Start};
pub use random::Random;
pub use retention::Retention;
pub use store::{
    Append, AppendError, Appended, Condition, EventStore, ExpectedRevision, PerWrite, ReadError,
    StoreIdentity, StreamWrite, Unmet,
};
