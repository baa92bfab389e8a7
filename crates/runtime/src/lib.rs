//! The threads, the disk and the clock that drive a replica, for any state machine.
//!
//! [`start`] opens a data folder and starts its node. [`Running::handle`] returns a [`Handle`], the only way
//! to the replica. `process` has the node, its data folder and its threads, `group` the replica and the tasks
//! that drive it, `peer` the connections to other nodes.
//!
//! Always holds: the replica's task never waits for the network, and never for the disk, except to store a
//! small record (a list of members, the right to vote, a conflict). A failed write stops all writes for good.
#![deny(clippy::float_arithmetic)]

mod clock;
mod draw;
mod error;
mod group;
mod peer;
mod process;
mod refusal;
mod start_error;

pub use bezant_consensus::{Change, ChangeError, EngineKind, Part, Role};
pub use bezant_recovery::Machine;
pub use bezant_replica::{Consistency, NoState, ReplicaOptions};
pub use clock::Clock;
pub use error::{ExecuteError, ReadError};
pub use group::StartReport;
pub use group::handle::Handle;
pub use group::message::{Committed, Read};
pub use group::shared::Health;
pub use group::status::{ClusterStatus, NodeStatus};
pub use process::file_disk::FileDisk;
pub use process::options::{ClusterOptions, Options};
pub use process::{Running, start, start_member, start_member_on, start_on};
pub use refusal::Removal;
pub use start_error::StartError;
