//! Where the log ends, as far as this process knows: what it has appended itself, and what a subscription of its own sees of
//! others'. It never goes back.

use std::sync::Arc;
use std::time::Duration;

use annals_core::Position;
use eventstore::{StreamPosition, SubscribeToAllOptions, SubscriptionEvent};
use tokio::sync::watch;

use super::connection::{Connection, Patience};
use super::events::place_of;

/// How long the pauses grow; the watch never gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end of the log.
pub(super) struct Head(watch::Sender<Option<Position>>);

impl Head {
    pub(super) fn new(position: Option<Position>) -> Head {
        Head(watch::Sender::new(position))
    }

    /// The last position known.
    pub(super) fn position(&self) -> Option<Position> {
        *self.0.borrow()
    }

    /// The log reaches to here at least.
    pub(super) fn saw(&self, position: Position) {
        self.0.send_if_modified(|head| {
            let grows = head.is_none_or(|head| head < position);
            if grows {
                *head = Some(position);
            }
            grows
        });
    }
}

/// Follows what everyone appends.
pub(super) async fn follow(connection: Arc<Connection>, head: Arc<Head>) {
    let mut patience = Patience::within(PATIENCE);
    loop {
        let start = head
            .position()
            .map_or(StreamPosition::Start, |position| StreamPosition::Position(place_of(position)));
        let (number, client) = connection.client();
        let options = SubscribeToAllOptions::default().position(start);
        let mut events = client.subscribe_to_all(&options).await;
        let error = loop {
            match events.next_subscription_event().await {
                Ok(SubscriptionEvent::EventAppeared(event)) => {
                    head.saw(Position(event.get_original_event().position.commit));
                    patience.renew();
                }
                Ok(SubscriptionEvent::Checkpoint(place)) => head.saw(Position(place.commit)),
                Ok(
                    SubscriptionEvent::Confirmed(_)
                    | SubscriptionEvent::FirstStreamPosition(_)
                    | SubscriptionEvent::LastStreamPosition(_)
                    | SubscriptionEvent::LastAllPosition(_)
                    | SubscriptionEvent::CaughtUp
                    | SubscriptionEvent::FellBehind,
                ) => {}
                Err(error) => break error,
            }
        };
        tracing::debug!(%error, "the watch on the end of the log begins again");
        connection.failed(number, &error);
        drop(events);
        if !patience.pause().await {
            patience.renew();
        }
    }
}
