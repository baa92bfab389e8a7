//! The trace of a run, for people: messages and their fates, leaders, and faults.
//!
//! A run writes into a [`Recorder`]. The recorder keeps the last marks (faults, starts, leaders) of every
//! run, in case the run fails. It keeps messages only on request, because to describe a message costs more
//! than to process it. Recording draws no random number and changes no step of the run. A [`Trace`] is drawn
//! as text (`draw`) or as a page (`page`); both show the same events.
//!
//! What always holds: events are in the order in which they happened, and a trace reports the window that was
//! recorded and the number of events that were dropped.

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
pub(crate) use fault::mark as fault_mark;
pub(crate) use record::{MessageNumber, Recorder};

/// The part of a run that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceWindow {
    /// The first simulated millisecond.
    pub from_millis: u64,
    /// The last simulated millisecond; the run may end earlier.
    pub until_millis: u64,
    /// The greatest number of events; when there are more, the oldest are dropped.
    pub events_max: usize,
}

impl Default for TraceWindow {
    fn default() -> Self {
        Self { from_millis: 0, until_millis: u64::MAX, events_max: Self::EVENTS_MAX }
    }
}

impl TraceWindow {
    /// The default limit. A page with this many events has about 10 MB, and a browser still scrolls it
    /// smoothly.
    pub const EVENTS_MAX: usize = 200_000;
}

/// The state of a machine at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneState {
    /// No process runs.
    #[default]
    Down,
    /// The process is paused.
    Paused,
    /// A process runs.
    Up(Role, Term),
}

impl LaneState {
    /// The letter in a drawing.
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
    /// This direction is cut.
    Cut,
    /// The receiver was down.
    Down,
    /// The sender's disk was replaced since. Messages from the earlier disk are dropped.
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

/// The fate of a message, with its time in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It will arrive at this time.
    UnderWay(u64),
    /// It arrived at this time.
    Arrived(u64),
    /// It was lost at this time.
    Lost(u64, Loss),
}

/// One copy of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) fate: Fate,
    /// True for a second copy, which the network made.
    pub(crate) is_double: bool,
    pub(crate) description: Description,
}

/// The kind of a mark. A page can jump to the next mark of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MarkKind {
    /// A process starts.
    Start,
    /// A machine or a process ends.
    Crash,
    /// A process pauses, or its clock jumps.
    Process,
    /// The network changes.
    Network,
    /// A disk changes its behaviour, or lost something.
    Disk,
    /// A checkpoint is durable, the replica's own or a peer's.
    Checkpoint,
    /// A request of the operator, or an answer.
    Operator,
    /// A request of a client, or an answer.
    Client,
    /// Anything else.
    Note,
    /// A check failed.
    Broken,
}

impl MarkKind {
    /// The name in the data of a page.
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

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A message was sent.
    Message(Sent),
    /// A machine changes its state.
    State(NodeId, LaneState),
    /// A node applied these entries, within a short time.
    Applied { node: NodeId, first: LogIndex, last: LogIndex },
    /// Anything else, at these nodes; without nodes, for the whole world.
    Mark { kind: MarkKind, nodes: Vec<NodeId>, text: String },
}

/// An event; `at` is in ns after the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceEvent {
    pub(crate) at: u64,
    pub(crate) what: What,
}

/// The recorded events of a run, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    seed: u64,
    /// The machines, in order.
    nodes: Vec<NodeId>,
    /// The state of each machine before the first event that is kept.
    before: BTreeMap<NodeId, LaneState>,
    events: VecDeque<TraceEvent>,
    /// The number of older events that were dropped.
    left_out: u64,
    /// The recorded part of the run, in ns after its beginning.
    from: u64,
    until: u64,
    /// Whether messages were recorded.
    has_messages: bool,
}

impl Trace {
    /// The number of events that are kept.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True when no event is kept.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The number of older events that were dropped for newer ones.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// The text for a machine's change of state.
pub(crate) fn state_text(state: LaneState) -> String {
    match state {
        LaneState::Down => "is down".to_owned(),
        LaneState::Paused => "is paused".to_owned(),
        LaneState::Up(Role::Leader, term) => format!("leads in term {term}"),
        LaneState::Up(Role::Candidate, term) => format!("stands for election, term {term}"),
        LaneState::Up(Role::Follower, term) => format!("follows, term {term}"),
    }
}
