//! Exports of a ledger's history, which can be verified without a server, and imports.

mod event;
mod explain;
pub(crate) mod export;
mod fields;
pub(crate) mod history;
pub(crate) mod import;
mod input;
pub(crate) mod lines;
mod names;
pub(crate) mod packed;
mod pause;
mod refused;
pub(crate) mod rows;
mod source;
mod target;
pub(crate) mod tigerbeetle;
mod units;
