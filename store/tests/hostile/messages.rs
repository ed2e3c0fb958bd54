//! Requests of every method, nearly right: each field is what it should be, or at its edge, or missing.

use annals_store::protocol::wire::kurrentdb::protocol::v2::streams as transactions;
use annals_store::protocol::wire::v1::persistent_subscriptions as groups;
use annals_store::protocol::wire::v1::streams::{
    AppendReq, BatchAppendReq, DeleteReq, ReadReq, append_req, batch_append_req, delete_req,
    read_req,
};
use annals_store::protocol::wire::v1::uuid::{Structured, Value};
use annals_store::protocol::wire::v1::{Empty, StreamIdentifier, Uuid as WireUuid, monitoring};
use bytes::Bytes;
use prost::Message;
use prost_types::value::Kind;

use super::choices::Choices;
use super::management;

/// Names that mean something, and some that cannot be.
const NAMES: [&[u8]; 12] = [
    b"a-1",
    b"a-1",
    b"a-1",
    b"b-1",
    b"b-1",
    b"$$a-1",
    b"$all",
    b"$$",
    b"",
    b"a\n",
    b"\xff",
    b"$persistentsubscription-a-1::g-parked",
];
const EXPRESSIONS: [&str; 8] =
    ["", "^a", r"^(?!\$)", "(", r"^(a*)*\1b", "(a+)+$", r"((\w{1000}){1000}){1000}", "\u{fc}|$"];

pub(super) fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn stream(choices: &mut Choices<'_>) -> Option<StreamIdentifier> {
    if choices.one_in(20) {
        return None;
    }
    let name = if choices.one_in(30) { vec![b'a'; 1025] } else { choices.of(&NAMES).to_vec() };
    Some(StreamIdentifier { stream_name: name.into() })
}

fn id(choices: &mut Choices<'_>) -> Option<WireUuid> {
    let value = match choices.below(12) {
        0 => return None,
        1 => None,
        2 => Some(Value::String(String::from_utf8_lossy(&choices.bytes()).into_owned())),
        3 => Some(Value::Structured(Structured {
            most_significant_bits: choices.number().cast_signed(),
            least_significant_bits: choices.number().cast_signed(),
        })),
        _ => Some(Value::String(format!("00000000-0000-0000-0000-{:012}", choices.below(6)))),
    };
    Some(WireUuid { value })
}

/// The requests of one call.
pub fn requests(path: &str, choices: &mut Choices<'_>) -> Vec<Bytes> {
    let method = path.rsplit('/').next().unwrap_or_default();
    if path.contains("Projections/") {
        return vec![management::projection(method, choices)];
    }
    if path.contains("Users/") {
        return vec![management::user(method, choices)];
    }
    let of_groups = path.contains("PersistentSubscriptions/");
    match (method, of_groups) {
        ("Read", false) if path.contains("Streams/") => vec![encoded(&read(choices))],
        ("Append", _) => append(choices),
        ("AppendSession", _) => session(choices),
        ("AppendRecords", _) => vec![encoded(&records(choices))],
        ("BatchAppend", _) => (0..=choices.below(6)).map(|_| encoded(&batch(choices))).collect(),
        ("Delete" | "Tombstone", false) => vec![encoded(&delete(choices))],
        ("Create" | "Update", _) => vec![encoded(&create(choices))],
        ("Read", true) => consume(choices),
        ("Delete", true) => vec![encoded(&deleted(choices))],
        ("GetInfo", _) => vec![encoded(&info(choices))],
        ("ReplayParked" | "TruncateParked", _) => vec![encoded(&replayed(choices))],
        ("List", _) => vec![encoded(&list(choices))],
        ("Stats", _) => {
            let refresh_time_period_in_ms = choices.number();
            let use_metadata = choices.one_in(2);
            vec![encoded(&monitoring::StatsReq { use_metadata, refresh_time_period_in_ms })]
        }
        _ => vec![Bytes::new()],
    }
}

