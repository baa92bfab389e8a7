//! A replica whose missing entries are gone everywhere: it fetches a checkpoint instead.
//!
//! The crate's snapshot message is only the word that one is needed; the checkpoint travels outside of the
//! engine, in pieces that the replica asks for. While it does, entries from the leader are not taken: they
//! would not fit. The leader believes the snapshot delivered at once and probes with every heartbeat, so a
//! replica that begins the fetch anew, or ends it, goes on by itself.

use bezant_types::{LogIndex, NodeId, Term};
use raft::eraftpb::{ConfState, Message, MessageType, Snapshot};

/// Whether a fetch is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installing {
    No,
    /// A checkpoint of this index or later is being fetched.
    Yes(LogIndex),
}

impl Installing {
    /// True for messages that must wait until the checkpoint is there.
    pub(crate) fn holds_back(self, message: &Message) -> bool {
        let is_log = matches!(message.get_msg_type(), MessageType::MsgAppend | MessageType::MsgSnapshot);
        self != Self::No && is_log
    }
}

/// The message with which a leader would have sent what is installed.
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

/// The crate's word for a checkpoint.
pub(crate) fn snapshot(installed: (LogIndex, Term), members: ConfState) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = installed.0.0;
    metadata.term = installed.1.0;
    metadata.set_conf_state(members);
    snapshot
}
