//! The history in tests: all rows in two vectors, found by linear search.
//!
//! It replaces the history on disk, and is the model's record of past events. It can be read as of any
//! earlier position, like a history on disk that lags.

use bezant_types::{
    FetchKey, Fetched, FetchedTransfer, HistoryPosition, Movement, MovementKind, MovementNumber, Nanos,
    Refusal, Resolution, TransferId,
};

/// Every row since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) movements: Vec<Movement>,
    pub(crate) refusals: Vec<Refusal>,
}

impl History {
    /// The position after the last row.
    pub(crate) fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.movements.len() as u64, refusals: self.refusals.len() as u64 }
    }

    /// The transfer with that id.
    pub(crate) fn transfer(&self, id: TransferId) -> Option<&Movement> {
        self.movements.iter().find(|movement| is_transfer(movement, id))
    }

    /// True when a refusal used up that id.
    pub(crate) fn is_refused(&self, id: TransferId) -> bool {
        self.refusals.iter().any(|refusal| refusal.id == id)
    }

    /// How the pending transfer with that id ended; `None` while it is pending.
    pub(crate) fn resolution(&self, pending_id: TransferId) -> Option<MovementKind> {
        resolution(&self.movements, pending_id)
    }

    /// True when a movement has exactly that timestamp.
    pub(crate) fn has_timestamp(&self, timestamp: Nanos) -> bool {
        self.movements.iter().any(|movement| movement.timestamp == timestamp)
    }

    /// The rows that a reader finds whose history ends at `seen`.
    pub(crate) fn fetch(&self, keys: &[FetchKey], seen: HistoryPosition) -> Fetched {
        let movements = &self.movements[..usize::try_from(seen.movements).unwrap()];
        let refusals = &self.refusals[..usize::try_from(seen.refusals).unwrap()];
        let mut fetched = Fetched::from(seen);
        for key in keys {
            match *key {
                FetchKey::Transfer(id) => fetched.transfers.extend(find(movements, refusals, id)),
                FetchKey::Resolution(pending_id) => fetched
                    .resolutions
                    .extend(resolution(movements, pending_id).map(|kind| Resolution { pending_id, kind })),
                FetchKey::Timestamp(timestamp) => fetched
                    .timestamps
                    .extend(movements.iter().map(|movement| movement.timestamp).find(|it| *it == timestamp)),
            }
        }
        fetched
    }
}

fn is_transfer(movement: &Movement, id: TransferId) -> bool {
    movement.kind != MovementKind::Expired && movement.transfer.id == id
}

fn find(movements: &[Movement], refusals: &[Refusal], id: TransferId) -> Option<FetchedTransfer> {
    let applied = movements.iter().zip(0..).find(|(movement, _)| is_transfer(movement, id));
    let refused = refusals.iter().find(|refusal| refusal.id == id);
    applied
        .map(|(movement, number)| FetchedTransfer::Applied(MovementNumber(number), *movement))
        .or_else(|| refused.map(|refusal| FetchedTransfer::Refused(*refusal)))
}

fn resolution(movements: &[Movement], pending_id: TransferId) -> Option<MovementKind> {
    movements.iter().find_map(|movement| {
        let ends = match movement.kind {
            MovementKind::SinglePhase | MovementKind::Pending => false,
            MovementKind::Posted | MovementKind::Voided => movement.transfer.pending_id == pending_id,
            MovementKind::Expired => movement.transfer.id == pending_id,
        };
        ends.then_some(movement.kind)
    })
}
