//! The state of a replica that lacks entries which its leader no longer has: it fetches a checkpoint instead.
//!
//! The snapshot message of raft-rs only announces that a checkpoint is needed. The checkpoint itself is
//! transferred outside of the engine, in pieces that the replica requests. Meanwhile the replica ignores
//! entries from the leader, because its log will restart after the checkpoint. The leader counts the snapshot
//! as delivered at once and probes the replica with every heartbeat. So a replica that restarts or ends the
//! transfer needs no further messages to continue.

use bezant_types::{LogIndex, NodeId, Term};
use raft::eraftpb::{ConfState, Message, MessageType, Snapshot};

/// Whether a checkpoint transfer is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installing {
    No,
    /// A checkpoint of this index or a later one is being fetched.
    Yes(LogIndex),
}

impl Installing {
    /// True for messages that are ignored until the checkpoint is installed.
    pub(crate) fn ignores(self, message: &Message) -> bool {
        let is_log = matches!(message.get_msg_type(), MessageType::MsgAppend | MessageType::MsgSnapshot);
        self != Self::No && is_log
    }
}

/// The snapshot message that a leader would have sent for the installed checkpoint.
pub(crate) fn snapshot_message(
    node: NodeId,
    leader: u64,
    term: u64,
    installed: (LogIndex, Term),
    members: ConfState,
) -> Message {
    let mut message = Message { to: node.0, from: leader, term, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(snapshot(installed, members));
    message
}

/// A checkpoint as a raft-rs snapshot without data.
pub(crate) fn snapshot(installed: (LogIndex, Term), members: ConfState) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = installed.0.0;
    metadata.term = installed.1.0;
    metadata.set_conf_state(members);
    snapshot
}
