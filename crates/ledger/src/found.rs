//! The rows that were fetched for an entry, indexed for look-up.

use bezant_types::{Fetched, FetchedTransfer, MovementKind, Nanos, TransferId};

use crate::hash::{FixedHashMap, FixedHashSet};

/// Fetched rows by key; looked up, never iterated.
#[derive(Debug, Default)]
pub(crate) struct Found {
    transfers: FixedHashMap<u128, FetchedTransfer>,
    resolutions: FixedHashMap<u128, MovementKind>,
    timestamps: FixedHashSet<Nanos>,
}

impl From<Fetched> for Found {
    fn from(fetched: Fetched) -> Self {
        let id = |found: &FetchedTransfer| match found {
            FetchedTransfer::Applied(_, movement) => movement.transfer.id.0,
            FetchedTransfer::Refused(refusal) => refusal.id.0,
        };
        Self {
            transfers: fetched.transfers.into_iter().map(|found| (id(&found), found)).collect(),
            resolutions: fetched.resolutions.into_iter().map(|it| (it.pending_id.0, it.kind)).collect(),
            timestamps: fetched.timestamps.into_iter().collect(),
        }
    }
}

impl Found {
    pub(crate) fn transfer(&self, id: TransferId) -> Option<&FetchedTransfer> {
        self.transfers.get(&id.0)
    }

    pub(crate) fn resolution(&self, id: TransferId) -> Option<MovementKind> {
        self.resolutions.get(&id.0).copied()
    }

    pub(crate) fn has_timestamp(&self, timestamp: Nanos) -> bool {
        self.timestamps.contains(&timestamp)
    }
}
