//! The operator's actions in the world, and the answers to them.

use bezant_consensus::{Members, decode_outcome};
use bezant_replica::{Input, Output, Ticket, change_command};
use bezant_types::NodeId;

use super::{Event, MILLI, World};
use crate::bug::FlawedLedger;
use crate::host::Host;
use crate::operator::Step;
use crate::trace::MarkKind;

impl World {
    /// The newest membership that a running process has, or a disk records.
    pub(super) fn newest_members(&self) -> Members {
        let known = self.hosts.values().filter_map(Host::members);
        known.max_by_key(|members| members.index).unwrap_or_default()
    }

    /// The operator takes its next step.
    pub(super) fn operate(&mut self) -> Result<(), String> {
        let Some(step) = self.operator.step() else { return Ok(()) };
        let at = self.time + self.random.between(50 * MILLI, 300 * MILLI);
        self.at(at, Event::Operate);
        if let Step::LoseDisk(node) = step {
            if !self.may_damage(node) {
                return Ok(());
            }
            self.mark(MarkKind::Disk, node, || "its disk is lost for good".to_owned());
            self.host(node).lose_disk();
            self.notify_lost(node);
            self.report.operator_steps += 1;
            self.operator.advance();
            return Ok(());
        }
        if !self.operator.may_ask(self.time) {
            return Ok(());
        }
        let members = self.newest_members();
        let voters: Vec<NodeId> = members.voters().collect();
        if let Some(change) = self.operator.change(&voters, &mut self.random) {
            self.last_ticket += 1;
            let ticket = Ticket(self.last_ticket);
            self.operator.ask(ticket, self.time);
            // A machine that is down refuses the connection, and the operator asks another one at once.
            let up: Vec<NodeId> =
                self.nodes.iter().copied().filter(|node| self.hosts[node].is_up()).collect();
            let node = self.random.pick(&up).copied().unwrap_or(NodeId(1));
            let meant = change.member().and_then(|meant| members.get(meant).map(|member| member.since));
            let command = change_command(&change, meant.unwrap_or_default());
            self.give(node, None, Input::Request { ticket, command })?;
        }
        Ok(())
    }

    /// The operator receives the outcome of a change.
    pub(super) fn answer_operator(&mut self, output: &Output<FlawedLedger>) -> Result<(), String> {
        let Output::Answer { results, .. } = output else {
            self.operator.handle_refusal();
            return Ok(());
        };
        let outcome = decode_outcome(results).ok_or("the answer to a change cannot be decoded")?;
        let step = self.operator.step();
        let is_made = self.operator.handle_answer(outcome);
        let text = format!("the operator asked for {step:?} and receives {outcome:?}");
        self.recorder.mark(MarkKind::Operator, Vec::new(), || text);
        if !is_made {
            return Ok(());
        }
        if let Some(Step::Add(node)) = step {
            // A node that joins gets the members from a running member. If that member does not have the
            // change yet, the step is repeated.
            let members = self.newest_members();
            if members.get(node).is_none() {
                return Ok(());
            }
            if !self.host(node).is_placed() {
                self.host(node).mend_disk();
                self.host(node).place(&members, false)?;
                self.start(node)?;
            }
        }
        self.report.operator_steps += 1;
        self.operator.advance();
        Ok(())
    }
}
