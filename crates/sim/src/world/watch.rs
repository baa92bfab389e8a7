//! Looks at what happens, for the recorder, and changes nothing.

use bezant_replica::{Consistency, Input, Output, PeerMessage, Refusal};
use bezant_types::NodeId;

use super::{EPOCH, Event, World};
use crate::bug::FlawedLedger;
use crate::client::Wanted;
use crate::host::Host;
use crate::trace::{LaneState, Loss, MarkKind};

impl World {
    /// This is about to happen.
    pub(super) fn watch_event(&mut self, event: &Event) {
        self.recorder.set_time(self.time - EPOCH);
        if !self.recorder.is_watching() {
            return;
        }
        match event {
            Event::Deliver { from, disk, to, number, .. } => {
                let is_known = self.hosts.get(from).is_some_and(|host| host.disks == *disk);
                let is_up = self.hosts.get(to).is_some_and(Host::is_up);
                let loss = (!is_up).then_some(Loss::Down);
                self.recorder.arrive(*number, if is_known { loss } else { Some(Loss::OtherDisk) });
            }
            Event::Node(node, life, input) if self.host(*node).lives == *life => {
                self.watch_input(*node, input);
            }
            Event::Ask { node, ticket } => {
                let is_up = self.hosts.get(node).is_some_and(Host::is_up);
                if let Some((client, call)) = self.tickets.get(ticket) {
                    let nobody = if is_up { "" } else { " (nobody there)" };
                    let text = format!("client {} asks: {}{nobody}", client + 1, wish_text(&call.wanted));
                    self.recorder.ask(*node, *ticket, text);
                }
            }
            Event::Shown { ticket, index, rows } => {
                if let Some((client, _)) = self.tickets.get(ticket) {
                    let text =
                        format!("client {} hears: {} transfers behind entry {index}", client + 1, rows.len());
                    self.recorder.tell(*ticket, text);
                }
            }
            Event::Told { ticket, output } => {
                if let Some((client, _)) = self.tickets.get(ticket) {
                    let text = format!("client {} hears: {}", client + 1, answer_text(output));
                    self.recorder.tell(*ticket, text);
                }
            }
            _ => {}
        }
    }

    fn watch_input(&mut self, node: NodeId, input: &Input<FlawedLedger>) {
        let text = match input {
            Input::CheckpointWritten { index, .. } => format!("checkpoint {index} is durable"),
            Input::CheckpointAbandoned(index) => format!("checkpoint {index} is abandoned"),
            Input::Installed => "a checkpoint of a peer is in place".to_owned(),
            Input::InstallFailed => "what came of a peer's checkpoint is of no use".to_owned(),
            Input::Admit => "has caught up, and may vote".to_owned(),
            _ => return,
        };
        self.mark(MarkKind::Checkpoint, node, || text);
    }

    /// A message that the network takes to nobody.
    pub(super) fn watch_loss(&mut self, from: NodeId, to: NodeId, message: &PeerMessage) {
        let loss = if self.net.cut_by(from, to).is_some() { Loss::Cut } else { Loss::Weather };
        self.recorder.lose(from, to, message, loss);
    }

    /// Something happened: what are the machines now?
    pub(super) fn watch_nodes(&mut self) {
        if !self.recorder.is_watching() {
            return;
        }
        for (node, host) in &self.hosts {
            let (state, applied) = match host.node() {
                None => (LaneState::Down, None),
                Some(it) if host.paused_until > self.time => (LaneState::Paused, Some(it.applied())),
                Some(it) => {
                    let standing = it.standing();
                    (LaneState::Up(standing.role, standing.term), Some(it.applied()))
                }
            };
            self.recorder.observe(*node, state, applied);
        }
    }
}

fn wish_text(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Write(command) if command.events == 0 => "open a session".to_owned(),
        Wanted::Write(command) if command.events == 1 => "write 1 event".to_owned(),
        Wanted::Write(command) => format!("write {} events", command.events),
        Wanted::Read(consistency) => format!("read{}", how_fresh(*consistency)),
        Wanted::ReadHistory(consistency, ids) => {
            format!("read {} transfers{}", ids.len(), how_fresh(*consistency))
        }
    }
}

fn how_fresh(consistency: Consistency) -> String {
    match consistency {
        Consistency::Linearizable => String::new(),
        Consistency::AtLeast(index) => format!(", at least entry {index}"),
        Consistency::Stale => ", however old".to_owned(),
    }
}

fn answer_text(output: &Output<FlawedLedger>) -> String {
    match output {
        Output::Answer { index, .. } => format!("done in entry {index}"),
        Output::QueryAnswer { index, .. } => format!("balances behind entry {index}"),
        Output::Refuse { refusal, .. } => match refusal {
            Refusal::Overloaded => "refused, too much waits".to_owned(),
            Refusal::ReadOnly(_) => "refused, no writes here".to_owned(),
            Refusal::NotTaken(_) => "refused, nothing was done".to_owned(),
            Refusal::NoLeader => "refused, nobody leads".to_owned(),
            Refusal::Interrupted => "not known, the leader changed".to_owned(),
            Refusal::NoState(_) => "refused, no state yet".to_owned(),
        },
        _ => "something else".to_owned(),
    }
}
