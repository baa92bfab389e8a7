//! How a replica that lags too far gets a checkpoint: it requests the pieces from a peer, one after another.
//!
//! The history is the same on all replicas, so this replica's rows are the beginning of the peer's. First the
//! missing rows arrive, and are appended to the history unchanged; then the bytes of the state arrive. The
//! requesting replica sets the pace; the peer keeps no state about it, and continues to serve clients. A
//! request without an answer is sent again. When the peer has a newer checkpoint meanwhile, or another peer
//! leads, only the state is fetched anew. After a crash in the middle the replica has its old checkpoint, and
//! the next start removes the rows after it.
//!
//! Meanwhile the replica applies nothing: its own rows and the peer's would mix.

use bezant_consensus::{Members, Terms};
use bezant_types::{HistoryPosition, LogIndex, NodeId};
use bytes::{Bytes, BytesMut};

use crate::message::{Chunk, ChunkHead, ChunkPart, Pull};

/// Ticks after which a piece is requested again.
const RETRY_TICKS: u64 = 30;
/// Requests without an answer after which another peer is asked instead of the leader, whose checkpoint or
/// history may be damaged.
const LEADER_TRIES: u32 = 3;
/// Ticks to wait after a checkpoint that could not be used. The next one may be unusable too, and serving it
/// costs the peer as much.
const REFETCH_TICKS: u64 = 100;
/// Bytes of a state that is fetched; chunks that name a larger size are ignored.
const STATE_SIZE_MAX: u64 = 64 << 30;

/// The progress of the fetch.
#[derive(Debug)]
enum Stage {
    /// A piece was requested at that tick.
    Asked(u64),
    /// The driver appends rows to the history, which then ends at this position.
    Taking(HistoryPosition),
    /// All pieces have arrived.
    Complete,
    /// The checkpoint is being made durable.
    Installing,
    /// What arrived could not be used, at that tick.
    Refused(u64),
}

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct Install {
    /// The peer that is asked.
    pub(crate) from: NodeId,
    /// The checkpoint must have this index or a later one.
    index: LogIndex,
    /// The end of this replica's history.
    position: HistoryPosition,
    /// The checkpoint whose state is being fetched; `None` before its first bytes.
    head: Option<ChunkHead>,
    /// The newest membership that arrived with the state.
    members: Members,
    /// The terms of the log of which the checkpoint was made.
    terms: Terms,
    state: BytesMut,
    stage: Stage,
    /// Requests without an answer since the last piece.
    retries: u32,
}

/// What to do after a chunk or a tick.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the chunk is not the requested one, or nothing is due.
    Ignore,
    /// Request the next piece.
    Ask(Pull),
    /// Append these rows to the history.
    TakeRows { from: HistoryPosition, until: HistoryPosition, bytes: Bytes },
    /// All pieces have arrived.
    Complete,
}

impl Install {
    /// Begins at tick `now`; returns the first request.
    pub(crate) fn begin(from: NodeId, index: LogIndex, position: HistoryPosition, now: u64) -> (Self, Pull) {
        let (members, state, stage) = (Members::default(), BytesMut::new(), Stage::Asked(now));
        let terms = Terms::new();
        let install = Self { from, index, position, head: None, members, terms, state, stage, retries: 0 };
        let pull = install.pull();
        (install, pull)
    }

    fn pull(&self) -> Pull {
        let index = self.head.map_or(LogIndex(0), |head| head.index);
        Pull { index, offset: self.state.len() as u64, position: self.position }
    }

    /// Takes a chunk that arrived at tick `now`.
    pub(crate) fn take(&mut self, from: NodeId, chunk: Chunk, now: u64) -> Step {
        let head = chunk.head;
        let is_expected = matches!(self.stage, Stage::Asked(_)) && from == self.from;
        if !is_expected || head.index < self.index || head.size > STATE_SIZE_MAX {
            return Step::Ignore;
        }
        match chunk.part {
            ChunkPart::Rows { from, until, bytes } => {
                if from != self.position || !head.position.reaches(until) || until == from {
                    return Step::Ignore;
                }
                self.stage = Stage::Taking(until);
                self.retries = 0;
                Step::TakeRows { from, until, bytes }
            }
            ChunkPart::State { offset, members, terms, bytes } => {
                if head.position != self.position {
                    return Step::Ignore;
                }
                if self.head != Some(head) {
                    self.head = Some(head);
                    self.state.clear();
                }
                let end = offset.saturating_add(bytes.len() as u64);
                if offset != self.state.len() as u64 || end > head.size {
                    return self.ask(now);
                }
                self.state.extend_from_slice(&bytes);
                if members.index >= self.members.index {
                    self.members = members;
                }
                self.terms = terms;
                self.retries = 0;
                if end == head.size {
                    self.stage = Stage::Complete;
                    return Step::Complete;
                }
                self.ask(now)
            }
        }
    }

