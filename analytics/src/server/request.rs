//! A request as ClickHouse's HTTP interface has it: what is in the address, the headers and, for parameters, the form.

use std::time::Duration;

use axum::extract::{FromRequest as _, Multipart, Query, Request};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};

use crate::configuration::DATABASE;

use super::body::{BodyReader, Encoding};
use super::connections::SESSION_TIMEOUT;
use super::failure::{Failure, Reason};

/// Settings of a request, in the order given.
pub(crate) type Settings = Vec<(String, String)>;

/// A session that a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct SessionRequest {
    pub(crate) id: String,
    pub(crate) timeout: Duration,
    /// Fail when it does not exist yet.
    pub(crate) must_exist: bool,
    /// Whether the request names a database; the session keeps its own otherwise.
    pub(crate) database_named: bool,
}

/// Everything a request says, apart from its body.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) database: String,
    pub(crate) default_format: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) query_id: Option<String>,
    pub(crate) session: Option<SessionRequest>,
    pub(crate) settings: Settings,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) encoding: Encoding,
    /// GET reads only.
    pub(crate) read_only: bool,
}

/// Names in the address that ClickHouse's HTTP interface keeps to itself: they are no settings of the engine.
const INTERFACE_NAMES: [&str; 19] = [
    "buffer_size",
    "wait_end_of_query",
    "stacktrace",
    "quota_key",
    "role",
    "client_protocol_version",
    "close_session",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
    "enable_http_compression",
    "http_zlib_compression_level",
    "http_response_buffer_size",
    "http_write_exception_in_output_format",
    "http_wait_end_of_query",
    "http_native_compression_disable_checksumming_on_decompress",
    "add_http_cors_header",
    "user",
    "password",
];

/// Reads a request; its body starts to arrive.
pub(crate) async fn read(request: Request) -> Result<(Asked, BodyReader), Failure> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map_err(|error| Failure::new(Reason::BadArguments, error))?;
    let mut asked = asked(request.method(), request.headers(), pairs)?;
    let form = header(request.headers(), CONTENT_TYPE.as_str())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("multipart/form-data"));
    if !form {
        return Ok((asked, BodyReader::start(request.into_body())));
    }
    let bad = |error: &dyn std::fmt::Display| Failure::new(Reason::BadArguments, error);
    let mut fields = Multipart::from_request(request, &()).await.map_err(|error| bad(&error))?;
    while let Some(field) = fields.next_field().await.map_err(|error| bad(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.text().await.map_err(|error| bad(&error))?;
        match name.strip_prefix("param_") {
            Some(parameter) => asked.parameters.push((parameter.to_owned(), value)),
            None if name == "query" => asked.query = Some(value),
            None => {
                let text =
                    format_args!("the form's field {name} is not known: query and param_… are");
                return Err(Failure::new(Reason::BadArguments, text));
            }
        }
    }
    asked.encoding = Encoding::default();
    Ok((asked, BodyReader::ready(bytes::Bytes::new())))
}

fn asked(
    method: &Method,
    headers: &HeaderMap,
    pairs: Vec<(String, String)>,
) -> Result<Asked, Failure> {
    let mut asked = Asked {
        default_format: header(headers, "X-ClickHouse-Format").map(str::to_owned),
        read_only: method == Method::GET || method == Method::HEAD,
        ..Asked::default()
    };
    let mut database = header(headers, "X-ClickHouse-Database").map(str::to_owned);
    let (mut session_id, mut timeout, mut must_exist) = (None, SESSION_TIMEOUT, false);
    for (name, value) in pairs {
        match name.as_str() {
            "database" => database = Some(value),
            "default_format" => asked.default_format = Some(value),
            "query" => asked.query = Some(value),
            "query_id" => asked.query_id = Some(value),
            "session_id" => session_id = Some(value),
            "session_timeout" => timeout = Duration::from_secs(number(&name, &value)?.min(3600)),
            "session_check" => must_exist = flag(&value),
            "decompress" => asked.encoding.frames = flag(&value),
            "compress" if flag(&value) => {
                let text = "compress=1 is not supported; leave it out, answers are plain";
                return Err(Failure::new(Reason::NotImplemented, text));
            }
            "compress" => {}
            interface if INTERFACE_NAMES.contains(&interface) => {}
            _ => match name.strip_prefix("param_") {
                Some(parameter) => asked.parameters.push((parameter.to_owned(), value)),
                None => asked.settings.push((setting_name(name)?, value)),
            },
        }
    }
    asked.encoding.content =
        header(headers, CONTENT_ENCODING.as_str()).map(|value| value.trim().to_ascii_lowercase());
    let named = database.filter(|database| !database.is_empty());
    asked.session = session_id.filter(|id| !id.is_empty()).map(|id| SessionRequest {
        id,
        timeout,
        must_exist,
        database_named: named.is_some(),
    });
    asked.database = named.unwrap_or_else(|| DATABASE.to_owned());
    Ok(asked)
}