fn read(choices: &mut Choices<'_>) -> ReadReq {
    use read_req::options::filter_options::{Expression, Filter, Window};
    use read_req::options::{
        AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, Position,
        StreamOption, StreamOptions, SubscriptionOptions, UuidOption, all_options, stream_options,
        uuid_option,
    };
    if choices.one_in(30) {
        return ReadReq { options: None };
    }
    let all_option = match choices.below(8) {
        0 => None,
        1 => Some(all_options::AllOption::End(Empty {})),
        2 | 3 => {
            let (commit_position, prepare_position) = (choices.number(), choices.number());
            Some(all_options::AllOption::Position(Position { commit_position, prepare_position }))
        }
        _ => Some(all_options::AllOption::Start(Empty {})),
    };
    let revision_option = match choices.below(8) {
        0 => None,
        1 => Some(stream_options::RevisionOption::End(Empty {})),
        2 | 3 => Some(stream_options::RevisionOption::Revision(choices.number())),
        _ => Some(stream_options::RevisionOption::Start(Empty {})),
    };
    let stream_identifier = stream(choices);
    let stream_option = match choices.below(9) {
        0 => None,
        1..=4 => Some(StreamOption::All(AllOptions { all_option })),
        _ => Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option })),
    };
    let expression = Expression {
        regex: choices.of(&EXPRESSIONS).to_owned(),
        prefix: (0..choices.below(3)).map(|_| "a".to_owned()).collect(),
    };
    let filter = FilterOptions {
        filter: match choices.below(8) {
            0 => None,
            1..=3 => Some(Filter::EventType(expression)),
            _ => Some(Filter::StreamIdentifier(expression)),
        },
        window: match choices.below(6) {
            0 => None,
            1 => Some(Window::Count(Empty {})),
            _ => Some(Window::Max(choices.of(&[0, 1, 32, u32::MAX]))),
        },
        checkpoint_interval_multiplier: choices.of(&[1, 2, 0, u32::MAX]),
    };
    let content = match choices.below(12) {
        0 => None,
        1..=5 => Some(uuid_option::Content::Structured(Empty {})),
        _ => Some(uuid_option::Content::String(Empty {})),
    };
    let options = read_req::Options {
        stream_option,
        read_direction: choices.of(&[0, 0, 0, 1, 1, 7, -1]),
        resolve_links: choices.one_in(2),
        count_option: match choices.below(8) {
            0 => None,
            1..=3 => Some(CountOption::Subscription(SubscriptionOptions {})),
            _ => Some(CountOption::Count(choices.number())),
        },
        filter_option: if choices.one_in(3) { Some(FilterOption::Filter(filter)) } else { None },
        uuid_option: Some(UuidOption { content }),
        control_option: Some(ControlOption { compatibility: u32::from(choices.byte() % 3) }),
    };
    ReadReq { options: Some(options) }
}

fn event(choices: &mut Choices<'_>) -> append_req::ProposedMessage {
    let types = ["note.Taken", "$>", "$metadata", "$streamDeleted", "$annals.tombstone", "", "t\n"];
    let place = if choices.one_in(3) { choices.below(types.len()) } else { 0 };
    let contents = ["application/json", "application/octet-stream", ""];
    let mut metadata = std::collections::BTreeMap::new();
    if !choices.one_in(20) {
        metadata.insert("type".to_owned(), types[place].to_owned());
    }
    if !choices.one_in(20) {
        metadata.insert("content-type".to_owned(), choices.of(&contents).to_owned());
    }
    let data: [&[u8]; 6] = [
        b"{}",
        b"0@a-1",
        b"7@$$a-1",
        b"{\"$tb\":2}",
        b"{\"$maxCount\":1}",
        b"{\"$tb\":9223372036854775807}",
    ];
    append_req::ProposedMessage {
        id: id(choices),
        metadata,
        custom_metadata: if choices.one_in(4) { choices.bytes() } else { Bytes::new() },
        data: match choices.below(12) {
            0 => vec![1; 2000].into(),
            1 => choices.bytes(),
            place => Bytes::from_static(data[place % data.len()]),
        },
    }
}

