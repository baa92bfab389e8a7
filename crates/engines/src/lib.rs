//! The one room that knows every engine: it makes the one that a cluster was made with, for the runtime and for the
//! simulator alike.
//!
//! Always holds: both engines are given the same. Never: a decision of its own.
#![deny(clippy::float_arithmetic)]

use bezant_consensus::{Describe, Engine, EngineKind, EngineOptions, EngineState};
use bezant_paxos::Paxos;
use bezant_raft::Raft;

/// Makes an engine. `None` when the log holds an entry that no version of it wrote.
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

/// How an engine's messages are put on one line.
pub fn describe(kind: EngineKind) -> Describe {
    match kind {
        EngineKind::Raft => bezant_raft::describe,
        EngineKind::Paxos => bezant_paxos::describe,
    }
}
