//! Tests of the rules of money: the ledger is compared with a simple model, and golden scripts.
//!
//! The model implements the contract in the simplest way. Every test that drives the ledger through the twin
//! also drives the model, and compares all visible state of both. Scripts show one case per status, and which
//! of two statuses wins when both apply. Random batches search for the cases that no script covers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checkpoint;
mod contradiction;
mod history;
mod keyed;
mod miscounted;
mod model;
mod prefetch;
mod property;
mod queries;
mod script;
mod session;
mod tagged;
mod twin;
mod window;
