//! The operator of the cluster: changes who takes part, one step after the other, whatever goes wrong meanwhile.
//!
//! It knows what an operator knows: which step it is at, and what it was told. One that was not told whether a
//! step was made asks again, and takes "that is so already" for yes.

use std::collections::VecDeque;

use bezant_consensus::{Change, ChangeError};
use bezant_replica::Ticket;
use bezant_types::NodeId;

use crate::random::Random;

/// Something that an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A machine with an empty disk takes part, without a vote.
    Add(NodeId),
    /// Its disk is agreed.
    Meet(NodeId),
    /// It gets a vote.
    Promote(NodeId),
    /// It takes part no more.
    Remove(NodeId),
    /// Its disk is lost for good, and the machine is down until it is added again.
    LoseDisk(NodeId),
    /// It leads, if it can.
    Lead(NodeId),
}

/// What is left to be done.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    steps: VecDeque<Step>,
    /// The question that waits for its answer, and since when.
    asked: Option<(Ticket, u64)>,
    /// The node that is to be removed leads: another one must first.
    must_move_lead: bool,
}

/// How long the operator waits for an answer, in ns.
const PATIENCE: u64 = 1_000_000_000;

impl Operator {
    /// Plans for a cluster of `count` nodes, numbered from 1 on, and one spare machine with the number after them.
    pub(crate) fn draw(random: &mut Random, count: u64) -> Self {
        let mut steps = VecDeque::new();
        let spare = NodeId(count + 1);
        let node = |random: &mut Random| NodeId(random.between(1, count + 1));
        if random.per_mille(600) {
            let lost = node(random);
            steps.extend([Step::LoseDisk(lost), Step::Remove(lost)]);
            steps.extend([Step::Add(lost), Step::Meet(lost), Step::Promote(lost)]);
        }
        if random.per_mille(700) {
            steps.extend([Step::Add(spare), Step::Meet(spare), Step::Promote(spare)]);
            if random.per_mille(700) {
                let leaves = if random.per_mille(200) { spare } else { node(random) };
                steps.push_back(Step::Remove(leaves));
            }
        }
        if random.per_mille(400) {
            steps.push_front(Step::Lead(node(random)));
        }
        Self { steps, ..Self::default() }
    }

    /// The step that it is at; `None` when all is done.
    pub(crate) fn step(&self) -> Option<Step> {
        self.steps.front().copied()
    }

    /// True when there is nothing to wait for.
    pub(crate) fn may_ask(&self, time: u64) -> bool {
        self.asked.is_none_or(|(_, since)| since + PATIENCE <= time)
    }

    /// What to ask for now. `others` are those that could lead instead of a node that is to be removed.
    pub(crate) fn change(&self, others: &[NodeId], random: &mut Random) -> Option<Change> {
        match self.step()? {
            Step::Add(node) => Some(Change::Add { node, address: format!("machine{node}:1") }),
            // Real nodes ask for this by themselves when they meet.
            Step::Meet(node) => Some(Change::Meet { node, disk: 1 }),
            Step::Promote(node) => Some(Change::Promote(node)),
            Step::Remove(node) if self.must_move_lead => {
                let others: Vec<NodeId> = others.iter().copied().filter(|other| *other != node).collect();
                random.pick(&others).map(|other| Change::Lead(*other))
            }
            Step::Remove(node) => Some(Change::Remove(node)),
            Step::Lead(node) => Some(Change::Lead(node)),
            Step::LoseDisk(_) => None,
        }
    }

    /// The question is on its way.
    pub(crate) fn ask(&mut self, ticket: Ticket, time: u64) {
        self.asked = Some((ticket, time));
    }

    /// True when that is the operator's question.
    pub(crate) fn waits_for(&self, ticket: Ticket) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == ticket)
    }

    /// It was refused, or nobody could say.
    pub(crate) fn handle_refusal(&mut self) {
        self.asked = None;
    }

    /// An answer came; true when the step was made, now or before.
    pub(crate) fn handle_answer(&mut self, outcome: Result<(), ChangeError>) -> bool {
        self.asked = None;
        let moved_lead = std::mem::take(&mut self.must_move_lead);
        match (self.step(), outcome) {
            (Some(Step::Remove(_)), Err(ChangeError::Leads)) => {
                self.must_move_lead = true;
                false
            }
            (Some(Step::Remove(_)), Ok(())) => !moved_lead,
            (Some(Step::Remove(_)), Err(ChangeError::Unknown))
            | (Some(Step::Add(_) | Step::Meet(_)), Err(ChangeError::Known))
            | (Some(Step::Promote(_)), Err(ChangeError::Votes))
            // Whom to lead is a wish, and not worth waiting for.
            | (Some(Step::Lead(_)), _) => true,
            (_, outcome) => outcome.is_ok(),
        }
    }

    /// The step was made.
    pub(crate) fn advance(&mut self) {
        self.steps.pop_front();
    }
}
