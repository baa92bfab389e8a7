//! The threads, the disk and the clock that drive a replica, for any state machine.
//!
//! [`start`] opens a data folder and starts its node. [`Running::handle`] returns a [`Handle`], the only way
//! to the replica. Each thread owns one thing and communicates by messages: the replica (`replica_thread`),
//! the log (`log_thread`), the history and its indexes (`history_thread`), checkpoints (`checkpoint_thread`),
//! reads of old rows (`fetch_thread`), answers to lagging replicas (`supply_thread`), connections to other
//! nodes (`peer`).
//!
//! Always holds: the replica's thread never waits for the network, and never for the disk, except to store a
//! small record (a list of members, the right to vote, a conflict). A failed write stops all writes for good.
#![deny(clippy::float_arithmetic)]

mod checkpoint_thread;
mod claim;
mod clock;
mod cluster;
mod directory;
mod error;
mod fetch_thread;
mod file_disk;
mod find_members;
mod growth;
mod handle;
mod history_thread;
mod log_thread;
mod membership;
mod metrics;
mod peer;
mod replica_thread;
mod start;
mod start_error;
mod supply_thread;

pub use bezant_consensus::{Change, ChangeError, EngineKind, Part, Role};
pub use bezant_recovery::Machine;
pub use bezant_replica::{Consistency, NoState, ReplicaOptions};
pub use clock::Clock;
pub use cluster::{ClusterOptions, ClusterStatus, NodeStatus};
pub use error::{ExecuteError, ReadError};
pub use file_disk::FileDisk;
pub use handle::{Committed, Handle, Health, Read};
pub use start::{Options, Running, StartReport, start, start_member, start_member_on, start_on};
pub use start_error::StartError;
