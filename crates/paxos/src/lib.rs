//! The second consensus engine for groups of several replicas: Multi-Paxos (Lamport, "Paxos Made Simple"; van
//! Renesse and Altinbuken, "Paxos Made Moderately Complex"). It is split into the roles of the second paper.
//! Roles of different replicas communicate only by messages. The roles of one replica also share the log of
//! its acceptor: scout and leader read it. The promises and acceptances that they need still arrive as
//! messages, which are held back until the state that they report is durable.
//!
//! `docs/protocol/paxos.md` describes the protocol message by message, and why it is safe. In short:
//! - The *acceptor* promises ballots and accepts pvalues (values with slot and round), and makes both durable
//!   before it replies.
//! - The *replica* emits decided values in the order of their slots, and tracks the leader.
//! - The *scout* runs phase 1 of a ballot: it collects promises, and adopts the log that contains every value
//!   that may have been decided.
//! - The *leader* assigns slots in that ballot until another ballot pre-empts it.
//! - The *commander* runs phase 2 of a slot. The first commander of a leader runs it for all adopted slots.
//! - The *requester* asks the leader which slot a read must cover, and the leader's *reads* confirm it with a
//!   quorum: no lease, no clock.
//! - *Seed* is the state from which a replica starts. *Bootstrap* tracks when a replica with a new disk may
//!   vote.
//!
//! What always holds:
//! - A decided value has the same predecessor as in the log of the leader that proposed it. So the proposer
//!   may compute a value from all values before it.
//! - A value that is known to be decided is never replaced: this replica stops instead (`floor`).
//! - No promise and no acceptance is sent before the state that it reports is durable on this disk.
//! - A replica that wants to lead runs a pre-vote first. A leader that receives nothing from a quorum for an
//!   election timeout steps down (check-quorum).
//! - Randomness comes only from the generator that the options seed: equal input, equal output.
//! - Messages of peers are parsed and checked: an invalid message changes nothing.
//!
//! Assertions on transitions come in pairs:
//!
//! | rule | before it is written or sent | after it was read or confirmed |
//! |---|---|---|
//! | rounds never fall, and a round has one promise | `Acceptor::promise`, `Acceptor::take_write` | `Acceptor::new` |
//! | slots have no gaps | `Values::append` | `Disk::write` |
//! | only what was written is confirmed | `Disk::write` numbers writes | `Disk::handle_vote_durable` |
//! | a decided slot is durable at a quorum, and never falls | `Paxos::decide` | `Replica::handle_committed`, `Replica::restart` |
//!
//! It never uses a clock, a disk or a network, and never reads a command.
#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

mod acceptor;
mod ballot;
mod bootstrap;
mod change;
mod commander;
mod delivery;
mod describe;
mod disk;
mod election;
mod engine;
mod floor;
mod lead;
mod leader;
mod members;
mod message;
mod quorum;
mod reads;
mod replica;
mod requester;
mod route;
mod scout;
mod seed;
mod timeouts;
mod values;
mod wire;

pub use describe::describe;
pub use engine::Paxos;

#[cfg(test)]
mod tests;
