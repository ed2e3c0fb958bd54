//! The PostgreSQL server of our own: started, found again, taken over, refused with a reason.

mod toy;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_workers::postgres_server::{Account, Programs};
use annals_workers::{PostgresOptions, PostgresServer, PostgresServerError, connect};

fn options() -> PostgresOptions {
    PostgresOptions { shared_buffers_mib: 16, ..PostgresOptions::default() }
}

async fn answer(server: &PostgresServer, sql: &'static str) -> String {
    let pool = connect(server.url(), 1).await.expect("it answers");
    let text = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("a text");
    pool.close().await;
    text
}

async fn refused(folder: &Path, options: PostgresOptions) -> PostgresServerError {
    match PostgresServer::start(folder, options).await {
        Ok(_) => panic!("it should not start"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_keeps_its_data_and_has_one_owner() {
    let folder = toy::folder();
    let path = folder.path().join("postgres");
    let server = PostgresServer::start(&path, options()).await.expect("it starts");
    assert_eq!(answer(&server, "SHOW server_encoding").await, "UTF8");
    assert_eq!(answer(&server, "SHOW listen_addresses").await, "", "no network address");
    assert_eq!(answer(&server, "SHOW data_checksums").await, "on");
    assert_eq!(answer(&server, "SHOW fsync").await, "on");
    let pool = connect(server.url(), 1).await.expect("it answers");
    sqlx::query("CREATE TABLE kept AS SELECT 'here'::text AS word")
        .execute(&pool)
        .await
        .expect("made");
    let second = refused(&path, options()).await;
    assert!(matches!(second, PostgresServerError::InUse { .. }), "one owner: {second}");
    // An idle client does not hold the stop up.
    server.stop().await.expect("it stops");
    assert!(!path.join("data/postmaster.pid").exists(), "it stopped in order");
    let again = PostgresServer::start(&path, options()).await.expect("it starts again");
    assert_eq!(answer(&again, "SELECT word FROM kept").await, "here");
    again.stop().await.expect("it stops again");
}

#[tokio::test]
async fn a_server_that_a_killed_predecessor_left_running_is_taken_over() {
    let folder = toy::folder();
    let path = folder.path().join("postgres");
    let server = PostgresServer::start(&path, options()).await.expect("it starts");
    server.stop().await.expect("it stops");
    // As a killed annals leaves it: alive, with nobody who would stop it.
    let data = path.join("data");
    let account = Account::choose(&data).expect("a user");
    let programs = Programs::find(None, &data).expect("programs");
    let mut command = Command::new(programs.folder.join("postgres"));
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "shared_buffers=16MB"]);
    command.arg("-c").arg(format!("unix_socket_directories={}", path.join("socket").display()));
    command.current_dir(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if account.other {
        command.uid(account.user).gid(account.group);
    }
    let mut left = command.spawn().expect("it runs");
    let pid_file = data.join("postmaster.pid");
    while !pid_file.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Reap it when it ends, as init would.
    let reaped = std::thread::spawn(move || left.wait());
    let server = PostgresServer::start(&path, options()).await.expect("it takes over");
    assert!(reaped.join().expect("joined").expect("ended").success(), "it was stopped in order");
    assert_eq!(answer(&server, "SELECT 'ours'::text").await, "ours");
    server.stop().await.expect("it stops");
}

#[tokio::test]
async fn an_initdb_that_outlives_its_killed_parent_is_not_in_the_way() {
    let folder = toy::folder();
    let path = folder.path().join("postgres");
    std::fs::create_dir_all(&path).expect("made");
    let left = path.join("data.new");
    // As an orphan does: it makes files in its folder, whoever removes them.
    let done = Arc::new(AtomicBool::new(false));
    let (stop, orphans) = (Arc::clone(&done), left.clone());
    let orphan = std::thread::spawn(move || {
        for number in 0_u64.. {
            std::fs::create_dir_all(&orphans).ok();
            std::fs::write(orphans.join(number.to_string()), "x").ok();
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    while !left.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let server = PostgresServer::start(&path, options()).await.expect("it starts all the same");
    assert_eq!(answer(&server, "SELECT 'ours'::text").await, "ours");
    server.stop().await.expect("it stops");
    done.store(true, Ordering::Relaxed);
    orphan.join().expect("joined");
}

#[tokio::test]
async fn a_stale_pid_file_is_no_obstacle_and_its_number_is_not_killed() {
    let folder = toy::folder();
    let path = folder.path().join("postgres");
    let server = PostgresServer::start(&path, options()).await.expect("it starts");
    server.stop().await.expect("it stops");
    let mut innocent = Command::new("sleep").arg("60").spawn().expect("it runs");
    let pid_file = path.join("data/postmaster.pid");
    let text = format!("{}\n{}\n1\n5432\n", innocent.id(), path.join("data").display());
    std::fs::write(&pid_file, text).expect("written");
    let server = PostgresServer::start(
        &path,
        PostgresOptions { start_timeout: Duration::from_secs(30), ..options() },
    )
    .await;
    assert!(innocent.try_wait().expect("looked").is_none(), "another program was left alone");
    innocent.kill().expect("killed");
    innocent.wait().expect("reaped");
    server.expect("it starts").stop().await.expect("it stops");
}

#[tokio::test]
async fn a_long_path_gets_its_socket_elsewhere() {
    let folder = toy::folder();
    let path = folder.path().join("x".repeat(90)).join("postgres");
    let server = PostgresServer::start(&path, options()).await.expect("it starts");
    assert_eq!(answer(&server, "SELECT 'here'::text").await, "here");
    assert!(!path.join("socket").exists());
    let url = server.url();
    let from = url.find("host=").expect("a host") + "host=".len();
    let sockets = url[from..].split('&').next().expect("a folder").to_owned();
    assert!(Path::new(&sockets).is_dir(), "{sockets}");
    server.stop().await.expect("it stops");
    assert!(!Path::new(&sockets).exists(), "nothing is left behind");
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let folder = toy::folder();
    let nowhere = PostgresOptions { programs: Some("/nowhere".into()), ..options() };
    let error = refused(&folder.path().join("a"), nowhere).await;
    assert!(error.to_string().contains("/nowhere"), "{error}");
    let old = folder.path().join("b");
    std::fs::create_dir_all(old.join("data")).expect("made");
    std::fs::write(old.join("data/PG_VERSION"), "9\n").expect("written");
    let error = refused(&old, options()).await;
    assert!(error.to_string().contains("of PostgreSQL 9"), "{error}");
    let private = folder.path().join("private");
    std::fs::create_dir(&private).expect("made");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).expect("closed");
    let account = Account::choose(&private.join("c/data")).expect("a user");
    if account.other {
        let error = refused(&private.join("c"), options()).await;
        assert!(matches!(error, PostgresServerError::NotEnterable { .. }), "{error}");
        assert!(error.to_string().contains("chmod o+x"), "{error}");
    }
}
