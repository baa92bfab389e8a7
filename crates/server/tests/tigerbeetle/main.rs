//! The door for TigerBeetle's clients, spoken to by a client that is as strict as the official ones.
//!
//! `session` has retries, restarts and evictions, `operations` every operation and what the other doors see of it,
//! `broken` what no client should send.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod operations;
mod peer;
mod session;
