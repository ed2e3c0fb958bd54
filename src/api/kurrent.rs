//! What KurrentDB clients ask over HTTP. All else of that protocol is gRPC.

use std::sync::Arc;

use annals_store::protocol::service::PROTOCOL_VERSION;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::state::ApiState;

/// `GET /gossip`.
pub(super) async fn gossip(State(state): State<Arc<ApiState>>) -> Json<Value> {
    Json(state.protocol.gossip_json())
}

/// `GET /info`.
pub(super) async fn info(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let projections = state.protocol.parts.settings.system_projections.is_some();
    let (has_users, has_key) = (state.protocol.users().is_some(), state.api_key.is_some());
    let authentication = match (has_users, has_key) {
        (true, _) => "internal",
        (false, true) => "api-key",
        (false, false) => "insecure",
    };
    Json(json!({
        "dbVersion": PROTOCOL_VERSION,
        "esVersion": PROTOCOL_VERSION,
        "state": "leader",
        "features": { "projections": projections, "userManagement": has_users, "atomPub": false },
        "authentication": { "type": authentication },
    }))
}
