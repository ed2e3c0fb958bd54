//! Who is let in: the first password, wrong ones, ones that changed, users that are disabled.

use std::fs;
use std::path::Path;

use eventstore::operations::{self, OperationalOptions};

use crate::harness::{annals, run};
use crate::world::{Speaks, World, append, is_denied, read};

/// How often a text stands in the files below a folder.
fn count_below(folder: &Path, text: &str) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            count += count_below(&path, text);
        } else if let Ok(bytes) = fs::read(&path) {
            count += bytes.windows(text.len()).filter(|found| *found == text.as_bytes()).count();
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_is_told_once_and_kept_nowhere() {
    let mut world = World::first(Speaks::Tls);
    assert_eq!(world.password.len(), 32);
    append(&world.admin(), "a").await.expect("it is the password");
    world.stop();
    assert!(count_below(&world.data(), "$argon2id$") > 0, "its hash is what is kept");
    assert_eq!(count_below(&world.data(), &world.password), 0);
    world.start(Speaks::Tls);
    assert_eq!(read(&world.admin(), "a").await.expect("it is still the password"), 1);
    let stderr = world.stderr();
    assert_eq!(stderr.matches(&world.password).count(), 1, "{stderr}");
    assert!(stderr.contains("the users admin and ops were made"), "the log is looked at: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_with_a_wrong_password_or_none() {
    let world = World::first(Speaks::Tls);
    append(&world.admin(), "a").await.expect("admin may");
    for login in ["", "admin:changeit", "admin:", "ops:changeit", "ops:", "nobody:x"] {
        let client = world.client(login);
        is_denied(read(&client, "a").await);
        is_denied(append(&client, "a").await);
        is_denied(read(&client, "none").await);
    }
    assert_eq!(read(&world.admin(), "a").await.expect("admin may"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed_holds_at_once_and_after_a_kill() {
    let mut world = World::first(Speaks::Tls);
    world.make_users(&[("ann", "staff"), ("bob", "staff")]).await;
    let (options, ann) = (OperationalOptions::default(), world.client("ann:of-ann"));
    append(&ann, "a").await.expect("ann may");
    let of_ann = operations::Client::from(ann.clone());
    let changed = of_ann.change_user_password("ann", "of-ann", "new", &options).await;
    changed.expect("she knows the present one");
    is_denied(append(&ann, "a").await);
    append(&world.client("ann:new"), "a").await.expect("it is the new one");
    let of_admin = operations::Client::from(world.admin());
    let bob = world.client("bob:of-bob");
    append(&bob, "a").await.expect("bob may");
    of_admin.disable_user("bob", &options).await.expect("there is bob");
    is_denied(append(&bob, "a").await);
    is_denied(operations::Client::from(bob).user_details("bob", &options).await.map(drop));

    // Starting kills the one that runs.
    world.start(Speaks::Tls);
    is_denied(append(&world.client("ann:of-ann"), "a").await);
    append(&world.client("ann:new"), "a").await.expect("it is the new one");
    is_denied(append(&world.client("bob:of-bob"), "a").await);
    let of_admin = operations::Client::from(world.admin());
    of_admin.enable_user("bob", &options).await.expect("there is bob");
    append(&world.client("bob:of-bob"), "a").await.expect("bob may again");
    of_admin.delete_user("bob", &options).await.expect("there is bob");
    is_denied(append(&world.client("bob:of-bob"), "a").await);
    let gone = of_admin.delete_user("bob", &options).await;
    assert!(matches!(gone, Err(eventstore::Error::ResourceNotFound)), "{gone:?}");
    let mut details = of_admin.user_details("ann", &options).await.expect("there is ann");
    let details = details.next().await.expect("an answer").expect("ann");
    assert_eq!((&*details.login, &*details.groups), ("ann", &["staff".to_owned()][..]));
}

#[test]
fn annals_itself_keeps_its_events_on_a_secured_server() {
    let world = World::first(Speaks::Tls);
    let (address, authority) = (&world.server().address, world.authority());
    let store = |password: &str| {
        format!("esdb://admin:{password}@{address}?tls=true&tlsCaFile={}", authority.display())
    };
    let views = world.data().with_file_name("views");
    let on = |store: &str, words: &[&str]| {
        let mut command = annals();
        command.args(words).arg("--data").arg(&views).env("ANNALS_STORE", store);
        run(&mut command)
    };
    let right = store(&world.password);
    let open = ["command", "trading", "open-account", "--json", r#"{"account": "A1"}"#];
    assert_eq!(on(&right, &open).exits_with(0).json()["stream"], "account-A1");
    let read = ["events", "read", "--json", "--stream", "account-A1"];
    let shown = on(&right, &read).exits_with(0).stdout;
    assert!(shown.contains("AccountOpened"), "{shown}");
    let refused = on(&store("not-the-password"), &read);
    assert_ne!(refused.code, Some(0));
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(!told.contains("not-the-password") && !told.contains("AccountOpened"), "{told}");
}
