//! A server whose users sign in, as the built binary: its first start, TLS, passwords that change, rights to streams, and what
//! the own interfaces ask for. The client is KurrentDB's, as it is published.

mod harness;
#[path = "secured/interfaces.rs"]
mod interfaces;
#[path = "secured/rights.rs"]
mod rights;
#[path = "secured/sign_in.rs"]
mod sign_in;
#[path = "secured/tls.rs"]
mod tls;
#[path = "secured/world.rs"]
mod world;
