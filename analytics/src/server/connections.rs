//! Who runs a statement: a pooled connection (plain requests), a fresh one (requests with settings), or the connection
//! of a session. A pooled connection has a database and nothing else set; whatever changed it is closed, not pooled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Mutex as SessionMutex, OwnedMutexGuard};

use crate::foreign::{Connection, Engine};

use super::failure::{Failure, Reason};
use super::request::{SessionRequest, Settings};

const IDLE_CONNECTIONS_MAX: usize = 16;
const SESSIONS_MAX: usize = 256;

/// The engine, its idle connections and the sessions.
pub(crate) struct Connections {
    engine: Engine,
    /// Idle ones by database; none once closed.
    idle: Mutex<Option<HashMap<String, Vec<Connection>>>>,
    sessions: Mutex<HashMap<String, Session>>,
}

struct Session {
    expires: Instant,
    connection: Arc<SessionMutex<Option<Connection>>>,
}

impl Connections {
    pub(crate) fn new(engine: Engine) -> Self {
        let idle = Mutex::new(Some(HashMap::new()));
        Self { engine, idle, sessions: Mutex::default() }
    }

    /// A connection for a request. Blocks while the engine opens one (under a millisecond).
    pub(crate) fn lease(
        &self,
        database: &str,
        settings: &Settings,
        session: Option<&SessionRequest>,
    ) -> Result<Lease<'_>, Failure> {
        if let Some(session) = session {
            return self.lease_session(database, settings, session);
        }
        if settings.is_empty() {
            let idle = self.idle.lock().as_mut().and_then(|idle| idle.get_mut(database)?.pop());
            let connection = idle.map_or_else(|| self.open(database), Ok)?;
            return Ok(Lease::Pooled {
                connections: self,
                database: database.to_owned(),
                connection,
            });
        }
        let mut connection = self.open(database)?;
        set(&mut connection, settings)?;
        Ok(Lease::Fresh { connection })
    }

    fn open(&self, database: &str) -> Result<Connection, Failure> {
        let mut connection =
            self.engine.connect().map_err(|error| Failure::new(Reason::Stopping, error))?;
        use_database(&mut connection, database)?;
        Ok(connection)
    }

    fn lease_session(
        &self,
        database: &str,
        settings: &Settings,
        request: &SessionRequest,
    ) -> Result<Lease<'_>, Failure> {
        let now = Instant::now();
        let slot = {
            let mut sessions = self.sessions.lock();
            // An expired session that is still at work is left alone until it is done.
            sessions.retain(|_, session| {
                session.expires > now || Arc::strong_count(&session.connection) > 1
            });
            if let Some(session) = sessions.get_mut(&request.id) {
                session.expires = now + request.timeout;
                Arc::clone(&session.connection)
            } else if request.must_exist {
                return Err(Failure::new(Reason::SessionNotFound, "Session not found"));
            } else if sessions.len() >= SESSIONS_MAX {
                return Err(Failure::new(Reason::TooManyQueries, "too many sessions are open"));
            } else {
                let connection = Arc::new(SessionMutex::new(None));
                let expires = now + request.timeout;
                let session = Session { expires, connection: Arc::clone(&connection) };
                sessions.insert(request.id.clone(), session);
                connection
            }
        };
        let mut guard = slot.try_lock_owned().map_err(|_| {
            Failure::new(Reason::SessionIsLocked, "Session is locked by a concurrent client")
        })?;
        let connection = match guard.as_mut() {
            Some(connection) => {
                if request.database_named {
                    use_database(connection, database)?;
                }
                connection
            }
            None => guard.insert(self.open(database)?),
        };
        let before = values(connection, settings)?;
        set(connection, settings)?;
        Ok(Lease::Session { guard, before })
    }

    /// Closes every connection that is not at work; later ones are closed by whoever has them.
    pub(crate) fn close(&self) {
        let idle = self.idle.lock().take();
        drop(idle);
        let sessions = std::mem::take(&mut *self.sessions.lock());
        drop(sessions);
    }
}

/// The time a session lives after its last request, unless the request says otherwise.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_mins(1);

/// A connection on loan for one request.
pub(crate) enum Lease<'a> {
    Pooled { connections: &'a Connections, database: String, connection: Connection },
    Fresh { connection: Connection },
    Session { guard: OwnedMutexGuard<Option<Connection>>, before: Settings },
}

impl Lease<'_> {
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Failure> {
        match self {
            Self::Pooled { connection, .. } | Self::Fresh { connection } => Ok(connection),
            Self::Session { guard, .. } => guard
                .as_mut()
                .ok_or_else(|| Failure::new(Reason::Stopping, "the session is closed")),
        }
    }

    /// Gives the connection back. `clean` says that the statement ended well and changed no session state.
    pub(crate) fn give_back(self, clean: bool) {
        match self {
            Self::Pooled { connections, database, connection } if clean => {
                let mut idle = connections.idle.lock();
                if let Some(idle) = idle.as_mut() {
                    let waiting: usize = idle.values().map(Vec::len).sum();
                    if waiting < IDLE_CONNECTIONS_MAX {
                        idle.entry(database).or_default().push(connection);
                    }
                }
            }
            Self::Pooled { .. } | Self::Fresh { .. } => {}
            Self::Session { mut guard, before } => {
                // A request's settings are its own: the session gets its values back, or is closed.
                let restored =
                    guard.as_mut().is_some_and(|connection| set(connection, &before).is_ok());
                if !restored {
                    *guard = None;
                }
            }
        }
    }
}

fn use_database(connection: &mut Connection, database: &str) -> Result<(), Failure> {
    let quoted = database.replace('\\', "\\\\").replace('`', "\\`");
    connection.query(format!("USE `{quoted}`").as_bytes(), "Null", &[])?;
    Ok(())
}

fn set(connection: &mut Connection, settings: &Settings) -> Result<(), Failure> {
    if settings.is_empty() {
        return Ok(());
    }
    let assignments: Vec<String> =
        settings.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
    connection.query(format!("SET {}", assignments.join(", ")).as_bytes(), "Null", &[])?;
    Ok(())
}

/// The present values of the settings named.
fn values(connection: &mut Connection, settings: &Settings) -> Result<Settings, Failure> {
    if settings.is_empty() {
        return Ok(Settings::new());
    }
    let names: Vec<String> = settings.iter().map(|(name, _)| quoted(name)).collect();
    let sql =
        format!("SELECT name, value FROM system.settings WHERE name IN ({})", names.join(", "));
    let answer = connection.query(sql.as_bytes(), "JSONCompactEachRow", &[])?;
    let rows = answer.bytes.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    rows.map(serde_json::from_slice)
        .collect::<Result<Settings, _>>()
        .map_err(|error| Failure::new(Reason::BadArguments, error))
}

/// A ClickHouse text literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
