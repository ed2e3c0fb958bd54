//! The connection to a server, and its making again. The crate keeps one connection under way by itself, but gives up for
//! good where the first one fails, and stays with a node of a cluster that is gone: then a new client is made.

use std::time::Duration;

use eventstore::{Client, ClientSettings};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::error::ConnectError;

/// The schemes that name such a server; a `+discover` may follow each.
const SCHEMES: [&str; 4] = ["esdb", "kurrentdb", "kurrent", "kdb"];
/// The first pause before a failed call is repeated; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where a server is, as `esdb://HOST:PORT?tls=false`. It may hold a password, so it is never shown.
#[derive(Clone)]
pub struct Address(ClientSettings);

/// An address that is not one of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The scheme is another.
    #[error("its scheme is not esdb://")]
    Scheme,
    /// What follows the scheme is wrong.
    #[error("it is not of the form esdb://USER:PASSWORD@HOST:PORT?tls=false")]
    Form,
}

impl Address {
    /// Whether the text has a scheme of these addresses.
    pub fn is_one(text: &str) -> bool {
        scheme_of(text).is_some()
    }

    pub(super) fn parse(text: &str) -> Result<Address, AddressError> {
        let (discover, rest) = scheme_of(text).ok_or(AddressError::Scheme)?;
        let mut text = format!("esdb{}://{rest}", if discover { "+discover" } else { "" });
        // Reads must show what was acknowledged, which another node than the leader may not have yet.
        if !rest.to_ascii_lowercase().contains("nodepreference=") {
            text.push_str(match rest.rsplit_once('?') {
                None => "?nodePreference=leader",
                Some((_, "")) => "nodePreference=leader",
                Some(_) => "&nodePreference=leader",
            });
        }
        // The crate's error repeats the address, which may hold a password.
        text.parse().map(Address).map_err(|_| AddressError::Form)
    }

    /// The hosts alone.
    pub fn hosts(&self) -> String {
        let hosts = self.0.hosts().iter().map(|host| format!("{}:{}", host.host, host.port));
        hosts.collect::<Vec<_>>().join(",")
    }
}

/// Whether it is to be looked up, and what follows the scheme.
fn scheme_of(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let (scheme, discover) =
        scheme.strip_suffix("+discover").map_or((scheme, false), |scheme| (scheme, true));
    SCHEMES.contains(&scheme).then_some((discover, rest))
}

/// A client, and which one after the other it is.
pub(super) struct Connection {
    settings: ClientSettings,
    runtime: Handle,
    current: Mutex<(u64, Client)>,
}

impl Connection {
    /// A client; nothing is sent yet. Must be called within a tokio runtime.
    pub(super) fn new(address: &Address) -> Result<Connection, ConnectError> {
        let (settings, runtime) = (address.0.clone(), Handle::current());
        let client = Client::with_runtime_handle(runtime.clone(), settings.clone());
        let current = Mutex::new((0, client.map_err(ConnectError::Client)?));
        Ok(Connection { settings, runtime, current })
    }

    /// The client of now and its number.
    pub(super) fn client(&self) -> (u64, Client) {
        self.current.lock().clone()
    }

    /// Makes another client where the one of that number cannot recover from this error by itself.
    pub(super) fn failed(&self, number: u64, error: &eventstore::Error) {
        use eventstore::Error;
        let given_up = matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_));
        let is_cluster =
            self.settings.is_dns_discovery_enabled() || self.settings.hosts().len() > 1;
        let gone = is_cluster && matches!(error, Error::ServerError(_) | Error::DeadlineExceeded);
        let mut current = self.current.lock();
        if current.0 != number || !(given_up || gone) {
            return;
        }
        match Client::with_runtime_handle(self.runtime.clone(), self.settings.clone()) {
            Ok(client) => *current = (number + 1, client),
            Err(error) => tracing::warn!(%error, "a new client of the store cannot be made"),
        }
    }
}

/// The pauses between the tries of one call.
pub(super) struct Patience {
    until: Instant,
    within: Duration,
    pause: Duration,
}

impl Patience {
    /// Tries are made within this time, counted from now or from the last success.
    pub(super) fn within(within: Duration) -> Patience {
        Patience { until: Instant::now() + within, within, pause: PAUSE_MIN }
    }

    /// Begins anew: something came through.
    pub(super) fn renew(&mut self) {
        *self = Patience::within(self.within);
    }

    /// Waits before the next try; false where no time is left.
    pub(super) async fn pause(&mut self) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_one_of_four_schemes() {
        for right in [
            "esdb://127.0.0.1:2113?tls=false",
            "kurrentdb://admin:changeit@localhost",
            "kdb+discover://cluster.example:2113",
            "esdb://a:1,b:2,c:3?nodePreference=follower",
        ] {
            assert!(Address::is_one(right), "{right}");
            assert!(Address::parse(right).is_ok(), "{right}");
        }
        assert_eq!(Address::parse("http://localhost:2113").err(), Some(AddressError::Scheme));
        assert_eq!(Address::parse("esdb://host:port").err(), Some(AddressError::Form));
        assert!(!Address::is_one("./esdb"));
    }

    #[test]
    fn the_leader_is_asked_unless_the_address_says_otherwise() {
        let preference = |text| Address::parse(text).map(|address| address.0.node_preference());
        let leader = Ok(eventstore::NodePreference::Leader);
        assert_eq!(preference("esdb://h:1"), leader);
        assert_eq!(preference("esdb://h:1?tls=false"), leader);
        assert_eq!(preference("esdb://h:1?"), leader);
        let follower = Ok(eventstore::NodePreference::Follower);
        assert_eq!(preference("esdb://h:1?nodePreference=follower"), follower);
    }

    #[test]
    fn an_address_tells_its_hosts_and_no_password() {
        let address = Address::parse("esdb://u:secret@a:1,b:2").expect("a right address");
        assert_eq!(address.hosts(), "a:1,b:2");
    }
}
