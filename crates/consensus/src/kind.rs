//! Which engine a group agrees with: chosen when a cluster is made, and the same on all its nodes for good.

use core::fmt;
use core::str::FromStr;

/// An engine that several replicas agree with. [`Solo`](crate::Solo), of one alone, is none of them.
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
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Raft, Self::Paxos];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        }
    }

    /// The engine of that code, on disk and between nodes; 0 is none.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// A name that no engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEngine;

impl fmt::Display for UnknownEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the engines are")?;
        EngineKind::ALL.iter().try_for_each(|kind| write!(formatter, " {kind}"))
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
