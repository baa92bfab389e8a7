//! What lies between the rules of money and the history on disk: rows that are written once, and the few
//! that applying an entry must read back.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{CreateTransferStatus, Movement, MovementKind, MovementNumber, Nanos, TransferId};

/// The rows that one entry adds, shared by all who hold them: never copied, so a vector and not a slice.
pub type RowBatch<Row> = Arc<Vec<Row>>;

/// An id that a refused transfer used up: a row of the second table of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id; a later transfer with it answers `id_already_failed`.
    pub id: TransferId,
    /// When it was refused.
    pub timestamp: Nanos,
    /// Why; [`CreateTransferStatus::uses_up_id`] is true of it.
    pub status: CreateTransferStatus,
}

/// What one entry adds to the history.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HistoryRows {
    /// In order of their timestamps.
    pub movements: RowBatch<Movement>,
    /// In the order in which they were refused.
    pub refusals: RowBatch<Refusal>,
}

/// How many rows each table of the history holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HistoryPosition {
    /// Movements; the next one gets this number.
    pub movements: u64,
    /// Refusals.
    pub refusals: u64,
}

impl HistoryPosition {
    /// The rows that lie before both positions.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self { movements: self.movements.min(other.movements), refusals: self.refusals.min(other.refusals) }
    }

    /// True when every row before `other` lies before this position too.
    pub fn reaches(self, other: Self) -> bool {
        self.earlier(other) == other
    }
}

/// A row that applying an entry may need and memory does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FetchKey {
    /// The transfer or refusal with that id.
    Transfer(TransferId),
    /// What became of the pending transfer with that id: its post, void or expiry.
    Resolution(TransferId),
    /// The movement with exactly that timestamp.
    Timestamp(Nanos),
}

/// How a pending transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The pending transfer.
    pub pending_id: TransferId,
    /// `Posted`, `Voided` or `Expired`.
    pub kind: MovementKind,
}

/// What the history holds under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all rows are the large one, and none is boxed on the hot path"
)]
pub enum FetchedTransfer {
    /// A transfer that was applied, and its place.
    Applied(MovementNumber, Movement),
    /// An id that was used up.
    Refused(Refusal),
}

/// What was found: keys without a row are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The rows that the reader was able to see: all before this position.
    pub seen: HistoryPosition,
    /// Found by id.
    pub transfers: Vec<FetchedTransfer>,
    /// Found by pending id.
    pub resolutions: Vec<Resolution>,
    /// Timestamps that are taken by a movement.
    pub timestamps: Vec<Nanos>,
}

impl From<HistoryPosition> for Fetched {
    /// Nothing was asked for as of that position.
    fn from(seen: HistoryPosition) -> Self {
        Self { seen, ..Self::default() }
    }
}
