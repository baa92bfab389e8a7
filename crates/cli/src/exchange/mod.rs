//! Exports of a ledger's history, which `bezant_archive` writes and verifies, and imports.

mod event;
mod explain;
pub(crate) mod export;
mod fields;
pub(crate) mod history;
pub(crate) mod import;
mod input;
mod names;
mod pause;
mod refused;
mod source;
mod target;
pub(crate) mod tigerbeetle;
mod units;
