//! What the tests of the interfaces share: one running server, and the plain ways to ask it.

use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::harness::scratch;
use crate::harness::server::Server;

/// A server that the tests share; the last one to leave it stops it.
pub(crate) struct Shared {
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

impl Shared {
    pub(crate) fn get() -> Arc<Shared> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let folder = scratch();
        let server = Server::start(&folder.path().join("data"), &[]);
        let running = Arc::new(Shared { server: Some(server), _folder: folder });
        *shared = Arc::downgrade(&running);
        running
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until it is dropped")
    }

    /// A new account with this much cash; the position of its last event.
    pub(crate) fn account(&self, account: &str, cash: &str) -> u64 {
        let (status, opened) =
            self.server().command("trading", "open-account", &json!({"account": account}));
        assert_eq!(status, 201, "{opened}");
        let deposit = json!({"account": account, "amount": cash});
        let (status, answer) = self.server().command("trading", "deposit", &deposit);
        assert_eq!(status, 201, "{answer}");
        answer["position"].as_u64().expect("a position")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().exits_with(0);
        }
    }
}

pub(crate) async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.address));
    endpoint.expect("an address").connect().await.expect("the server listens")
}

/// A request to REST; its status, the header asked for, and its JSON.
pub(crate) async fn rest(server: &Server, request: Request<'_>) -> (u16, Option<String>, Value) {
    let client = reqwest::Client::new();
    let url = format!("http://{}{}", server.address, request.path);
    let mut asked = match request.body {
        Some(body) => client.post(url).body(body.to_owned()),
        None => client.get(url),
    };
    for (name, value) in request.headers {
        asked = asked.header(*name, *value);
    }
    let answer = asked.send().await.expect("the server answers");
    let header = answer.headers().get(request.header).map(|value| value.to_str().expect("text"));
    let (status, header) = (answer.status().as_u16(), header.map(str::to_owned));
    let text = answer.text().await.expect("text");
    (status, header, serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a str>,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The header of the answer to tell.
    pub(crate) header: &'a str,
}

pub(crate) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

pub(crate) fn get(path: &str) -> Request<'_> {
    Request { path, body: None, headers: &[], header: "content-type" }
}

pub(crate) fn post<'a>(path: &'a str, body: &'a str) -> Request<'a> {
    Request { body: Some(body), headers: JSON, ..get(path) }
}

pub(crate) fn code(status: &Status) -> String {
    let code = status.metadata().get("annals-code").expect("a machine code");
    code.to_str().expect("ASCII").to_owned()
}
