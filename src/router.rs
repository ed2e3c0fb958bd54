//! Commands by name and JSON: what REST, gRPC and the command line call. It knows no domain; deciders register with
//! their types, and each is run by one executor, which typed callers share.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use annals_core::executor::{CommandError, Envelope, Executor};
use annals_core::random::Random;
use annals_core::{Clock, Decider, DeciderRegistry, DomainEvent, EventStore, Family, Schemas};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouterAnswer {
    /// The stream that the command was for.
    pub stream: String,
    /// The revision of the command's last event, or of the stream where it led to none.
    pub revision: Option<u64>,
    /// The position of the command's last event; none where it led to none.
    pub position: Option<u64>,
    /// What happened, in order.
    pub events: Vec<AnswerEvent>,
}

/// One event of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerEvent {
    /// Its type, `context.Name`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its payload as JSON.
    pub data: Value,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouterError {
    /// No such command.
    #[error("there is no command {context}/{name}; known are {known}")]
    Unknown {
        /// The context asked for.
        context: String,
        /// The name asked for.
        name: String,
        /// Those that exist, `context/name`, comma-separated.
        known: String,
    },
    /// The JSON does not fit the command.
    #[error("command {context}/{name} is malformed: {reason}")]
    Malformed {
        /// The command's context.
        context: String,
        /// The command's name.
        name: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The executor's error.
    #[error(transparent)]
    Failed(Failure),
}

/// An executor's error with its type erased.
#[derive(Clone, Debug)]
pub struct Failure {
    cause: Arc<dyn std::error::Error + Send + Sync>,
    family: Family,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

impl RouterError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            RouterError::Unknown { .. } | RouterError::Malformed { .. } => Family::Malformed,
            RouterError::Failed(failure) => failure.family,
        }
    }

    /// A stable name of this error for programs.
    pub fn code(&self) -> &'static str {
        match self {
            RouterError::Unknown { .. } => "unknown-command",
            RouterError::Malformed { .. } => "malformed-command",
            RouterError::Failed(failure) => match failure.family {
                Family::Malformed => "malformed",
                Family::Unauthenticated => "unauthenticated",
                Family::Denied => "denied",
                Family::NotFound => "not-found",
                Family::Refusal => "refused",
                Family::Conflict => "conflict",
                Family::TooMuch => "too-much",
                Family::Unavailable => "unavailable",
                Family::Damage => "damage",
            },
        }
    }
}

/// One command, for documentation.
#[derive(Clone, Debug, Serialize)]
pub struct CommandInfo {
    /// Its context.
    pub context: &'static str,
    /// Its name, in kebab-case.
    pub name: String,
    /// The JSON Schema (2020-12) of its fields; `$ref`s point into its own `$defs`.
    pub schema: Value,
}

type Handle = dyn Fn(String, Value, Envelope) -> BoxFuture<'static, Result<RouterAnswer, RouterError>>
    + Send
    + Sync;

/// The registered commands.
pub struct Router {
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    commands: BTreeMap<(&'static str, String), (CommandInfo, Arc<Handle>)>,
    executors: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Router {
    /// A router without commands; register the domain's deciders next.
    pub fn new(
        store: Arc<dyn EventStore>,
        schemas: Schemas,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Router {
        let (commands, executors) = (BTreeMap::new(), HashMap::new());
        Router { store, schemas, clock, random, commands, executors }
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// [`RouterError`]; the command then changed nothing, but for an append of unknown outcome.
    pub async fn execute(
        &self,
        context: &str,
        name: &str,
        json: Value,
        envelope: Envelope,
    ) -> Result<RouterAnswer, RouterError> {
        let found = self.commands.iter().find(|((c, n), _)| *c == context && n == name);
        let Some((_, (_, handle))) = found else {
            let known: Vec<_> = self.commands.keys().map(|(c, n)| format!("{c}/{n}")).collect();
            let (context, name) = (context.to_owned(), name.to_owned());
            return Err(RouterError::Unknown { context, name, known: known.join(", ") });
        };
        handle(name.to_owned(), json, envelope).await
    }

    /// Every command, by context and name.
    pub fn commands(&self) -> Vec<CommandInfo> {
        self.commands.values().map(|(info, _)| info.clone()).collect()
    }

    /// The executor of a registered decider, for callers that have its types.
    pub fn executor<D: Decider>(&self) -> Option<Arc<Executor<D>>> {
        let executor = Arc::clone(self.executors.get(&TypeId::of::<D>())?);
        executor.downcast::<Executor<D>>().ok()
    }
}

impl DeciderRegistry for Router {
    fn decider<D: Decider>(&mut self) {
        let executor = Arc::new(Executor::<D>::new(
            Arc::clone(&self.store),
            self.schemas.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
        ));
        self.executors.insert(TypeId::of::<D>(), executor.clone());
        let context = <D::Event as DomainEvent>::CONTEXT;
        let handle: Arc<Handle> = Arc::new(move |name, json, envelope| {
            let executor = Arc::clone(&executor);
            Box::pin(async move { run(&executor, name, json, &envelope).await })
        });
        for (name, schema) in command_schemas::<D>() {
            let info = CommandInfo { context, name: name.clone(), schema };
            self.commands.insert((context, name), (info, Arc::clone(&handle)));
        }
    }
}

async fn run<D: Decider>(
    executor: &Executor<D>,
    name: String,
    json: Value,
    envelope: &Envelope,
) -> Result<RouterAnswer, RouterError> {
    let context = <D::Event as DomainEvent>::CONTEXT;
    let command: D::Command =
        serde_json::from_value(json!({ name.as_str(): json })).map_err(|error| {
            let reason = error.to_string();
            RouterError::Malformed { context: context.to_owned(), name, reason }
        })?;
    let answer = executor.execute(command, envelope).await.map_err(failed)?;
    let events = answer
        .events
        .iter()
        .map(|event| AnswerEvent {
            event_type: event.schema().event_type.to_string(),
            data: event.to_json(),
        })
        .collect();
    Ok(RouterAnswer {
        stream: answer.stream.to_string(),
        revision: answer.revision.map(|revision| revision.0),
        position: answer.position.map(|position| position.0),
        events,
    })
}

fn failed<R: std::error::Error + Send + Sync + 'static>(error: CommandError<R>) -> RouterError {
    RouterError::Failed(Failure { family: error.family(), cause: Arc::new(error) })
}

/// The variants of a decider's command enum, each with the schema of its fields and the definitions that it uses.
fn command_schemas<D: Decider>() -> Vec<(String, Value)> {
    let whole = schemars::schema_for!(D::Command).to_value();
    let definitions = whole.get("$defs").cloned();
    let variants = whole.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    variants
        .iter()
        .filter_map(|variant| {
            let (name, fields) = variant.get("properties")?.as_object()?.iter().next()?;
            let mut schema = fields.clone();
            let object = schema.as_object_mut()?;
            if let Some(text) = variant.get("description") {
                object.insert("description".to_owned(), text.clone());
            }
            if let Some(definitions) = &definitions {
                object.insert("$defs".to_owned(), definitions.clone());
            }
            Some((name.clone(), schema))
        })
        .collect()
}
