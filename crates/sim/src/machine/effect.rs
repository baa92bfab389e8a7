//! The types of a simulated replica, and what the world must carry out for it.

use bezant_consensus::Engine;
use bezant_replica::{Input, Output, PeerMessage, Replica, Ticket};
use bezant_storage::HistoryAnswer;
use bezant_types::{LogIndex, NodeId};

use crate::bug::{FlawedEngine, FlawedLedger};

/// The replica of a simulated node: the real one, with wrappers that can add a bug.
pub(crate) type SimReplica = Replica<FlawedLedger, FlawedEngine<Box<dyn Engine + Send>>>;
pub(super) type SimInput = Input<FlawedLedger>;
pub(super) type SimOutput = Output<FlawedLedger>;

/// What the world must carry out for a replica.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send this to a peer.
    Send(NodeId, PeerMessage),
    /// Flush the log after some time: it has a new write.
    Flush,
    /// Pass this to the replica after some time.
    Later(SimInput),
    /// Send this answer to its client.
    Reply(SimOutput),
    /// Send these rows of the history to the client.
    Show { ticket: Ticket, index: LogIndex, rows: HistoryAnswer },
    /// A peer's state could not be read: check that a fault explains it.
    Unreadable { from: NodeId, reason: String },
}
