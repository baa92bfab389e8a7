//! The operator's actions in the world, and the answers to them.

use bezant_consensus::{Members, decode_outcome};
use bezant_replica::{Input, Output, Ticket, change_command};
use bezant_types::{GroupId, NodeId};

use super::{Event, MILLI, World};
use crate::bug::FlawedLedger;
use crate::machine::ReplicaId;
use crate::operator::Step;
use crate::trace::MarkKind;

impl World {
    /// The newest membership of a group that a running process has, or a disk records.
    pub(super) fn newest_members(&self, group: GroupId) -> Members {
        let known = self.machines.values().filter_map(|machine| machine.members(group));
        known.max_by_key(|members| members.index).unwrap_or_default()
    }

    /// The operator of a group takes its next step.
    pub(super) fn operate(&mut self, group: GroupId) -> Result<(), String> {
        let Some(step) = self.group(group).operator.step() else { return Ok(()) };
        let at = self.time + self.random.between(50 * MILLI, 300 * MILLI);
        self.at(at, Event::Operate(group));
        if let Step::LoseDisk(node) = step {
            if !self.may_damage(node) {
                return Ok(());
            }
            self.mark(MarkKind::Disk, node, || "its disk is lost for good".to_owned());
            self.machine(node).lose_disk();
            self.notify_lost(node);
            self.report.operator_steps += 1;
            self.group(group).operator.advance();
            return Ok(());
        }
        let time = self.time;
        if !self.group(group).operator.may_ask(time) {
            return Ok(());
        }
        let members = self.newest_members(group);
        let voters: Vec<NodeId> = members.voters().collect();
        let Some(run) = self.groups.get_mut(&group) else { return Ok(()) };
        if let Some(change) = run.operator.change(&voters, &mut self.random) {
            self.last_ticket += 1;
            let ticket = Ticket(self.last_ticket);
            run.operator.ask(ticket, time);
            // A machine that is down refuses the connection, and the operator asks another one at once.
            let up: Vec<NodeId> =
                self.nodes.iter().copied().filter(|node| self.machines[node].is_up()).collect();
            let node = self.random.pick(&up).copied().unwrap_or(NodeId(1));
            let meant = change.member().and_then(|meant| members.get(meant).map(|member| member.since));
            let command = change_command(&change, meant.unwrap_or_default());
            self.give(ReplicaId { node, group }, None, Input::Request { ticket, command })?;
        }
        Ok(())
    }

    /// The operator receives the outcome of a change.
    pub(super) fn answer_operator(
        &mut self,
        group: GroupId,
        output: &Output<FlawedLedger>,
    ) -> Result<(), String> {
        let operator = &mut self.group(group).operator;
        let Output::Answer { results, .. } = output else {
            operator.handle_refusal();
            return Ok(());
        };
        let outcome = decode_outcome(results).ok_or("the answer to a change cannot be decoded")?;
        let step = operator.step();
        let is_made = operator.handle_answer(outcome);
        let text = format!("the operator asked for {step:?} and receives {outcome:?}");
        self.recorder.mark(MarkKind::Operator, Vec::new(), || text);
        if !is_made {
            return Ok(());
        }
        if let Some(Step::Add(node)) = step {
            // A node that joins gets the members from a running member. If that member does not have the
            // change yet, the step is repeated.
            let members = self.newest_members(group);
            if members.get(node).is_none() {
                return Ok(());
            }
            if !self.machine(node).is_placed() {
                self.machine(node).mend_disk();
                self.machine(node).place(group, &members, false)?;
                self.start(node)?;
            }
        }
        self.report.operator_steps += 1;
        self.group(group).operator.advance();
        Ok(())
    }
}
