//! What clients ask for, from messages; and what they are told, as messages.

use std::time::Duration;

use annals_core::EventId;

use super::super::errors::{GroupTrouble, ProtocolError};
use super::super::events::EventMessage;
use super::super::names::{UuidForm, beginning, stream_name, uuid};
use super::super::wire::v1::persistent_subscriptions as wire;
use super::super::wire::v1::{StreamIdentifier, Uuid as WireUuid};
use super::configuration::{GroupKey, StartFrom, Wanted};
use super::group::Action;
use super::groups::{Asked, whole_log};
use super::keeping::checkpoint_stream;
use super::message::Message;
use super::runner::GroupState;
use super::settings::{Settings, Strategy};

fn missing(what: &str) -> ProtocolError {
    ProtocolError::Malformed(format!("{what} is missing"))
}

/// What a group is of, as a message says it.
pub(crate) enum Of<'a> {
    /// The whole log.
    All,
    /// A stream, which may not be named.
    Stream(Option<&'a StreamIdentifier>),
}

/// A group by its names.
pub(crate) fn key(of: &Of<'_>, group: &str) -> Result<GroupKey, ProtocolError> {
    if group.is_empty() {
        return Err(missing("the group's name"));
    }
    let source = match of {
        Of::Stream(identifier) => stream_name(*identifier)?,
        Of::All => whole_log(),
    };
    let key = GroupKey { source, group: group.to_owned() };
    // Of the names of what a group keeps, this is the longest.
    match checkpoint_stream(&key) {
        Ok(_) => Ok(key),
        Err(error) => Err(ProtocolError::Malformed(error.to_string())),
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn millis(number: i32) -> Duration {
    Duration::from_millis(count(number).into())
}

fn ticks(number: i64) -> Duration {
    Duration::from_micros(u64::try_from(number / 10).unwrap_or(0))
}

fn named_strategy(number: i32) -> Option<Strategy> {
    match wire::create_req::ConsumerStrategy::try_from(number).ok()? {
        wire::create_req::ConsumerStrategy::RoundRobin => Some(Strategy::RoundRobin),
        wire::create_req::ConsumerStrategy::Pinned => Some(Strategy::Pinned),
        wire::create_req::ConsumerStrategy::DispatchToSingle => Some(Strategy::DispatchToSingle),
    }
}

fn start_of(revision: u64) -> StartFrom {
    // What older clients send for the end.
    if i64::try_from(revision).is_ok() { StartFrom::At(revision) } else { StartFrom::End }
}

fn place(number: u64) -> Result<StartFrom, ProtocolError> {
    match (number, i64::try_from(number)) {
        (_, Ok(_)) => Ok(StartFrom::At(number)),
        (u64::MAX, Err(_)) => Ok(StartFrom::End),
        (_, Err(_)) => {
            Err(ProtocolError::Malformed(format!("{number} is no revision or position")))
        }
    }
}

fn wanted(filter: Option<wire::create_req::all_options::FilterOption>) -> Option<Wanted> {
    use wire::create_req::all_options::FilterOption;
    use wire::create_req::all_options::filter_options::Filter;
    let (by_type, expression) = match filter {
        None | Some(FilterOption::NoFilter(_)) => return None,
        Some(FilterOption::Filter(options)) => match options.filter? {
            Filter::StreamIdentifier(expression) => (false, expression),
            Filter::EventType(expression) => (true, expression),
        },
    };
    let pattern = Some(expression.regex).filter(|regex| !regex.is_empty());
    Some(Wanted { by_type, pattern, prefixes: expression.prefix })
}

/// A group that is to be made or changed.
pub(crate) fn create(request: wire::CreateReq) -> Result<Asked, ProtocolError> {
    use wire::create_req::all_options::AllOption;
    use wire::create_req::options::StreamOption;
    use wire::create_req::settings::{CheckpointAfter, MessageTimeout};
    use wire::create_req::stream_options::RevisionOption;
    let options = request.options.ok_or_else(|| missing("which group is meant"))?;
    let settings = options.settings.ok_or_else(|| missing("its settings"))?;
    let group = &options.group_name;
    let (key, start_from, wanted) = match options.stream_option {
        Some(StreamOption::Stream(stream)) => {
            let start_from = match stream.revision_option {
                Some(RevisionOption::Revision(revision)) => place(revision)?,
                Some(RevisionOption::End(_)) => StartFrom::End,
                Some(RevisionOption::Start(_)) | None => StartFrom::Start,
            };
            (key(&Of::Stream(stream.stream_identifier.as_ref()), group)?, start_from, None)
        }
        Some(StreamOption::All(all)) => {
            let start_from = match all.all_option {
                Some(AllOption::Position(position)) => place(position.commit_position)?,
                Some(AllOption::End(_)) => StartFrom::End,
                Some(AllOption::Start(_)) | None => StartFrom::Start,
            };
            (key(&Of::All, group)?, start_from, wanted(all.filter_option))
        }
        None => {
            let key = key(&Of::Stream(options.stream_identifier.as_ref()), group)?;
            (key, start_of(settings.revision), None)
        }
    };
    let number = settings.named_consumer_strategy;
    let (strategy, name) = match settings.consumer_strategy.as_str() {
        "" => (named_strategy(number), number.to_string()),
        name => (Strategy::named(name), beginning(name)),
    };
    let strategy = strategy.ok_or_else(|| ProtocolError::Group {
        trouble: GroupTrouble::Failed(format!("Consumer strategy {name} does not exist.")),
        stream: key.source.to_string(),
        group: group.clone(),
    })?;
    let timeout = match settings.message_timeout {
        Some(MessageTimeout::MessageTimeoutMs(number)) => millis(number),
        Some(MessageTimeout::MessageTimeoutTicks(number)) => ticks(number),
        None => Duration::ZERO,
    };
    let settings = Settings {
        resolve_links: settings.resolve_links,
        extra_statistics: settings.extra_statistics,
        message_timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        max_retry_count: count(settings.max_retry_count),
        checkpoint_after: match settings.checkpoint_after {
            Some(CheckpointAfter::CheckpointAfterMs(number)) => millis(number),
            Some(CheckpointAfter::CheckpointAfterTicks(number)) => ticks(number),
            None => Duration::ZERO,
        },
        min_checkpoint_count: count(settings.min_checkpoint_count),
        max_checkpoint_count: count(settings.max_checkpoint_count),
        max_subscriber_count: count(settings.max_subscriber_count),
        live_buffer_size: count(settings.live_buffer_size),
        read_batch_size: count(settings.read_batch_size),
        history_buffer_size: count(settings.history_buffer_size),
        strategy,
    };
    Ok(Asked { key, wanted, start_from, settings })
}

/// The group to be deleted.
pub(crate) fn deleted(request: wire::DeleteReq) -> Result<GroupKey, ProtocolError> {
    use wire::delete_req::options::StreamOption;
    let options = request.options.ok_or_else(|| missing("what is to be deleted"))?;
    let of = match &options.stream_option {
        Some(StreamOption::All(_)) => Of::All,
        Some(StreamOption::StreamIdentifier(identifier)) => Of::Stream(Some(identifier)),
        None => Of::Stream(None),
    };
    key(&of, &options.group_name)
}

/// The group that is asked about.
pub(crate) fn asked_about(request: wire::GetInfoReq) -> Result<GroupKey, ProtocolError> {
    use wire::get_info_req::options::StreamOption;
    let options = request.options.ok_or_else(|| missing("what is asked about"))?;
    let of = match &options.stream_option {
        Some(StreamOption::All(_)) => Of::All,
        Some(StreamOption::StreamIdentifier(identifier)) => Of::Stream(Some(identifier)),
        None => Of::Stream(None),
    };
    key(&of, &options.group_name)
}

/// The group whose parked events are meant, to be taken up again or let go, and before which of them.
pub(crate) fn replayed(
    request: wire::ReplayParkedReq,
) -> Result<(GroupKey, Option<u64>), ProtocolError> {
    use wire::replay_parked_req::options::{StopAtOption, StreamOption};
    let options = request.options.ok_or_else(|| missing("whose parked events are meant"))?;
    let of = match &options.stream_option {
        Some(StreamOption::All(_)) => Of::All,
        Some(StreamOption::StreamIdentifier(identifier)) => Of::Stream(Some(identifier)),
        None => Of::Stream(None),
    };
    let before = match options.stop_at_option {
        Some(StopAtOption::StopAt(number)) => Some(u64::try_from(number).map_err(|_| {
            ProtocolError::Malformed(format!("parked events cannot end before {number}"))
        })?),
        Some(StopAtOption::NoLimit(_)) | None => None,
    };
    Ok((key(&of, &options.group_name)?, before))
}

/// Events by their ids.
pub(crate) fn ids(ids: &[WireUuid]) -> Result<Vec<EventId>, ProtocolError> {
    ids.iter().map(|id| uuid(Some(id)).map(EventId)).collect()
}

/// What is to be done with events that were not finished.
pub(crate) fn action(number: i32) -> Result<Action, ProtocolError> {
    use wire::read_req::nack::Action as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Park) => Ok(Action::Park),
        Ok(Wire::Skip) => Ok(Action::Skip),
        Ok(Wire::Stop) => Ok(Action::Stop),
        Ok(Wire::Retry | Wire::Unknown) => Ok(Action::Retry),
        Err(_) => Err(ProtocolError::Malformed(format!("{number} is no action"))),
    }
}

