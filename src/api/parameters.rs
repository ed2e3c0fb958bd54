//! The query text of a request, read by name: an unknown or doubled parameter, or a value that does
//! not fit, is refused with what would be right.

use std::collections::BTreeMap;

use annals_core::{Position, StreamName, Timestamp};

use super::problem::Problem;
use super::read_models::number;

/// The parameters of a request. Each is taken out once; [`Parameters::end`] refuses what is left.
#[derive(Debug)]
pub(super) struct Parameters {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Parameters {
    /// Reads the query text.
    pub(super) fn of(query: Option<&str>) -> Result<Parameters, Problem> {
        let mut given = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            if given.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                let detail = format!("the parameter {name:?} is given twice");
                return Err(Problem::malformed("doubled-parameter", detail));
            }
        }
        Ok(Parameters { given, known: Vec::new() })
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.given.remove(name)
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<u64>, Problem> {
        self.text(name).map(|value| number(name, &value)).transpose()
    }

    pub(super) fn position(&mut self, name: &'static str) -> Result<Option<Position>, Problem> {
        Ok(self.number(name)?.map(Position))
    }

    pub(super) fn truth(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => {
                let detail = format!("{name} is {other:?}; right would be true or false");
                Err(Problem::malformed("wrong-value", detail).with("parameter", name))
            }
        }
    }

    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(value) = self.text(name) else { return Ok(None) };
        Timestamp::parse(&value).map(Some).map_err(|_| {
            let right = "a time in RFC 3339, such as 2018-01-01T00:00:02.61Z";
            let detail = format!("{name} is {value:?}; right would be {right}");
            Problem::malformed("wrong-value", detail).with("parameter", name)
        })
    }

    /// Refuses parameters that nobody asked for.
    pub(super) fn end(self) -> Result<(), Problem> {
        let Some(unknown) = self.given.keys().next() else { return Ok(()) };
        let list = self.known.join(", ");
        let detail = format!("there is no parameter {unknown:?} here; there are {list}");
        Err(Problem::malformed("unknown-parameter", detail).with("parameter", unknown.clone()))
    }
}

/// A stream's name.
pub(super) fn stream_name(name: &str) -> Result<StreamName, Problem> {
    StreamName::new(name)
        .map_err(|error| Problem::of(annals_core::Family::Malformed, "wrong-stream", &error))
}
