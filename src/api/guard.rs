//! What every request passes before it is answered: who makes it, a host that is meant, a place among the requests in
//! flight.

use std::net::IpAddr;
use std::sync::Arc;

use annals_core::Family;
use annals_store::protocol::access::{Caller, SignInError};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::sync::OwnedSemaphorePermit;

use super::access::{self, Wants};
use super::problem::Problem;
use super::state::ApiState;

/// What anybody may ask over HTTP: KurrentDB's clients do before they sign in. The reader page is the same for everyone; it
/// asks for the key before it can show anything.
const OPEN: [&str; 3] = ["/gossip", "/info", "/docs"];

/// Who a request says that it comes from.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(super) enum Credentials {
    /// It does not say.
    None,
    /// Who holds this key.
    Key(String),
    /// This user, with this password; or whoever holds this key, by any name.
    Basic { login: String, password: String },
    /// Nobody can tell.
    Unreadable,
}

impl Credentials {
    /// Those of a request.
    pub(super) fn of(headers: &HeaderMap) -> Credentials {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
        if let Some(key) = headers.get("x-api-key") {
            return text(key).map_or(Credentials::Unreadable, Credentials::Key);
        }
        let Some(header) = headers.get(header::AUTHORIZATION) else { return Credentials::None };
        let header = text(header).unwrap_or_default();
        let Some((scheme, given)) = header.split_once(' ') else { return Credentials::Unreadable };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Credentials::Key(given.trim().to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Credentials::Unreadable;
        }
        let decoded = BASE64_STANDARD.decode(given.trim()).ok();
        let pair = decoded.and_then(|decoded| String::from_utf8(decoded).ok());
        let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
        pair.map_or(Credentials::Unreadable, |(login, password)| Credentials::Basic {
            login: login.to_owned(),
            password: password.to_owned(),
        })
    }

    /// What may be the key.
    fn key(&self) -> Option<&str> {
        match self {
            Credentials::Key(key) => Some(key),
            Credentials::Basic { password, .. } => Some(password),
            Credentials::None | Credentials::Unreadable => None,
        }
    }
}

/// Whether a path is open to everybody, whatever they sign in with.
fn is_open(state: &ApiState, path: &str) -> bool {
    access::wanted_of_method(path) == Wants::Nobody
        || (OPEN.contains(&path) && (path != "/docs" || state.asks_who_calls()))
}

/// Who calls. Open paths are answered without a look at credentials.
///
/// # Errors
/// The problem of credentials that are not right.
pub(super) async fn identify(
    state: &ApiState,
    path: &str,
    credentials: Credentials,
) -> Result<Caller, Problem> {
    let users = state.protocol.users();
    let unknown = if users.is_some() { Caller::Anonymous } else { Caller::Anybody };
    if path.starts_with("/health/") || is_open(state, path) || !state.asks_who_calls() {
        return Ok(unknown);
    }
    if let (Some(key), Some(given)) = (&state.api_key, credentials.key())
        && key.matches(given)
    {
        return Ok(Caller::Key);
    }
    match (users, credentials) {
        (None, _) => {
            let detail =
                "right would be the header `Authorization: Bearer KEY` or `X-Api-Key: KEY`";
            Err(Problem::new(Family::Unauthenticated, "unauthenticated", detail))
        }
        (Some(_), Credentials::None) => Ok(Caller::Anonymous),
        (Some(users), Credentials::Basic { login, password }) => {
            users.sign_in(&login, &password).await.map(Caller::User).map_err(not_signed_in)
        }
        (Some(_), Credentials::Key(_) | Credentials::Unreadable) => {
            Err(not_signed_in(SignInError::Wrong))
        }
    }
}

fn not_signed_in(why: SignInError) -> Problem {
    match why {
        SignInError::Wrong => {
            let detail = "there is no such user with this password, or the user is disabled";
            Problem::new(Family::Unauthenticated, "unauthenticated", detail)
        }
        SignInError::TooBusy => {
            let detail = "as many sign in as may at once";
            Problem::new(Family::TooMuch, "too-many-sign-ins", detail)
        }
        SignInError::Failed => {
            Problem::unavailable("sign-in", "the password could not be compared")
        }
    }
}

/// Lets a request in, with its place among those in flight where it needs one.
///
/// # Errors
/// The problem of a request that is not let in.
pub(super) fn admit<B>(
    state: &ApiState,
    request: &Request<B>,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let path = request.uri().path();
    if path.starts_with("/health/") || (path == "/docs" && state.asks_who_calls()) {
        return Ok(None);
    }
    if !state.asks_who_calls() {
        check_host(state, request)?;
    }
    if path == "/metrics" {
        return Ok(None);
    }
    let permit = Arc::clone(&state.in_flight).try_acquire_owned();
    permit.map(Some).map_err(|_| {
        let detail = format!(
            "{} requests are being worked on, which is the bound",
            state.limits.requests_in_flight_max
        );
        Problem::new(Family::TooMuch, "too-many-requests", detail)
    })
}

/// Without a key, only this machine is served; a page of another site whose name was made to point
/// here is not it.
fn check_host<B>(state: &ApiState, request: &Request<B>) -> Result<(), Problem> {
    if !state.loopback_only {
        return Ok(());
    }
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or(""));
    let named = named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let Some(named) = named else { return Ok(()) };
    if is_loopback(named) {
        return Ok(());
    }
    let detail = "without an API key only requests to localhost are answered";
    Err(Problem::new(Family::Denied, "foreign-host", detail))
}

fn is_loopback(authority: &str) -> bool {
    let Ok(uri) = authority.parse::<Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "localhost:2113", "127.0.0.1:9", "[::1]:2113", "a.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com", "localhost.example.com:80", "10.0.0.1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn credentials_are_read_from_either_header() {
        let of = |name: &'static str, value: &'static str| {
            Credentials::of(&HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]))
        };
        let key = |key: &str| Credentials::Key(key.to_owned());
        let basic = |login: &str, password: &str| Credentials::Basic {
            login: login.to_owned(),
            password: password.to_owned(),
        };
        assert_eq!(of("authorization", "bearer k"), key("k"));
        assert_eq!(of("x-api-key", "k"), key("k"));
        assert_eq!(Credentials::of(&HeaderMap::new()), Credentials::None);
        // "admin:k" and "a:b:c", as KurrentDB clients sign in.
        assert_eq!(of("authorization", "Basic YWRtaW46aw=="), basic("admin", "k"));
        assert_eq!(of("authorization", "basic YTpiOmM="), basic("a", "b:c"));
        for wrong in ["Basic k", "Basic YWRtaW4=", "Digest YWRtaW46aw==", "Bearer", ""] {
            assert_eq!(of("authorization", wrong), Credentials::Unreadable, "{wrong}");
        }
        assert_eq!(basic("any", "k").key(), Some("k"));
        assert_eq!(key("k").key(), Some("k"));
    }
}
