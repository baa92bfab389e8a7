//! The second engine of several replicas: Multi-Paxos (Lamport, "Paxos Made Simple"; van Renesse and Altinbuken, "Paxos
//! Made Moderately Complex"), in roles that talk by messages, to those of other replicas by nothing else. Those of one replica share the
//! log that its acceptor keeps: scout and leader read it, and what they need of promises and acceptances comes as a message, held
//! back until it is on the disk.
//!
//! `docs/protocol/paxos.md` tells the protocol message by message, and why it is safe. In short:
//! - The *acceptor* promises ballots and accepts values, and keeps both on the disk before it answers.
//! - The *replica* hands out what is decided, in order, and knows who leads.
//! - The *scout* does phase 1 of a ballot: it collects promises, and adopts the log that may have been decided.
//! - The *leader* gives out slots in that ballot, for as long as nobody pre-empts it.
//! - The *commander* does phase 2 of a slot, the first one of all that was adopted.
//! - The *requester* asks the leader what a read must see, and the leader's *rounds* confirm it: no lease, no clock.
//! - *Seed* is how a replica begins, *bootstrap* how one comes to vote whose disk is new.
//!
//! What always holds:
//! - A value stands behind the value behind which it was proposed, or not at all. A state machine may compute on that.
//! - What is known to be decided is never replaced: this replica stops instead (`floor`).
//! - No promise, and no acceptance, leaves before what it speaks of is on this disk.
//! - Whoever may lead asks first (a canvass), and a leader that hears no quorum for long enough steps down.
//! - Nothing is drawn but from the generator that the options seed: equal input, equal output.
//! - What a peer says is parsed, never believed: nonsense changes nothing.
//!
//! It never knows a clock, a disk or a network, and never looks into a command.
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
mod engine;
mod floor;
mod lead;
mod leader;
mod members;
mod message;
mod quorum;
mod replica;
mod requester;
mod rounds;
mod route;
mod scout;
mod seed;
mod stand;
mod timeouts;
mod values;
mod wire;

pub use describe::describe;
pub use engine::Paxos;

#[cfg(test)]
mod tests;
