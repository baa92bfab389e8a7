//! A service: a replicated program whose commands, queries and answers are bytes. The macro `state_machine!`
//! generates one from a declaration, and an embedded member runs one. It is simpler than a
//! [`StateMachine`](crate::StateMachine): its whole state is in memory, and it adds no rows to a history.

use alloc::vec::Vec;
use core::fmt;
use core::future::Future;

use bezant_types::{LogIndex, Nanos};
use bytes::Bytes;

use crate::RestoreError;

/// A deterministic program: equal commands in equal order give equal states and equal answers on every
/// replica.
pub trait Service: Sized + fmt::Debug + Send + 'static {
    /// Executes a command of the log.
    ///
    /// # Errors
    /// When this version does not have the command. Then nothing is changed.
    fn invoke(&mut self, call: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall>;

    /// Answers a query from the state.
    ///
    /// # Errors
    /// When this version does not have the query.
    fn query(&self, query: &[u8]) -> Result<Bytes, UnknownCall>;

    /// The whole state; equal states give equal bytes.
    fn checkpoint(&self) -> Vec<u8>;

    /// Restores a service from the bytes of [`checkpoint`](Self::checkpoint).
    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError>;
}

/// The bytes are not a command or query of this version. They are of a later version, of another service, or
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCall;

impl fmt::Display for UnknownCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("the service does not have this command or query: does an older version run here?")
    }
}

impl core::error::Error for UnknownCall {}

/// An answer cannot be read: the service that gave it has another version, or the format cannot represent the
/// type of the answer. If it is the answer to a command, the command was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableAnswer;

impl fmt::Display for UnreadableAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the answer cannot be read; if it is the answer to a command, the command was executed. Does another \
             version of the service run?",
        )
    }
}

impl core::error::Error for UnreadableAnswer {}

/// The format cannot represent the arguments of a call. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnwritableCall;

impl fmt::Display for UnwritableCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the call was not sent: a replica would read other arguments, or none. Their types may not use \
             skip_serializing_if, flatten, untagged enums or serde_json::Value, and may not be nested deeper than 256 \
             values",
        )
    }
}

impl core::error::Error for UnwritableCall {}

/// The context of one command: its index in the log, its time, and the events that it emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    index: LogIndex,
    time: Nanos,
    events: Vec<(u32, Bytes)>,
}

impl Call {
    /// The context of a command at that index and cluster time.
    pub const fn new(index: LogIndex, time: Nanos) -> Self {
        Self { index, time, events: Vec::new() }
    }

    /// Index of the log entry that contains the command. All commands of an entry have the same index.
    pub const fn index(&self) -> LogIndex {
        self.index
    }

    /// Cluster time, ns since the epoch: the same on every replica, and never earlier than the time of the
    /// previous command.
    pub const fn time(&self) -> Nanos {
        self.time
    }

    /// Emits an event to the subscribers of a stream.
    pub fn emit(&mut self, stream: u32, event: Bytes) {
        self.events.push((stream, event));
    }

    /// The emitted events with the numbers of their streams, in order.
    pub fn into_events(self) -> Vec<(u32, Bytes)> {
        self.events
    }
}

/// How recent the state must be that answers a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Freshness {
    /// The state includes every command that was answered before the query began, to any client.
    #[default]
    Linearizable,
    /// The state includes everything that this handle, and the handles that it was cloned from, have read or
    /// written before: reads never go backwards.
    Session,
    /// The current state of this replica, which may lag.
    Stale,
}

/// A numbered event of a stream. The numbers of all streams of a service are drawn from one sequence, which
/// starts at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the sequence; resume a stream with the number of the last event that was processed.
    pub number: u64,
    /// The event, in the format of the service.
    pub bytes: Bytes,
}

/// How a handle reaches its service.
pub trait Caller: Clone + Send + Sync + 'static {
    /// Reason why a call has no answer.
    type Error: core::error::Error
        + From<UnknownCall>
        + From<UnreadableAnswer>
        + From<UnwritableCall>
        + Send
        + Sync
        + 'static;

    /// Puts a command in the log and returns its answer once it is durable and applied. A command is executed
    /// once.
    fn invoke(&self, command: Bytes) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;

    /// Answers a query from the state of one replica.
    fn query(
        &self,
        query: Bytes,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;

    /// The next event of a stream with a number greater than `after`; waits until there is one.
    ///
    /// # Errors
    /// Those of the caller, and when the service no longer keeps the events after `after`. In that case read
    /// the state, and resume after the last event that the state includes.
    fn next_event(&self, stream: u32, after: u64) -> impl Future<Output = Result<Event, Self::Error>> + Send;
}
