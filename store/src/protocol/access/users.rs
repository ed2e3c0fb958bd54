//! All users. They are read once, as the server starts; from then on changes go through here alone, one after the other, and
//! hold once they are durable. Credentials that were right are remembered by a keyed hash, as long as the user is
//! as it was then, so that only the first of many requests pays for the slow comparison.

use std::sync::Arc;

use annals_core::{
    Append, AppendError, Clock, Content, EventStore, ExpectedRevision, NewEvent, Random, ReadQuery,
    RecordedEvent, Revision, StreamName, StreamWrite,
};
use futures::TryStreamExt;
use hashbrown::HashMap;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::super::errors::ProtocolError;
use super::super::lookup::first_of;
use super::super::writes::own_event;
use super::error::{SignInError, UsersError};
use super::passwords::{NotLookedAt, Passwords, random_bytes};
use super::user::{
    ADMINISTRATORS, CREATED, DELETED, LIST, LISTED, Listed, OPERATORS, PASSWORD_BYTES_MAX,
    PASSWORD_CHANGED, PREFIX, Record, UPDATED, User, check_details, check_password, stream_of,
};

/// The most users there are at once.
const USERS_MAX: usize = 65_536;
/// How many right credentials are remembered.
const VERIFIED_MAX: usize = 4096;

/// Of which user credentials were, as of which change.
#[derive(Clone)]
struct Verified {
    login: Arc<str>,
    at: Revision,
}

/// All users.
pub struct Users {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    known: RwLock<HashMap<Arc<str>, Arc<User>>>,
    changing: Mutex<()>,
    passwords: Passwords,
    verified: Cache<[u8; 32], Verified>,
    /// Makes what is remembered of credentials of no use elsewhere.
    key: [u8; 32],
}

fn own_name(name: &str) -> StreamName {
    StreamName::new(name).expect("a constant of the protocol")
}

fn damaged(event: &RecordedEvent, source: serde_json::Error) -> UsersError {
    UsersError::Damaged { stream: event.stream.clone(), revision: event.revision, source }
}

fn no_login(login: &str) -> serde_json::Error {
    serde::de::Error::custom(format!("{login:?} is no login name"))
}

impl Users {
    /// The users that the store holds.
    ///
    /// # Errors
    /// Where they could not be read, or the operating system has no random bytes.
    pub async fn open(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Arc<Users>, UsersError> {
        let key = random_bytes()?;
        let users = Users {
            store,
            clock,
            random,
            known: RwLock::default(),
            changing: Mutex::new(()),
            passwords: Passwords::new(),
            verified: Cache::new(VERIFIED_MAX),
            key,
        };
        let mut listed = users.store.read(ReadQuery::stream(own_name(LIST)));
        while let Some(batch) = listed.try_next().await? {
            for event in batch.events.iter() {
                let listed = serde_json::from_slice::<Listed>(&event.data);
                let login = listed.map_err(|error| damaged(event, error))?.login_name;
                let stream = stream_of(&login);
                let stream = stream.map_err(|_| damaged(event, no_login(&login)))?;
                if let Some(user) = users.read(stream).await? {
                    users.known.write().insert(login, Arc::new(user));
                }
            }
        }
        drop(listed);
        Ok(Arc::new(users))
    }

    /// The user of this stream, as the store has it.
    async fn read(&self, stream: StreamName) -> Result<Option<User>, UsersError> {
        let query = ReadQuery::stream(stream).backwards().limit(1);
        let last = first_of(&*self.store, query).await?;
        let Some(last) = last.filter(|last| last.event_type.as_str() != DELETED) else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&last.data).map_err(|error| damaged(&last, error))?;
        Ok(Some(User { record, at: last.revision, changed: last.time }))
    }

    /// Whether there never was a user.
    ///
    /// # Errors
    /// Where that could not be read.
    pub async fn are_none(&self) -> Result<bool, UsersError> {
        Ok(self.store.stream_head(&own_name(LIST)).await?.is_none())
    }

