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
//! | open session | 9 | 0 | see `bezant_ledger`; only protocols with sessions send this and the next two |
//! | session create | 10 | 0 | a head, then accounts or transfers in batches |
//! | session reply | 11 | 0 | a head, then the reply to a read |
//! | create keyed | 12 | 0 | see `keyed`: a head, then the events of one of the first four |
//! | change bounds | 13 | 64 | account id u128, minimum i128, maximum i128, changed bounds (bit 0 minimum, bit 1 maximum) u8, zero 15 |
//! | set expiry | 14 | 16 | paused u8 (0 = expiry runs), zero 7, movements u64 (0 when it runs) |
//!
//! The result of operations 1 to 7, 13 and 14 is 16 bytes an event, see [`result_to_bytes`](crate::result_to_bytes).

mod event;
mod keyed;

use bezant_types::{limits, limits::RECORD_SIZE};

use crate::DecodeError;

pub use event::{
    ASSET_SIZE, CHANGE_BOUNDS_SIZE, EXTENDED_ACCOUNT_SIZE, EXTENDED_TRANSFER_SIZE, Event, SET_BOUNDS_SIZE,
    SET_EXPIRY_SIZE, SET_NAME_SIZE,
};
pub use keyed::{KEYED_HEAD_SIZE, KeyedHead};

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

    /// The number of events in the body of a client's command. An error when the size is not a multiple of an
    /// event's size, when there are no events or more than [`limits::EVENTS_MAX`], or when
    /// [`event_size`](Self::event_size) is 0.
    pub fn count(self, body: &[u8]) -> Result<u32, DecodeError> {
        let size = self.event_size();
        if size == 0
            || body.is_empty()
            || !body.len().is_multiple_of(size)
            || body.len() / size > limits::EVENTS_MAX
        {
            return Err(DecodeError::Size);
        }
        u32::try_from(body.len() / size).map_err(|_| DecodeError::Size)
    }
}
