//! The list of every key: its environment variables, what a right value is, and the checks that
//! types cannot make.

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata as SourceName, Profile, Provider};

use super::error::origin;
use super::{Config, ConfigError, Fanout, Role, Secret};

/// One key.
struct Field {
    /// The key, with dots.
    key: &'static str,
    /// A second environment variable, which other programs know too; it gives way to `ANNALS_…`.
    alias: Option<&'static str>,
    /// Whether the value is text, which is then taken as it is, also where it looks like a number.
    text: bool,
    /// What would be right.
    right: &'static str,
}

const fn text(key: &'static str, right: &'static str) -> Field {
    Field { key, alias: None, text: true, right }
}

const fn value(key: &'static str, right: &'static str) -> Field {
    Field { key, alias: None, text: false, right }
}

const fn shared(key: &'static str, alias: &'static str, right: &'static str) -> Field {
    Field { key, alias: Some(alias), text: true, right }
}

const MILLISECONDS: &str = "a number of milliseconds from 1 to 3600000";

const PROJECTIONS: &str = "true, false, or a list of $by_category, $by_correlation_id, $by_event_type, $stream_by_category, \
                           $streams; and false where `store` is a server, which has its own";

const FIELDS: &[Field] = &[
    text("data_folder", "a path, such as \".annals\""),
    text("address", "HOST:PORT, such as \"127.0.0.1:2113\""),
    text("advertise", "HOST:PORT, such as \"annals.example.com:2113\""),
    text(
        "role",
        "\"all\" or \"store\" (\"api\", \"relay\" and \"worker\" alone are not served yet)",
    ),
    text("store", "\"embedded\" or \"esdb://HOST:PORT?tls=false\""),
    value("system_projections", PROJECTIONS),
    text("fanout", "\"embedded\" or \"kafka\""),
    shared("database_url", "DATABASE_URL", "\"postgres://USER:PASSWORD@HOST:PORT/DATABASE\""),
    text("libchdb", "the path of libchdb.so"),
    text("api_key", "at least 16 characters"),
    value("insecure", "true or false"),
    value(
        "secured",
        "true or false; true goes with store = \"embedded\", where the users are kept",
    ),
    value("segment_bytes", "a number of bytes from 1048576 (1 MiB) to 4294967296 (4 GiB)"),
    text("tls.certificate", "the path of a PEM file, beside tls.key"),
    text("tls.key", "the path of a PEM file, beside tls.certificate"),
    shared("kafka.bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS", "HOST:PORT, comma between"),
    shared("kafka.registry_url", "SCHEMA_REGISTRY_URL", "an address, \"http://HOST:PORT\""),
    shared("clickhouse.url", "CLICKHOUSE_URL", "an address, \"http://HOST:PORT\""),
    shared("clickhouse.user", "CLICKHOUSE_USER", "a user's name"),
    shared("clickhouse.password", "CLICKHOUSE_PASSWORD", "a password"),
    text("log.level", "error, warn, info, debug, trace, or directives (info,annals_store=debug)"),
    text("log.format", "\"text\" or \"json\""),
    value("limits.request_bytes_max", "a number of bytes from 1024 to 67108864 (64 MiB)"),
    value("limits.page_rows_max", "a number from 1 to 10000"),
    value("limits.page_rows", "a number from 1 to limits.page_rows_max"),
    value("limits.command_timeout_ms", MILLISECONDS),
    value("limits.query_timeout_ms", MILLISECONDS),
    value("limits.header_timeout_ms", MILLISECONDS),
    value("limits.requests_in_flight_max", "a number from 1 to 100000"),
    value("limits.subscriptions_max", "a number from 1 to 100000"),
    value("limits.shutdown_timeout_ms", MILLISECONDS),
    value("limits.ready_lag_max", "a number of positions from 0"),
];

/// Variables with our prefix that are not fields: the configuration file, and where scripts and
/// tests keep their data.
const OTHER_VARIABLES: [&str; 3] = ["ANNALS_CONFIG", "ANNALS_DATA", "ANNALS_CACHE"];