    /// Makes the first two users: `admin` with this password, and `ops`, who cannot sign in before having one.
    ///
    /// # Errors
    /// Where they could not be written, or there are users.
    pub async fn make_first(&self, password: &str) -> Result<(), UsersError> {
        let hash = self.passwords.hash(password.to_owned()).await;
        let hash = hash.map_err(|_| UsersError::Hash)?;
        let record = |login: &str, full_name: &str, group: &str| Record {
            login_name: login.into(),
            full_name: full_name.to_owned(),
            groups: vec![group.to_owned()],
            disabled: false,
            hash: None,
        };
        let admin =
            Record { hash: Some(hash), ..record("admin", "Annals Administrator", ADMINISTRATORS) };
        let ops = Record { disabled: true, ..record("ops", "Annals Operations", OPERATORS) };
        let mut writes = Vec::new();
        let mut listed = Vec::new();
        for record in [&admin, &ops] {
            let stream = own_name(&format!("{PREFIX}{}", record.login_name));
            let expected = ExpectedRevision::NoStream;
            writes.push(StreamWrite {
                stream,
                expected,
                events: vec![self.event(CREATED, record)],
            });
            let login_name = Arc::clone(&record.login_name);
            listed.push(self.event(LISTED, &Listed { login_name }));
        }
        let (stream, expected) = (own_name(LIST), ExpectedRevision::NoStream);
        writes.push(StreamWrite { stream, expected, events: listed });
        self.store.append(Append { writes, condition: None }).await?;
        for record in [admin, ops] {
            let login = Arc::clone(&record.login_name);
            let user = User { record, at: Revision(0), changed: self.clock.now() };
            self.known.write().insert(login, Arc::new(user));
        }
        Ok(())
    }

    fn event(&self, event_type: &str, data: &impl Serialize) -> NewEvent {
        let data = serde_json::to_vec(data).expect("texts have a JSON form");
        own_event(&*self.clock, &*self.random, event_type, Content::Json, data.into())
    }

    /// The user of that name.
    pub fn find(&self, login: &str) -> Option<Arc<User>> {
        self.known.read().get(login).cloned()
    }

    /// The user of that name, who may sign in.
    pub fn enabled(&self, login: &str) -> Option<Arc<User>> {
        self.find(login).filter(|user| !user.record.disabled)
    }

    /// All users, by login name.
    pub fn all(&self) -> Vec<Arc<User>> {
        let mut all: Vec<_> = self.known.read().values().cloned().collect();
        all.sort_by(|one, other| one.login().cmp(other.login()));
        all
    }

