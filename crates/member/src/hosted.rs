//! A service as a state machine, with the sessions that make a retry harmless, and the newest events.
//!
//! Checkpoint, little-endian:
//!
//! | size | field |
//! |---|---|
//! | 8 | magic "BZNTHOST" |
//! | 4 | version: 2 |
//! | 8 | cluster time of the last entry |
//! | ... | sessions: see `replies` |
//! | ... | events: see `events` |
//! | 8 | size of the service's own checkpoint in bytes |
//! | ... | the service's own checkpoint |
//!
//! Always holds: a command of the service is done once; a command that the service does not have changes
//! nothing. A panic of the service in a command or a checkpoint ends the process at that place, before any
//! answer is sent. So a half-changed state is neither queried nor kept, and no caller mistakes the end for a
//! shutdown. The machine has no rows of the history, never waits, and never issues a command itself.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bezant_codec::Reader;
use bezant_rsm::{
    Applied, Call, Command, Entry, Event, Prefetch, Progress, RestoreError, Service, StateMachine,
    UnknownCall,
};
use bezant_types::limits::REQUEST_SIZE_MAX;
use bezant_types::{FetchKey, Fetched, HistoryPosition, HistoryRows, LogIndex, Nanos};
use bytes::Bytes;

use crate::command::{HEAD_SIZE, Head, INVOKE, OPEN, Verdict};
use crate::events::{Dropped, Events};
use crate::replies::{Admission, Replies};

const MAGIC: [u8; 8] = *b"BZNTHOST";
const VERSION: u32 = 2;

/// The largest command of a service in bytes.
pub const COMMAND_SIZE_MAX: usize = REQUEST_SIZE_MAX - HEAD_SIZE;
/// The largest answer of a service in bytes.
pub const ANSWER_SIZE_MAX: usize = REQUEST_SIZE_MAX;

/// A service hosted as a state machine.
#[derive(Default)]
pub struct Hosted<S> {
    service: S,
    time: Nanos,
    replies: Replies,
    events: Events,
    /// The checkpoint that is being read out, and how many of its bytes were taken.
    cut: Option<(Vec<u8>, usize)>,
}

impl<S> fmt::Debug for Hosted<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hosted").field("time", &self.time).finish_non_exhaustive()
    }
}

/// A query to a hosted service.
#[derive(Clone, Debug)]
pub enum HostedQuery {
    /// A query of the service.
    Ask(Bytes),
    /// Events of a stream.
    Events {
        /// The number of the stream.
        stream: u32,
        /// Only events after this number.
        after: u64,
        /// The most events to return.
        limit: usize,
    },
    /// The number of the newest event, over all streams.
    LastEvent,
}

/// The answer to a [`HostedQuery`].
#[derive(Clone, Debug)]
pub enum HostedAnswer {
    /// The service's answer.
    Asked(Result<Bytes, AskError>),
    /// Events of a stream; or the number of its last dropped event, when a requested event was dropped.
    Events(Result<Vec<Event>, u64>),
    /// The number of the newest event; 0 before the first.
    LastEvent(u64),
}

/// Why a service has no answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// This version has no such query.
    Unknown(UnknownCall),
    /// The service panicked in it. Its state is unchanged.
    Panicked,
}

impl<S: Service> Hosted<S> {
    /// The service.
    pub const fn service(&self) -> &S {
        &self.service
    }

    fn apply_command(&mut self, index: LogIndex, time: Nanos, command: &Command) -> Bytes {
        match command.operation {
            OPEN => self.replies.open(index.0),
            INVOKE => match Head::read(&command.body) {
                Some((head, body)) => self.invoke(index, time, head, &body),
                None => Verdict::Unknown.reply(&[]),
            },
            _ => Verdict::Unknown.reply(&[]),
        }
    }

