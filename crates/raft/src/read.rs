//! Reads that wait for the confirmation of a majority. A read is requested again until its answer arrives.
//!
//! A request contains the node, the incarnation of its process and the read's number, so an answer to an
//! earlier incarnation is never used for this one. A late or duplicated answer is still right: the index that
//! it names covers every entry that was committed when the read was requested.

use std::collections::BTreeMap;

use bezant_consensus::ReadNumber;
use bezant_types::NodeId;

/// Ticks after which a read is requested again.
const RETRY_TICKS: u32 = 5;

/// The bytes that a request carries to the leader and back.
fn context(node: NodeId, incarnation: u64, read: ReadNumber) -> Vec<u8> {
    [node.0, incarnation, read.0].iter().flat_map(|part| part.to_le_bytes()).collect()
}

/// The node, the incarnation and the read in a context; `None` for a context that this engine never makes.
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
    /// Ticks since each read was requested.
    waiting: BTreeMap<ReadNumber, u32>,
}

impl Reads {
    pub(crate) const fn new(node: NodeId, incarnation: u64) -> Self {
        Self { node, incarnation, waiting: BTreeMap::new() }
    }

    /// Adds a read, and returns the context to send for it.
    pub(crate) fn ask(&mut self, read: ReadNumber) -> Vec<u8> {
        self.waiting.insert(read, 0);
        context(self.node, self.incarnation, read)
    }

    /// Handles a tick, and returns the contexts to send again.
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

    /// The contexts to send again after the leader changed: the old leader may never answer.
    pub(crate) fn ask_again(&self) -> Vec<Vec<u8>> {
        self.waiting.keys().map(|read| context(self.node, self.incarnation, *read)).collect()
    }

    /// Handles an answer, and returns the read if it was waiting.
    pub(crate) fn answer(&mut self, context: &[u8]) -> Option<ReadNumber> {
        let (node, incarnation, read) = context_parts(context)?;
        let is_ours = node == self.node && incarnation == self.incarnation;
        (is_ours && self.waiting.remove(&read).is_some()).then_some(read)
    }
}
