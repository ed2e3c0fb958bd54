//! The port that speaks TLS: who does not is closed, who does not go on holds up nobody, and bad files are told at start.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{annals, run, scratch};
use crate::world::{Speaks, World, append, read};

/// The beginning of a handshake that never goes on: the head of a record, and a byte of it.
const HALF: [u8; 6] = [0x16, 0x03, 0x01, 0x01, 0x00, 0x01];

fn connect(world: &World) -> TcpStream {
    let connection = TcpStream::connect(&world.server().address).expect("it listens");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a time above zero");
    connection
}

/// An answer over HTTP/1.1 within TLS; status line and body.
async fn get(world: &World, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(world.authority()).expect("a certificate");
    roots.add(authority).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connection = tokio::net::TcpStream::connect(&world.server().address).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let secured = connector.connect(name, connection.expect("it listens")).await;
    let mut secured = secured.expect("the certificate is right");
    assert_eq!(secured.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    secured.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    // The end of the connection may come without a last word of TLS.
    secured.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_closed_and_others_are_answered() {
    let world = World::first(Speaks::Tls);
    for said in
        [&b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut connection = connect(&world);
        connection.write_all(said).expect("it is sent");
        let mut answer = Vec::new();
        // A closed connection may be told as reset.
        connection.read_to_end(&mut answer).ok();
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("HTTP/"), "{text}");
    }
    assert!(get(&world, "/health/live").await.starts_with("HTTP/1.1 204"));
    let info = get(&world, "/info").await;
    assert!(info.contains(r#""type":"internal""#) && info.contains("200 OK"), "{info}");
    assert!(get(&world, "/v1/events").await.starts_with("HTTP/1.1 401"));
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_hold_up_nobody() {
    let mut world = World::first(Speaks::Tls);
    let mut open = Vec::new();
    for number in 0..200 {
        let mut connection = connect(&world);
        connection.write_all(&HALF[..number % HALF.len()]).expect("it is sent");
        open.push(connection);
    }
    let began = Instant::now();
    let admin = world.admin();
    append(&admin, "a").await.expect("admin is answered");
    assert_eq!(read(&admin, "a").await.expect("admin is answered"), 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for connection in &mut open {
        connection.set_nonblocking(true).expect("a socket");
        let read = connection.read(&mut [0]);
        let waits =
            read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(waits, "the handshake is still open: {read:?}");
    }
    // They do not hold up the end either.
    drop(admin);
    let began = Instant::now();
    world.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn what_cannot_be_served_safely_is_told_at_start() {
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "").expect("room");
    let serve = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut serve = annals();
        serve.args(["serve", "--role", "store", "--data"]).arg(path("data")).args(arguments);
        for (name, value) in variables {
            serve.env(name, value);
        }
        run(&mut serve).exits_with(2)
    };
    let (empty, nowhere) = (path("empty"), path("nowhere"));
    let (empty, nowhere) = (empty.to_str().expect("text"), nowhere.to_str().expect("text"));
    let files = [("ANNALS_TLS_CERTIFICATE", nowhere), ("ANNALS_TLS_KEY", empty)];
    serve(&["--address", "127.0.0.1:0"], &files)
        .says(&["no certificate can be read from", nowhere]);
    let files = [("ANNALS_TLS_CERTIFICATE", empty), ("ANNALS_TLS_KEY", empty)];
    serve(&["--address", "127.0.0.1:0"], &files).says(&["no certificate can be read from", empty]);
    serve(&["--address", "127.0.0.1:0"], &[("ANNALS_TLS_KEY", empty)]).says(&["tls.certificate"]);
    serve(&["--address", "0.0.0.0:0", "--secured"], &[]).says(&["without TLS", "--insecure"]);
    serve(&["--secured", "--store", "esdb://127.0.0.1:1?tls=false"], &[]).says(&["`secured`"]);
    assert!(!path("data").join("log").exists(), "nothing was begun");
}
