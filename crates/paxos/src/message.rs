//! The messages between the roles.
//!
//! Every message of phase 1 and phase 2 contains its ballot, so a late message is never taken for a message
//! of another ballot. Any message may be lost, duplicated or reordered.

use alloc::vec::Vec;

use bezant_consensus::LogEntry;
use bezant_types::{LogIndex, Term};

use crate::ballot::{Ballot, Mark};

/// A message. `bootstrap` and `seed` send none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Replica to acceptors: whether they would promise a ballot of this replica. It commits the acceptor to
    /// nothing.
    PreVote { attempt: u64, last: LogIndex },
    /// Acceptor to replica: this acceptor would promise; `round` is the round of its current promise.
    PreVoteGranted { attempt: u64, round: Term },
    /// Scout to acceptors, phase 1: promise this ballot.
    Prepare { ballot: Ballot },
    /// Acceptor to scout: this acceptor takes part in no earlier round from now on, and its log ends at
    /// `accepted`.
    Promise { ballot: Ballot, accepted: Mark },
    /// Acceptor to scout or commander: this acceptor has promised another ballot, `promised`.
    Refuse { ballot: Ballot, promised: Ballot },
    /// Scout to the acceptor whose log is the latest: send the values after this mark.
    Learn { ballot: Ballot, after: Mark },
    /// Acceptor to scout: the values after this mark.
    Learned { ballot: Ballot, after: Mark, values: Vec<LogEntry> },
    /// Leader to acceptors, phase 2: accept these values after that mark. Without values, the message asks
    /// whether the acceptor has that mark.
    Accept { ballot: Ballot, after: Mark, values: Vec<LogEntry>, decided: LogIndex },
    /// Acceptor to commanders: everything up to `last` is accepted and durable.
    Accepted { ballot: Ballot, last: LogIndex },
    /// Acceptor to leader or scout: its log has no mark or another mark in slot `after`; `hint` is the last
    /// mark that both logs may share.
    Missing { ballot: Ballot, after: LogIndex, hint: Mark },
    /// Leader to replicas: everything up to `decided` is decided.
    Decision { ballot: Ballot, decided: LogIndex },
    /// Leader to replicas: it still leads. `sequence` is the number of the confirmation of reads that is in
    /// progress, or of the last one.
    Heartbeat { ballot: Ballot, decided: LogIndex, sequence: u64 },
    /// Acceptor to leader: it has promised no later ballot.
    HeartbeatReply { ballot: Ballot, sequence: u64 },
    /// Leader or acceptor to a replica: the requested values were dropped, and a checkpoint at `last` covers
    /// them.
    Checkpoint { ballot: Ballot, last: Mark },
    /// Leader to a replica: leadership transfer, start phase 1 now.
    TransferLeadership { ballot: Ballot },
    /// Requester to leader: which slot must this read cover?
    ReadIndex { incarnation: u64, read: u64 },
    /// Leader to requester: the read must cover everything up to `index`.
    ReadIndexReply { incarnation: u64, read: u64, index: LogIndex },
}
