//! The OpenAPI document and a page to read it. The page holds everything it needs; nothing comes
//! from another host, and its content security policy says so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::state::ApiState;
use super::{openapi, routes};

const SCRIPT: &str = include_str!("reader/reader.js");
const STYLE: &str = include_str!("reader/reader.css");

/// `GET /openapi.json`. A read model whose table is not there yet is left out until it is.
pub(super) async fn document(State(state): State<Arc<ApiState>>) -> Json<Value> {
    let mut models = Vec::new();
    if let Ok(read_models) = state.read_models() {
        for name in read_models.names() {
            match read_models.model(name).await {
                Ok(model) => models.push(model),
                Err(problem) => {
                    tracing::debug!(name, detail = problem.detail, "left out of the document");
                }
            }
        }
    }
    let commands = state.domain().map(|domain| domain.router.commands()).unwrap_or_default();
    let secured = state.asks_who_calls();
    Json(openapi::document(&routes::all(), &commands, &models, secured))
}

/// `GET /docs`.
pub(super) async fn page() -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Annals</title><style>{STYLE}</style></head>\
         <body><main id=\"main\"></main><script>{SCRIPT}</script></body></html>"
    );
    let mut response = Html(html).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; connect-src 'self'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_other_host() {
        for text in [SCRIPT, STYLE] {
            assert!(!text.contains("://") && !text.contains("</"), "it stands within a page");
        }
        assert!(HeaderValue::from_str(&policy()).is_ok());
    }
}
