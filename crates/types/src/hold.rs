//! Holds: what became of a pending transfer. Not part of its record, which never changes.

use crate::{Movement, MovementKind, Nanos, Transfer, TransferId};

/// Where a pending transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum HoldState {
    /// It reserves its amount: it can be posted or voided. One whose time has just run out is pending until the expiry
    /// step releases it.
    Pending = 1,
    /// All or a part of it moved; the rest was released.
    Posted = 2,
    /// All of it was released by a void.
    Voided = 3,
    /// All of it was released because its time ran out.
    Expired = 4,
}

impl HoldState {
    /// Its name in every API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }

    /// The state with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Pending,
            2 => Self::Posted,
            3 => Self::Voided,
            4 => Self::Expired,
            _ => return None,
        })
    }
}

/// What became of a pending transfer, as of the moment of the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Where it stands.
    pub state: HoldState,
    /// Minor units that a post moved; 0 in every other state.
    pub captured: u128,
    /// The transfer that posted or voided it; 0 = none.
    pub resolved_by: TransferId,
    /// When it was posted, voided or expired; 0 = not yet.
    pub resolved_at: Nanos,
}

impl Hold {
    /// A hold without an end.
    pub const PENDING: Self =
        Self { state: HoldState::Pending, captured: 0, resolved_by: TransferId(0), resolved_at: Nanos(0) };

    /// The hold that `end` ended: the row of its post, void or expiry. `None` for a row of another kind.
    pub const fn ended_by(end: &Movement) -> Option<Self> {
        let resolved_at = end.timestamp;
        let (state, captured, resolved_by) = match end.kind {
            MovementKind::Posted => (HoldState::Posted, end.transfer.amount, end.transfer.id),
            MovementKind::Voided => (HoldState::Voided, 0, end.transfer.id),
            MovementKind::Expired => (HoldState::Expired, 0, TransferId(0)),
            MovementKind::SinglePhase | MovementKind::Pending => return None,
        };
        Some(Self { state, captured, resolved_by, resolved_at })
    }
}

/// A transfer as a lookup shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TransferView {
    /// The record.
    pub transfer: Transfer,
    /// What became of it; `None` unless it is a pending transfer.
    pub hold: Option<Hold>,
}

impl TransferView {
    /// The transfer of a row, with the row that ended it, where there is one.
    pub fn new(row: &Movement, end: Option<&Movement>) -> Self {
        let hold = || end.and_then(Hold::ended_by).unwrap_or(Hold::PENDING);
        Self { transfer: row.transfer, hold: (row.kind == MovementKind::Pending).then(hold) }
    }

    /// A pending transfer that waits.
    pub const fn pending(transfer: Transfer) -> Self {
        Self { transfer, hold: Some(Hold::PENDING) }
    }
}

/// The place of a hold in the list of open ones: the next to expire first, those that never do last; then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HoldPlace {
    /// When it expires; [`Nanos::NEVER`] = never.
    pub expires_at: Nanos,
    /// Of the pending transfer.
    pub timestamp: Nanos,
}

impl HoldPlace {
    /// The place of a pending transfer.
    pub fn of(transfer: &Transfer) -> Self {
        Self { expires_at: transfer.expires_at().unwrap_or(Nanos::NEVER), timestamp: transfer.timestamp }
    }
}
