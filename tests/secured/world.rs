//! What the tests share: certificates made for them, a server that is started again on the same data, and its clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eventstore::operations::{self, OperationalOptions};
use eventstore::{AppendToStreamOptions, Client, Error, EventData, ReadStreamOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::harness::server::Server;
use crate::harness::{annals, scratch};

/// What the server's first start says before the password.
const FIRST_WORDS: &str = "The password of the user admin, shown this once: ";

/// A server with certificates of its own, and what it wrote to standard error.
pub(crate) struct World {
    folder: tempfile::TempDir,
    server: Option<Server>,
    /// Of the user `admin`, as the first start told it.
    pub(crate) password: String,
}

/// How a server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// TLS.
    Tls,
    /// In the clear, on this machine.
    Clear,
}

impl World {
    /// A server on an empty folder.
    pub(crate) fn first(speaks: Speaks) -> World {
        let folder = scratch();
        certify(folder.path());
        let mut world = World { folder, server: None, password: String::new() };
        world.start(speaks);
        let stderr = world.stderr();
        let told: Vec<_> = stderr.lines().filter(|line| line.starts_with(FIRST_WORDS)).collect();
        let [told] = told[..] else { panic!("the password is told once: {stderr}") };
        told[FIRST_WORDS.len()..].clone_into(&mut world.password);
        world
    }

    /// Starts the server; one that runs is killed.
    pub(crate) fn start(&mut self, speaks: Speaks) {
        self.server = None;
        let path = |name: &str| self.folder.path().join(name);
        let log = fs::OpenOptions::new().create(true).append(true).open(path("stderr"));
        let mut serve = annals();
        serve.args(["serve", "--secured", "--role", "store", "--address", "127.0.0.1:0"]);
        serve.arg("--data").arg(path("data")).env("ANNALS_LOG_LEVEL", "debug");
        serve.env("ANNALS_LIMITS_HEADER_TIMEOUT_MS", "30000");
        if speaks == Speaks::Tls {
            serve.env("ANNALS_TLS_CERTIFICATE", path("server.crt"));
            serve.env("ANNALS_TLS_KEY", path("server.key"));
        }
        serve.stderr(Stdio::from(log.expect("a file in the scratch folder")));
        self.server = Some(Server::start_command(&mut serve));
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Stops the server as an operator would.
    pub(crate) fn stop(&mut self) {
        self.server.take().expect("it runs").stop().exits_with(0);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// What all starts wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("text")
    }

    /// A client over TLS that signs in so; anonymous where that is empty.
    pub(crate) fn client(&self, login: &str) -> Client {
        let at = if login.is_empty() { "" } else { "@" };
        let authority = self.authority();
        let (address, authority) = (&self.server().address, authority.display());
        let settings = format!("esdb://{login}{at}{address}?tls=true&tlsCaFile={authority}");
        Client::new(settings.parse().expect("settings")).expect("a client")
    }

    pub(crate) fn admin(&self) -> Client {
        self.client(&format!("admin:{}", self.password))
    }

    /// Makes users whose passwords are `of-` and their names.
    pub(crate) async fn make_users(&self, users: &[(&str, &str)]) {
        let operations = operations::Client::from(self.admin());
        for (login, group) in users {
            let (password, groups) = (format!("of-{login}"), vec![(*group).to_owned()]);
            let options = OperationalOptions::default();
            let made = operations.create_user(login, password, "", groups, &options).await;
            made.expect("a new user");
        }
    }
}

/// An authority, and a certificate of it for this machine, in this folder.
fn certify(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("room");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    write("authority.crt", authority.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(authority, key);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server = CertificateParams::new(names.to_vec()).expect("right names");
    let key = KeyPair::generate().expect("a key");
    write("server.crt", server.signed_by(&key, &issuer).expect("a certificate").pem());
    write("server.key", key.serialize_pem());
}

pub(crate) fn event() -> EventData {
    EventData::json("note.Taken", &1).expect("JSON")
}

/// Appends an event.
pub(crate) async fn append(client: &Client, stream: &str) -> eventstore::Result<()> {
    let options = AppendToStreamOptions::default();
    client.append_to_stream(stream, &options, event()).await.map(drop)
}

/// How many events the stream has.
pub(crate) async fn read(client: &Client, stream: &str) -> eventstore::Result<usize> {
    let mut events = client.read_stream(stream, &ReadStreamOptions::default()).await?;
    let mut count = 0;
    while events.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[track_caller]
pub(crate) fn is_denied<T: std::fmt::Debug>(answer: eventstore::Result<T>) {
    match answer {
        Err(Error::AccessDenied) => {}
        other => panic!("{other:?}"),
    }
}