    fn ask(&mut self, now: u64) -> Step {
        self.stage = Stage::Asked(now);
        Step::Ask(self.pull())
    }

    /// The rows are in the history: requests the next piece.
    pub(crate) fn handle_rows_installed(&mut self, now: u64) -> Step {
        let Stage::Taking(position) = self.stage else { return Step::Ignore };
        self.position = position;
        self.ask(now)
    }

    /// Handles a tick. A request without an answer is repeated to the present leader, and after
    /// [`LEADER_TRIES`] to the next of `peers` each time.
    pub(crate) fn handle_tick(&mut self, leader: Option<NodeId>, peers: &[NodeId], now: u64) -> Step {
        match self.stage {
            Stage::Asked(at) if at + RETRY_TICKS <= now => {
                self.retries = self.retries.saturating_add(1);
                if self.retries < LEADER_TRIES {
                    self.from = leader.unwrap_or(self.from);
                } else {
                    self.switch_to_next(peers);
                }
                self.ask(now)
            }
            Stage::Refused(at) if at + REFETCH_TICKS <= now => {
                self.switch_to_next(peers);
                self.ask(now)
            }
            _ => Step::Ignore,
        }
    }

    fn switch_to_next(&mut self, peers: &[NodeId]) {
        let after = peers.iter().position(|peer| *peer == self.from).map_or(0, |at| at + 1);
        self.from = peers.get(after).or_else(|| peers.first()).copied().unwrap_or(self.from);
    }

    /// The checkpoint, when all of it has arrived; it is returned once.
    pub(crate) fn take_complete(&mut self) -> Option<(ChunkHead, Members, Terms, Bytes)> {
        if !matches!(self.stage, Stage::Complete) {
            return None;
        }
        self.stage = Stage::Installing;
        let state = core::mem::take(&mut self.state).freeze();
        self.head.map(|head| (head, self.members.clone(), self.terms.clone(), state))
    }

    /// The checkpoint cannot be used. After [`REFETCH_TICKS`] one is fetched anew, from another peer if there
    /// is one.
    pub(crate) fn refuse(&mut self, now: u64) {
        self.head = None;
        self.state.clear();
        self.stage = Stage::Refused(now);
    }

    /// Bytes of the state that have arrived, and its size; for operators.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.state.len() as u64, self.head.map_or(0, |head| head.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::{Nanos, Term};

    const PEER: NodeId = NodeId(2);

    fn position(movements: u64) -> HistoryPosition {
        HistoryPosition { movements, refusals: 0 }
    }

    fn head(index: u64, movements: u64) -> ChunkHead {
        ChunkHead {
            index: LogIndex(index),
            term: Term(1),
            time: Nanos(1),
            position: position(movements),
            size: 8,
            digest: [0; 32],
        }
    }

    fn state(head: ChunkHead, offset: u64, bytes: &'static [u8]) -> Chunk {
        let members = Members { index: LogIndex(offset), ..Members::default() };
        Chunk {
            head,
            part: ChunkPart::State { offset, members, terms: Terms::new(), bytes: Bytes::from_static(bytes) },
        }
    }

    fn rows(head: ChunkHead, from: u64, until: u64) -> Chunk {
        let bytes = Bytes::from_static(b"rows");
        Chunk { head, part: ChunkPart::Rows { from: position(from), until: position(until), bytes } }
    }

    fn asks(step: &Step, index: u64, offset: u64, movements: u64) -> bool {
        *step == Step::Ask(Pull { index: LogIndex(index), offset, position: position(movements) })
    }

