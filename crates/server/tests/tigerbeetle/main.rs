//! The listener for TigerBeetle's clients, tested with a client that is as strict as the official ones.
//!
//! `session` tests retries, restarts and evictions; `operations` tests every operation and how the other
//! listeners show its effects; `broken` tests frames that no client should send.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod operations;
mod peer;
mod session;
