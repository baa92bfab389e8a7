//! A node inside your own program: a replica of your state machine, kept equal to other replicas by
//! consensus.
//!
//! ```no_run
//! use bezant_member::{Member, MemberOptions, state_machine};
//! use serde::{Deserialize, Serialize};
//!
//! state_machine! {
//!     /// The calls of a counter.
//!     trait Counter {
//!         /// Adds to the counter, and returns the sum.
//!         cmd add(by: u64) -> u64;
//!     }
//! }
//!
//! #[derive(Debug, Default, Serialize, Deserialize)]
//! struct Sum(u64);
//!
//! impl Counter for Sum {
//!     fn add(&mut self, _: &mut CounterContext<'_>, by: u64) -> u64 {
//!         self.0 = self.0.wrapping_add(by);
//!         self.0
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let options = MemberOptions::new("./counter", "127.0.0.1:7101", "a token that only we know");
//!     let member: Member<CounterMachine<Sum>> = Member::seed(options).await?;
//!     let counter = CounterHandle::new(member.handle());
//!     println!("{}", counter.add(5).await?);
//!     member.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! A [`Service`] is a deterministic program over bytes. [`Member::seed`] begins a cluster that runs it, and
//! [`Member::join`] adds a replica. [`Member::invoke`] puts a command in the common log and returns its
//! answer, [`Member::query`] reads, and [`Member::next_event`] returns what commands emitted.
//! [`Member::shutdown`] first transfers leadership. The node persists, checkpoints, catches up and is
//! repaired like a node of the ledger: it is the same code with another state machine ([`Hosted`]). No second
//! process is needed. One process may have several members, each with its own folder and address. A state
//! machine that is not a service, such as the ledger, runs in a [`MachineMember`].
//!
//! The guide `docs/guides/embed.md` goes from an empty `cargo new` to three processes.
//!
//! Always holds: an answer is returned only after its command is on disk on a majority. A command that is
//! retried over a change of leaders is done once. There is no protocol for external clients, and no way to
//! change the state except through the log.

mod command;
mod error;
mod events;
mod handle;
mod hosted;
mod machine_member;
mod member;
mod options;
mod replies;
mod session;

pub use bezant_rsm::{
    Call, Caller, Event, Freshness, RestoreError, SavedState, Service, Subscription, UnknownCall,
    UnreadableAnswer, UnwritableCall, state_machine,
};
pub use bezant_runtime::{
    ChangeError, ClusterStatus, Committed, Consistency, EngineKind, ExecuteError, Handle as MachineHandle,
    Machine, NodeStatus, Part, Read, ReadError, Role, StartError, StartReport,
};
pub use bezant_types::{LogIndex, Nanos, NodeId};
pub use bytes::Bytes;
pub use error::{CallError, OpenError, RemoveError};
pub use handle::MemberHandle;
pub use hosted::{ANSWER_SIZE_MAX, AskError, COMMAND_SIZE_MAX, Hosted, HostedAnswer, HostedQuery};
pub use machine_member::{Health, MachineMember};
pub use member::Member;
pub use options::MemberOptions;
