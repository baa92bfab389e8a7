//! What happened in a run, for people: messages and what became of them, who leads when, and what went wrong.
//!
//! A run writes into a [`Recorder`], which keeps the last marks (faults, starts, who leads) of every run, for the
//! case that it fails, and messages only when it is asked to: a description costs more than the message. Recording
//! takes nothing from the run's chance and changes no step of it. A [`Trace`] is drawn as text (`draw`) or as a page
//! (`page`); both show the same events.
//!
//! Always holds: an event is kept in the order in which it happened; what was left out, because it lies outside of the
//! window or there was too much, is counted or said.

mod draw;
mod fault;
mod page;
mod record;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bezant_consensus::{Description, Role};
use bezant_types::{LogIndex, NodeId, Term};

pub use draw::Drawing;
pub(crate) use fault::words as fault_words;
pub(crate) use record::{MessageNumber, Recorder};

/// Which part of a run is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceWindow {
    /// From this simulated millisecond on.
    pub from_millis: u64,
    /// Up to this one; the end of the run, if that comes first.
    pub until_millis: u64,
    /// Events that are kept at the most: then the oldest go.
    pub events_max: usize,
}

impl Default for TraceWindow {
    fn default() -> Self {
        Self { from_millis: 0, until_millis: u64::MAX, events_max: Self::EVENTS_MAX }
    }
}

impl TraceWindow {
    /// A page with so many events is some 10 MB, and a browser still turns it over smoothly.
    pub const EVENTS_MAX: usize = 200_000;
}

/// What a machine is at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneState {
    /// No process runs.
    #[default]
    Down,
    /// The process sleeps.
    Paused,
    /// A process runs.
    Up(Role, Term),
}

impl LaneState {
    /// Its mark in a drawing.
    pub const fn letter(self) -> char {
        match self {
            Self::Down => '.',
            Self::Paused => 'z',
            Self::Up(Role::Leader, _) => 'L',
            Self::Up(Role::Candidate, _) => 'C',
            Self::Up(Role::Follower, _) => 'F',
        }
    }
}

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The network lost it.
    Weather,
    /// Nothing goes that way.
    Cut,
    /// Nobody was there to take it.
    Down,
    /// The sender's disk is another one since: what it said before is not believed.
    OtherDisk,
}

impl Loss {
    const fn text(self) -> &'static str {
        match self {
            Self::Weather => "lost",
            Self::Cut => "cut off",
            Self::Down => "down",
            Self::OtherDisk => "the sender has another disk",
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is to arrive then, in ns.
    UnderWay(u64),
    /// It arrived then.
    Arrived(u64),
    /// It never did; known then.
    Lost(u64, Loss),
}

/// One copy of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) fate: Fate,
    /// The network made a second one of it.
    pub(crate) is_double: bool,
    pub(crate) description: Description,
}

/// What kind of event a mark stands for. A page jumps by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MarkKind {
    /// A process begins.
    Start,
    /// A machine or a process ends.
    Crash,
    /// A process sleeps, or its clock jumps.
    Process,
    /// What the network does from now on.
    Network,
    /// What a disk does from now on, or has lost.
    Disk,
    /// A checkpoint is durable, here or taken from a peer.
    Checkpoint,
    /// The operator does or hears something.
    Operator,
    /// A client asks, or is told.
    Client,
    /// Anything else.
    Note,
    /// What must hold does not.
    Broken,
}

impl MarkKind {
    /// Its name, for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Crash => "crash",
            Self::Process => "process",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Checkpoint => "checkpoint",
            Self::Operator => "operator",
            Self::Client => "client",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A message was sent.
    Message(Sent),
    /// A machine is something else from now on.
    State(NodeId, LaneState),
    /// A node applied these entries, one soon after the other.
    Applied { node: NodeId, first: LogIndex, last: LogIndex },
    /// Anything else, at these nodes; at none for the whole world.
    Mark { kind: MarkKind, nodes: Vec<NodeId>, text: String },
}

/// Something that happened, so many ns after the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceEvent {
    pub(crate) at: u64,
    pub(crate) what: What,
}

/// What happened in a run, or in a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    seed: u64,
    /// The machines, in order.
    nodes: Vec<NodeId>,
    /// What each was before the first event that is kept.
    before: BTreeMap<NodeId, LaneState>,
    events: VecDeque<TraceEvent>,
    /// Older events that had to go.
    left_out: u64,
    /// The part of the run that this is, in ns from its beginning.
    from: u64,
    until: u64,
    /// Whether messages were recorded.
    has_messages: bool,
}

impl Trace {
    /// Events that were recorded and are kept.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Older events that were recorded, and had to go for newer ones.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// What a machine does from now on, for people.
pub(crate) fn state_text(state: LaneState) -> String {
    match state {
        LaneState::Down => "is down".to_owned(),
        LaneState::Paused => "sleeps".to_owned(),
        LaneState::Up(Role::Leader, term) => format!("leads in term {term}"),
        LaneState::Up(Role::Candidate, term) => format!("stands for election, term {term}"),
        LaneState::Up(Role::Follower, term) => format!("follows, term {term}"),
    }
}
