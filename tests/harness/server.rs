//! A running `annals serve` and the plainest HTTP client that can ask it something: one request, one connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Finished, wait_for};

/// A server of ours on a free port, stopped when the test leaves it.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, `HOST:PORT`.
    pub(crate) address: String,
}

impl Server {
    /// Starts `annals serve` on this data folder and waits for its line `ready HOST:PORT`.
    #[track_caller]
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Server {
        let mut command = super::annals();
        command.arg("serve").arg("--data").arg(data).args(["--address", "127.0.0.1:0"]);
        command.env("ANNALS_LOG_LEVEL", "error");
        Server::start_command(command.args(arguments))
    }

    /// The same from a command that is already complete.
    #[track_caller]
    pub(crate) fn start_command(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("annals serve starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        let Some(address) = line.strip_prefix("ready ") else {
            drop(child.kill());
            panic!("`annals serve` did not become ready: {line:?}, {:?}", child.wait());
        };
        Server { child, address: address.to_owned() }
    }

    /// The body of a successful answer to `GET path`, as JSON.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Every row of a read model, page by page.
    #[track_caller]
    pub(crate) fn rows(&self, model: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut path = format!("/v1/{model}?limit=100");
        loop {
            let page = self.get(&path);
            rows.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return rows };
            path = format!("/v1/{model}?limit=100&cursor={cursor}");
        }
    }

    /// One request; its status and body.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.address).expect("the server listens");
        let limit = Some(Duration::from_mins(1));
        connection.set_read_timeout(limit).expect("a time above zero");
        let fields: Vec<_> = headers.iter().map(|(name, it)| format!("{name}: {it}\r\n")).collect();
        let (host, fields, length) = (&self.address, fields.concat(), body.len());
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{fields}Content-Length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).expect("the head is sent");
        connection.write_all(body.as_bytes()).expect("the body is sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Gives a command and returns status and body.
    #[track_caller]
    pub(crate) fn command(&self, context: &str, name: &str, body: &Value) -> (u16, Value) {
        let path = format!("/v1/commands/{context}/{name}");
        let headers = [("Content-Type", "application/json")];
        let (status, body) = self.request("POST", &path, &headers, &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGTERM, as an operator would, and waits for its exit code.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Finished {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(sent.success());
        let start = Instant::now();
        let code = wait_for("the end of the server", Duration::from_mins(1), || {
            self.child.try_wait().expect("a child of ours")
        });
        let stderr = format!("ended after {:?}", start.elapsed());
        Finished { code: code.code(), stdout: String::new(), stderr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
