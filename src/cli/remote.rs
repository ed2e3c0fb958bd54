//! A running server as the source of data: its REST interface over plain HTTP. What it refuses is told as it told it,
//! with the family that its problem names.

use std::time::Duration;

use annals_core::Family;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Config, Secret};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server.
pub(super) struct Remote {
    client: Client,
    base: Url,
    key: Option<Secret>,
}

/// Why a server did not answer what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The address is none.
    #[error("{given:?} is no server address; right would be http://HOST:PORT")]
    Address {
        /// The address as given.
        given: String,
    },
    /// The client cannot be made.
    #[error("an HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// Nobody answers there, or the connection broke.
    #[error("the server {server} cannot be reached")]
    Unreachable {
        /// Its address.
        server: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The server says no.
    #[error("{detail}")]
    Problem {
        /// The family that it names.
        family: Family,
        /// What it says.
        detail: String,
    },
    /// What answers there is no Annals, or another version of it.
    #[error("{server} does not answer as Annals does")]
    Foreign {
        /// Its address.
        server: String,
        /// What does not fit.
        #[source]
        source: ForeignAnswer,
    },
}

/// What does not fit in an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForeignAnswer {
    /// The body is not what was asked for.
    #[error("its body does not fit")]
    Body(#[from] serde_json::Error),
    /// An error that is no problem document.
    #[error("it answered {0} without saying why")]
    Status(u16),
}

impl RemoteError {
    /// What a problem document says; what is none passes as a fault.
    pub(super) fn of_problem(problem: &Value) -> RemoteError {
        let problem: Problem = Problem::deserialize(problem)
            .unwrap_or_else(|_| Problem { kind: String::new(), detail: problem.to_string() });
        let family = family(&problem.kind).unwrap_or(Family::Unavailable);
        RemoteError::Problem { family, detail: problem.detail }
    }

    pub(super) fn family(&self) -> Family {
        match self {
            RemoteError::Address { .. } => Family::Malformed,
            RemoteError::Client(_)
            | RemoteError::Unreachable { .. }
            | RemoteError::Foreign { .. } => Family::Unavailable,
            RemoteError::Problem { family, .. } => *family,
        }
    }
}

/// A problem document (RFC 9457), as far as it is read.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
}

impl Remote {
    /// The server at `address`, with the API key that is configured.
    pub(super) fn new(address: &str, config: &Config) -> Result<Remote, RemoteError> {
        let wrong = || RemoteError::Address { given: address.to_owned() };
        let base = Url::parse(address).map_err(|_| wrong())?;
        if base.scheme() != "http" || base.host().is_none() || base.path() != "/" {
            return Err(wrong());
        }
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build();
        let client = client.map_err(RemoteError::Client)?;
        Ok(Remote { client, base, key: config.api_key.clone() })
    }

    /// Gets what stands at a path, whose parts are escaped here.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, RemoteError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.get(url)).await
    }

    /// Posts a JSON body, under an idempotency key where there is one.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        key: Option<uuid::Uuid>,
        body: &Value,
    ) -> Result<T, RemoteError> {
        let mut request = self.client.post(self.url(path)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        self.send(request).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // The scheme is http, whose URLs always have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        url
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RemoteError> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        let unreachable = |source| RemoteError::Unreachable { server: self.server(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = body(response).await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.foreign(error.into()));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => match family(&problem.kind) {
                Some(family) => Err(RemoteError::Problem { family, detail: problem.detail }),
                None => Err(self.foreign(ForeignAnswer::Status(status.as_u16()))),
            },
            Err(_) => Err(self.foreign(ForeignAnswer::Status(status.as_u16()))),
        }
    }

    fn foreign(&self, source: ForeignAnswer) -> RemoteError {
        RemoteError::Foreign { server: self.server(), source }
    }

    fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

async fn body(response: Response) -> Result<bytes::Bytes, reqwest::Error> {
    response.bytes().await
}

/// The family that a problem's type names: `urn:annals:problem:NAME`.
fn family(kind: &str) -> Option<Family> {
    let name = kind.strip_prefix("urn:annals:problem:")?;
    annals_core::Family::ALL.into_iter().find(|family| crate::api::status::of(*family).name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped() {
        let remote = Remote::new("http://127.0.0.1:2113", &Config::default()).expect("an address");
        let url = remote.url(&["v1", "streams", "note-a/b c"]);
        assert_eq!(url.as_str(), "http://127.0.0.1:2113/v1/streams/note-a%2Fb%20c");
    }

    #[test]
    fn what_is_no_plain_server_address_is_refused() {
        for address in ["127.0.0.1:2113", "https://127.0.0.1:2113", "http://h/path", "", "esdb://h"]
        {
            let error = Remote::new(address, &Config::default()).err().expect(address);
            assert_eq!(error.family(), Family::Malformed);
        }
    }

    #[test]
    fn the_family_of_a_problem_is_read_from_its_type() {
        assert_eq!(family("urn:annals:problem:not-found"), Some(Family::NotFound));
        assert_eq!(family("about:blank"), None);
    }
}
