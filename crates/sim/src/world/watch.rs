//! Observes the run for the recorder, and changes nothing.

use bezant_replica::{Consistency, Input, Output, PeerMessage, Refusal};
use bezant_types::NodeId;

use super::{Event, GROUP, World};
use crate::bug::FlawedLedger;
use crate::client::Wanted;
use crate::machine::{Machine, ReplicaId};
use crate::time::EPOCH;
use crate::trace::{LaneState, Loss, MarkKind};

impl World {
    /// Records an event that is about to happen.
    pub(super) fn watch_event(&mut self, event: &Event) {
        self.recorder.set_time(self.time - EPOCH);
        if !self.recorder.is_watching() {
            return;
        }
        match event {
            Event::Deliver { from, disk, to, number, .. } => {
                let is_known = self.machines.get(from).is_some_and(|machine| machine.disks == *disk);
                let is_up = self.machines.get(to).is_some_and(Machine::is_up);
                let loss = (!is_up).then_some(Loss::Down);
                self.recorder.arrive(*number, if is_known { loss } else { Some(Loss::OtherDisk) });
            }
            Event::Input(ReplicaId { node, .. }, incarnation, input)
                if self.machine(*node).incarnations == *incarnation =>
            {
                self.watch_input(*node, input);
            }
            Event::Ask { replica: ReplicaId { node, group }, ticket } => {
                let is_up = self.machines.get(node).is_some_and(Machine::is_up);
                if let Some((client, call)) = self.groups[group].tickets.get(ticket) {
                    let down = if is_up { "" } else { " (the node is down)" };
                    let text = format!("client {} asks: {}{down}", client + 1, request_text(&call.wanted));
                    self.recorder.ask(*node, *ticket, text);
                }
            }
            Event::History { group, ticket, index, rows } => {
                if let Some((client, _)) = self.groups[group].tickets.get(ticket) {
                    let text = format!(
                        "client {} receives: {} transfers after entry {index}",
                        client + 1,
                        rows.len()
                    );
                    self.recorder.answer(*ticket, text);
                }
            }
            Event::Answer { group, ticket, output } => {
                if let Some((client, _)) = self.groups[group].tickets.get(ticket) {
                    let text = format!("client {} receives: {}", client + 1, answer_text(output));
                    self.recorder.answer(*ticket, text);
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
            Input::InstallFailed => "a peer's checkpoint could not be used".to_owned(),
            Input::Admit => "has caught up, and may vote".to_owned(),
            _ => return,
        };
        self.mark(MarkKind::Checkpoint, node, || text);
    }

    /// Records a message that the network drops.
    pub(super) fn watch_loss(&mut self, from: NodeId, to: NodeId, message: &PeerMessage) {
        let loss = if self.net.cut_by(from, to).is_some() { Loss::Cut } else { Loss::Weather };
        self.recorder.lose(from, to, message, loss);
    }

    /// Records the present state of the machines.
    pub(super) fn watch_nodes(&mut self) {
        if !self.recorder.is_watching() {
            return;
        }
        for (node, machine) in &self.machines {
            let (state, applied) = match machine.replica(GROUP) {
                None => (LaneState::Down, None),
                Some(it) if machine.paused_until > self.time => (LaneState::Paused, Some(it.applied())),
                Some(it) => {
                    let standing = it.standing();
                    (LaneState::Up(standing.role, standing.term), Some(it.applied()))
                }
            };
            self.recorder.observe(*node, state, applied);
        }
    }
}

fn request_text(wanted: &Wanted) -> String {
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
        Consistency::Stale => ", stale".to_owned(),
    }
}

fn answer_text(output: &Output<FlawedLedger>) -> String {
    match output {
        Output::Answer { index, .. } => format!("done in entry {index}"),
        Output::QueryAnswer { index, .. } => format!("balances after entry {index}"),
        Output::Refuse { refusal, .. } => match refusal {
            Refusal::Overloaded => "refused, overloaded".to_owned(),
            Refusal::ReadOnly(_) => "refused, read-only".to_owned(),
            Refusal::NotTaken(_) => "refused, nothing was done".to_owned(),
            Refusal::NoLeader => "refused, no leader".to_owned(),
            Refusal::Interrupted => "unknown, the leader changed".to_owned(),
            Refusal::NoState(_) => "refused, no state yet".to_owned(),
        },
        _ => "something else".to_owned(),
    }
}
