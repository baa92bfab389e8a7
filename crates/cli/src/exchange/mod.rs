//! Exports and imports of a ledger's history. `bezant_archive` writes and verifies the files of an export.

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