/// The environment variable of a key: `limits.page_rows` is `ANNALS_LIMITS_PAGE_ROWS`.
fn variable_name(key: &str) -> String {
    format!("ANNALS_{}", key.replace('.', "_").to_uppercase())
}

/// Adds what the environment sets.
pub(super) fn environment(
    mut figment: Figment,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Figment {
    for field in FIELDS {
        let own = variable_name(field.key);
        let names = field.alias.map(str::to_owned).into_iter().chain([own]);
        for name in names {
            // An empty variable is how compose files and CI systems say "not set".
            let Some(content) = variable(&name).filter(|content| !content.is_empty()) else {
                continue;
            };
            let origin = format!("the environment variable `{name}`");
            figment = figment.merge(if field.text {
                OneValue::text(field.key, &content, origin)
            } else {
                OneValue::parsed(field.key, &content, origin)
            });
        }
    }
    figment
}

/// Which of these variable names look like ours and name no field.
pub(super) fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> = FIELDS.iter().map(|field| variable_name(field.key)).collect();
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("ANNALS_") && !known.contains(name))
        .filter(|name| !OTHER_VARIABLES.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}

/// What would be right for a key.
pub(super) fn right(key: &str) -> &'static str {
    FIELDS
        .iter()
        .find(|field| field.key == key)
        .map_or("as in docs/annals.toml", |field| field.right)
}

/// Whether values of this key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    ["store", "database_url", "api_key", "clickhouse.password"].contains(&key)
}

/// Helps with a key that does not exist.
pub(super) fn hint(key: &str) -> String {
    let near = FIELDS
        .iter()
        .map(|field| (distance(key, field.key), field.key))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    if let Some((_, near)) = near {
        return format!("did you mean `{near}`?");
    }
    let keys: Vec<&str> = FIELDS.iter().map(|field| field.key).collect();
    format!("the keys are {}", keys.join(", "))
}

/// How many characters to add, drop or replace between two texts (Wagner and Fischer, 1974).
pub(crate) fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in two.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[two.len()]
}