    /// Whose credentials these are.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(&self, login: &str, password: &str) -> Result<Arc<str>, SignInError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(SignInError::Wrong);
        }
        let user = self.enabled(login);
        let ticket = self.ticket(login, password);
        if let (Some(user), Some(verified)) = (&user, self.verified.get(&ticket))
            && verified.login.as_ref() == user.login()
            && verified.at == user.at
        {
            return Ok(verified.login);
        }
        let hash = user.as_ref().and_then(|user| user.record.hash.clone());
        let is_right = self.passwords.verify(hash, password.to_owned()).await?;
        let user = user.filter(|_| is_right).ok_or(SignInError::Wrong)?;
        // Somebody may have changed the user while the password was looked at.
        if self.enabled(login).is_none_or(|now| now.at != user.at) {
            return Err(SignInError::Wrong);
        }
        let verified = Verified { login: Arc::clone(&user.record.login_name), at: user.at };
        self.verified.insert(ticket, verified.clone());
        Ok(verified.login)
    }

    /// What credentials are remembered by.
    fn ticket(&self, login: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.key);
        hash.update((login.len() as u64).to_le_bytes());
        hash.update(login);
        hash.update(password);
        hash.finalize().into()
    }

    /// Makes a user.
    ///
    /// # Errors
    /// [`ProtocolError::UserConflict`] where there is one of that name.
    pub async fn create(
        self: &Arc<Users>,
        login: &str,
        password: String,
        full_name: String,
        groups: Vec<String>,
    ) -> Result<(), ProtocolError> {
        stream_of(login)?;
        check_details(&full_name, &groups)?;
        check_password(&password)?;
        let conflict = ProtocolError::UserConflict(login.to_owned());
        if self.find(login).is_some() {
            return Err(conflict);
        }
        let login_name = login.into();
        let hash = Some(self.passwords.hash(password).await?);
        let record = Record { login_name, full_name, groups, disabled: false, hash };
        let users = Arc::clone(self);
        self.change(login, CREATED, move |before| {
            if before.is_some() {
                return Err(conflict);
            }
            if users.known.read().len() >= USERS_MAX {
                let text = format!("there are {USERS_MAX} users, which is the bound");
                return Err(ProtocolError::Malformed(text));
            }
            Ok(Some(record))
        })
        .await
    }

    /// Changes what is told of a user, and the groups.
    ///
    /// # Errors
    /// [`ProtocolError::UserNotFound`].
    pub async fn update(
        self: &Arc<Users>,
        login: &str,
        full_name: String,
        groups: Vec<String>,
    ) -> Result<(), ProtocolError> {
        check_details(&full_name, &groups)?;
        self.change_known(login, UPDATED, |record| Some(Record { full_name, groups, ..record }))
            .await
    }

    /// Lets a user sign in, or not any more.
    ///
    /// # Errors
    /// [`ProtocolError::UserNotFound`].
    pub async fn disable(
        self: &Arc<Users>,
        login: &str,
        disabled: bool,
    ) -> Result<(), ProtocolError> {
        self.change_known(login, UPDATED, move |record| Some(Record { disabled, ..record })).await
    }

    /// Takes a user away. What the store holds of it stays.
    ///
    /// # Errors
    /// [`ProtocolError::UserNotFound`].
    pub async fn delete(self: &Arc<Users>, login: &str) -> Result<(), ProtocolError> {
        self.change_known(login, DELETED, |_| None).await
    }

    /// Gives a user another password. One who had none can sign in from then on.
    ///
    /// # Errors
    /// [`ProtocolError::UserNotFound`].
    pub async fn reset_password(
        self: &Arc<Users>,
        login: &str,
        password: String,
    ) -> Result<(), ProtocolError> {
        self.check_replacement(login, &password)?;
        self.replace_password(login, password).await
    }

    /// Gives a user another password who knows the present one.
    ///
    /// # Errors
    /// [`ProtocolError::UserNotFound`], and [`ProtocolError::AccessDenied`] where the present one is another.
    pub async fn change_password(
        self: &Arc<Users>,
        login: &str,
        current: &str,
        password: String,
    ) -> Result<(), ProtocolError> {
        self.check_replacement(login, &password)?;
        self.sign_in(login, current).await.map_err(|why| match why {
            SignInError::Wrong => ProtocolError::AccessDenied,
            SignInError::TooBusy => ProtocolError::from(NotLookedAt::TooBusy),
            SignInError::Failed => ProtocolError::from(NotLookedAt::Failed),
        })?;
        self.replace_password(login, password).await
    }

    /// Whether a user can be given this password, before anything slow is done for it.
    fn check_replacement(&self, login: &str, password: &str) -> Result<(), ProtocolError> {
        check_password(password)?;
        self.find(login).map(drop).ok_or_else(|| ProtocolError::UserNotFound(login.to_owned()))
    }

    async fn replace_password(
        self: &Arc<Users>,
        login: &str,
        password: String,
    ) -> Result<(), ProtocolError> {
        let hash = self.passwords.hash(password).await?;
        self.change_known(login, PASSWORD_CHANGED, |record| {
            let disabled = record.disabled && record.hash.is_some();
            Some(Record { disabled, hash: Some(hash), ..record })
        })
        .await
    }

    async fn change_known(
        self: &Arc<Users>,
        login: &str,
        event_type: &'static str,
        change: impl FnOnce(Record) -> Option<Record> + Send + 'static,
    ) -> Result<(), ProtocolError> {
        let unknown = ProtocolError::UserNotFound(login.to_owned());
        self.change(login, event_type, move |before| {
            Ok(change(before.ok_or(unknown)?.record.clone()))
        })
        .await
    }

    /// Writes what a user is after a change, nothing where it is gone, and holds to it once it is durable: also where who
    /// asked for it has gone meanwhile.
    async fn change(
        self: &Arc<Users>,
        login: &str,
        event_type: &'static str,
        decide: impl FnOnce(Option<Arc<User>>) -> Result<Option<Record>, ProtocolError> + Send + 'static,
    ) -> Result<(), ProtocolError> {
        let (users, login) = (Arc::clone(self), Arc::<str>::from(login));
        let changed = tokio::spawn(async move {
            let _turn = users.changing.lock().await;
            let after = decide(users.find(&login))?;
            users.write(login, event_type, after).await
        });
        changed.await.unwrap_or_else(|error| Err(ProtocolError::NotReady(error.to_string())))
    }

    async fn write(
        &self,
        login: Arc<str>,
        event_type: &str,
        after: Option<Record>,
    ) -> Result<(), ProtocolError> {
        let stream = stream_of(&login)?;
        let head = self.store.stream_head(&stream).await?;
        let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let listed = Listed { login_name: Arc::clone(&login) };
        let event = match &after {
            Some(record) => self.event(event_type, record),
            None => self.event(event_type, &listed),
        };
        let mut writes = vec![StreamWrite { stream, expected, events: vec![event] }];
        if head.is_none() {
            let (stream, expected) = (own_name(LIST), ExpectedRevision::Any);
            let events = vec![self.event(LISTED, &listed)];
            writes.push(StreamWrite { stream, expected, events });
        }
        let appended = match self.store.append(Append { writes, condition: None }).await {
            Ok(appended) => appended,
            Err(AppendError::Conflict { .. }) => {
                return Err(ProtocolError::UserConflict(login.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let at = appended.revisions.first().copied().flatten().unwrap_or(Revision(0));
        let mut known = self.known.write();
        match after {
            Some(record) => {
                let user = User { record, at, changed: self.clock.now() };
                known.insert(login, Arc::new(user));
            }
            None => {
                known.remove(&login);
            }
        }
        Ok(())
    }
}
