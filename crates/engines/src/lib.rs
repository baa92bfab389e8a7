//! Creates the consensus engine that a cluster was made with, for the runtime and the simulator. This is the
//! only crate that depends on every engine.
//!
//! What always holds: every engine gets the same options and state, and this crate contains no part of a
//! protocol.
#![deny(clippy::float_arithmetic)]

use bezant_consensus::{Describe, Engine, EngineKind, EngineOptions, EngineState};
use bezant_paxos::Paxos;
use bezant_raft::Raft;

/// Creates an engine. `None` when the log has an entry that the engine cannot have written.
pub fn begin(
    kind: EngineKind,
    options: &EngineOptions,
    state: EngineState,
) -> Option<Box<dyn Engine + Send>> {
    Some(match kind {
        EngineKind::Raft => Box::new(Raft::new(options, state)?),
        EngineKind::Paxos => Box::new(Paxos::new(options, state)?),
    })
}

/// The function that describes the messages of an engine on one line.
pub fn describe(kind: EngineKind) -> Describe {
    match kind {
        EngineKind::Raft => bezant_raft::describe,
        EngineKind::Paxos => bezant_paxos::describe,
    }
}
