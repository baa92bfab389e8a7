//! The consensus engine for groups of several replicas: Raft (Ongaro and Ousterhout, "In Search of an
//! Understandable Consensus Algorithm"), on the crate `raft` of `TiKV`, which these comments call raft-rs.
//! This is the only crate of the workspace that uses raft-rs.
//!
//! The path of an entry:
//! 1. [`propose`](bezant_consensus::Engine::propose) appends it to the leader's log in memory. The engine
//!    emits two outputs at once: a [`Write`](bezant_consensus::Write) for the leader's own disk, and a
//!    message with the entry for every follower. So disk and network work in parallel (Ongaro's thesis,
//!    section 10.2.1).
//! 2. A follower appends the entry and emits the write. Its response to the leader is held in `held` until
//!    [`Input::Persisted`](bezant_consensus::Input::Persisted) has reached that write.
//! 3. When the entry is durable on a majority (the leader's own disk counts as one), the leader commits it,
//!    and announces the new commit index with its next message. Each replica emits the entry as `Commit`, in
//!    the order of the log.
//!
//! What always holds:
//! - No vote, and no confirmation of an entry, is sent before the state that it reports is durable on this
//!   disk. A leader may send entries sooner: until a majority has confirmed them, they are not committed.
//! - A candidate first asks whether it would win (pre-vote, section 9.6), and a leader that receives nothing
//!   from a majority for an election timeout steps down (check-quorum). So a replica that was partitioned
//!   does not disturb the group.
//! - Reads are confirmed by a majority (`ReadOnlyOption::Safe`), never by a clock.
//! - An entry that is known to be committed is never replaced: this replica stops instead (`floor`).
//! - Election timeouts are drawn from the generator that the options seed: equal input, equal output. (A
//!   value that raft-rs draws from the system's randomness is replaced before it is used.)
//! - A replica that is not admitted neither votes nor starts an election. Its disk is new, and may be a wiped
//!   disk under an old number. It may be admitted once it has every entry that a leader knew to be committed,
//!   and an entry of that leader's term.

mod checks;
mod conf;
mod describe;
mod engine;
mod floor;
mod held;
mod install;
mod members;
mod reached;
mod read;
mod tail;
mod timeout;
mod wire;

pub use describe::describe;
pub use engine::Raft;

#[cfg(test)]
mod tests;
