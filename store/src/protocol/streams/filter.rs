//! Filters over the whole log.

use annals_core::{Filter, Pattern};

use crate::protocol::errors::ProtocolError;
use crate::protocol::names::check_prefixes;
use crate::protocol::wire::v1::streams::read_req::options::FilterOptions;
use crate::protocol::wire::v1::streams::read_req::options::filter_options::Expression;
use crate::protocol::wire::v1::streams::read_req::options::filter_options::Filter as Wire;

/// The filter that a message describes.
///
/// # Errors
/// [`ProtocolError::Malformed`] where it describes none, or its regular expression is wrong.
pub fn filter(options: &FilterOptions) -> Result<Filter, ProtocolError> {
    match &options.filter {
        Some(Wire::StreamIdentifier(expression)) => {
            let (pattern, prefixes) = parts(expression)?;
            Ok(Filter { stream_pattern: pattern, stream_prefixes: prefixes, ..Filter::default() })
        }
        Some(Wire::EventType(expression)) => {
            let (pattern, prefixes) = parts(expression)?;
            Ok(Filter { type_pattern: pattern, type_prefixes: prefixes, ..Filter::default() })
        }
        None => {
            let text = "a filter is by stream_identifier or by event_type";
            Err(ProtocolError::Malformed(text.to_owned()))
        }
    }
}

/// A regular expression wins over prefixes.
fn parts(expression: &Expression) -> Result<(Option<Pattern>, Vec<String>), ProtocolError> {
    if expression.regex.is_empty() {
        check_prefixes(&expression.prefix)?;
        return Ok((None, expression.prefix.clone()));
    }
    Ok((Some(Pattern::new(&expression.regex)?), Vec::new()))
}
