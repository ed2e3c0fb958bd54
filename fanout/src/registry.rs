//! The client of a Confluent-compatible schema registry. A schema is registered under its full name (the record name
//! strategy), because one topic carries all event types of a context. The registry is asked once per schema and is
//! never on the path of an event whose schema is known.

use std::time::Duration;

use annals_core::codec::EventSchema;
use annals_core::family::Family;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_schema_by_id, get_schema_by_subject_and_version, is_compatible_schema,
    post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};

/// How long one question to the registry may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The id that a registry gave to a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisteredId(pub u32);

/// Why the registry did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address is not one.
    #[error("the schema registry's address {url} cannot be used")]
    Address {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: SRCError,
    },
    /// It did not answer, or not in time, or with a fault of its own.
    #[error("the schema registry at {url} did not answer for {subject}")]
    Unavailable {
        /// Its address.
        url: String,
        /// The subject or id that was asked for.
        subject: String,
        /// What happened.
        #[source]
        source: SRCError,
    },
    /// The schema breaks the subject's compatibility rule.
    #[error(
        "the registry refuses the schema of {subject}: it is not compatible with the versions there. Make the \
         change compatible (give new fields a default), name the event anew, or change the subject's compatibility"
    )]
    Incompatible {
        /// The subject, which is the event type.
        subject: String,
        /// The registry's answer.
        #[source]
        source: SRCError,
    },
    /// The registry holds no such subject, version or id.
    #[error("the registry has no {subject}")]
    NotFound {
        /// The subject or id that was asked for.
        subject: String,
        /// The registry's answer.
        #[source]
        source: SRCError,
    },
    /// The registry says that the schema is not one.
    #[error("the registry takes the schema of {subject} for invalid")]
    Invalid {
        /// The subject.
        subject: String,
        /// The registry's answer.
        #[source]
        source: SRCError,
    },
    /// The registry does not let this client do it.
    #[error("the registry does not allow {subject}")]
    Denied {
        /// The subject.
        subject: String,
        /// The registry's answer.
        #[source]
        source: SRCError,
    },
}

impl RegistryError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            RegistryError::Address { .. } | RegistryError::Invalid { .. } => Family::Malformed,
            RegistryError::Unavailable { .. } => Family::Unavailable,
            RegistryError::Incompatible { .. } => Family::Conflict,
            RegistryError::NotFound { .. } => Family::NotFound,
            RegistryError::Denied { .. } => Family::Denied,
        }
    }
}

/// A client of one registry; clones share its connections.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    url: String,
    settings: SrSettings,
}

impl RegistryClient {
    /// A client of the registry at `url`, such as `http://127.0.0.1:8081/apis/ccompat/v7`; user and password may
    /// stand in it. Nothing is asked yet.
    ///
    /// # Errors
    /// [`RegistryError::Address`].
    pub fn new(url: &str) -> Result<RegistryClient, RegistryError> {
        let url = url.trim_end_matches('/').to_owned();
        let built = SrSettings::new_builder(url.clone()).set_timeout(TIMEOUT).build();
        match built {
            Ok(settings) => Ok(RegistryClient { url, settings }),
            Err(source) => Err(RegistryError::Address { url, source }),
        }
    }

    /// Registers a schema under its event type and tells its id; repeating it gives the same id.
    ///
    /// # Errors
    /// [`RegistryError`]; all but `Unavailable` need someone to act.
    pub async fn register(&self, schema: &EventSchema) -> Result<RegisteredId, RegistryError> {
        let subject = schema.event_type.as_str();
        post_schema(&self.settings, subject.to_owned(), supplied(schema))
            .await
            .map(|registered| RegisteredId(registered.id))
            .map_err(|source| self.error(subject, source))
    }

    /// The text of the schema with this id.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn schema(&self, id: RegisteredId) -> Result<String, RegistryError> {
        get_schema_by_id(id.0, &self.settings)
            .await
            .map(|registered| registered.schema)
            .map_err(|source| self.error(&format!("schema id {}", id.0), source))
    }

    /// The id and text of the latest version of an event type.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn latest(&self, subject: &str) -> Result<(RegisteredId, String), RegistryError> {
        get_schema_by_subject_and_version(&self.settings, subject, None)
            .await
            .map(|registered| (RegisteredId(registered.id), registered.schema))
            .map_err(|source| self.error(subject, source))
    }

    /// Whether the registry would take the schema, by its subject's rule. A subject that is not there takes any.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn is_compatible(&self, schema: &EventSchema) -> Result<bool, RegistryError> {
        let subject = schema.event_type.as_str();
        let asked =
            is_compatible_schema(&self.settings, subject.to_owned(), supplied(schema)).await;
        match asked.map_err(|source| self.error(subject, source)) {
            Ok(compatible) => Ok(compatible),
            Err(RegistryError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn error(&self, subject: &str, source: SRCError) -> RegistryError {
        let subject = subject.to_owned();
        match code(&source) {
            Some(409) => RegistryError::Incompatible { subject, source },
            Some(401 | 403) => RegistryError::Denied { subject, source },
            Some(404 | 40401..=40499) => RegistryError::NotFound { subject, source },
            Some(400 | 422 | 42201..=42299) => RegistryError::Invalid { subject, source },
            Some(_) | None => RegistryError::Unavailable { url: self.url.clone(), subject, source },
        }
    }
}

fn supplied(schema: &EventSchema) -> SuppliedSchema {
    let name = Some(schema.event_type.as_str().to_owned());
    SuppliedSchema::new(name, SchemaType::Avro, schema.text.as_ref().to_owned())
}

/// The registry's own code of an error, where it answered with one.
fn code(error: &SRCError) -> Option<u32> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<RawError>().map(|raw| raw.error_code)
}
