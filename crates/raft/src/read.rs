//! Reads that wait for a majority's word, and are asked for again when it does not come.
//!
//! A request carries the node, its life and the read's number, so that an answer to an earlier life of this
//! node is never taken for one to this. An answer that comes late, or twice, still names an index at or
//! behind everything that was committed when the read was asked for.

use std::collections::BTreeMap;

use bezant_consensus::ReadNumber;
use bezant_types::NodeId;

/// Ticks after which a read is asked for again.
const RETRY_TICKS: u32 = 5;

/// What a request carries to the leader and back.
fn context(node: NodeId, incarnation: u64, read: ReadNumber) -> Vec<u8> {
    [node.0, incarnation, read.0].iter().flat_map(|part| part.to_le_bytes()).collect()
}

/// The node, the life and the read that a context names; `None` for one that this engine never makes.
pub(crate) fn context_parts(context: &[u8]) -> Option<(NodeId, u64, ReadNumber)> {
    let (parts, []) = context.as_chunks::<8>() else { return None };
    let [node, incarnation, read] = *parts else { return None };
    Some((
        NodeId(u64::from_le_bytes(node)),
        u64::from_le_bytes(incarnation),
        ReadNumber(u64::from_le_bytes(read)),
    ))
}

/// Reads without an answer.
#[derive(Debug)]
pub(crate) struct Reads {
    node: NodeId,
    incarnation: u64,
    /// Ticks since each was asked for.
    waiting: BTreeMap<ReadNumber, u32>,
}

impl Reads {
    pub(crate) const fn new(node: NodeId, incarnation: u64) -> Self {
        Self { node, incarnation, waiting: BTreeMap::new() }
    }

    /// Takes a read; what to send for it.
    pub(crate) fn ask(&mut self, read: ReadNumber) -> Vec<u8> {
        self.waiting.insert(read, 0);
        context(self.node, self.incarnation, read)
    }

    /// Time went on: what to send again.
    pub(crate) fn tick(&mut self) -> Vec<Vec<u8>> {
        let mut again = Vec::new();
        for (read, ticks) in &mut self.waiting {
            *ticks += 1;
            if ticks.is_multiple_of(RETRY_TICKS) {
                again.push(context(self.node, self.incarnation, *read));
            }
        }
        again
    }

    /// The leader changed: what was sent to the old one may never be answered.
    pub(crate) fn ask_again(&self) -> Vec<Vec<u8>> {
        self.waiting.keys().map(|read| context(self.node, self.incarnation, *read)).collect()
    }

    /// An answer: the read, when one waits for it.
    pub(crate) fn answer(&mut self, context: &[u8]) -> Option<ReadNumber> {
        let (node, incarnation, read) = context_parts(context)?;
        let is_ours = node == self.node && incarnation == self.incarnation;
        (is_ours && self.waiting.remove(&read).is_some()).then_some(read)
    }
}
