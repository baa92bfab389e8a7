//! What the roles say to each other.
//!
//! Every message of phase 1 and phase 2 names its ballot, so one that comes late speaks for nobody else. Any of them may be
//! lost, doubled or overtaken.

use alloc::vec::Vec;

use bezant_consensus::LogEntry;
use bezant_types::{LogIndex, Term};

use crate::ballot::{Ballot, Mark};

/// A message. `bootstrap` and `seed` say nothing: they look and wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Replica to acceptors: would you promise? Binds nobody.
    Canvass { turn: u64, last: LogIndex },
    /// Acceptor to replica: yes; in `round` is the promise that I keep now.
    Willing { turn: u64, round: Term },
    /// Scout to acceptors, phase 1: promise this ballot.
    Prepare { ballot: Ballot },
    /// Acceptor to scout: I take part in no earlier round; my log ends at `accepted`.
    Promise { ballot: Ballot, accepted: Mark },
    /// Acceptor to scout or commander: I have promised a later ballot.
    Refuse { ballot: Ballot, promised: Ballot },
    /// Scout to the acceptor whose log is the latest: which values are behind this mark?
    Learn { ballot: Ballot, after: Mark },
    /// Acceptor to scout: these.
    Learned { ballot: Ballot, after: Mark, values: Vec<LogEntry> },
    /// Leader to acceptors, phase 2: accept these values behind that mark. Without values: is that mark yours?
    Accept { ballot: Ballot, after: Mark, values: Vec<LogEntry>, decided: LogIndex },
    /// Acceptor to commanders: everything up to `last` is accepted, and on my disk.
    Accepted { ballot: Ballot, last: LogIndex },
    /// Acceptor to leader or scout: the mark in slot `after` is not mine; the last that may be common is `hint`.
    Missing { ballot: Ballot, after: LogIndex, hint: Mark },
    /// Leader to replicas: everything up to `decided` is decided.
    Decision { ballot: Ballot, decided: LogIndex },
    /// Leader to replicas: I lead; and the question of round `turn` of reads, whether nobody else does.
    Heartbeat { ballot: Ballot, decided: LogIndex, turn: u64 },
    /// Acceptor to leader: I have promised nobody after you.
    Alive { ballot: Ballot, turn: u64 },
    /// Leader or acceptor: the values that you lack are gone; there is a checkpoint.
    Checkpoint { ballot: Ballot, last: Mark },
    /// Leader to a replica: lead in my place.
    Lead { ballot: Ballot },
    /// Requester to leader: what must this read see?
    Ask { incarnation: u64, read: u64 },
    /// Leader to requester: everything up to `index`.
    Told { incarnation: u64, read: u64, index: LogIndex },
}