fn append(choices: &mut Choices<'_>) -> Vec<Bytes> {
    use append_req::Content;
    use append_req::options::ExpectedStreamRevision as Expected;
    let expected = match choices.below(12) {
        0 => None,
        1 | 2 => Some(Expected::NoStream(Empty {})),
        3 => Some(Expected::StreamExists(Empty {})),
        4..=6 => Some(Expected::Revision(choices.number())),
        _ => Some(Expected::Any(Empty {})),
    };
    let stream_identifier = stream(choices);
    let options = append_req::Options { stream_identifier, expected_stream_revision: expected };
    let mut messages = Vec::new();
    if !choices.one_in(20) {
        messages.push(AppendReq { content: Some(Content::Options(options)) });
    }
    for _ in 0..choices.below(5) {
        let content =
            if choices.one_in(30) { None } else { Some(Content::ProposedMessage(event(choices))) };
        messages.push(AppendReq { content });
    }
    messages.iter().map(encoded).collect()
}

fn batch(choices: &mut Choices<'_>) -> BatchAppendReq {
    use batch_append_req::options::{DeadlineOption, ExpectedStreamPosition as Expected};
    let expected = match choices.below(12) {
        0 => None,
        1 | 2 => Some(Expected::NoStream(())),
        3 => Some(Expected::StreamExists(())),
        4..=6 => Some(Expected::StreamPosition(choices.number())),
        _ => Some(Expected::Any(())),
    };
    let (seconds, nanos) = (choices.number().cast_signed(), choices.small());
    let deadline_option = match choices.below(6) {
        0 => Some(DeadlineOption::Deadline(prost_types::Duration { seconds, nanos })),
        1 => Some(DeadlineOption::Deadline21100(prost_types::Timestamp { seconds, nanos })),
        _ => None,
    };
    let options = batch_append_req::Options {
        stream_identifier: stream(choices),
        expected_stream_position: expected,
        deadline_option,
    };
    let events = (0..choices.below(4)).map(|_| {
        let event = event(choices);
        batch_append_req::ProposedMessage {
            id: event.id,
            metadata: event.metadata,
            custom_metadata: event.custom_metadata,
            data: event.data,
        }
    });
    let proposed_messages = events.collect();
    BatchAppendReq {
        correlation_id: id(choices),
        options: (!choices.one_in(4)).then_some(options),
        proposed_messages,
        is_final: !choices.one_in(3),
    }
}

fn delete(choices: &mut Choices<'_>) -> DeleteReq {
    use delete_req::options::ExpectedStreamRevision as Expected;
    let expected = match choices.below(10) {
        0 => None,
        1 => Some(Expected::NoStream(Empty {})),
        2 => Some(Expected::StreamExists(Empty {})),
        3..=5 => Some(Expected::Revision(choices.number())),
        _ => Some(Expected::Any(Empty {})),
    };
    let stream_identifier = stream(choices);
    let options = delete_req::Options { stream_identifier, expected_stream_revision: expected };
    DeleteReq { options: (!choices.one_in(30)).then_some(options) }
}

fn group(choices: &mut Choices<'_>) -> String {
    match choices.below(16) {
        0 => String::new(),
        1 => "g".repeat(1100),
        2 => "g\n".to_owned(),
        3..=5 => "h".to_owned(),
        _ => "g".to_owned(),
    }
}

