//! Records events while they happen.

use std::collections::BTreeMap;

use bezant_consensus::Describe;
use bezant_replica::{PeerMessage, Ticket};
use bezant_types::{LogIndex, NodeId};

use super::{Fate, LaneState, Loss, MarkKind, Sent, Trace, TraceEvent, TraceWindow, What};

/// Marks that are kept of every run, in case it fails.
const MARKS_MAX: usize = 80;
/// Entries that a node applies within this time are one event, in ns.
const APPLIED_TOGETHER: u64 = 2_000_000;

/// The number of a recorded message: its position among all events of the run.
pub(crate) type MessageNumber = u64;

/// Records a run.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// The part of the run in which everything is recorded; `None` to record only marks.
    window: Option<TraceWindow>,
    describe: Describe,
    /// ns since the beginning of the run.
    time: u64,
    lanes: BTreeMap<NodeId, LaneState>,
    applied: BTreeMap<NodeId, LogIndex>,
    /// The node that each request was sent to.
    asked: BTreeMap<Ticket, NodeId>,
    trace: Trace,
}

impl Recorder {
    /// `describe` describes the messages of the engine in use.
    pub(crate) fn new(seed: u64, nodes: &[NodeId], window: Option<TraceWindow>, describe: Describe) -> Self {
        let lanes: BTreeMap<_, _> = nodes.iter().map(|node| (*node, LaneState::Down)).collect();
        let from = window.map_or(0, |window| window.from_millis.saturating_mul(1_000_000));
        let trace = Trace {
            seed,
            nodes: nodes.to_vec(),
            before: lanes.clone(),
            from,
            has_messages: window.is_some(),
            ..Trace::default()
        };
        Self { window, describe, time: 0, lanes, applied: BTreeMap::new(), asked: BTreeMap::new(), trace }
    }

    /// True when more than marks is recorded. Then the world calls `observe` after every step.
    pub(crate) const fn is_watching(&self) -> bool {
        self.window.is_some()
    }

    /// Sets the time, in ns since the beginning.
    pub(crate) const fn set_time(&mut self, time: u64) {
        self.time = time;
    }

    /// Takes what was recorded; the recorder is empty afterwards.
    pub(crate) fn take(&mut self) -> Trace {
        let until = self.window.map_or(u64::MAX, |window| window.until_millis.saturating_mul(1_000_000));
        self.trace.until = self.time.min(until);
        std::mem::take(&mut self.trace)
    }

    fn is_in_window(&self) -> bool {
        self.window.is_none_or(|window| {
            let millis = self.time / 1_000_000;
            (window.from_millis..=window.until_millis).contains(&millis)
        })
    }

    fn number(&self) -> MessageNumber {
        self.trace.left_out + self.trace.events.len() as u64
    }

    fn push(&mut self, what: What) {
        self.trace.events.push_back(TraceEvent { at: self.time, what });
        let most = self.window.map_or(MARKS_MAX, |window| window.events_max);
        while self.trace.events.len() > most {
            self.trace.left_out += 1;
            if let Some(TraceEvent { what: What::State(node, state), .. }) = self.trace.events.pop_front() {
                self.trace.before.insert(node, state);
            }
        }
    }

    /// Records a mark at these nodes, or for the whole world.
    pub(crate) fn mark(&mut self, kind: MarkKind, nodes: Vec<NodeId>, text: impl FnOnce() -> String) {
        if self.is_in_window() {
            let nodes = nodes.into_iter().filter(|node| self.trace.nodes.contains(node)).collect();
            self.push(What::Mark { kind, nodes, text: text() });
        }
    }

    /// Records a request to a node.
    pub(crate) fn ask(&mut self, node: NodeId, ticket: Ticket, text: String) {
        self.asked.insert(ticket, node);
        self.mark(MarkKind::Client, vec![node], || text);
    }

    /// Records an answer to a request.
    pub(crate) fn answer(&mut self, ticket: Ticket, text: String) {
        let node = self.asked.remove(&ticket);
        self.mark(MarkKind::Client, node.into_iter().collect(), || text);
    }

    /// Records the state of a machine, and the last entry that it has applied. After a restart, entries count
    /// as applied again.
    pub(crate) fn observe(&mut self, node: NodeId, state: LaneState, applied: Option<LogIndex>) {
        if self.lanes.insert(node, state) != Some(state) {
            if self.is_in_window() {
                self.push(What::State(node, state));
            } else if self.time < self.trace.from {
                self.trace.before.insert(node, state);
            }
        }
        let Some(applied) = applied else {
            self.applied.remove(&node);
            return;
        };
        let known = self.applied.insert(node, applied).unwrap_or(applied);
        if known < applied && self.is_in_window() {
            self.push_applied(node, known.next(), applied);
        }
    }

    fn push_applied(&mut self, node: NodeId, first: LogIndex, last: LogIndex) {
        let earliest = self.time.saturating_sub(APPLIED_TOGETHER);
        let recent = self.trace.events.iter_mut().rev().take_while(|event| event.at >= earliest);
        for event in recent {
            if let What::Applied { node: of, last: until, .. } = &mut event.what
                && *of == node
                && until.next() == first
            {
                *until = last;
                return;
            }
        }
        self.push(What::Applied { node, first, last });
    }

    /// Records a copy of a message that will arrive after `delay`. Returns the number to pass to
    /// [`arrive`](Self::arrive); `None` when the message is not recorded.
    pub(crate) fn send(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &PeerMessage,
        delay: u64,
        is_double: bool,
    ) -> Option<MessageNumber> {
        let due = self.time + delay;
        self.record(from, to, message, Fate::UnderWay(due), is_double)
    }

    /// Records a message that is lost when it is sent.
    pub(crate) fn lose(&mut self, from: NodeId, to: NodeId, message: &PeerMessage, loss: Loss) {
        self.record(from, to, message, Fate::Lost(self.time, loss), false);
    }

    fn record(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &PeerMessage,
        fate: Fate,
        is_double: bool,
    ) -> Option<MessageNumber> {
        if self.window.is_none() || !self.is_in_window() {
            return None;
        }
        let description = message.describe(self.describe);
        let number = self.number();
        self.push(What::Message(Sent { from, to, fate, is_double, description }));
        Some(number)
    }

    /// Records that a message reached its machine, or why it was lost there.
    pub(crate) fn arrive(&mut self, number: Option<MessageNumber>, loss: Option<Loss>) {
        let place = number.and_then(|number| number.checked_sub(self.trace.left_out));
        let Some(place) = place.and_then(|place| usize::try_from(place).ok()) else { return };
        if let Some(TraceEvent { what: What::Message(sent), .. }) = self.trace.events.get_mut(place) {
            sent.fate = loss.map_or(Fate::Arrived(self.time), |loss| Fate::Lost(self.time, loss));
        }
    }
}
