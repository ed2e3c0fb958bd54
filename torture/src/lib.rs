//! The history that every torture of the log writes and checks, whatever it does to the process or to the disk under it.

pub mod history;
