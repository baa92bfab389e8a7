//! Records with tagged fields: the one form for all that does not fit in the 128 bytes of a record.
//!
//! | part | bytes |
//! |---|---|
//! | record | 128 |
//! | size of the fields | u16, at most [`FIELDS_SIZE_MAX`] |
//! | each field | tag u16, size u16, value |
//!
//! | tag | field of | size | value |
//! |---|---|---|---|
//! | 1 | account | 32 | bounds: minimum i128, maximum i128 |
//! | 2 | account | 1 to 64 | name, without zeros at its end |
//! | 3 | transfer | 32 | `prev_hash`: the expected head of the debit account's spends |
//!
//! Tags ascend strictly, and a field with its default value (no bounds, no name, any head) is left out, so
//! that equal events have equal bytes. A tag that this program does not know, or that does not belong to the
//! record, is an error, and so is a wrong size: nothing of such a request enters the log. A field never gets
//! another meaning or size under its tag. Source: `docs/decisions/0025-tagged-fields.md`.

use bezant_types::limits::{FIELDS_SIZE_MAX, NAME_SIZE_MAX, RECORD_SIZE};
use bezant_types::{Account, Bounds, ExtendedAccount, ExtendedTransfer, Head, Transfer};
use bytes::{BufMut, BytesMut};

use super::Event;
use crate::{DecodeError, Reader};

const BOUNDS: u16 = 1;
const NAME: u16 = 2;
const PREV_HASH: u16 = 3;

/// Bytes of the size that follows the record.
const LENGTH_SIZE: usize = 2;

/// An account with its tagged fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedAccount(pub ExtendedAccount);

/// A transfer with its tagged fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedTransfer(pub ExtendedTransfer);

impl Event for TaggedAccount {
    const SIZE: usize = RECORD_SIZE + LENGTH_SIZE;
    const IS_TAGGED: bool = true;

    fn size_at_start(bytes: &[u8]) -> Result<usize, DecodeError> {
        size_at_start(bytes)
    }

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let account = Account::from_reader(reader)?;
        let mut event = ExtendedAccount { account, bounds: Bounds::NONE, name: [0; NAME_SIZE_MAX] };
        read_fields(reader, |tag, value| match tag {
            BOUNDS => {
                let mut value = Reader::new(value);
                event.bounds = Bounds { minimum: value.i128()?, maximum: value.i128()? };
                value.finish()?;
                if event.bounds.is_none() { Err(DecodeError::Value) } else { Ok(()) }
            }
            NAME => {
                let last = *value.last().ok_or(DecodeError::Size)?;
                event.name.get_mut(..value.len()).ok_or(DecodeError::Size)?.copy_from_slice(value);
                if last == 0 { Err(DecodeError::Value) } else { Ok(()) }
            }
            _ => Err(DecodeError::Tag),
        })?;
        Ok(Self(event))
    }

    fn write(&self, bytes: &mut BytesMut) {
        let ExtendedAccount { account, bounds, name } = &self.0;
        account.write(bytes);
        write_fields(bytes, |fields| {
            if !bounds.is_none() {
                let value = [bounds.minimum.to_le_bytes(), bounds.maximum.to_le_bytes()].concat();
                put_field(fields, BOUNDS, &value);
            }
            if let Some(last) = name.iter().rposition(|byte| *byte != 0) {
                put_field(fields, NAME, &name[..=last]);
            }
        });
    }
}

impl Event for TaggedTransfer {
    const SIZE: usize = RECORD_SIZE + LENGTH_SIZE;
    const IS_TAGGED: bool = true;

    fn size_at_start(bytes: &[u8]) -> Result<usize, DecodeError> {
        size_at_start(bytes)
    }

    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut event = ExtendedTransfer { transfer: Transfer::from_reader(reader)?, prev_hash: Head::NONE };
        read_fields(reader, |tag, value| match tag {
            PREV_HASH => {
                event.prev_hash = Head(value.try_into().map_err(|_| DecodeError::Size)?);
                if event.prev_hash.is_none() { Err(DecodeError::Value) } else { Ok(()) }
            }
            _ => Err(DecodeError::Tag),
        })?;
        Ok(Self(event))
    }

    fn write(&self, bytes: &mut BytesMut) {
        self.0.transfer.write(bytes);
        write_fields(bytes, |fields| {
            if !self.0.prev_hash.is_none() {
                put_field(fields, PREV_HASH, &self.0.prev_hash.0);
            }
        });
    }
}

