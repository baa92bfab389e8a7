//! The operations of the ledger and the bytes of their events.
//!
//! | operation | number | bytes an event | layout |
//! |---|---|---|---|
//! | create accounts | 1 | 128 | the record |
//! | create transfers | 2 | 128 | the record |
//! | create accounts, extended | 3 | 256 | record 128, minimum i128, maximum i128, name 64 padded with zeros, zero 32 |
//! | create transfers, extended | 4 | 160 | record 128, `prev_hash` 32 (all zero = none) |
//! | set bounds | 5 | 48 | account id u128, minimum i128, maximum i128 |
//! | set name | 6 | 80 | account id u128, name 64 padded with zeros |
//! | register assets | 7 | 32 | ledger u32, scale u8, zero 3, code 16 padded with zeros, zero 8 |
//! | expire | 8 | 0 | none; only the leader proposes it |
//! | open session | 9 | 0 | see `session`; only protocols with sessions send this and the next two |
//! | session create | 10 | 0 | a head, then accounts or transfers in batches |
//! | session reply | 11 | 0 | a head, then the reply to a read |
//! | create keyed | 12 | 0 | see `keyed`: a head, then the events of one of the first four |
//! | change bounds | 13 | 64 | account id u128, minimum i128, maximum i128, changed bounds (bit 0 minimum, bit 1 maximum) u8, zero 15 |
//! | set expiry | 14 | 16 | paused u8 (0 = expiry runs), zero 7, movements u64 (0 when it runs) |
//!
//! The result of operations 1 to 7, 13 and 14 is 16 bytes an event, see `codec::result_to_bytes`.

use bezant_codec::{DecodeError, Reader};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountId, Asset, AssetCode, Bounds, Head, LedgerNumber, Transfer, limits, limits::RECORD_SIZE,
};
use bytes::{BufMut, Bytes, BytesMut};

/// Size of an extended account in bytes.
pub const EXTENDED_ACCOUNT_SIZE: usize = 256;
/// Size of an extended transfer in bytes.
pub const EXTENDED_TRANSFER_SIZE: usize = 160;
/// Size of a change of both bounds in bytes.
pub const SET_BOUNDS_SIZE: usize = 48;
/// Size of a change of one or both bounds in bytes.
pub const CHANGE_BOUNDS_SIZE: usize = 64;
/// Size of a pause or resumption of expiry in bytes.
pub const SET_EXPIRY_SIZE: usize = 16;
/// Size of a change of name in bytes.
pub const SET_NAME_SIZE: usize = 80;
/// Size of an asset in bytes.
pub const ASSET_SIZE: usize = 32;

/// The kind of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Operation {
    /// Records of 128 bytes.
    CreateAccounts = 1,
    /// Records of 128 bytes.
    CreateTransfers = 2,
    /// Accounts with bounds and name.
    CreateAccountsExtended = 3,
    /// Transfers with `prev_hash`.
    CreateTransfersExtended = 4,
    /// Changes the bounds of accounts.
    SetBounds = 5,
    /// Names accounts that have no name.
    SetName = 6,
    /// Registers the code and the scale of ledgers.
    RegisterAssets = 7,
    /// Releases the reserves of pending transfers whose timeout has passed.
    Expire = 8,
    /// Opens the session of a client.
    OpenSession = 9,
    /// Creates accounts or transfers, once, for a client with a session.
    SessionCreate = 10,
    /// Stores the reply to a read of a client with a session.
    SessionReply = 11,
    /// Creates accounts or transfers of a request with an idempotency key.
    CreateKeyed = 12,
    /// Changes one or both bounds of accounts.
    ChangeBounds = 13,
    /// Pauses the expiry of imported pending transfers, or lets it run again.
    SetExpiry = 14,
}

impl Operation {
    /// The operation with that number.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::CreateAccounts,
            2 => Self::CreateTransfers,
            3 => Self::CreateAccountsExtended,
            4 => Self::CreateTransfersExtended,
            5 => Self::SetBounds,
            6 => Self::SetName,
            7 => Self::RegisterAssets,
            8 => Self::Expire,
            9 => Self::OpenSession,
            10 => Self::SessionCreate,
            11 => Self::SessionReply,
            12 => Self::CreateKeyed,
            13 => Self::ChangeBounds,
            14 => Self::SetExpiry,
            _ => return None,
        })
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateAccounts => "create_accounts",
            Self::CreateTransfers => "create_transfers",
            Self::CreateAccountsExtended => "create_accounts_extended",
            Self::CreateTransfersExtended => "create_transfers_extended",
            Self::SetBounds => "set_bounds",
            Self::SetName => "set_name",
            Self::RegisterAssets => "register_assets",
            Self::Expire => "expire",
            Self::OpenSession => "open_session",
            Self::SessionCreate => "session_create",
            Self::SessionReply => "session_reply",
            Self::CreateKeyed => "create_keyed",
            Self::ChangeBounds => "change_bounds",
            Self::SetExpiry => "set_expiry",
        }
    }

    /// Size of one event in bytes; 0 for an operation whose body is not a sequence of events from a client.
    pub const fn event_size(self) -> usize {
        match self {
            Self::CreateAccounts | Self::CreateTransfers => RECORD_SIZE,
            Self::CreateAccountsExtended => EXTENDED_ACCOUNT_SIZE,
            Self::CreateTransfersExtended => EXTENDED_TRANSFER_SIZE,
            Self::SetBounds => SET_BOUNDS_SIZE,
            Self::ChangeBounds => CHANGE_BOUNDS_SIZE,
            Self::SetExpiry => SET_EXPIRY_SIZE,
            Self::SetName => SET_NAME_SIZE,
            Self::RegisterAssets => ASSET_SIZE,
            Self::Expire
            | Self::OpenSession
            | Self::SessionCreate
            | Self::SessionReply
            | Self::CreateKeyed => 0,
        }
    }

    /// The command of a client with those events. An error when the size is not a multiple of an event's
    /// size, when there are no events or more than [`limits::EVENTS_MAX`], or when
    /// [`event_size`](Self::event_size) is 0.
    pub fn command(self, body: Bytes) -> Result<Command, DecodeError> {
        let size = self.event_size();
        if size == 0
            || body.is_empty()
            || !body.len().is_multiple_of(size)
            || body.len() / size > limits::EVENTS_MAX
        {
            return Err(DecodeError::Size);
        }
        let events = u32::try_from(body.len() / size).map_err(|_| DecodeError::Size)?;
        Ok(Command { operation: self as u16, events, body })
    }
}

