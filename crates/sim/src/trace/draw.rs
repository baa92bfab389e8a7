//! A trace as a drawing in text. Time goes downwards, each node has a column (its lane), and an arrow shows a
//! message.
//!
//! Each line is one event, at the time at which it takes effect. For a message this is the time of its
//! arrival, so that its consequences are on the lines below it; the line also shows the delay. A message that
//! never arrives is drawn at the time at which it was lost, and its arrow ends in a cross.

use std::collections::BTreeMap;
use std::fmt;

use bezant_consensus::MessageKind;
use bezant_types::NodeId;

use super::{Fate, LaneState, Loss, MarkKind, Sent, Trace, TraceEvent, What, state_text};

/// Number of events after which the heading is repeated.
const HEADING_EVERY: usize = 60;

/// A trace that can be printed.
#[derive(Clone, Debug)]
pub struct Drawing<'trace> {
    trace: &'trace Trace,
    nodes: Vec<NodeId>,
    shows_heartbeats: bool,
}

impl Trace {
    /// The trace as text, without heartbeats.
    pub fn drawing(&self) -> Drawing<'_> {
        Drawing { trace: self, nodes: self.nodes.clone(), shows_heartbeats: false }
    }
}

impl Drawing<'_> {
    /// Draws heartbeats as well.
    #[must_use]
    pub const fn with_heartbeats(mut self) -> Self {
        self.shows_heartbeats = true;
        self
    }

    /// Draws only these nodes, and the messages between them. A number that is not a node of the run is
    /// ignored. If none of the numbers is a node, all nodes are drawn.
    #[must_use]
    pub fn with_nodes(mut self, numbers: &[u64]) -> Self {
        let chosen: Vec<_> = self.nodes.iter().copied().filter(|node| numbers.contains(&node.0)).collect();
        if !chosen.is_empty() {
            self.nodes = chosen;
        }
        self
    }

    /// The events that are drawn, with the times at which they take effect, in the order of the lines.
    fn lines(&self) -> Vec<(u64, &TraceEvent)> {
        let is_shown = |event: &&TraceEvent| self.shows(&event.what);
        let events = self.trace.events.iter().filter(is_shown);
        let mut lines: Vec<_> = events.map(|event| (moment(event), event)).collect();
        // A node changes its state before it sends. A message that is lost at once has the same time as that
        // change, so it is sorted after the other events of that time.
        lines.sort_by_key(|(time, event)| (*time, is_lost_at_once(event)));
        lines
    }

    fn shows(&self, what: &What) -> bool {
        match what {
            What::Message(sent) => {
                let is_heartbeat = sent.description.kind == MessageKind::Heartbeat;
                let is_ours = self.nodes.contains(&sent.from) && self.nodes.contains(&sent.to);
                is_ours && (self.shows_heartbeats || !is_heartbeat)
            }
            What::State(node, _) | What::Applied { node, .. } => self.nodes.contains(node),
            What::Mark { nodes, .. } => {
                nodes.is_empty() || nodes.iter().any(|node| self.nodes.contains(node))
            }
        }
    }

    /// The number of heartbeats without a line.
    fn hidden(&self) -> usize {
        if self.shows_heartbeats {
            return 0;
        }
        let is_hidden = |event: &&TraceEvent| matches!(&event.what, What::Message(sent) if sent.description.kind == MessageKind::Heartbeat);
        self.trace.events.iter().filter(is_hidden).count()
    }

    fn write_heading(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes = Lanes::new(self.nodes.len());
        let mut columns = lanes.blank();
        for (lane, node) in self.nodes.iter().enumerate() {
            let name = node.to_string();
            for (at, letter) in name.chars().enumerate() {
                columns[lanes.center(lane) + at] = letter;
            }
        }
        let lanes: String = columns.into_iter().collect();
        writeln!(formatter, "{:>10} {}", "ms", lanes.trim_end())
    }

    fn write_line(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        time: u64,
        event: &TraceEvent,
        states: &BTreeMap<NodeId, LaneState>,
    ) -> fmt::Result {
        let lanes = Lanes::new(self.nodes.len());
        let mut columns = lanes.blank();
        for (lane, node) in self.nodes.iter().enumerate() {
            let state = states.get(node).copied().unwrap_or_default();
            // A run that records no messages does not record the states of the nodes either.
            columns[lanes.center(lane)] = if self.trace.has_messages { state.letter() } else { '|' };
        }
        let lane = |node: &NodeId| self.nodes.iter().position(|it| it == node);
        let touched: Vec<usize> = match &event.what {
            What::Message(sent) => {
                if let (Some(from), Some(to)) = (lane(&sent.from), lane(&sent.to)) {
                    lanes.draw_arrow(&mut columns, from, to, sent);
                }
                Vec::new()
            }
            What::State(node, _) | What::Applied { node, .. } => lane(node).into_iter().collect(),
            What::Mark { nodes, .. } => nodes.iter().filter_map(lane).collect(),
        };
        for lane in touched {
            let center = lanes.center(lane);
            (columns[center - 1], columns[center + 1]) = ('[', ']');
        }
        let columns: String = columns.into_iter().collect();
        let text = event_text(event);
        writeln!(formatter, "{:>6}.{:03} {columns} {text}", time / 1_000_000, time / 1000 % 1000)
    }
}

