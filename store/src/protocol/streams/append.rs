//! An append whose events come one message each.

use futures::{Stream, StreamExt, pin_mut};
use tonic::Status;

use super::expected::{Given, number};
use crate::protocol::access::{Caller, Right};
use crate::protocol::errors::ProtocolError;
use crate::protocol::proposed::{EVENTS_MAX, Names, Proposed};
use crate::protocol::service::Protocol;
use crate::protocol::wire::v1::Empty;
use crate::protocol::wire::v1::streams::append_req::Content;
use crate::protocol::wire::v1::streams::append_resp::success::{
    CurrentRevisionOption as Current, PositionOption,
};
use crate::protocol::wire::v1::streams::append_resp::{
    Position, Result as Answer, Success, WrongExpectedVersion, wrong_expected_version as wrong,
};
use crate::protocol::wire::v1::streams::{AppendReq, AppendResp};
use crate::protocol::writes::{Expected, Proposal, WriteError, Written};

/// Takes the messages of an append and writes it.
///
/// # Errors
/// What the call ends with instead of an answer.
pub(super) async fn append(
    protocol: &Protocol,
    caller: &Caller,
    requests: impl Stream<Item = Result<AppendReq, Status>>,
) -> Result<AppendResp, Status> {
    let proposal = proposal(protocol, caller, requests).await?;
    let limit = protocol.parts.settings.write_timeout;
    let Ok(written) = tokio::time::timeout(limit, protocol.write(&proposal)).await else {
        let text = format!("the append to {} is not durable yet", proposal.stream);
        return Err(ProtocolError::TimedOut(text).into());
    };
    let answer = match written {
        Ok(written) => Answer::Success(success(written)),
        Err(WriteError::Wrong(actual)) => {
            Answer::WrongExpectedVersion(wrong_version(proposal.expected, number(actual)))
        }
        Err(WriteError::Other(error)) => return Err(error.into()),
    };
    Ok(AppendResp { result: Some(answer) })
}

async fn proposal(
    protocol: &Protocol,
    caller: &Caller,
    requests: impl Stream<Item = Result<AppendReq, Status>>,
) -> Result<Proposal, Status> {
    let settings = &protocol.parts.settings;
    let malformed = |text: &str| ProtocolError::Malformed(text.to_owned());
    pin_mut!(requests);
    let first = requests.next().await.transpose()?.and_then(|request| request.content);
    let Some(Content::Options(options)) = first else {
        return Err(malformed("the first message of an append has its options").into());
    };
    let mut names = Names::default();
    let given = Given::of_append(options);
    let (stream, metastream) = names.stream(given.stream.as_ref())?;
    let expected = given.expected?;
    protocol.may(caller, Right::Write, &stream).await?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(request) = requests.next().await.transpose()? {
        let Some(Content::ProposedMessage(message)) = request.content else {
            return Err(malformed("an event is missing in a message of an append").into());
        };
        let proposed = Proposed {
            id: message.id,
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        };
        bytes += proposed.size();
        events.push(proposed.event(&mut names, settings)?);
        if bytes > settings.append_bytes_max || events.len() > EVENTS_MAX {
            return Err(ProtocolError::AppendTooLarge { most: settings.append_bytes_max }.into());
        }
    }
    Ok(Proposal { stream, metastream, expected, events })
}

fn success(written: Written) -> Success {
    let current = number(written.revision);
    Success {
        current_revision_option: Some(
            current.map_or(Current::NoStream(Empty {}), Current::CurrentRevision),
        ),
        position_option: Some(written.position.map_or(
            PositionOption::NoPosition(Empty {}),
            |at| {
                PositionOption::Position(Position { commit_position: at.0, prepare_position: at.0 })
            },
        )),
    }
}

/// The answer in both of its forms: older clients read the first.
fn wrong_version(expected: Expected, actual: Option<u64>) -> WrongExpectedVersion {
    use wrong::{
        CurrentRevisionOption, CurrentRevisionOption2060, ExpectedRevisionOption,
        ExpectedRevisionOption2060,
    };
    let none = || Empty {};
    let (old_expected, new_expected) = match expected {
        Expected::Any => (
            ExpectedRevisionOption2060::Any2060(none()),
            ExpectedRevisionOption::ExpectedAny(none()),
        ),
        Expected::Exists => (
            ExpectedRevisionOption2060::StreamExists2060(none()),
            ExpectedRevisionOption::ExpectedStreamExists(none()),
        ),
        Expected::NoStream => (
            ExpectedRevisionOption2060::ExpectedRevision2060(u64::MAX),
            ExpectedRevisionOption::ExpectedNoStream(none()),
        ),
        Expected::Revision(revision) => (
            ExpectedRevisionOption2060::ExpectedRevision2060(revision.0),
            ExpectedRevisionOption::ExpectedRevision(revision.0),
        ),
    };
    WrongExpectedVersion {
        current_revision_option_20_6_0: Some(actual.map_or(
            CurrentRevisionOption2060::NoStream2060(none()),
            CurrentRevisionOption2060::CurrentRevision2060,
        )),
        expected_revision_option_20_6_0: Some(old_expected),
        current_revision_option: Some(actual.map_or(
            CurrentRevisionOption::CurrentNoStream(none()),
            CurrentRevisionOption::CurrentRevision,
        )),
        expected_revision_option: Some(new_expected),
    }
}