    fn invoke(&mut self, index: LogIndex, time: Nanos, head: Head, command: &[u8]) -> Bytes {
        if let Admission::Reply(reply) = self.replies.admit(head, index.0) {
            return reply;
        }
        let mut call = Call::new(index, time);
        let service = &mut self.service;
        let outcome = catch_unwind(AssertUnwindSafe(|| service.invoke(&mut call, command)));
        let reply = match outcome {
            Ok(Ok(answer)) => {
                call.into_events().into_iter().for_each(|(stream, event)| self.events.push(stream, event));
                if answer.len() <= ANSWER_SIZE_MAX {
                    Verdict::Done.reply(&answer)
                } else {
                    Verdict::TooLarge.reply(&(answer.len() as u64).to_le_bytes())
                }
            }
            Ok(Err(UnknownCall)) => Verdict::Unknown.reply(&[]),
            Err(_) => {
                tracing::error!(
                    index = index.0,
                    bytes = command.len(),
                    "the service panicked in a command of log entry {index}, so this process ends: its state cannot be trusted any more, and \
                     every replica applies the same command. Repair the service so that it answers the command, in the same way on all \
                     replicas, and start again. Nothing that was acknowledged before is lost"
                );
                std::process::abort();
            }
        };
        self.replies.complete(head, reply.clone());
        reply
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.time.0.to_le_bytes());
        self.replies.write(&mut bytes);
        self.events.write(&mut bytes);
        let Ok(service) = catch_unwind(AssertUnwindSafe(|| self.service.checkpoint())) else {
            tracing::error!(
                "the service panicked in its checkpoint: the standard error has the reason. Without checkpoints it cannot continue: \
                 repair it on all replicas, and start again; nothing that was acknowledged is lost"
            );
            std::process::abort();
        };
        bytes.extend_from_slice(&(service.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&service);
        bytes
    }
}

impl<S: Service> StateMachine for Hosted<S> {
    type Key = FetchKey;
    type Found = Fetched;
    type Rows = HistoryRows;
    type Query = HostedQuery;
    type Answer = HostedAnswer;

    fn time(&self) -> Nanos {
        self.time
    }

    fn position(&self) -> HistoryPosition {
        HistoryPosition::default()
    }

    fn prefetch(&self, _: &Entry) -> Prefetch<FetchKey> {
        Prefetch { keys: Vec::new(), position: self.position() }
    }

    fn apply(&mut self, index: LogIndex, entry: &Entry, _: Fetched) -> Option<Applied<HistoryRows>> {
        let events = entry.events();
        assert!(entry.time.0 >= self.time.0 + events, "time never goes back: the log is damaged");
        let mut time = entry.time.0 - events;
        let mut results = Vec::with_capacity(entry.commands.len());
        for command in &entry.commands {
            time += u64::from(command.events);
            results.push(self.apply_command(index, Nanos(time), command));
        }
        self.time = entry.time;
        Some(Applied { results, rows: HistoryRows::default() })
    }

    /// Both operations have one event. The other bytes are checked when the command is applied: then the
    /// caller learns that this version does not have it.
    fn accepts(command: &Command) -> bool {
        command.events == 1
    }

    fn due(&self, _: Nanos) -> Option<Command> {
        None
    }

    fn due_at(&self) -> Option<Nanos> {
        None
    }

    fn query_step(&self, query: HostedQuery) -> Progress<HostedQuery, HostedAnswer> {
        Progress::Done(match query {
            HostedQuery::Ask(question) => {
                let asked = catch_unwind(AssertUnwindSafe(|| self.service.query(&question)));
                HostedAnswer::Asked(match asked {
                    Ok(answer) => answer.map_err(AskError::Unknown),
                    Err(_) => Err(AskError::Panicked),
                })
            }
            HostedQuery::LastEvent => HostedAnswer::LastEvent(self.events.last()),
            HostedQuery::Events { stream, after, limit } => {
                HostedAnswer::Events(self.events.after(stream, after, limit).map_err(|Dropped { last }| last))
            }
        })
    }

    fn begin_checkpoint(&mut self) {
        self.cut = Some((self.write(), 0));
    }

    fn poll_checkpoint(&mut self, size: usize) -> Option<Vec<u8>> {
        let (bytes, taken) = self.cut.as_mut()?;
        let piece = bytes.get(*taken..)?;
        if piece.is_empty() {
            self.cut = None;
            return None;
        }
        let piece = piece[..size.min(piece.len())].to_vec();
        *taken += piece.len();
        Some(piece)
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let broken = |section| move |_| RestoreError { section };
        let mut reader = Reader::new(checkpoint);
        let head = |_| RestoreError { section: "head of a service" };
        if reader.array().map_err(head)? != MAGIC {
            return Err(RestoreError { section: "head of a service" });
        }
        if reader.u32().map_err(head)? != VERSION {
            return Err(RestoreError { section: "version of a service" });
        }
        let time = Nanos(reader.u64().map_err(head)?);
        let replies = Replies::read(&mut reader).map_err(broken("sessions"))?;
        let events = Events::read(&mut reader).map_err(broken("events"))?;
        let size = usize::try_from(reader.u64().map_err(broken("service"))?);
        if size != Ok(reader.rest().len()) {
            return Err(RestoreError { section: "service" });
        }
        let service = S::restore(reader.rest())?;
        Ok(Self { service, time, replies, events, cut: None })
    }
}

#[cfg(test)]
mod tests;