/// An event for a consumer.
pub(crate) fn event(message: &Message, form: UuidForm) -> wire::ReadResp {
    use wire::read_resp::read_event::{Count, Position};
    let content = &message.content;
    let shown = |event: &annals_core::RecordedEvent| EventMessage::one(event.clone(), form);
    let position = content.original().map(|event| Position::CommitPosition(event.position.0));
    let event = wire::read_resp::ReadEvent {
        event: content.event.as_ref().map(shown),
        link: content.link.as_ref().map(shown),
        position,
        count: Some(Count::RetryCount(i32::try_from(message.retry_count).unwrap_or(i32::MAX))),
    };
    wire::ReadResp { content: Some(wire::read_resp::Content::Event(event)) }
}

fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn shown_millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How a group is.
pub(crate) fn info(state: GroupState) -> wire::SubscriptionInfo {
    let GroupState { configuration, description, live, parked } = state;
    let settings = &description.settings;
    let text =
        |place: Option<u64>| place.map(|place| configuration.place_text(place)).unwrap_or_default();
    let waiting = description.waiting;
    let connections = description.consumers.iter().map(connection).collect();
    wire::SubscriptionInfo {
        event_source: configuration.key.source.to_string(),
        group_name: configuration.key.group.clone(),
        status: if live { "Live" } else { "Behind" }.to_owned(),
        connections,
        average_per_second: description.given.average,
        total_items: description.given.total,
        count_since_last_measurement: description.given.since_last,
        last_checkpointed_event_position: text(description.checkpoint),
        last_known_event_position: text(description.reached),
        resolve_link_tos: settings.resolve_links,
        start_from: configuration.start_text(),
        message_timeout_milliseconds: shown_millis(settings.message_timeout.unwrap_or_default()),
        extra_statistics: settings.extra_statistics,
        max_retry_count: signed(settings.max_retry_count),
        live_buffer_size: signed(settings.live_buffer_size),
        buffer_size: signed(settings.history_buffer_size),
        read_batch_size: signed(settings.read_batch_size),
        check_point_after_milliseconds: shown_millis(settings.checkpoint_after),
        min_check_point_count: signed(settings.min_checkpoint_count),
        max_check_point_count: signed(settings.max_checkpoint_count),
        read_buffer_count: if live { 0 } else { small(waiting) },
        live_buffer_count: if live { i64::try_from(waiting).unwrap_or(i64::MAX) } else { 0 },
        retry_buffer_count: small(description.retries),
        total_in_flight_messages: small(description.in_flight),
        outstanding_messages_count: small(description.in_flight + description.retries),
        named_consumer_strategy: settings.strategy.name().to_owned(),
        max_subscriber_count: signed(settings.max_subscriber_count),
        parked_message_count: i64::try_from(parked).unwrap_or(i64::MAX),
    }
}

fn connection(
    consumer: &super::group::ConsumerDescription,
) -> wire::subscription_info::ConnectionInfo {
    use wire::subscription_info::{ConnectionInfo, Measurement};
    let measured = consumer
        .times
        .iter()
        .map(|(key, value)| Measurement { key: (*key).to_owned(), value: *value });
    ConnectionInfo {
        from: consumer.about.from.clone(),
        username: consumer.about.user.clone(),
        average_items_per_second: consumer.given.average,
        total_items: consumer.given.total,
        count_since_last_measurement: consumer.given.since_last,
        observed_measurements: measured.collect(),
        available_slots: small(consumer.about.buffer_size.saturating_sub(consumer.in_flight)),
        in_flight_messages: small(consumer.in_flight),
        connection_name: consumer.about.connection.clone(),
    }
}
