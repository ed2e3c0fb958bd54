//! The server under KurrentDB's official clients for Python, Node, Java and Go, as they are published. Each has its program in
//! `tests/clients`, which makes the same checks in the same order and prints a line `ok NAME` for each one that passes; what it
//! must print stands here, so a program that leaves one out fails. A client that is not installed is a failure too.

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use harness::server::Server;
use harness::{Running, repository, run, scratch};

/// What every program checks.
const CHECKS: [&str; 25] = [
    "appends meet what they expect",
    "wrong expectations are told",
    "repetitions write nothing twice",
    "an append of many events is one",
    "many appends run at once",
    "large events come back whole",
    "streams are read both ways",
    "all events are read both ways",
    "links are followed",
    "filters choose by type and stream",
    "missing streams are told",
    "deleted streams are told from tombstones",
    "metadata hides events",
    "a subscription goes live under load",
    "a filtered subscription goes on behind its checkpoint",
    "a subscription says when it has caught up",
    "a cancelled or late call ends",
    "consumers of a group share its events",
    "events are retried, parked and replayed",
    "a group reads all events",
    "groups are listed, changed and deleted",
    "a group's errors are told",
    "appends over several streams are one",
    "the server is discovered",
    "nothing acknowledged is lost with the server killed",
];

/// What those check besides whose client appends records under conditions.
const OF_RECORDS: [&str; 1] = ["conditions hold over several streams"];

/// The longest time between two lines; every wait of the programs is shorter.
const SILENCE_MAX: Duration = Duration::from_mins(3);

#[test]
fn the_python_client_passes_every_check() {
    let mut program = Command::new(client("python").join("bin/python"));
    drive(program.arg("-B").arg(program_of("python").join("main.py")), &OF_RECORDS);
}

#[test]
fn the_node_client_passes_every_check() {
    let mut program = Command::new("node");
    program.env("NODE_PATH", client("node").join("node_modules"));
    drive(program.arg(program_of("node").join("main.js")), &OF_RECORDS);
}

#[test]
fn the_java_client_passes_every_check() {
    let (classes, jars) = (scratch(), client("java").join("jars/*"));
    let sources = std::fs::read_dir(program_of("java")).expect("the program");
    let sources = sources.map(|entry| entry.expect("an entry").path());
    let sources = sources.filter(|path| path.extension().is_some_and(|ending| ending == "java"));
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(&jars).arg("-d").arg(classes.path()).args(sources);
    run(&mut compiler).exits_with(0);
    let path = format!("{}:{}", classes.path().display(), jars.display());
    let mut program = Command::new("java");
    program.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &path]);
    drive(program.arg("Main"), &[]);
}

#[test]
fn the_go_client_passes_every_check() {
    let folder = scratch();
    let built = folder.path().join("checks");
    // This Go knows the client that was installed, and asks nobody for another.
    let mut compiler = Command::new(client("go").join("go"));
    compiler.current_dir(program_of("go")).arg("build").arg("-o").arg(&built).arg(".");
    run(&mut compiler).exits_with(0);
    drive(&mut Command::new(built), &OF_RECORDS);
}

/// Where a client was installed.
#[track_caller]
fn client(language: &str) -> PathBuf {
    let mut script = Command::new(repository().join("scripts/clients.sh"));
    let found = run(script.arg(language)).exits_with(0);
    PathBuf::from(found.stdout.trim())
}

fn program_of(language: &str) -> PathBuf {
    repository().join("tests/clients").join(language)
}

/// Runs a program against a server of its own, which is killed and started again where the program says so, and holds
/// what it prints against [`CHECKS`] and those that it makes besides.
#[track_caller]
fn drive(program: &mut Command, besides: &[&str]) {
    let folder = scratch();
    let address = free_address();
    let mut server = Some(start(folder.path(), &address));
    for proxy in ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        program.env_remove(proxy);
    }
    program.arg(&address).current_dir(folder.path());
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = program.spawn();
    let mut child =
        Running(child.unwrap_or_else(|error| panic!("{program:?} does not start: {error}")));
    let lines = lines(child.0.stdout.take().expect("piped"));
    let complaints = whole(child.0.stderr.take().expect("piped"));
    let (mut passed, mut kills) = (Vec::new(), 0);
    let ended = loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) if line == "KILL ME" => {
                // Dropping it sends SIGKILL.
                drop(server.take());
                server = Some(start(folder.path(), &address));
                let stdin = child.0.stdin.as_mut().expect("piped");
                writeln!(stdin, "killed").expect("the program listens");
                kills += 1;
            }
            Ok(line) => passed.push(line),
            Err(RecvTimeoutError::Disconnected) => break child.0.wait().expect("a child of ours"),
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing for {SILENCE_MAX:?} behind: {}", passed.join("\n"))
            }
        }
    };
    let complaints = complaints.join().expect("text");
    let output = || format!("{}\n{complaints}", passed.join("\n"));
    assert!(ended.success(), "{ended}\n{}", output());
    let checks = CHECKS.iter().chain(besides);
    let expected: Vec<String> = checks.map(|check| format!("ok {check}")).collect();
    assert_eq!(passed, expected, "{}", output());
    assert_eq!(kills, 1, "the server is killed once\n{}", output());
}

/// The lines that a program prints, as they come.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Everything that a program prints, once it has ended.
fn whole(mut output: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[track_caller]
fn start(folder: &Path, address: &str) -> Server {
    let mut command = harness::annals();
    command.args(["serve", "--role", "store", "--insecure", "--address", address, "--data"]);
    Server::start_command(command.arg(folder.join("data")).env("ANNALS_LOG_LEVEL", "error"))
}

/// A free address below the ports that the kernel gives to outgoing connections, so that nobody else takes it while the
/// server is down.
fn free_address() -> String {
    (0..200)
        .map(|_| 20_000 + Uuid::new_v4().as_u128() % 12_000)
        .map(|port| format!("127.0.0.1:{port}"))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}
