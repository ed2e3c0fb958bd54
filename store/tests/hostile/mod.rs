//! Calls of the protocol that mean harm, made from bytes.
#![allow(unreachable_pub, reason = "the fuzz targets use them too")]

pub mod choices;
pub mod driver;
mod management;
pub mod messages;
