//! A hold is the state of a pending transfer. It is not a part of the transfer's record, because a record
//! never changes.

use crate::{Movement, MovementKind, Nanos, Transfer, TransferId};

/// State of a pending transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum HoldState {
    /// The transfer reserves its amount. Until its timeout it can be posted or voided. After its timeout it
    /// stays in this state until an `expire` command of the ledger releases the amount.
    Pending = 1,
    /// A post moved all or a part of the amount; the rest was released.
    Posted = 2,
    /// A void released the whole amount.
    Voided = 3,
    /// An `expire` command released the whole amount after the timeout.
    Expired = 4,
}

impl HoldState {
    /// The name in every API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }

    /// The state with that number; `None` for an unknown number.
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

/// State of a pending transfer at the time of the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The state.
    pub state: HoldState,
    /// Minor units that a post moved; 0 in every other state.
    pub captured: u128,
    /// The id of the transfer that posted or voided it; 0 = none.
    pub resolved_by: TransferId,
    /// Timestamp of the post, void or expiry; 0 while it is pending.
    pub resolved_at: Nanos,
}

impl Hold {
    /// A hold that is not resolved yet.
    pub const PENDING: Self =
        Self { state: HoldState::Pending, captured: 0, resolved_by: TransferId(0), resolved_at: Nanos(0) };

    /// The state after the movement `end`, which is a post, void or expiry. `None` when `end` is a movement
    /// of another kind.
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

/// A transfer as a lookup returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TransferView {
    /// The record.
    pub transfer: Transfer,
    /// State of a pending transfer; `None` for every other kind.
    pub hold: Option<Hold>,
}

impl TransferView {
    /// The view of the transfer in `row`. For a pending transfer, `end` is the row of its post, void or
    /// expiry; `None` while it is not resolved.
    pub fn new(row: &Movement, end: Option<&Movement>) -> Self {
        let hold = || end.and_then(Hold::ended_by).unwrap_or(Hold::PENDING);
        Self { transfer: row.transfer, hold: (row.kind == MovementKind::Pending).then(hold) }
    }

    /// A pending transfer that is not resolved yet.
    pub const fn pending(transfer: Transfer) -> Self {
        Self { transfer, hold: Some(Hold::PENDING) }
    }
}

/// Sort key of the list of unresolved pending transfers. The earliest expiry comes first, and transfers
/// without an expiry come at the end. Among equal expiries, the oldest transfer comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HoldPlace {
    /// Time of the expiry; [`Nanos::NEVER`] without an expiry.
    pub expires_at: Nanos,
    /// Timestamp of the pending transfer.
    pub timestamp: Nanos,
}

impl HoldPlace {
    /// The sort key of a pending transfer.
    pub fn of(transfer: &Transfer) -> Self {
        Self { expires_at: transfer.expires_at().unwrap_or(Nanos::NEVER), timestamp: transfer.timestamp }
    }
}
