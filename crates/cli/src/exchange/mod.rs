//! Files that a ledger's history leaves and enters by: exports, which can be verified, and imports.

pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod input;
pub(crate) mod lines;
pub(crate) mod rows;
pub(crate) mod tigerbeetle;
