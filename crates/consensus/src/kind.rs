//! The kind of a group's consensus engine. It is chosen when a cluster is created, is the same on all nodes,
//! and never changes.

use core::fmt;
use core::str::FromStr;

/// A consensus engine for several replicas. [`Solo`](crate::Solo), for a single replica, is not in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EngineKind {
    /// Raft (Ongaro, Ousterhout 2014).
    #[default]
    Raft = 1,
    /// Multi-Paxos in roles (van Renesse, Altinbuken 2015).
    Paxos = 2,
}

impl EngineKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Raft, Self::Paxos];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        }
    }

    /// The engine with that code, which is used on disk and between nodes. `None` for an unknown code; 0 is
    /// never a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// The name is not the name of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEngine;

impl fmt::Display for UnknownEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = EngineKind::ALL;
        write!(formatter, "the engines are {first}")?;
        others.iter().try_for_each(|kind| write!(formatter, ", {kind}"))
    }
}

impl core::error::Error for UnknownEngine {}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(UnknownEngine)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
