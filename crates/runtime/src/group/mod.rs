//! One group on this node: its replica, and the threads that drive it.
//!
//! Each thread owns one thing and communicates by messages: the replica (`replica_thread`), the log
//! (`log_thread`), the history and its indexes (`history_thread`), checkpoints (`checkpoint_thread`), reads of
//! old rows (`fetch_thread`), answers to lagging replicas (`supply_thread`).

mod admission;
pub(crate) mod checkpoint_thread;
pub(crate) mod directory;
pub(crate) mod fetch_thread;
pub(crate) mod find_members;
mod growth;
pub(crate) mod handle;
pub(crate) mod history_thread;
pub(crate) mod log_thread;
pub(crate) mod membership;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod replica_thread;
pub(crate) mod shared;
pub(crate) mod status;
pub(crate) mod supply_thread;
pub(crate) mod work;
