//! One-line descriptions of messages for traces and logs. They are for people; programs never parse them.

use alloc::string::String;

use bytes::Bytes;

/// Purpose of a message between replicas. Traces colour and filter messages by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// A heartbeat or its answer, without other content.
    Heartbeat,
    /// Elections and leadership transfers: requests for votes, votes, transfers.
    Election,
    /// Log entries and their acknowledgements.
    Entries,
    /// The index that a linearizable read must see: questions and answers.
    Read,
    /// A checkpoint for a replica that lags far, and requests for it.
    CatchUp,
    /// A command that is forwarded to the leader, or its outcome.
    Command,
    /// Digests of states, which replicas compare.
    Digest,
    /// Bytes that cannot be decoded.
    Unknown,
}

impl MessageKind {
    /// All kinds.
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

    /// The name in traces.
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

/// A one-line description of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Purpose of the message.
    pub kind: MessageKind,
    /// Content of the message on one line, without sender and receiver.
    pub text: String,
}

impl Description {
    /// A description with that kind and text.
    pub const fn new(kind: MessageKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// Function that describes an engine's message; `None` for bytes that are not a message of the engine. Every
/// engine has one.
pub type Describe = fn(&Bytes) -> Option<Description>;