impl fmt::Display for Drawing<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut states = self.trace.before.clone();
        for (number, (time, event)) in self.lines().into_iter().enumerate() {
            if number % HEADING_EVERY == 0 {
                self.write_heading(formatter)?;
            }
            if let What::State(node, state) = event.what {
                states.insert(node, state);
            }
            self.write_line(formatter, time, event, &states)?;
        }
        if self.trace.left_out > 0 && self.trace.has_messages {
            writeln!(formatter, "left out: {} older events", self.trace.left_out)?;
        }
        if self.hidden() > 0 {
            writeln!(formatter, "hidden: {} heartbeats", self.hidden())?;
        }
        Ok(())
    }
}

/// The time at which an event takes effect, in ns since the beginning of the run.
fn moment(event: &TraceEvent) -> u64 {
    match &event.what {
        What::Message(Sent { fate: Fate::UnderWay(at) | Fate::Arrived(at) | Fate::Lost(at, _), .. }) => *at,
        _ => event.at,
    }
}

const fn is_lost_at_once(event: &TraceEvent) -> bool {
    matches!(&event.what, What::Message(Sent { fate: Fate::Lost(at, _), .. }) if *at == event.at)
}

/// The text of an event.
pub(super) fn event_text(event: &TraceEvent) -> String {
    match &event.what {
        What::Message(sent) => message_text(event.at, sent),
        What::State(node, state) => format!("node {node} {}", state_text(*state)),
        What::Applied { node, first, last } if first == last => format!("node {node} applies {first}"),
        What::Applied { node, first, last } => format!("node {node} applies {first}..{last}"),
        What::Mark { kind: MarkKind::Broken, text, .. } => format!("BROKEN: {text}"),
        What::Mark { nodes, text, .. } => match nodes.as_slice() {
            [] => text.clone(),
            [node] => format!("node {node}: {text}"),
            nodes => {
                let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                format!("nodes {}: {text}", names.join(", "))
            }
        },
    }
}

fn message_text(at: u64, sent: &Sent) -> String {
    let again = if sent.is_double { ", again" } else { "" };
    let end = match sent.fate {
        Fate::UnderWay(_) => "under way".to_owned(),
        Fate::Arrived(arrived) => {
            let micros = arrived.saturating_sub(at) / 1000;
            format!("{}.{} ms", micros / 1000, micros / 100 % 10)
        }
        Fate::Lost(_, loss) => loss.text().to_owned(),
    };
    format!("{} [{end}{again}]", sent.description.text)
}

/// The positions of the lanes.
struct Lanes {
    count: usize,
    width: usize,
}

impl Lanes {
    /// The lanes of `count` nodes. More nodes get narrower lanes: nearly every line with five nodes fits in a
    /// terminal of 120 columns.
    const fn new(count: usize) -> Self {
        let width = match count {
            0..=3 => 11,
            4 => 8,
            _ => 6,
        };
        Self { count, width }
    }

    fn blank(&self) -> Vec<char> {
        vec![' '; self.count * self.width]
    }

    const fn center(&self, lane: usize) -> usize {
        lane * self.width + self.width / 2
    }

    fn draw_arrow(&self, columns: &mut [char], from: usize, to: usize, sent: &Sent) {
        let (start, end) = (self.center(from), self.center(to));
        let is_rightwards = start < end;
        let between = if is_rightwards { start + 1..end } else { end + 1..start };
        let line = if sent.description.kind == MessageKind::Heartbeat { '┄' } else { '─' };
        for at in between {
            columns[at] = if columns[at] == ' ' { line } else { '┼' };
        }
        let last = if is_rightwards { end - 1 } else { end + 1 };
        match sent.fate {
            // The message did not reach its receiver, so the arrow ends half a lane before the receiver's
            // lane.
            Fate::Lost(_, Loss::Weather | Loss::Cut) => {
                let cross = if is_rightwards { end - self.width / 2 } else { end + self.width / 2 };
                let rest = if is_rightwards { cross..end } else { end + 1..cross + 1 };
                columns[rest].fill(' ');
                columns[cross] = '✗';
            }
            Fate::Lost(..) => columns[last] = '✗',
            Fate::UnderWay(_) | Fate::Arrived(_) => columns[last] = if is_rightwards { '▶' } else { '◀' },
        }
    }
}