/// What types cannot say.
pub(super) fn check(config: &Config, figment: &Figment) -> Result<(), ConfigError> {
    let wrong = |key: &str, found: String| {
        let (key, origin) = (key.to_owned(), origin(figment, key));
        let right = right(&key).to_owned();
        Err(ConfigError::WrongValue { key, origin, found, right })
    };
    let port = config.address.rsplit_once(':').map(|(_, port)| port.parse::<u16>().is_ok());
    if port != Some(true) {
        return wrong("address", format!("found {:?}", config.address));
    }
    if let Some(advertise) = &config.advertise
        && advertised(advertise).is_none()
    {
        return wrong("advertise", format!("found {advertise:?}"));
    }
    if !matches!(config.role, Role::All | Role::Store) {
        return wrong("role", "this role alone is not served yet".to_owned());
    }
    if let Err(error) = config.store.address() {
        return wrong("store", error.to_string());
    }
    if !config.store.is_embedded() && !config.system_projections.named().is_empty() {
        return wrong("system_projections", "`store` is a server".to_owned());
    }
    if config.secured && !config.store.is_embedded() {
        return wrong("secured", "the store is another server".to_owned());
    }
    let tls = [("tls.certificate", &config.tls.certificate), ("tls.key", &config.tls.key)];
    if let Some((missing, _)) = tls.iter().find(|(_, file)| file.is_none())
        && tls.iter().any(|(_, file)| file.is_some())
    {
        return wrong(missing, "it is not set".to_owned());
    }
    if config.api_key.as_ref().is_some_and(|key| key.expose().chars().count() < 16) {
        return wrong("api_key", "it is too short to be safe".to_owned());
    }
    if config.fanout == Fanout::Kafka {
        let needed = [
            ("kafka.bootstrap_servers", &config.kafka.bootstrap_servers),
            ("kafka.registry_url", &config.kafka.registry_url),
        ];
        for (key, given) in needed {
            if given.is_none() {
                return wrong(key, "it is not set, and `fanout = \"kafka\"` needs it".to_owned());
            }
        }
    }
    let urls = [
        ("kafka.registry_url", &config.kafka.registry_url),
        ("clickhouse.url", &config.clickhouse.url),
    ];
    for (key, url) in urls {
        let is_http = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !url.as_ref().is_none_or(is_http) {
            return wrong(key, "it is not the address of an HTTP server".to_owned());
        }
    }
    let database = config.database_url.as_ref().map(Secret::expose);
    if !database
        .is_none_or(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
    {
        return wrong("database_url", "it is not the address of a PostgreSQL server".to_owned());
    }
    for (key, found, least, most) in ranges(config) {
        if !(least..=most).contains(&found) {
            return wrong(key, format!("found {found}"));
        }
    }
    Ok(())
}

/// Host and port of an address that clients are sent to.
pub(super) fn advertised(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some((host, port)).filter(|_| !host.is_empty())
}

/// Every number with its bounds.
fn ranges(config: &Config) -> [(&'static str, u64, u64, u64); 10] {
    const HOUR: u64 = 3_600_000;
    let limits = &config.limits;
    [
        ("segment_bytes", config.segment_bytes, 1 << 20, 4 << 30),
        ("limits.request_bytes_max", limits.request_bytes_max as u64, 1024, 64 << 20),
        ("limits.page_rows_max", u64::from(limits.page_rows_max), 1, 10_000),
        ("limits.page_rows", u64::from(limits.page_rows), 1, u64::from(limits.page_rows_max)),
        ("limits.command_timeout_ms", limits.command_timeout_ms, 1, HOUR),
        ("limits.query_timeout_ms", limits.query_timeout_ms, 1, HOUR),
        ("limits.header_timeout_ms", limits.header_timeout_ms, 1, HOUR),
        ("limits.requests_in_flight_max", limits.requests_in_flight_max as u64, 1, 100_000),
        ("limits.subscriptions_max", limits.subscriptions_max as u64, 1, 100_000),
        ("limits.shutdown_timeout_ms", limits.shutdown_timeout_ms, 1, HOUR),
    ]
}

/// A source that sets one key.
pub(super) struct OneValue {
    key: &'static str,
    value: Value,
    origin: String,
}

impl OneValue {
    /// The text as it is.
    pub(super) fn text(key: &'static str, text: &str, origin: String) -> OneValue {
        OneValue { key, value: Value::from(text), origin }
    }

    /// The text read as a number or a truth value where it is one.
    pub(super) fn parsed(key: &'static str, text: &str, origin: String) -> OneValue {
        let value = match text.parse::<Value>() {
            Ok(value) => value,
            Err(never) => match never {},
        };
        OneValue { key, value, origin }
    }
}

impl Provider for OneValue {
    fn metadata(&self) -> SourceName {
        SourceName::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(self.key, self.value.clone());
        let dict = nested.into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_listed_once() {
        let all = serde_json::to_value(Config::default()).expect("the configuration is plain data");
        let mut found = Vec::new();
        for (name, value) in all.as_object().expect("an object") {
            match value.as_object() {
                Some(group) => found.extend(group.keys().map(|key| format!("{name}.{key}"))),
                None => found.push(name.clone()),
            }
        }
        let mut listed: Vec<&str> = FIELDS.iter().map(|field| field.key).collect();
        listed.sort_unstable();
        found.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn variables_that_look_like_ours_are_told() {
        let names = ["ANNALS_ADRESS", "ANNALS_ADDRESS", "ANNALS_DATA", "HOME"];
        assert_eq!(unknown(names.map(str::to_owned).into_iter()), ["ANNALS_ADRESS"]);
    }

    #[test]
    fn the_distance_counts_changes() {
        assert_eq!(distance("adress", "address"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("role", "role"), 0);
    }
}
