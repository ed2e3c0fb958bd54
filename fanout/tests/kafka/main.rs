//! The Kafka path against a real broker and a real schema registry, which `scripts/services.sh` starts for this
//! program alone and stops when it ends. One program, so that they start once.

mod breaking;
mod feed;
mod registry;
mod relay;
mod services;
mod world;
