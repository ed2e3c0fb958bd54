//! Who may do what, on a server that asks who calls. Users are events of the store; whoever takes a request makes a
//! [`Caller`] of its credentials once, and every service asks [`Protocol::may`](super::Protocol::may) with that: there is
//! no other check of a right. A server that does not ask lets [`Caller::Anybody`] do all.

mod caller;
mod check;
mod error;
mod passwords;
mod rights;
mod service;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub use caller::Caller;
pub(crate) use check::RememberedDefaults;
pub use check::tells_of_users;
pub use error::{SignInError, UsersError};
pub use passwords::generated_password;
pub use rights::{Acl, Defaults, Right};
pub use service::UsersService;
pub use user::{ADMINISTRATORS, OPERATORS, User};
pub use users::Users;
