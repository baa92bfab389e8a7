//! The rows of the two tables: their bytes and the values by which they are found.

use std::fmt::Debug;

use bezant_codec::{MOVEMENT_SIZE, movement_from_bytes, movement_to_bytes};
use bezant_types::{CreateTransferStatus, Movement, MovementKind, Nanos, Refusal, TransferId};

use super::key::Kind;
use super::page::{PAYLOAD_SIZE, Table, u64_at, u128_at};

/// Bytes of a refusal: id u128, timestamp u64, status u32, zero u32.
const REFUSAL_SIZE: usize = 32;

/// A row of a table. All rows of a table have the same size and fill a page exactly.
pub(crate) trait Row: Copy + Send + Sync + Debug + 'static {
    /// The table of these rows.
    const TABLE: Table;
    /// Bytes of a row.
    const SIZE: usize;
    /// Rows per page.
    const PER_PAGE: u64 = (PAYLOAD_SIZE / Self::SIZE) as u64;

    /// Encodes the row into `bytes`, whose length is [`SIZE`](Self::SIZE).
    fn write(&self, bytes: &mut [u8]);

    /// Decodes a row; `None` when the bytes are invalid.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Cluster time of the row; strictly increasing over the movements.
    fn timestamp(&self) -> Nanos;

    /// Calls `add` with every value by which the row is found.
    fn describe(&self, add: impl FnMut(Kind, u128));

    /// Calls `add` with the ids that only this row has.
    fn identify(&self, add: impl FnMut(Kind, u128));

    /// True when the row is found by this value: `describe` gives it.
    fn has(&self, kind: Kind, value: u128) -> bool;
}

impl Row for Movement {
    const TABLE: Table = Table::Movements;
    const SIZE: usize = MOVEMENT_SIZE;

    fn write(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&movement_to_bytes(self));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        movement_from_bytes(bytes.first_chunk()?).ok()
    }

    fn timestamp(&self) -> Nanos {
        self.timestamp
    }

    fn describe(&self, mut add: impl FnMut(Kind, u128)) {
        self.identify(&mut add);
        let transfer = &self.transfer;
        if self.kind == MovementKind::Expired {
            return;
        }
        add(Kind::DebitAccount, transfer.debit_account_id.0);
        add(Kind::CreditAccount, transfer.credit_account_id.0);
        add(Kind::Ledger, transfer.ledger.0.into());
        add(Kind::Code, transfer.code.into());
        if transfer.user_data_128 != 0 {
            add(Kind::UserData128, transfer.user_data_128);
        }
        if transfer.user_data_64 != 0 {
            add(Kind::UserData64, transfer.user_data_64.into());
        }
        if transfer.user_data_32 != 0 {
            add(Kind::UserData32, transfer.user_data_32.into());
        }
    }

    fn identify(&self, mut add: impl FnMut(Kind, u128)) {
        match self.kind {
            MovementKind::SinglePhase | MovementKind::Pending => add(Kind::Id, self.transfer.id.0),
            MovementKind::Posted | MovementKind::Voided => {
                add(Kind::Id, self.transfer.id.0);
                add(Kind::Resolution, self.transfer.pending_id.0);
            }
            MovementKind::Expired => add(Kind::Resolution, self.transfer.id.0),
        }
    }

    fn has(&self, kind: Kind, value: u128) -> bool {
        let transfer = &self.transfer;
        if kind == Kind::Resolution {
            return match self.kind {
                MovementKind::SinglePhase | MovementKind::Pending => false,
                MovementKind::Posted | MovementKind::Voided => transfer.pending_id.0 == value,
                MovementKind::Expired => transfer.id.0 == value,
            };
        }
        let own = match kind {
            Kind::Id => transfer.id.0,
            Kind::DebitAccount => transfer.debit_account_id.0,
            Kind::CreditAccount => transfer.credit_account_id.0,
            Kind::UserData128 => transfer.user_data_128,
            Kind::UserData64 => transfer.user_data_64.into(),
            Kind::UserData32 => transfer.user_data_32.into(),
            Kind::Ledger => transfer.ledger.0.into(),
            Kind::Code => transfer.code.into(),
            Kind::Resolution => return false,
        };
        own == value && self.kind != MovementKind::Expired
    }
}

impl Row for Refusal {
    const TABLE: Table = Table::Refusals;
    const SIZE: usize = REFUSAL_SIZE;

    fn write(&self, bytes: &mut [u8]) {
        bytes[..16].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.timestamp.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.status.number().to_le_bytes());
        bytes[28..].fill(0);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; REFUSAL_SIZE] = bytes.first_chunk()?;
        let status = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        if bytes[28..] != [0; 4] {
            return None;
        }
        Some(Self {
            id: TransferId(u128_at(bytes, 0)),
            timestamp: Nanos(u64_at(bytes, 16)),
            status: CreateTransferStatus::from_number(status).ok()?,
        })
    }

    fn timestamp(&self) -> Nanos {
        self.timestamp
    }

    fn describe(&self, add: impl FnMut(Kind, u128)) {
        self.identify(add);
    }

    fn identify(&self, mut add: impl FnMut(Kind, u128)) {
        add(Kind::Id, self.id.0);
    }

    fn has(&self, kind: Kind, value: u128) -> bool {
        kind == Kind::Id && self.id.0 == value
    }
}

const _: () = assert!(PAYLOAD_SIZE.is_multiple_of(MOVEMENT_SIZE), "12 movements fill a page");
const _: () = assert!(PAYLOAD_SIZE.is_multiple_of(REFUSAL_SIZE), "126 refusals fill a page");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_round_trip() {
        let refusal =
            Refusal { id: TransferId(7), timestamp: Nanos(9), status: CreateTransferStatus::REFUSALS[3] };
        let mut bytes = [1; REFUSAL_SIZE];
        refusal.write(&mut bytes);
        assert_eq!(Refusal::read(&bytes), Some(refusal));
        bytes[31] = 1;
        assert_eq!(Refusal::read(&bytes), None);
    }
}
