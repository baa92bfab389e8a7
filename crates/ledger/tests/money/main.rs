//! Tests of the rules of money: the ledger against a small obvious model, and golden scripts.
//!
//! The model says what the contract says, in the plainest way. Whatever drives the ledger here drives the
//! model too, and compares everything that can be seen of both. Scripts show one case a status and what
//! comes first where two apply; random batches look for what nobody thought of.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checkpoint;
mod history;
mod keyed;
mod model;
mod property;
mod script;
mod session;
mod twin;
mod window;
