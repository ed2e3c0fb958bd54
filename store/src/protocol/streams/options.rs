//! What a read asks for: one of four things, checked, from options that could say many more.

use annals_core::{Direction, Filter, Position, Revision, StreamName};

use super::filter::filter;
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::{UuidForm, stream_name};
use crate::protocol::wire::v1::streams::ReadReq;
use crate::protocol::wire::v1::streams::read_req::Options;
use crate::protocol::wire::v1::streams::read_req::options::all_options::AllOption;
use crate::protocol::wire::v1::streams::read_req::options::filter_options::Window;
use crate::protocol::wire::v1::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::wire::v1::streams::read_req::options::uuid_option::Content as UuidContent;
use crate::protocol::wire::v1::streams::read_req::options::{
    CountOption, FilterOption, FilterOptions, ReadDirection, StreamOption,
};

/// How many events a window has that is not told in numbers.
const WINDOW: u64 = 32;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning<T> {
    /// At the first event there is.
    Start,
    /// At this one; a subscription behind it.
    At(T),
    /// Behind the last one there is.
    End,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) form: UuidForm,
    pub(super) resolve_links: bool,
}

/// A read of one stream.
pub(super) struct StreamRead {
    pub(super) stream: StreamName,
    pub(super) from: Beginning<Revision>,
    pub(super) direction: Direction,
    pub(super) count: u64,
    pub(super) view: View,
    /// The client wants to be told where the stream begins and ends.
    pub(super) with_ends: bool,
}

/// A read of the whole log.
pub(super) struct LogRead {
    pub(super) from: Beginning<Position>,
    pub(super) direction: Direction,
    pub(super) count: u64,
    pub(super) filter: Filter,
    pub(super) view: View,
}

/// A subscription to one stream.
pub(super) struct StreamSubscription {
    pub(super) stream: StreamName,
    pub(super) from: Beginning<Revision>,
    pub(super) view: View,
}

/// A subscription to the whole log.
pub(super) struct LogSubscription {
    pub(super) from: Beginning<Position>,
    /// With the number of events after which a checkpoint is due.
    pub(super) filter: Option<(Filter, u64)>,
    pub(super) view: View,
}

/// What a read asks for.
pub(super) enum Asked {
    Stream(StreamRead),
    Log(LogRead),
    StreamSubscription(StreamSubscription),
    LogSubscription(LogSubscription),
}

fn malformed<T>(text: &str) -> Result<T, ProtocolError> {
    Err(ProtocolError::Malformed(text.to_owned()))
}

impl Asked {
    pub(super) fn of(request: ReadReq) -> Result<Asked, ProtocolError> {
        let Some(options) = request.options else { return malformed("the options are missing") };
        let (view, direction) = (view(&options)?, direction(&options)?);
        let compatibility = options.control_option.map_or(0, |control| control.compatibility);
        let filter_options = match &options.filter_option {
            Some(FilterOption::Filter(filter)) => Some(filter),
            Some(FilterOption::NoFilter(_)) | None => None,
        };
        let filtered = filter_options.map(filter).transpose()?;
        match (options.stream_option, options.count_option) {
            (None, _) => malformed("neither a stream nor all is asked for"),
            (_, None) => malformed("neither a count nor a subscription is asked for"),
            (Some(StreamOption::Stream(_)), _) if filtered.is_some() => {
                malformed("a filter goes with all, not with one stream")
            }
            (_, Some(CountOption::Subscription(_))) if direction == Direction::Backwards => {
                malformed("a subscription goes forwards")
            }
            (Some(StreamOption::Stream(asked)), Some(count)) => {
                let stream = stream_name(asked.stream_identifier.as_ref())?;
                let from = match asked.revision_option {
                    Some(RevisionOption::Revision(revision)) => at(revision)?.map(Revision),
                    Some(RevisionOption::Start(_)) => Beginning::Start,
                    Some(RevisionOption::End(_)) => Beginning::End,
                    None => return malformed("where to begin in the stream is missing"),
                };
                Ok(match count {
                    CountOption::Count(count) => Asked::Stream(StreamRead {
                        stream,
                        from,
                        direction,
                        count,
                        view,
                        with_ends: compatibility >= 1,
                    }),
                    CountOption::Subscription(_) => {
                        Asked::StreamSubscription(StreamSubscription { stream, from, view })
                    }
                })
            }
            (Some(StreamOption::All(asked)), Some(count)) => {
                let from = match asked.all_option {
                    Some(AllOption::Position(position)) => {
                        at(position.commit_position)?.map(Position)
                    }
                    Some(AllOption::Start(_)) => Beginning::Start,
                    Some(AllOption::End(_)) => Beginning::End,
                    None => return malformed("where to begin in the log is missing"),
                };
                Ok(match count {
                    CountOption::Count(count) => {
                        let filter = filtered.unwrap_or_default();
                        Asked::Log(LogRead { from, direction, count, filter, view })
                    }
                    CountOption::Subscription(_) => {
                        let interval = filter_options.map(interval).transpose()?;
                        let filter = filtered.zip(interval);
                        Asked::LogSubscription(LogSubscription { from, filter, view })
                    }
                })
            }
        }
    }
}

impl<T> Beginning<T> {
    fn map<U>(self, wrap: impl FnOnce(T) -> U) -> Beginning<U> {
        match self {
            Beginning::Start => Beginning::Start,
            Beginning::At(number) => Beginning::At(wrap(number)),
            Beginning::End => Beginning::End,
        }
    }
}

/// A number of a revision or position; the last one of all means the end.
fn at(number: u64) -> Result<Beginning<u64>, ProtocolError> {
    if number == u64::MAX {
        return Ok(Beginning::End);
    }
    if number > i64::MAX as u64 {
        return malformed("a revision or position is 2^63-1 at most, or 2^64-1 for the end");
    }
    Ok(Beginning::At(number))
}

fn view(options: &Options) -> Result<View, ProtocolError> {
    let form = match options.uuid_option.and_then(|option| option.content) {
        Some(UuidContent::Structured(_)) => UuidForm::Structured,
        Some(UuidContent::String(_)) => UuidForm::String,
        None => return malformed("uuid_option is missing"),
    };
    Ok(View { form, resolve_links: options.resolve_links })
}

fn direction(options: &Options) -> Result<Direction, ProtocolError> {
    match ReadDirection::try_from(options.read_direction) {
        Ok(ReadDirection::Forwards) => Ok(Direction::Forwards),
        Ok(ReadDirection::Backwards) => Ok(Direction::Backwards),
        Err(_) => malformed("read_direction has an unknown value"),
    }
}

/// After how many events a filtered subscription tells how far it has looked.
fn interval(options: &FilterOptions) -> Result<u64, ProtocolError> {
    let window = match options.window {
        Some(Window::Max(0)) => return malformed("the window of a filter is not 0"),
        Some(Window::Max(window)) => u64::from(window),
        Some(Window::Count(_)) => WINDOW,
        None => return malformed("the window of the filter is missing"),
    };
    match u64::from(options.checkpoint_interval_multiplier) {
        0 => malformed("checkpointIntervalMultiplier is not 0"),
        multiplier => Ok(window * multiplier),
    }
}
