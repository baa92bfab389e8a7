//! How a message reads on one line: for traces and logs, never for a program to take apart.

use alloc::string::String;

use bytes::Bytes;

/// What a message between replicas is for. A trace colours and hides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A sign of life, or the answer to one, that carries nothing besides.
    Heartbeat,
    /// Who leads: asking for votes, giving them, handing the lead over.
    Election,
    /// Entries of the log, and who has them.
    Entries,
    /// What a read must see.
    Read,
    /// A checkpoint for a replica that is far behind, and the asking for it.
    CatchUp,
    /// A command on its way to the leader, or its outcome on its way back.
    Command,
    /// What states are, to be compared.
    Digest,
    /// Bytes that nobody understands.
    Unknown,
}

impl MessageKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Heartbeat,
        Self::Election,
        Self::Entries,
        Self::Read,
        Self::CatchUp,
        Self::Command,
        Self::Digest,
        Self::Unknown,
    ];

    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Election => "election",
            Self::Entries => "entries",
            Self::Read => "read",
            Self::CatchUp => "catching up",
            Self::Command => "command",
            Self::Digest => "digest",
            Self::Unknown => "unknown",
        }
    }
}

/// A message on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What it is for.
    pub kind: MessageKind,
    /// What it says: one line, without who sends it to whom.
    pub text: String,
}

impl Description {
    /// A message of that kind that says that.
    pub const fn new(kind: MessageKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// How an engine's messages are put on one line; `None` for bytes that are no message of it. Every engine has one.
pub type Describe = fn(&Bytes) -> Option<Description>;