fn create(choices: &mut Choices<'_>) -> groups::CreateReq {
    use groups::create_req::all_options::filter_options::{Expression, Filter};
    use groups::create_req::all_options::{AllOption, FilterOption, FilterOptions};
    use groups::create_req::options::StreamOption;
    use groups::create_req::settings::{CheckpointAfter, MessageTimeout};
    use groups::create_req::stream_options::RevisionOption;
    use groups::create_req::{AllOptions, Options, Position, Settings, StreamOptions};
    let position = Position { commit_position: choices.number(), prepare_position: 0 };
    let all_option = choices.one_in(3).then_some(AllOption::Position(position));
    let regex = choices.of(&EXPRESSIONS).to_owned();
    let expression = Expression { regex, prefix: vec!["a".to_owned()] };
    let filter = Some(if choices.one_in(2) {
        Filter::EventType(expression)
    } else {
        Filter::StreamIdentifier(expression)
    });
    let filter = FilterOptions { filter, ..FilterOptions::default() };
    let filter_option = choices.one_in(2).then_some(FilterOption::Filter(filter));
    let revision_option = match choices.below(4) {
        0 => None,
        1 => Some(RevisionOption::End(Empty {})),
        2 => Some(RevisionOption::Revision(choices.number())),
        _ => Some(RevisionOption::Start(Empty {})),
    };
    let stream_identifier = stream(choices);
    let stream_option = match choices.below(6) {
        0 => None,
        1 | 2 => Some(StreamOption::All(AllOptions { all_option, filter_option })),
        _ => Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option })),
    };
    let any = |choices: &mut Choices<'_>, right: i32| {
        if choices.one_in(6) { choices.small() } else { right }
    };
    let settings = Settings {
        resolve_links: choices.one_in(2),
        revision: choices.number(),
        extra_statistics: choices.one_in(2),
        max_retry_count: any(choices, 2),
        min_checkpoint_count: any(choices, 1),
        max_checkpoint_count: any(choices, 5),
        max_subscriber_count: any(choices, 0),
        live_buffer_size: any(choices, 10),
        read_batch_size: any(choices, 5),
        history_buffer_size: any(choices, 10),
        named_consumer_strategy: any(choices, 1),
        message_timeout: match choices.below(3) {
            0 => Some(MessageTimeout::MessageTimeoutTicks(choices.number().cast_signed())),
            1 => Some(MessageTimeout::MessageTimeoutMs(choices.small())),
            _ => None,
        },
        checkpoint_after: match choices.below(3) {
            0 => Some(CheckpointAfter::CheckpointAfterTicks(choices.number().cast_signed())),
            1 => Some(CheckpointAfter::CheckpointAfterMs(choices.small())),
            _ => None,
        },
        consumer_strategy: choices
            .of(&["", "Pinned", "PinnedByCorrelation", "RoundRobin", "x"])
            .to_owned(),
    };
    let options = Options {
        stream_identifier: stream(choices),
        group_name: group(choices),
        settings: (!choices.one_in(20)).then_some(settings),
        stream_option,
    };
    groups::CreateReq { options: (!choices.one_in(30)).then_some(options) }
}

fn consume(choices: &mut Choices<'_>) -> Vec<Bytes> {
    use groups::read_req::options::{StreamOption, UuidOption, uuid_option};
    use groups::read_req::{Ack, Content, Nack, Options};
    let stream_option = match choices.below(5) {
        0 => Some(StreamOption::All(Empty {})),
        _ => stream(choices).map(StreamOption::StreamIdentifier),
    };
    let content = (!choices.one_in(20)).then_some(uuid_option::Content::String(Empty {}));
    let options = Options {
        stream_option,
        group_name: group(choices),
        buffer_size: choices.small(),
        uuid_option: Some(UuidOption { content }),
    };
    let mut contents = vec![Some(Content::Options(options.clone()))];
    for _ in 0..choices.below(5) {
        let ids = (0..choices.below(4)).filter_map(|_| id(choices)).collect();
        contents.push(match choices.below(12) {
            0 => None,
            1 => Some(Content::Options(options.clone())),
            2..=6 => Some(Content::Ack(Ack { id: Bytes::new(), ids })),
            _ => {
                let (action, reason) = (choices.of(&[0, 1, 2, 3, 4, 9, -1]), "r".to_owned());
                Some(Content::Nack(Nack { id: Bytes::new(), ids, action, reason }))
            }
        });
    }
    contents.into_iter().map(|content| encoded(&groups::ReadReq { content })).collect()
}

fn deleted(choices: &mut Choices<'_>) -> groups::DeleteReq {
    use groups::delete_req::Options;
    use groups::delete_req::options::StreamOption;
    let stream_option = match choices.below(4) {
        0 => Some(StreamOption::All(Empty {})),
        _ => stream(choices).map(StreamOption::StreamIdentifier),
    };
    let options = Options { stream_option, group_name: group(choices) };
    groups::DeleteReq { options: (!choices.one_in(20)).then_some(options) }
}

fn info(choices: &mut Choices<'_>) -> groups::GetInfoReq {
    use groups::get_info_req::Options;
    use groups::get_info_req::options::StreamOption;
    let stream_option = match choices.below(4) {
        0 => Some(StreamOption::All(Empty {})),
        _ => stream(choices).map(StreamOption::StreamIdentifier),
    };
    let options = Options { stream_option, group_name: group(choices) };
    groups::GetInfoReq { options: (!choices.one_in(20)).then_some(options) }
}