    #[test]
    fn rows_come_first_then_the_state_piece_by_piece() {
        let (mut install, pull) = Install::begin(PEER, LogIndex(5), position(3), 0);
        assert_eq!(pull, Pull { index: LogIndex(0), offset: 0, position: position(3) });
        let taken = install.take(PEER, rows(head(6, 9), 3, 9), 1);
        assert!(matches!(taken, Step::TakeRows { .. }));
        assert_eq!(install.take(PEER, rows(head(6, 9), 3, 9), 1), Step::Ignore, "a duplicate");
        assert!(asks(&install.handle_rows_installed(2), 0, 0, 9));
        assert!(asks(&install.take(PEER, state(head(6, 9), 0, b"half"), 3), 6, 4, 9));
        assert_eq!(install.take(PEER, state(head(6, 9), 4, b"more"), 4), Step::Complete);
        let (head_of, members, _, bytes) = install.take_complete().unwrap();
        assert_eq!((head_of, &*bytes), (head(6, 9), &b"halfmore"[..]));
        assert_eq!(members.index, LogIndex(4), "the newest that arrived");
        assert_eq!(install.take_complete(), None, "once");
    }

    #[test]
    fn with_a_newer_checkpoint_the_state_is_fetched_anew() {
        let (mut install, _) = Install::begin(PEER, LogIndex(5), position(9), 0);
        assert!(asks(&install.take(PEER, state(head(6, 9), 0, b"half"), 3), 6, 4, 9));
        let taken = install.take(PEER, rows(head(7, 12), 9, 12), 4);
        assert!(matches!(taken, Step::TakeRows { .. }), "its rows come first");
        assert!(asks(&install.handle_rows_installed(5), 6, 4, 12));
        assert!(asks(&install.take(PEER, state(head(7, 12), 4, b"more"), 6), 7, 0, 12));
        assert!(asks(&install.take(PEER, state(head(7, 12), 0, b"anew"), 7), 7, 4, 12));
    }

    #[test]
    fn a_lost_piece_is_requested_again_from_the_leader() {
        let (mut install, _) = Install::begin(PEER, LogIndex(5), position(9), 0);
        assert_eq!(install.handle_tick(Some(NodeId(3)), &[], RETRY_TICKS - 1), Step::Ignore);
        assert!(asks(&install.handle_tick(Some(NodeId(3)), &[], RETRY_TICKS), 0, 0, 9));
        assert_eq!(install.from, NodeId(3));
        assert_eq!(install.take(PEER, state(head(6, 9), 0, b"late"), 40), Step::Ignore);
    }

    #[test]
    fn another_peer_is_asked_when_the_leader_does_not_answer() {
        let (mut install, _) = Install::begin(PEER, LogIndex(5), position(9), 0);
        let peers = [PEER, NodeId(3)];
        for (number, asked) in (1..).zip([2, 2, 3, 2, 3, 2]) {
            assert!(asks(&install.handle_tick(Some(PEER), &peers, number * RETRY_TICKS), 0, 0, 9));
            assert_eq!(install.from, NodeId(asked));
        }
        install.handle_tick(Some(PEER), &peers, 7 * RETRY_TICKS);
        let taken = install.take(NodeId(3), state(head(6, 9), 0, b"half"), 220);
        assert!(asks(&taken, 6, 4, 9));
        assert_eq!(install.from, NodeId(3), "the peer that answers is asked again");
    }

    #[test]
    fn a_useless_checkpoint_is_fetched_anew_from_another_peer() {
        let (mut install, _) = Install::begin(PEER, LogIndex(5), position(9), 0);
        assert!(asks(&install.take(PEER, state(head(6, 9), 0, b"half"), 3), 6, 4, 9));
        assert_eq!(install.take(PEER, state(head(6, 9), 4, b"more"), 4), Step::Complete);
        assert!(install.take_complete().is_some());
        install.refuse(4);
        assert_eq!(install.take(PEER, state(head(6, 9), 0, b"half"), 5), Step::Ignore, "late");
        let peers = [PEER, NodeId(3)];
        assert_eq!(install.handle_tick(Some(PEER), &peers, 3 + REFETCH_TICKS), Step::Ignore);
        assert!(asks(&install.handle_tick(Some(PEER), &peers, 4 + REFETCH_TICKS), 0, 0, 9));
        assert_eq!(install.from, NodeId(3));
    }

    #[test]
    fn an_older_checkpoint_and_foreign_rows_are_not_taken() {
        let (mut install, _) = Install::begin(PEER, LogIndex(5), position(9), 0);
        assert_eq!(install.take(PEER, state(head(4, 9), 0, b"old!"), 1), Step::Ignore);
        assert_eq!(install.take(PEER, rows(head(6, 12), 8, 12), 1), Step::Ignore);
        assert_eq!(install.take(PEER, rows(head(6, 12), 9, 13), 1), Step::Ignore, "after the checkpoint");
        assert_eq!(install.take(PEER, state(head(6, 12), 0, b"rows"), 1), Step::Ignore, "rows are missing");
    }
}