/// An account to create, with the fields that the record of 128 bytes does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedAccount {
    /// The record.
    pub account: Account,
    /// Minimum and maximum balance.
    pub bounds: Bounds,
    /// Padded with zeros; all zero = no name.
    pub name: [u8; limits::NAME_SIZE_MAX],
}

/// A transfer to create, with the field that the record of 128 bytes does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedTransfer {
    /// The record.
    pub transfer: Transfer,
    /// The expected head of the debit account's spends; [`Head::NONE`] = any.
    pub prev_hash: Head,
}

/// A change of both bounds of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBounds {
    /// The account that is changed.
    pub account_id: AccountId,
    /// The new bounds.
    pub bounds: Bounds,
}

/// A change of one or both bounds of an account; `None` leaves a bound as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeBounds {
    /// The account that is changed.
    pub account_id: AccountId,
    /// The new minimum; `i128::MIN` = no limit, `None` = unchanged.
    pub minimum: Option<i128>,
    /// The new maximum; `i128::MAX` = no limit, `None` = unchanged.
    pub maximum: Option<i128>,
}

/// Whether imported pending transfers expire. While expiry is paused, they may have a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpiry {
    /// Expiry runs.
    Runs,
    /// Expiry is paused until the next [`Runs`](Self::Runs) or the next transfer event that is not imported.
    Paused {
        /// The expected number of movements in the ledger; with another number the pause is refused.
        movements: u64,
    },
}

/// A name for an account that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName {
    /// The account that is named.
    pub account_id: AccountId,
    /// Padded with zeros.
    pub name: [u8; limits::NAME_SIZE_MAX],
}

/// A name as the 64 bytes of a record. `None` when it is longer, or contains a zero byte, which would end it.
pub fn name_to_bytes(name: &str) -> Option<[u8; limits::NAME_SIZE_MAX]> {
    let mut bytes = [0; limits::NAME_SIZE_MAX];
    if name.contains('\0') {
        return None;
    }
    bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(bytes)
}

/// The name in the 64 bytes of a record; empty = no name. `None` when it breaks the rules for names: UTF-8,
/// no control characters, no white space at either end, not only digits (those are ids).
pub fn name_from_bytes(bytes: &[u8; limits::NAME_SIZE_MAX]) -> Option<&str> {
    let size = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let name = core::str::from_utf8(&bytes[..size]).ok()?;
    let is_valid = name.is_empty()
        || (name.trim() == name
            && !name.chars().any(char::is_control)
            && !name.bytes().all(|letter| letter.is_ascii_digit()));
    is_valid.then_some(name)
}

/// One event of an operation, and its bytes.
pub trait Event: Sized {
    /// Reads the event.
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Writes the event.
    fn write(&self, bytes: &mut BytesMut);

    /// The bytes of several events, in order.
    fn write_all(events: &[Self]) -> Bytes {
        let mut bytes = BytesMut::new();
        events.iter().for_each(|event| event.write(&mut bytes));
        bytes.freeze()
    }
}

impl Event for Account {
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(bezant_codec::account_from_bytes(&reader.array()?))
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_slice(&bezant_codec::account_to_bytes(self));
    }
}

impl Event for Transfer {
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(bezant_codec::transfer_from_bytes(&reader.array()?))
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_slice(&bezant_codec::transfer_to_bytes(self));
    }
}

impl Event for ExtendedAccount {
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
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { transfer: Transfer::from_reader(reader)?, prev_hash: Head(reader.array()?) })
    }

    fn write(&self, bytes: &mut BytesMut) {
        self.transfer.write(bytes);
        bytes.put_slice(&self.prev_hash.0);
    }
}

impl Event for SetBounds {
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
    fn from_reader(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { account_id: AccountId(reader.u128()?), name: reader.array()? })
    }

    fn write(&self, bytes: &mut BytesMut) {
        bytes.put_u128_le(self.account_id.0);
        bytes.put_slice(&self.name);
    }
}

impl Event for Asset {
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