fn replayed(choices: &mut Choices<'_>) -> groups::ReplayParkedReq {
    use groups::replay_parked_req::Options;
    use groups::replay_parked_req::options::{StopAtOption, StreamOption};
    let stream_option = match choices.below(4) {
        0 => Some(StreamOption::All(Empty {})),
        _ => stream(choices).map(StreamOption::StreamIdentifier),
    };
    let stop_at_option = match choices.below(3) {
        0 => None,
        1 => Some(StopAtOption::NoLimit(Empty {})),
        _ => Some(StopAtOption::StopAt(choices.number().cast_signed())),
    };
    let options = Options { stream_option, stop_at_option, group_name: group(choices) };
    groups::ReplayParkedReq { options: (!choices.one_in(20)).then_some(options) }
}

fn list(choices: &mut Choices<'_>) -> groups::ListReq {
    use groups::list_req::options::ListOption;
    use groups::list_req::stream_option::StreamOption as Of;
    use groups::list_req::{Options, StreamOption};
    let list_option = match choices.below(5) {
        0 => None,
        1 => Some(ListOption::ListForStream(StreamOption { stream_option: None })),
        2 => {
            Some(ListOption::ListForStream(StreamOption { stream_option: Some(Of::All(Empty {})) }))
        }
        3 => {
            let stream_option = stream(choices).map(Of::Stream);
            Some(ListOption::ListForStream(StreamOption { stream_option }))
        }
        _ => Some(ListOption::ListAllSubscriptions(Empty {})),
    };
    let options = Options { list_option };
    groups::ListReq { options: (!choices.one_in(20)).then_some(options) }
}

pub(super) fn text(choices: &mut Choices<'_>) -> String {
    String::from_utf8_lossy(choices.of(&NAMES)).into_owned()
}

fn record(choices: &mut Choices<'_>) -> transactions::AppendRecord {
    let id = match choices.below(10) {
        0 => None,
        1 => Some(text(choices)),
        _ => Some(format!("00000000-0000-0000-0000-{:012}", choices.below(6))),
    };
    let schema = transactions::SchemaInfo {
        format: (!choices.one_in(10)).then(|| choices.small() % 6),
        name: (!choices.one_in(10)).then(|| "note.Taken".to_owned()),
        id: choices.one_in(10).then(|| text(choices)),
    };
    let kind = match choices.below(8) {
        0 => None,
        1 => Some(Kind::NumberValue(f64::from_bits(choices.number()))),
        2 => Some(Kind::ListValue(prost_types::ListValue::default())),
        _ => Some(Kind::StringValue(text(choices))),
    };
    let property = prost_types::Value { kind };
    transactions::AppendRecord {
        record_id: id,
        properties: [(text(choices), property)].into(),
        schema: (!choices.one_in(20)).then_some(schema),
        data: Some(choices.bytes()),
        stream: (!choices.one_in(20)).then(|| text(choices)),
    }
}

fn session(choices: &mut Choices<'_>) -> Vec<Bytes> {
    let request = |choices: &mut Choices<'_>| {
        let records = (0..choices.below(3)).map(|_| record(choices)).collect();
        let stream = (!choices.one_in(20)).then(|| text(choices));
        let expected_revision = choices.one_in(3).then(|| choices.small().into());
        encoded(&transactions::AppendRequest { stream, records, expected_revision })
    };
    (0..choices.below(4)).map(|_| request(choices)).collect()
}

fn records(choices: &mut Choices<'_>) -> transactions::AppendRecordsRequest {
    use transactions::consistency_check::{StreamStateCheck, Type};
    let records = (0..choices.below(4)).map(|_| record(choices)).collect();
    let check = |choices: &mut Choices<'_>| {
        let (stream, state) = (Some(text(choices)), Some(choices.number().cast_signed()));
        let state = StreamStateCheck { stream, expected_state: state };
        transactions::ConsistencyCheck {
            r#type: (!choices.one_in(10)).then_some(Type::StreamState(state)),
        }
    };
    let checks = (0..choices.below(3)).map(|_| check(choices)).collect();
    transactions::AppendRecordsRequest { records, checks }
}
