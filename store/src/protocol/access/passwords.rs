//! Passwords: hashing and comparing, which is meant to be slow, on threads that may be held up, few at once. Who comes
//! while too many wait is sent away; so guessing costs the guesser, and leaves the server to the others.

use std::sync::{Arc, LazyLock};

use argon2::{Argon2, PasswordHash as Parsed, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::error::UsersError;
use super::user::PasswordHash;

/// The most passwords that are hashed at once: each takes a processor, and 19 MiB of memory.
const AT_ONCE_MAX: usize = 4;
/// The most that wait or are hashed.
const WAITING_MAX: usize = 64;
/// The random bytes of a password that is made here.
const GENERATED_BYTES: usize = 20;

/// A hash that nobody's password has: what is compared where there is no such user, so that it takes as long.
static NOBODY: LazyLock<Option<PasswordHash>> =
    LazyLock::new(|| hashed(generated_password().ok()?.as_bytes()));

/// Why a password was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotLookedAt {
    /// Too many wait.
    TooBusy,
    /// The operating system gave no random bytes, or no thread.
    Failed,
}

/// Turns at hashing.
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let turns = Arc::new(Semaphore::new(processors.min(AT_ONCE_MAX)));
        Passwords { turns, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// The hash of a password, with a salt of its own.
    pub(super) async fn hash(&self, password: String) -> Result<PasswordHash, NotLookedAt> {
        let hash = self.in_turn(move || hashed(password.as_bytes())).await?;
        hash.ok_or(NotLookedAt::Failed)
    }

    /// Whether a password has this hash; never where there is none, which takes as long to find out.
    pub(super) async fn verify(
        &self,
        hash: Option<PasswordHash>,
        password: String,
    ) -> Result<bool, NotLookedAt> {
        self.in_turn(move || {
            let is_somebody = hash.is_some();
            let hash = hash.as_ref().or(NOBODY.as_ref());
            let is_right = hash.is_some_and(|hash| is_of(hash, password.as_bytes()));
            is_right && is_somebody
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotLookedAt> {
        let _place = self.waiting.try_acquire().map_err(|_| NotLookedAt::TooBusy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| NotLookedAt::Failed)?;
        let work = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, also where nobody waits for it any more.
            let _turn = turn;
            work()
        });
        work.await.map_err(|_| NotLookedAt::Failed)
    }
}

fn hashed(password: &[u8]) -> Option<PasswordHash> {
    let hash = Argon2::default().hash_password(password).ok()?;
    Some(PasswordHash(hash.to_string()))
}

fn is_of(hash: &PasswordHash, password: &[u8]) -> bool {
    let parsed = Parsed::new(&hash.0);
    parsed.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Random bytes of the operating system.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A password of 160 random bits of the operating system, in 32 letters and digits that are not easily confused
/// (Crockford's base 32).
///
/// # Errors
/// The operating system's.
pub fn generated_password() -> Result<String, UsersError> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bytes = random_bytes::<GENERATED_BYTES>()?;
    let digits = bytes.chunks(5).flat_map(|chunk| {
        let number = chunk.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let digit = move |place: u32| usize::try_from((number >> (5 * place)) & 31).unwrap_or(0);
        (0..8).rev().map(move |place| DIGITS[digit(place)])
    });
    Ok(digits.map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_password_has_its_own_hash_alone() {
        let passwords = Passwords::new();
        let hash = passwords.hash("right".to_owned()).await.expect("few wait");
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        let again = passwords.hash("right".to_owned()).await.expect("few wait");
        assert_ne!(hash, again, "each has a salt of its own");
        for (given, expected) in [("right", true), ("wrong", false), ("", false)] {
            let found = passwords.verify(Some(hash.clone()), given.to_owned()).await;
            assert_eq!(found, Ok(expected), "{given}");
        }
        assert_eq!(passwords.verify(None, "right".to_owned()).await, Ok(false));
        let broken = PasswordHash("$argon2id$".to_owned());
        assert_eq!(passwords.verify(Some(broken), "right".to_owned()).await, Ok(false));
    }

    #[tokio::test]
    async fn who_comes_while_too_many_wait_is_sent_away() {
        let passwords = Passwords::new();
        let all = passwords.waiting.try_acquire_many(64).expect("nobody waits");
        let refused = timeout(Duration::from_secs(20), passwords.verify(None, String::new()));
        assert_eq!(refused.await, Ok(Err(NotLookedAt::TooBusy)));
        drop(all);
        assert_eq!(passwords.verify(None, String::new()).await, Ok(false));
    }

    #[test]
    fn a_password_that_is_made_is_another_each_time() {
        let one = generated_password().expect("random bytes");
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
        assert_ne!(one, generated_password().expect("random bytes"));
    }
}
