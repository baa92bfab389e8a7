//! The operator of the cluster: it changes the membership during the faults, one step after another.
//!
//! It uses only what a real operator has: its present step, and the answers. Without an answer it repeats the
//! request. An answer that the change was made before counts as success.

use std::collections::VecDeque;

use bezant_consensus::{Change, ChangeError};
use bezant_replica::Ticket;
use bezant_types::NodeId;

use crate::random::Random;

/// A step of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Adds a machine with an empty disk as a learner.
    Add(NodeId),
    /// Records the machine's disk in the membership.
    Meet(NodeId),
    /// Makes the learner a voter.
    Promote(NodeId),
    /// Removes the member.
    Remove(NodeId),
    /// Loses the disk for good; the machine is down until it is added again.
    LoseDisk(NodeId),
    /// Transfers leadership to the node, if possible.
    Lead(NodeId),
}

/// The remaining steps.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    steps: VecDeque<Step>,
    /// The request that waits for its answer, and its time in ns.
    asked: Option<(Ticket, u64)>,
    /// True when the node that is to be removed leads, so that leadership must be transferred first.
    must_move_lead: bool,
}

/// How long the operator waits for an answer, in ns.
const ANSWER_TIMEOUT: u64 = 1_000_000_000;

impl Operator {
    /// Plans steps for a cluster of the nodes 1 to `count`, and one spare machine with the next number.
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

    /// The present step; `None` when all are done.
    pub(crate) fn step(&self) -> Option<Step> {
        self.steps.front().copied()
    }

    /// True when no request waits for its answer, or it has waited too long.
    pub(crate) fn may_ask(&self, time: u64) -> bool {
        self.asked.is_none_or(|(_, since)| since + ANSWER_TIMEOUT <= time)
    }

    /// The next request. `others` are the nodes that could lead instead of the node that is to be removed.
    pub(crate) fn change(&self, others: &[NodeId], random: &mut Random) -> Option<Change> {
        match self.step()? {
            Step::Add(node) => Some(Change::Add { node, address: format!("machine{node}:1") }),
            // Real nodes request this themselves when they meet.
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

    /// Records that the request was sent.
    pub(crate) fn ask(&mut self, ticket: Ticket, time: u64) {
        self.asked = Some((ticket, time));
    }

    /// True for the ticket of the operator's request.
    pub(crate) fn waits_for(&self, ticket: Ticket) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == ticket)
    }

    /// The request was refused, or its outcome is not known.
    pub(crate) fn handle_refusal(&mut self) {
        self.asked = None;
    }

    /// An answer arrived. Returns true when the step is done, by this request or an earlier one.
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
            // A leadership transfer is optional: its failure is no reason to wait.
            | (Some(Step::Lead(_)), _) => true,
            (_, outcome) => outcome.is_ok(),
        }
    }

    /// Goes on to the next step.
    pub(crate) fn advance(&mut self) {
        self.steps.pop_front();
    }
}
