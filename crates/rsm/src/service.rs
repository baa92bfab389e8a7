//! A replicated program of bytes: what the macro `state_machine!` makes of a declaration, and what an embedded
//! member runs. Simpler than a [`StateMachine`](crate::StateMachine), for it keeps all its state in memory and needs
//! no rows of a history.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;

use bezant_types::{LogIndex, Nanos};
use bytes::Bytes;

use crate::RestoreError;

/// A deterministic program: equal commands in equal order make equal states and equal answers on every replica.
pub trait Service: Sized + fmt::Debug + Send + 'static {
    /// Does a command of the log.
    ///
    /// # Errors
    /// When this version does not know the command; then nothing is changed.
    fn invoke(&mut self, call: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall>;

    /// Answers a question from the state.
    ///
    /// # Errors
    /// When this version does not know the question.
    fn query(&self, query: &[u8]) -> Result<Bytes, UnknownCall>;

    /// The whole state: equal states give equal bytes.
    fn checkpoint(&self) -> Vec<u8>;

    /// Reads [`checkpoint`](Self::checkpoint)'s bytes.
    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError>;
}

/// Bytes that no command or query of this version has: of a later version, of another service, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCall;

impl fmt::Display for UnknownCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("the service does not know this command or query: does an older version run here?")
    }
}

impl core::error::Error for UnknownCall {}

/// An answer that cannot be read: the service that gave it is of another version, or its type does not fit into the
/// format. A command whose answer it is has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableAnswer;

impl fmt::Display for UnreadableAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the answer cannot be read, and a command whose answer it is has been done: does another version run here?",
        )
    }
}

impl core::error::Error for UnreadableAnswer {}

/// A call whose arguments the format does not carry: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwritableCall;

impl fmt::Display for UnwritableCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the call was not sent: a replica could not read its arguments as what they are. Their types may have no \
             skip_serializing_if, flatten, untagged enum or serde_json::Value, and they may not be nested deeper than 256 values",
        )
    }
}

impl core::error::Error for UnwritableCall {}

/// The surroundings of one command: where in the log it stands, and what subscribers are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    index: LogIndex,
    time: Nanos,
    events: Vec<(u32, Bytes)>,
}

impl Call {
    /// Of a command at that place and cluster time.
    pub const fn new(index: LogIndex, time: Nanos) -> Self {
        Self { index, time, events: Vec::new() }
    }

    /// The log entry that carries the command; commands of one entry share it.
    pub const fn index(&self) -> LogIndex {
        self.index
    }

    /// Cluster time, ns since the epoch: the same on every replica, and never earlier than that of the command before.
    pub const fn time(&self) -> Nanos {
        self.time
    }

    /// Tells the subscribers of a stream.
    pub fn emit(&mut self, stream: u32, event: Bytes) {
        self.events.push((stream, event));
    }

    /// What was emitted, in order.
    pub fn into_events(self) -> Vec<(u32, Bytes)> {
        self.events
    }
}

/// How fresh the answer to a query must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Freshness {
    /// It sees every command that was answered before the query was asked, whoever asked.
    #[default]
    Linearizable,
    /// It sees what this handle, and whoever it was cloned from, has seen or done before: it never goes backwards.
    Session,
    /// It sees whatever this replica has.
    Stale,
}

/// A numbered event of a stream. The numbers of all streams of a service are drawn from one sequence, which starts at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Resume behind this one.
    pub number: u64,
    /// What was emitted.
    pub bytes: Bytes,
}

/// How a handle reaches its service.
pub trait Caller: Clone + Send + Sync + 'static {
    /// Why there is no answer.
    type Error: core::error::Error
        + From<UnknownCall>
        + From<UnreadableAnswer>
        + From<UnwritableCall>
        + Send
        + Sync
        + 'static;

    /// Puts a command in the log; its answer, once it is durable and applied. A command is done once.
    fn invoke(&self, command: Bytes) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;

    /// Asks the state of one replica.
    fn query(
        &self,
        query: Bytes,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;

    /// The next event of a stream with a number greater than `after`; waits until there is one.
    ///
    /// # Errors
    /// Also when events behind `after` were forgotten already: then read the state, and go on behind what it shows.
    fn next_event(&self, stream: u32, after: u64) -> impl Future<Output = Result<Event, Self::Error>> + Send;
}
