//! The appends that every torture of the log sends, whatever it does to the process or to the disk under it.

pub mod appends;
