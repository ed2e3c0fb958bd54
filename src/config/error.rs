//! What is said when the configuration is wrong: which key, where its value came from, what would
//! be right.

use std::path::PathBuf;

use annals_core::Family;
use figment::Figment;
use figment::error::Kind;

use super::{Config, fields};

/// Why the configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("the configuration file {path} cannot be read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not TOML", path = path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {origin}; {hint}")]
    UnknownKey {
        /// The key, with dots.
        key: String,
        /// Where it was found.
        origin: String,
        /// The nearest key, or all of them.
        hint: String,
    },
    /// A value that its key cannot have.
    #[error("`{key}` from {origin} is wrong: {found}; right would be {right}")]
    WrongValue {
        /// The key, with dots.
        key: String,
        /// Where the value came from.
        origin: String,
        /// What was found; never a secret's text.
        found: String,
        /// What would be right.
        right: String,
    },
}

impl ConfigError {
    /// The family: a request that is wrong in itself.
    pub fn family(&self) -> Family {
        Family::Malformed
    }

    /// Reads what figment says. Only its first error is told: the others are often its consequence.
    pub(super) fn from_figment(figment: &Figment, error: &figment::Error) -> ConfigError {
        let path = error.path.join(".");
        if let Kind::UnknownField(name, _) = &error.kind {
            let within = path.strip_suffix(name.as_str()).unwrap_or(&path);
            let key = match within.trim_end_matches('.') {
                "" => name.clone(),
                parent => format!("{parent}.{name}"),
            };
            let hint = fields::hint(&key);
            return ConfigError::UnknownKey { origin: origin(figment, &key), key, hint };
        }
        let found = if fields::is_secret(&path) {
            "its value has the wrong type".to_owned()
        } else {
            error.kind.to_string()
        };
        let (origin, right) = (origin(figment, &path), fields::right(&path).to_owned());
        ConfigError::WrongValue { key: path, origin, found, right }
    }
}

/// Where the value of `key` came from, for people.
pub(super) fn origin(figment: &Figment, key: &str) -> String {
    let Some(metadata) = figment.find_metadata(key) else { return "the configuration".to_owned() };
    match metadata.source.as_ref().and_then(|source| source.file_path()) {
        Some(file) => format!("the file {}", file.display()),
        None if metadata.name == std::any::type_name::<Config>() => "the defaults".to_owned(),
        None => metadata.name.to_string(),
    }
}
