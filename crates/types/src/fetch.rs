//! Rows that the ledger and the history on disk exchange: the rows that an entry adds, which are written
//! once, and the few rows that the ledger must read back to apply an entry.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{CreateTransferStatus, Movement, MovementKind, MovementNumber, Nanos, TransferId};

/// The rows that one entry adds, in one shared allocation. It is an `Arc` of a `Vec` and not of a slice,
/// because making a slice would copy the rows.
pub type RowBatch<Row> = Arc<Vec<Row>>;

/// An id that a refused transfer used up: a row of the history's table of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The id; a later transfer with it is refused as `id_already_failed`.
    pub id: TransferId,
    /// Cluster time of the refusal.
    pub timestamp: Nanos,
    /// Reason of the refusal; [`CreateTransferStatus::uses_up_id`] is true for it.
    pub status: CreateTransferStatus,
}

/// The rows that one entry adds to the history.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HistoryRows {
    /// Movements in order of their timestamps.
    pub movements: RowBatch<Movement>,
    /// Refusals in the order of their events.
    pub refusals: RowBatch<Refusal>,
}

/// Number of rows in each table of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HistoryPosition {
    /// Number of movements, which is the number of the next movement.
    pub movements: u64,
    /// Number of refusals.
    pub refusals: u64,
}

impl HistoryPosition {
    /// The smaller position of each table.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        Self { movements: self.movements.min(other.movements), refusals: self.refusals.min(other.refusals) }
    }

    /// True when no table is shorter at this position than at `other`.
    pub fn reaches(self, other: Self) -> bool {
        self.earlier(other) == other
    }
}

/// Names a row that may be needed to apply an entry and is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FetchKey {
    /// The transfer or refusal with that id.
    Transfer(TransferId),
    /// The post, void or expiry of the pending transfer with that id.
    Resolution(TransferId),
    /// The movement with exactly that timestamp.
    Timestamp(Nanos),
}

/// Result of a pending transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The pending transfer.
    pub pending_id: TransferId,
    /// `Posted`, `Voided` or `Expired`.
    pub kind: MovementKind,
}

/// The row that the history has for a transfer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all rows have the large variant, and the hot path does not allocate"
)]
pub enum FetchedTransfer {
    /// A transfer that was applied, with its position in the history.
    Applied(MovementNumber, Movement),
    /// An id that a refused transfer used up.
    Refused(Refusal),
}

/// The rows that were found. A key without a row has no element here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The lookup covered all rows before this position.
    pub seen: HistoryPosition,
    /// Rows found for [`FetchKey::Transfer`].
    pub transfers: Vec<FetchedTransfer>,
    /// Rows found for [`FetchKey::Resolution`].
    pub resolutions: Vec<Resolution>,
    /// The timestamps of [`FetchKey::Timestamp`] that a movement has.
    pub timestamps: Vec<Nanos>,
}

impl From<HistoryPosition> for Fetched {
    /// The result of a lookup of no keys at that position.
    fn from(seen: HistoryPosition) -> Self {
        Self { seen, ..Self::default() }
    }
}
