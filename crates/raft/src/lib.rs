//! The engine of several replicas: Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm"), in the form that `TiKV` runs. This is the only room that names the `raft` crate.
//!
//! The way of an entry:
//! 1. [`propose`](bezant_consensus::Engine::propose) puts it at the end of the leader's log in memory. Two things come out at
//!    once: a [`Write`](bezant_consensus::Write) for the own disk, and a message with the entry for every
//!    follower, so that disk and network work in parallel (Ongaro's thesis, section 10.2.1).
//! 2. A follower takes the entry, and hands out the write; what it answers the leader is held here until
//!    [`Input::Persisted`](bezant_consensus::Input::Persisted) has reached that write (`held`).
//! 3. When a majority (the leader's own disk counts as one) has it, the leader commits it, and tells the
//!    followers with the next message. Each replica hands it out as `Commit`, in the order of the log.
//!
//! What always holds:
//! - No vote, and no confirmation of an entry, leaves before what it speaks of is on this disk. A leader's entries
//!   may leave sooner: until a majority confirms them they bind nobody.
//! - Elections ask first whether they would be won (pre-vote, section 9.6), and a leader that hears no majority
//!   for a whole timeout steps down (check-quorum): a replica that was cut off disturbs nobody.
//! - Reads are confirmed by a majority (`ReadOnlyOption::Safe`), never by a clock.
//! - What is known to be committed is never replaced: this replica stops instead (`floor`).
//! - Timeouts are drawn from the generator that the options seed: equal input, equal output. (What the
//!   crate draws from the system's randomness is replaced before it can matter.)
//! - A replica that was not admitted (its disk is new, and may have been wiped under an old id) neither votes
//!   nor stands for election until it has been given all that the leader knows to be agreed.

mod describe;
mod engine;
mod floor;
mod held;
mod install;
mod members;
mod read;
mod tail;
mod timeout;
mod wire;

pub use describe::describe;
pub use engine::Raft;

#[cfg(test)]
mod tests;
