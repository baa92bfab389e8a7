//! Every replica compares the digests of its checkpoints with those of the others. A replica whose state
//! differs takes no further part in the group.

use alloc::vec::Vec;

use bezant_consensus::Engine;
use bezant_rsm::StateMachine;
use bezant_types::{LogIndex, NodeId};

use crate::digests::Verdict;
use crate::event::Output;
use crate::replica::Replica;

impl<M: StateMachine, E: Engine> Replica<M, E> {
    pub(crate) fn handle_digest(&mut self, from: NodeId, index: LogIndex, digest: [u8; 32]) {
        let voters: Vec<NodeId> = self.engine.members().voters().collect();
        let verdict = self.digests.push(from, index, digest, &voters);
        if self.has_diverged {
            return;
        }
        let (is_outvoted, what, advice) = match verdict {
            Verdict::Fine => return,
            Verdict::Differs(others) => {
                self.outputs.push_back(Output::Differs { index, others });
                return;
            }
            Verdict::Outvoted => (
                true,
                "is not that of the majority",
                "Stop it and keep a copy of its folder for analysis. When it starts again, it fetches \
                 everything from the others, which continue without it",
            ),
            Verdict::Split => (
                false,
                "differs from the states of other voters, and no majority has the same state",
                "The other voters stop as well. Keep copies of all folders: the operator must find out which \
                 state is right. A state machine that depends on a clock, or on the order of a hash map, can \
                 cause this",
            ),
        };
        let reason = alloc::format!(
            "this replica's state after entry {index} {what}. It no longer takes part in the cluster. {advice}"
        );
        self.has_diverged = true;
        self.outputs.push_back(Output::Diverged { index, is_outvoted, reason: reason.clone() });
        self.handle_failed(reason);
    }
}
