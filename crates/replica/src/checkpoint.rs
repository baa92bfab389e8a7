//! When a checkpoint is cut, and how its pieces leave the node without stopping service.

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

/// Bytes of a piece: small enough that cutting one holds no payment up.
pub(crate) const PIECE_SIZE: usize = 256 << 10;
/// Pieces handed out and not yet taken.
const PIECES_IN_FLIGHT_MAX: usize = 4;

/// A replica cuts a checkpoint by itself after so many times the log that a leader waits for.
const OVERDUE_FACTOR: usize = 3;

/// Where the checkpoint under way stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// None is under way.
    Idle,
    /// Pieces are being read out.
    Cutting {
        /// Handed out and not yet taken.
        pieces_in_flight: usize,
    },
    /// All pieces are out; it is being made durable.
    Writing,
}

/// Decides when to cut.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub(crate) stage: Stage,
    /// What the checkpoint under way, or else the last one, holds.
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) time: Nanos,
    pub(crate) position: HistoryPosition,
    /// Bytes applied since the last one began.
    pub(crate) log_bytes: usize,
    /// Bytes of the last one: writing it again costs as much as so much log.
    pub(crate) size: usize,
    /// Bytes of log after which another is cut, at least.
    pub(crate) interval_bytes: usize,
}

impl Checkpoints {
    pub(crate) fn new(index: LogIndex, interval_bytes: usize) -> Self {
        Self {
            stage: Stage::Idle,
            index,
            term: Term(0),
            time: Nanos(0),
            position: HistoryPosition::default(),
            log_bytes: 0,
            size: 0,
            interval_bytes,
        }
    }

    /// True when none is under way.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// True when it is time for a leader to let all replicas cut another.
    pub(crate) fn is_due(&self) -> bool {
        self.is_idle() && self.log_bytes >= self.interval_bytes.max(self.size)
    }

    /// True when this replica was busy at every place where the others cut theirs, and must cut one of its own.
    pub(crate) fn is_overdue(&self) -> bool {
        self.is_idle() && self.log_bytes / OVERDUE_FACTOR >= self.interval_bytes.max(self.size)
    }

    /// True when another piece may be read out.
    pub(crate) fn wants_piece(&self) -> bool {
        matches!(self.stage, Stage::Cutting { pieces_in_flight } if pieces_in_flight < PIECES_IN_FLIGHT_MAX)
    }
}
