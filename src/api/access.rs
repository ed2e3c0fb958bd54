//! Who may ask the interfaces of Annals itself for what, on a server whose users sign in: one table of routes (`routes`), and
//! one of gRPC services, here. What KurrentDB's protocol serves is checked by its own services, stream by stream. Where
//! nobody signs in, all of this lets everybody through.

use std::sync::Arc;

use annals_core::Family;
use annals_store::protocol::ProtocolError;
use annals_store::protocol::access::Caller;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::Problem;
use super::state::ApiState;

/// Who may ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Whoever it is, signed in or not.
    Nobody,
    /// Every user.
    User,
    /// Those who look after the server, `$ops`, and `$admins`.
    Operator,
    /// `$admins` alone: it passes over the rights to streams.
    Administrator,
}

/// What anybody may ask: clients of the KurrentDB protocol do before they sign in.
const OPEN: [&str; 2] = [
    "/event_store.client.server_features.ServerFeatures/GetSupportedMethods",
    "/event_store.client.gossip.Gossip/Read",
];

/// Where the methods of KurrentDB's protocol stand.
const KURRENT: [&str; 2] = ["/event_store.client.", "/kurrentdb.protocol."];

/// Who may call a method over gRPC.
pub(super) fn wanted_of_method(path: &str) -> Wants {
    if OPEN.contains(&path) {
        Wants::Nobody
    } else if path.starts_with("/annals.v1.Events/") {
        // The log as it is, whatever the rights to its streams.
        Wants::Administrator
    } else {
        // Of KurrentDB's protocol, its services ask for more.
        Wants::User
    }
}

/// Whether a method is one of KurrentDB's protocol, whose errors have a form of their own.
pub(super) fn is_of_kurrent(path: &str) -> bool {
    KURRENT.iter().any(|prefix| path.starts_with(prefix))
}

/// Whether a caller may have what wants this.
///
/// # Errors
/// The problem of who may not.
pub(super) fn check(state: &ApiState, caller: &Caller, wants: Wants) -> Result<(), Problem> {
    let protocol = &state.protocol;
    let (allowed, who) = match wants {
        Wants::Nobody => return Ok(()),
        Wants::User => (protocol.may_be_here(caller), "users"),
        Wants::Operator => (protocol.may_operate(caller), "the groups $ops and $admins"),
        Wants::Administrator => (protocol.may_administer(caller), "the group $admins"),
    };
    match (allowed, caller) {
        (Ok(()), _) => Ok(()),
        (Err(_), Caller::Anonymous) => Err(not_signed_in()),
        (Err(_), Caller::Anybody | Caller::Key | Caller::User(_)) => {
            let detail = format!("this is for {who}");
            Err(Problem::new(Family::Denied, "access-denied", detail))
        }
    }
}

/// The problem of who gave no credentials.
pub(super) fn not_signed_in() -> Problem {
    let detail =
        "right would be the header `Authorization: Basic …`, with name and password of a user";
    Problem::new(Family::Unauthenticated, "unauthenticated", detail)
}

/// What a client of KurrentDB's protocol is told that may not.
pub(super) fn denied_to_client() -> tonic::Status {
    ProtocolError::AccessDenied.into()
}

/// Hands a request on to its route where the caller may have it.
pub(super) async fn guard_route(
    State((state, wants)): State<(Arc<ApiState>, Wants)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    check(&state, &state.protocol.caller(request.extensions()), wants)?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_as_it_is_is_for_administrators() {
        for method in ["Append", "AppendStream", "Read", "Subscribe"] {
            let path = format!("/annals.v1.Events/{method}");
            assert_eq!(wanted_of_method(&path), Wants::Administrator, "{method}");
        }
        for path in ["/annals.v1.Commands/Execute", "/annals.v1.Queries/Get", "/unheard.Of/It"] {
            assert_eq!(wanted_of_method(path), Wants::User, "{path}");
            assert!(!is_of_kurrent(path), "{path}");
        }
        for path in OPEN {
            assert_eq!(wanted_of_method(path), Wants::Nobody, "{path}");
            assert!(is_of_kurrent(path), "{path}");
        }
        assert!(is_of_kurrent("/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords"));
    }
}
