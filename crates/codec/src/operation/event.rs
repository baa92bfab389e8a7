//! The bytes of the events of each operation.

use bezant_types::{
    Account, AccountId, Asset, AssetCode, Bounds, ChangeBounds, ExtendedAccount, ExtendedTransfer, Head,
    LedgerNumber, SetBounds, SetExpiry, SetName, Transfer, limits::RECORD_SIZE,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    DecodeError, Reader, account_from_bytes, account_to_bytes, transfer_from_bytes, transfer_to_bytes,
};

/// One event of an operation, and its bytes.
pub trait Event: Sized {
    /// Bytes of one event; of the smallest one where each event says its own size.
    const SIZE: usize;

    /// True when each event says its own size.
    const IS_TAGGED: bool = false;

    /// Size of the event at the start of `bytes`.
    fn size_at_start(_bytes: &[u8]) -> Result<usize, DecodeError> {
        Ok(Self::SIZE)
    }

    /// Number of the events in a body that was checked.
    fn count(body: &[u8]) -> usize {
        if Self::IS_TAGGED { events(body, Self::size_at_start).count() } else { body.len() / Self::SIZE }
    }

    /// The id in the bytes of an event, which most events begin with; `None` where an event has none.
    fn id(event: &[u8]) -> Option<u128> {
        event.first_chunk().map(|bytes| u128::from_le_bytes(*bytes))
    }

    /// Reads the event.
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Writes the event.
    fn write(&self, bytes: &mut BytesMut);

    /// Reads all events of a body.
    fn read_all(body: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut events = Vec::new();
        while !reader.is_empty() {
            events.push(Self::from_reader(&mut reader)?);
        }
        Ok(events)
    }

    /// The bytes of several events, in order.
    fn write_all(events: &[Self]) -> Bytes {
        let mut bytes = BytesMut::new();
        events.iter().for_each(|event| event.write(&mut bytes));
        bytes.freeze()
    }
}

/// The events in a body, up to the first that is cut.
pub(super) fn events(
    body: &[u8],
    size_at_start: fn(&[u8]) -> Result<usize, DecodeError>,
) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    core::iter::from_fn(move || {
        let (event, after) = rest.split_at_checked(size_at_start(rest).ok()?)?;
        rest = after;
        Some(event)
    })
}

impl Event for Account {
    const SIZE: usize = RECORD_SIZE;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(account_from_bytes(&reader.array()?))
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_slice(&account_to_bytes(self));
    }
}

impl Event for Transfer {
    const SIZE: usize = RECORD_SIZE;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(transfer_from_bytes(&reader.array()?))
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_slice(&transfer_to_bytes(self));
    }
}

impl Event for ExtendedAccount {
    const SIZE: usize = 256;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut account = Account::from_reader(reader)?;
        let bounds = Bounds { minimum: reader.i128()?, maximum: reader.i128()? };
        let name = reader.array()?;
        if reader.array::<32>()? != [0; 32] {
            // Reserved bytes are treated alike wherever they are: the event gets the status `reserved_field`,
            // in the order of the checks, and the events after it are still applied.
            account.reserved = u32::MAX;
        }
        Ok(Self { account, bounds, name })
    }

    fn write(&self, bytes: &mut BytesMut) {
        self.account.write(bytes);
        bytes.put_i128_le(self.bounds.minimum);
        bytes.put_i128_le(self.bounds.maximum);
        bytes.put_slice(&self.name);
        bytes.put_bytes(0, 32);
    }
}

impl Event for ExtendedTransfer {
    const SIZE: usize = 160;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { transfer: Transfer::from_reader(reader)?, prev_hash: Head(reader.array()?) })
    }

    fn write(&self, bytes: &mut BytesMut) {
        self.transfer.write(bytes);
        bytes.put_slice(&self.prev_hash.0);
    }
}

impl Event for SetBounds {
    const SIZE: usize = 48;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            account_id: AccountId(reader.u128()?),
            bounds: Bounds { minimum: reader.i128()?, maximum: reader.i128()? },
        })
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u128_le(self.account_id.0);
        bytes.put_i128_le(self.bounds.minimum);
        bytes.put_i128_le(self.bounds.maximum);
    }
}

const CHANGES_MINIMUM: u8 = 1;
const CHANGES_MAXIMUM: u8 = 2;

impl Event for ChangeBounds {
    const SIZE: usize = 64;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let account_id = AccountId(reader.u128()?);
        let (minimum, maximum) = (reader.i128()?, reader.i128()?);
        let which = reader.u8()?;
        if which & !(CHANGES_MINIMUM | CHANGES_MAXIMUM) != 0 || reader.array::<15>()? != [0; 15] {
            return Err(DecodeError::Reserved);
        }
        Ok(Self {
            account_id,
            minimum: (which & CHANGES_MINIMUM != 0).then_some(minimum),
            maximum: (which & CHANGES_MAXIMUM != 0).then_some(maximum),
        })
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u128_le(self.account_id.0);
        bytes.put_i128_le(self.minimum.unwrap_or(0));
        bytes.put_i128_le(self.maximum.unwrap_or(0));
        let minimum = if self.minimum.is_some() { CHANGES_MINIMUM } else { 0 };
        bytes.put_u8(minimum | if self.maximum.is_some() { CHANGES_MAXIMUM } else { 0 });
        bytes.put_bytes(0, 15);
    }
}

impl Event for SetExpiry {
    const SIZE: usize = 16;

    fn id(_: &[u8]) -> Option<u128> {
        None
    }

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let paused = reader.u8()?;
        if reader.array::<7>()? != [0; 7] {
            return Err(DecodeError::Reserved);
        }
        match (paused, reader.u64()?) {
            (0, 0) => Ok(Self::Runs),
            (0, _) => Err(DecodeError::Reserved),
            (1, movements) => Ok(Self::Paused { movements }),
            _ => Err(DecodeError::Value),
        }
    }

    fn write(&self, bytes: &mut BytesMut) {
        let (paused, movements) = match *self {
            Self::Runs => (0, 0),
            Self::Paused { movements } => (1, movements),
        };
        bytes.put_u8(paused);
        bytes.put_bytes(0, 7);
        bytes.put_u64_le(movements);
    }
}

impl Event for SetName {
    const SIZE: usize = 80;

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { account_id: AccountId(reader.u128()?), name: reader.array()? })
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u128_le(self.account_id.0);
        bytes.put_slice(&self.name);
    }
}

impl Event for Asset {
    const SIZE: usize = 32;

    /// The ledger number: an asset has no other id.
    fn id(event: &[u8]) -> Option<u128> {
        event.first_chunk().map(|bytes| u32::from_le_bytes(*bytes).into())
    }

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ledger = LedgerNumber(reader.u32()?);
        let scale = reader.u8()?;
        let zeros = reader.array::<3>()?;
        let code = AssetCode::from_bytes(reader.array()?).ok_or(DecodeError::Value)?;
        if zeros != [0; 3] || reader.array::<8>()? != [0; 8] {
            return Err(DecodeError::Reserved);
        }
        Ok(Self { ledger, code, scale })
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u32_le(self.ledger.0);
        bytes.put_u8(self.scale);
        bytes.put_bytes(0, 3);
        bytes.put_slice(&self.code.to_bytes());
        bytes.put_bytes(0, 8);
    }
}
