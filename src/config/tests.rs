//! Which source wins, and what is said about a wrong one.

use super::*;

fn load(file: Option<&str>, variables: &[(&str, &str)], flags: Flags) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut flags = flags;
    if let Some(text) = file {
        let path = folder.path().join("annals.toml");
        std::fs::write(&path, text).expect("the file is written");
        flags.config = Some(path);
    }
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::load_from(&flags, &variable).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text.replace(&folder.path().display().to_string(), "")
    })
}

#[test]
fn nothing_said_gives_the_defaults() {
    assert_eq!(load(None, &[], Flags::default()), Ok(Config::default()));
    assert_eq!(load(Some(""), &[], Flags::default()), Ok(Config::default()));
}

#[test]
fn the_example_file_equals_the_defaults() {
    let example = include_str!("../../docs/annals.toml");
    assert_eq!(load(Some(example), &[], Flags::default()), Ok(Config::default()));
    let all = serde_json::to_value(Config::default()).expect("plain data");
    for key in all.as_object().expect("an object").iter().flat_map(|(name, value)| {
        value
            .as_object()
            .map_or_else(|| vec![name.clone()], |group| group.keys().cloned().collect())
    }) {
        let stated = example
            .lines()
            .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        assert!(stated, "docs/annals.toml lacks {key}");
    }
}

#[test]
fn a_later_source_wins() {
    let file = "address = '127.0.0.1:1'\ndata_folder = '/file'\n[limits]\npage_rows = 7";
    let variables = [("ANNALS_ADDRESS", "127.0.0.1:2"), ("ANNALS_LIMITS_PAGE_ROWS_MAX", "99")];
    let flags = Flags { address: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
    let config = load(Some(file), &variables, flags).expect("a right configuration");
    assert_eq!(config.address, "127.0.0.1:3");
    assert_eq!(config.data_folder, PathBuf::from("/file"));
    assert_eq!((config.limits.page_rows, config.limits.page_rows_max), (7, 99));
    let config = load(Some(file), &variables, Flags::default()).expect("a right configuration");
    assert_eq!(config.address, "127.0.0.1:2");
}

#[test]
fn well_known_variables_are_read_and_ours_win() {
    let variables = [
        ("DATABASE_URL", "postgres://one"),
        ("CLICKHOUSE_URL", "http://one"),
        ("ANNALS_CLICKHOUSE_URL", "http://two"),
        ("ANNALS_API_KEY", "1234567890123456"),
    ];
    let config = load(None, &variables, Flags::default()).expect("a right configuration");
    assert_eq!(config.database_url, Some(Secret::new("postgres://one")));
    assert_eq!(config.clickhouse.url.as_deref(), Some("http://two"));
    assert_eq!(config.api_key, Some(Secret::new("1234567890123456")));
}

#[test]
fn system_projections_are_all_none_or_named() {
    use annals_store::protocol::projections::SystemProjection::{self, ByCategory, Streams};
    let named = |file: Option<&str>, variable: Option<&str>| {
        let variables = variable.map(|value| ("ANNALS_SYSTEM_PROJECTIONS", value));
        let config = load(file, &Vec::from_iter(variables), Flags::default());
        Vec::from_iter(config.expect("a right configuration").system_projections.named())
    };
    assert_eq!(named(None, None), []);
    assert_eq!(named(Some("system_projections = true"), None), SystemProjection::ALL);
    let list = "system_projections = ['$streams', '$by_category', '$streams']";
    assert_eq!(named(Some(list), None), [ByCategory, Streams]);
    assert_eq!(named(Some(list), Some("true")), SystemProjection::ALL);
    assert_eq!(named(Some(list), Some("[$streams]")), [Streams]);
    assert_eq!(named(Some(list), Some("false")), []);
}

#[test]
fn secrets_do_not_show() {
    let variables = [
        ("DATABASE_URL", "postgres://canary"),
        ("ANNALS_API_KEY", "canary-canary-canary"),
        ("ANNALS_STORE", "esdb://ann:canary@h:2113"),
    ];
    let config = load(None, &variables, Flags::default()).expect("a right configuration");
    let shown = format!("{config:?} {}", serde_json::to_string(&config).expect("plain data"));
    assert!(!shown.contains("canary"), "{shown}");
    let wrong = load(Some("api_key = ['canary-canary-canary']"), &[], Flags::default());
    let short = load(None, &[("ANNALS_API_KEY", "canary")], Flags::default());
    let url = load(None, &[("DATABASE_URL", "canary")], Flags::default());
    for error in [wrong, short, url].map(|result| result.expect_err("a wrong value")) {
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn a_wrong_value_is_told_with_its_key_source_and_remedy() {
    let flags = |role: &str| Flags { role: Some(role.to_owned()), ..Flags::default() };
    let told = [
        load(Some("adress = '127.0.0.1:1'"), &[], Flags::default()),
        load(Some("[limits]\nunheard_of = 1"), &[], Flags::default()),
        load(Some("[limits]\npage_rows = 'many'"), &[], Flags::default()),
        load(Some("address = "), &[], Flags::default()),
        load(None, &[("ANNALS_LIMITS_PAGE_ROWS", "0")], Flags::default()),
        load(None, &[("ANNALS_ADDRESS", "localhost")], Flags::default()),
        load(None, &[("ANNALS_FANOUT", "kafka")], Flags::default()),
        load(None, &[("ANNALS_STORE", "http://h:2113")], Flags::default()),
        load(None, &[("ANNALS_STORE", "esdb://ann:secret@h:port")], Flags::default()),
        load(Some("system_projections = ['$by_colour']"), &[], Flags::default()),
        load(
            None,
            &[("ANNALS_SYSTEM_PROJECTIONS", "true"), ("ANNALS_STORE", "esdb://h:2113")],
            Flags::default(),
        ),
        load(None, &[("ANNALS_TLS_KEY", "key.pem")], Flags::default()),
        load(Some("secured = true\nstore = 'esdb://h:2113'"), &[], Flags::default()),
        load(None, &[], flags("worker")),
        load(None, &[], flags("king")),
        load(None, &[("ANNALS_CONFIG", "/nowhere/annals.toml")], Flags::default()),
    ];
    let text: Vec<String> =
        told.map(|result| result.expect_err("a wrong configuration")).into_iter().collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_secret_matches_only_itself() {
    let secret = Secret::new("sixteen-letters!");
    assert!(secret.matches("sixteen-letters!"));
    assert!(!secret.matches("sixteen-letters?") && !secret.matches("") && !secret.matches("s"));
}