fn setting_name(name: String) -> Result<String, Failure> {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if name == "readonly" {
        return Err(Failure::new(
            Reason::ReadOnly,
            "readonly is not a client's setting: GET reads only",
        ));
    }
    if !name.is_empty() && name.len() <= 128 && name.chars().all(word) {
        return Ok(name);
    }
    Err(Failure::new(Reason::BadArguments, format_args!("{name:?} is no name of a setting")))
}

fn flag(value: &str) -> bool {
    matches!(value, "1" | "true")
}

fn number(name: &str, value: &str) -> Result<u64, Failure> {
    value.parse().map_err(|_| {
        Failure::new(
            Reason::BadArguments,
            format_args!("{name} is {value:?}, not a number of seconds"),
        )
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Who may use the endpoint.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) key: String,
}

impl Credentials {
    /// Refuses a request without the user's key, sent in ClickHouse's own headers or as HTTP Basic.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let own = || {
            let user = header(headers, "X-ClickHouse-User")?;
            let key = header(headers, "X-ClickHouse-Key").unwrap_or_default();
            Some((user.to_owned(), key.to_owned()))
        };
        let sent = own().or_else(|| basic(header(headers, AUTHORIZATION.as_str())?));
        let (user, key) = sent.unwrap_or_default();
        if same(&user, &self.user) && same(&key, &self.key) {
            return Ok(());
        }
        let text = "Authentication failed: send X-ClickHouse-User and X-ClickHouse-Key";
        Err(Failure::new(Reason::AuthenticationFailed, text))
    }
}

fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(base64(encoded.trim())?).ok()?;
    let (user, key) = text.split_once(':')?;
    Some((user.to_owned(), key.to_owned()))
}

/// Standard base64 (RFC 4648), with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// Compares in a time that does not depend on where two texts differ.
fn same(left: &str, right: &str) -> bool {
    let differences = left.bytes().zip(right.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    left.len() == right.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&str, &str)]) -> Result<Asked, u32> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        asked(&Method::POST, &HeaderMap::new(), pairs).map_err(|failure| failure.code)
    }

    #[test]
    fn the_interface_s_names_are_no_settings() {
        let asked = ask(&[
            ("database", ""),
            ("wait_end_of_query", "1"),
            ("max_threads", "2"),
            ("param_a", "x"),
            ("decompress", "1"),
        ])
        .unwrap();
        assert_eq!(asked.database, DATABASE);
        assert_eq!(asked.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!(asked.parameters, [("a".to_owned(), "x".to_owned())]);
        assert!(asked.encoding.frames && asked.session.is_none());
    }

    #[test]
    fn a_setting_s_name_cannot_carry_sql() {
        assert_eq!(ask(&[("max_threads = 1, readonly", "0")]).unwrap_err(), 36);
        assert_eq!(ask(&[("readonly", "0")]).unwrap_err(), 164);
        assert_eq!(ask(&[("compress", "1")]).unwrap_err(), 48);
    }

    #[test]
    fn the_key_is_taken_from_either_place() {
        let credentials = Credentials { user: "annals".into(), key: "a:key".into() };
        let check = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse::<http::HeaderName>().unwrap(), http::HeaderValue::from_static(value))
            });
            credentials.check(&headers.collect()).is_ok()
        };
        assert!(check(&[("X-ClickHouse-User", "annals"), ("X-ClickHouse-Key", "a:key")]));
        assert!(check(&[("Authorization", "Basic YW5uYWxzOmE6a2V5")]));
        assert!(!check(&[("Authorization", "Basic YW5uYWxzOmE6a2V")]));
        assert!(!check(&[("X-ClickHouse-User", "annals")]));
        assert!(!check(&[("X-ClickHouse-User", "default"), ("X-ClickHouse-Key", "a:key")]));
        assert!(!check(&[]));
    }
}
