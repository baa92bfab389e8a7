//! When a checkpoint is cut, and how its pieces are output while service continues.

use bezant_types::{HistoryPosition, LogIndex, Nanos, Term};

/// Bytes of a piece. Cutting a piece of this size does not delay a payment noticeably.
pub(crate) const PIECE_SIZE: usize = 256 << 10;
/// Pieces that were output and that the driver has not yet taken.
const PIECES_IN_FLIGHT_MAX: usize = 4;

/// A leader asks all replicas for a checkpoint after a certain amount of log. A replica cuts one alone after
/// this many times that amount.
const OVERDUE_FACTOR: usize = 3;

/// The progress of a checkpoint.
#[derive(Debug)]
pub(crate) enum Stage {
    /// No checkpoint is under way.
    Idle,
    /// Pieces are being output.
    Cutting {
        /// Pieces that were output and that the driver has not yet taken.
        pieces_in_flight: usize,
    },
    /// All pieces were output; the checkpoint is being made durable.
    Writing,
}

/// Decides when a checkpoint is cut.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub(crate) stage: Stage,
    /// The last entry in the checkpoint that is under way, or else in the last checkpoint. The next three
    /// fields are of the same checkpoint.
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) time: Nanos,
    pub(crate) position: HistoryPosition,
    /// Bytes of log applied since the last checkpoint began.
    pub(crate) log_bytes: usize,
    /// Bytes of the last checkpoint. The next one is due after at least so much log, so that checkpoints cost
    /// no more writes than the log itself.
    pub(crate) size: usize,
    /// Bytes of log between two checkpoints, at least.
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

    /// True when no checkpoint is under way.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// True when a leader should let all replicas cut a checkpoint.
    pub(crate) fn is_due(&self) -> bool {
        self.is_idle() && self.log_bytes >= self.interval_bytes.max(self.size)
    }

    /// True when this replica must cut a checkpoint alone, because another one was under way at every entry
    /// where the other replicas cut theirs.
    pub(crate) fn is_overdue(&self) -> bool {
        self.is_idle() && self.log_bytes / OVERDUE_FACTOR >= self.interval_bytes.max(self.size)
    }

    /// True when another piece may be output.
    pub(crate) fn wants_piece(&self) -> bool {
        matches!(self.stage, Stage::Cutting { pieces_in_flight } if pieces_in_flight < PIECES_IN_FLIGHT_MAX)
    }
}
