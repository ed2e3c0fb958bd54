//! What every request passes before it is answered: a host that is meant, the API key, a place among the requests in
//! flight.

use std::net::IpAddr;
use std::sync::Arc;

use annals_core::Family;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, Request, Uri, header};
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Problem;
use super::state::ApiState;
use crate::config::Secret;

/// What clients of the KurrentDB protocol ask before they sign in: what is served, and where.
const OPEN: [&str; 3] = [
    "/event_store.client.server_features.ServerFeatures/GetSupportedMethods",
    "/event_store.client.gossip.Gossip/Read",
    "/gossip",
];

/// Lets a request in, with its place among those in flight where it needs one.
///
/// # Errors
/// The problem of a request that is not let in.
pub(super) fn admit<B>(
    state: &ApiState,
    request: &Request<B>,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let path = request.uri().path();
    // The reader page is the same for everyone; it asks for the key before it can show anything.
    if path.starts_with("/health/") || (path == "/docs" && state.api_key.is_some()) {
        return Ok(None);
    }
    match &state.api_key {
        Some(_) if OPEN.contains(&path) => {}
        Some(key) if !is_known(request.headers(), key) => {
            let detail =
                "right would be the header `Authorization: Bearer KEY` or `X-Api-Key: KEY`";
            return Err(Problem::new(Family::Unauthenticated, "unauthenticated", detail));
        }
        Some(_) => {}
        None => check_host(state, request)?,
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

fn is_known(headers: &HeaderMap, key: &Secret) -> bool {
    presented(headers).is_some_and(|given| key.matches(given))
        || password(headers).is_some_and(|given| key.matches(&given))
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok();
    }
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The password of a caller of the KurrentDB protocol, who signs in with a name and a password: the key, by any name.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| password.to_owned())
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
    fn a_key_is_presented_in_either_header() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )])
        };
        assert_eq!(presented(&headers("authorization", "bearer k")), Some("k"));
        assert_eq!(presented(&headers("x-api-key", "k")), Some("k"));
        assert_eq!(presented(&headers("authorization", "Basic k")), None);
        assert_eq!(presented(&HeaderMap::new()), None);
        // "admin:k", as KurrentDB clients sign in.
        let basic = |value| password(&headers("authorization", value));
        assert_eq!(basic("Basic YWRtaW46aw=="), Some("k".to_owned()));
        for wrong in ["Basic k", "Basic YWRtaW4=", "Bearer YWRtaW46aw=="] {
            assert_eq!(basic(wrong), None, "{wrong}");
        }
    }
}