/// Size of the event at the start of `bytes`.
fn size_at_start(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.take(RECORD_SIZE)?;
    let size = usize::from(reader.u16()?);
    if size > FIELDS_SIZE_MAX { Err(DecodeError::Size) } else { Ok(RECORD_SIZE + LENGTH_SIZE + size) }
}

/// Reads the fields after a record, and passes tag and value of each on.
fn read_fields(
    reader: &mut Reader<'_>,
    mut take: impl FnMut(u16, &[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let size = usize::from(reader.u16()?);
    if size > FIELDS_SIZE_MAX {
        return Err(DecodeError::Size);
    }
    let mut fields = Reader::new(reader.take(size)?);
    let mut last = 0;
    while !fields.is_empty() {
        let (tag, size) = (fields.u16()?, fields.u16()?);
        if tag <= last {
            return Err(DecodeError::Tag);
        }
        take(tag, fields.take(size.into())?)?;
        last = tag;
    }
    Ok(())
}

/// Writes the size of the fields, and the fields.
fn write_fields(bytes: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
    let at = bytes.len();
    bytes.put_u16_le(0);
    put(bytes);
    let size = bytes.len() - at - LENGTH_SIZE;
    assert!(size <= FIELDS_SIZE_MAX, "all known fields together fit");
    let size = u16::try_from(size).expect("invariant: checked above");
    bytes[at..at + LENGTH_SIZE].copy_from_slice(&size.to_le_bytes());
}

fn put_field(bytes: &mut BytesMut, tag: u16, value: &[u8]) {
    bytes.put_u16_le(tag);
    bytes.put_u16_le(u16::try_from(value.len()).expect("invariant: a field has at most 64 bytes"));
    bytes.put_slice(value);
}

#[cfg(test)]
mod tests {
    use bezant_types::limits::{EVENTS_MAX, TAGGED_SIZE_MAX};
    use bezant_types::{AccountId, TransferId, name_to_bytes};

    use super::*;
    use crate::operation::Operation;

    fn account(bounds: Bounds, name: &str) -> TaggedAccount {
        let account = Account { id: AccountId(7), code: 1, ..Account::default() };
        TaggedAccount(ExtendedAccount { account, bounds, name: name_to_bytes(name).unwrap() })
    }

    fn with_fields(fields: &[u8]) -> Vec<u8> {
        let size = u16::try_from(fields.len()).unwrap();
        [&[0; RECORD_SIZE][..], &size.to_le_bytes(), fields].concat()
    }

    fn field(tag: u16, value: &[u8]) -> Vec<u8> {
        let size = u16::try_from(value.len()).unwrap();
        [&tag.to_le_bytes()[..], &size.to_le_bytes(), value].concat()
    }

    fn read<E: Event>(fields: &[u8]) -> Result<(), DecodeError> {
        E::read_all(&with_fields(fields)).map(drop)
    }

    #[test]
    fn records_with_and_without_fields_round_trip() {
        let bounds = Bounds { minimum: -5, maximum: i128::MAX };
        let events = [
            account(Bounds::NONE, ""),
            account(bounds, ""),
            account(Bounds::NONE, "alice"),
            account(bounds, &"x".repeat(64)),
        ];
        let bytes = TaggedAccount::write_all(&events);
        assert_eq!(TaggedAccount::read_all(&bytes).as_deref(), Ok(&events[..]));
        let operation = Operation::CreateAccountsTagged;
        assert_eq!((operation.count(&bytes), operation.ids(&bytes)), (Ok(4), vec![7; 4]));
        let sizes: Vec<usize> = operation.events(&bytes).map(<[u8]>::len).collect();
        assert_eq!(sizes, [130, 166, 139, 234]);
        assert!(sizes[3] * EVENTS_MAX <= TAGGED_SIZE_MAX, "a full request of full accounts fits");

        let transfer = Transfer { id: TransferId(9), ..Transfer::default() };
        let events = [Head::NONE, Head([3; 32])]
            .map(|prev_hash| TaggedTransfer(ExtendedTransfer { transfer, prev_hash }));
        let bytes = TaggedTransfer::write_all(&events);
        assert_eq!(TaggedTransfer::read_all(&bytes).as_deref(), Ok(&events[..]));
        assert_eq!(Operation::CreateTransfersTagged.count(&bytes), Ok(2));
    }

    #[test]
    fn the_bytes_of_a_field_never_change() {
        let bytes = TaggedAccount::write_all(&[account(Bounds::NONE, "bob")]);
        assert_eq!(bytes[128..], [7, 0, 2, 0, 3, 0, b'b', b'o', b'b']);
    }

    #[test]
    fn unknown_repeated_and_unordered_tags_are_refused() {
        let (name, bounds) = (field(NAME, b"bob"), field(BOUNDS, &[1; 32]));
        let hash = field(PREV_HASH, &[1; 32]);
        assert_eq!(read::<TaggedAccount>(&[bounds.clone(), name.clone()].concat()), Ok(()));
        for fields in [
            field(0, b"x"),
            field(4, b"x"),
            hash.clone(),
            [name.clone(), bounds].concat(),
            [name.clone(), name.clone()].concat(),
        ] {
            assert_eq!(read::<TaggedAccount>(&fields), Err(DecodeError::Tag), "{fields:?}");
        }
        assert_eq!(read::<TaggedTransfer>(&hash), Ok(()));
        assert_eq!(read::<TaggedTransfer>(&name), Err(DecodeError::Tag), "a field of accounts");
    }

    #[test]
    fn wrong_sizes_and_default_values_are_refused() {
        for fields in [
            field(NAME, b""),
            field(NAME, &[b'x'; 65]),
            field(BOUNDS, &[1; 31]),
            field(BOUNDS, &[1; 33]),
            vec![2, 0, 9, 0, b'x'],
            vec![2, 0, 1],
        ] {
            assert_eq!(read::<TaggedAccount>(&fields), Err(DecodeError::Size), "{fields:?}");
        }
        assert_eq!(read::<TaggedTransfer>(&field(PREV_HASH, &[1; 31])), Err(DecodeError::Size));
        let none = [i128::MIN.to_le_bytes(), i128::MAX.to_le_bytes()].concat();
        assert_eq!(read::<TaggedAccount>(&field(BOUNDS, &none)), Err(DecodeError::Value));
        assert_eq!(read::<TaggedAccount>(&field(NAME, b"a\0")), Err(DecodeError::Value));
        assert_eq!(read::<TaggedTransfer>(&field(PREV_HASH, &[0; 32])), Err(DecodeError::Value));
    }

    #[test]
    fn a_body_is_counted_only_as_a_whole() {
        let operation = Operation::CreateAccountsTagged;
        let one = with_fields(&field(NAME, b"bob"));
        assert_eq!(operation.count(&[&one[..], &one].concat()), Ok(2));
        for size in 0..one.len() {
            assert!(operation.count(&one[..size]).is_err(), "cut to {size}");
            assert!(operation.count(&[&one[..], &one[..size]].concat()).is_err() || size == 0, "{size}");
        }
        let unknown = [one.clone(), with_fields(&field(9, b"x"))].concat();
        assert_eq!(operation.count(&unknown), Err(DecodeError::Tag));
        let long = with_fields(&vec![0; FIELDS_SIZE_MAX + 1]);
        assert_eq!(operation.count(&long), Err(DecodeError::Size));
        let plain = with_fields(&[]);
        assert_eq!(operation.count(&plain.repeat(EVENTS_MAX)), Ok(8189));
        assert_eq!(operation.count(&plain.repeat(EVENTS_MAX + 1)), Err(DecodeError::Size));
    }
}
