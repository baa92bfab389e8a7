//! The operations of the ledger and the bytes of their events.
//!
//! The table at the `operations!` below is the only place that lists them: numbers, names, sizes, ids and
//! statuses come from there. This list shows the layouts:
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
//! | create keyed | 12 | 0 | see `keyed`: a head, then the events of an operation that creates |
//! | change bounds | 13 | 64 | account id u128, minimum i128, maximum i128, changed bounds (bit 0 minimum, bit 1 maximum) u8, zero 15 |
//! | set expiry | 14 | 16 | paused u8 (0 = expiry runs), zero 7, movements u64 (0 when it runs) |
//! | create accounts, tagged | 15 | 130 to 450 | see `tagged`: record 128, then the fields with their tags |
//! | create transfers, tagged | 16 | 130 to 450 | the same |
//!
//! Operations 3 and 4 are those of version 0.1; programs since write 15 and 16, and read all four for ever.
//! The result of the operations of clients is 16 bytes an event, see [`result_to_bytes`](crate::result_to_bytes).

mod event;
mod keyed;
mod tagged;

use bezant_types::{
    Account, AccountChangeStatus, Asset, AssetStatus, ChangeBounds, CreateAccountStatus,
    CreateTransferStatus, ExpiryStatus, ExtendedAccount, ExtendedTransfer, SetBounds, SetExpiry, SetName,
    Transfer, limits,
};

use crate::DecodeError;

pub use event::Event;
pub use keyed::{KEYED_HEAD_SIZE, KeyedHead};
pub use tagged::{TaggedAccount, TaggedTransfer};

/// What the table says about an operation.
#[derive(Debug)]
struct Row {
    name: &'static str,
    /// Bytes of one event; 0 for an operation whose body is not a sequence of events from a client.
    event_size: usize,
    /// Each event says its own size; `event_size` is that of the smallest.
    is_tagged: bool,
    /// Size of the event at the start of some bytes.
    size_at_start: fn(&[u8]) -> Result<usize, DecodeError>,
    /// Reads an event, to check it.
    check: fn(&[u8]) -> Result<(), DecodeError>,
    /// The lowest rules of an entry under which it is applied; under lower ones it does nothing.
    rules: u8,
    /// The id in the bytes of an event; `None` where an event has none.
    id: fn(&[u8]) -> Option<u128>,
    creates: Option<Creates>,
    /// The status with that number among those of its results.
    status: fn(u32) -> Option<StatusText>,
}

/// Name and meaning of a status.
type StatusText = (&'static str, &'static str);

/// What an operation creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creates {
    /// Accounts.
    Accounts,
    /// Transfers.
    Transfers,
}

macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        $operation:ident = $number:literal $name:literal {
            events: $events:ident, creates: $creates:ident, status: $status:ident, rules: $rules:literal
        }
    )+) => {
        /// The kind of a command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Operation {
            $($(#[$doc])* $operation = $number,)+
        }

        impl Operation {
            /// Every operation, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$operation,)+];

            /// The operation with that number.
            pub const fn from_number(number: u16) -> Option<Self> {
                Some(match number {
                    $($number => Self::$operation,)+
                    _ => return None,
                })
            }

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$operation => const {
                        &Row {
                            name: $name,
                            event_size: operations!(@size $events),
                            is_tagged: operations!(@is_tagged $events),
                            size_at_start: operations!(@size_at_start $events),
                            check: operations!(@check $events),
                            rules: $rules,
                            id: operations!(@id $events),
                            creates: operations!(@creates $creates),
                            status: operations!(@status $status),
                        }
                    },)+
                }
            }
        }
    };
    (@size none) => { 0 };
    (@size $event:ident) => { <$event as Event>::SIZE };
    (@is_tagged none) => { false };
    (@is_tagged $event:ident) => { <$event as Event>::IS_TAGGED };
    (@size_at_start none) => { |_| Err(DecodeError::Size) };
    (@size_at_start $event:ident) => { <$event as Event>::size_at_start };
    (@check none) => { |_| Err(DecodeError::Size) };
    (@check $event:ident) => { |event| <$event as Event>::read_all(event).map(drop) };
    (@id none) => { |_| None };
    (@id $event:ident) => { <$event as Event>::id };
    (@creates none) => { None };
    (@creates $what:ident) => { Some(Creates::$what) };
    (@status none) => { |_| None };
    (@status $status:ident) => {
        |number| $status::from_number(number).ok().map(|status| (status.name(), status.meaning()))
    };
}

// Clients send the operations that have a type of event; the others come from the server itself.
operations! {
    /// Records of 128 bytes.
    CreateAccounts = 1 "create_accounts" {
        events: Account, creates: Accounts, status: CreateAccountStatus, rules: 0
    }
    /// Records of 128 bytes.
    CreateTransfers = 2 "create_transfers" {
        events: Transfer, creates: Transfers, status: CreateTransferStatus, rules: 0
    }
    /// Accounts with bounds and name.
    CreateAccountsExtended = 3 "create_accounts_extended" {
        events: ExtendedAccount, creates: Accounts, status: CreateAccountStatus, rules: 0
    }
    /// Transfers with `prev_hash`.
    CreateTransfersExtended = 4 "create_transfers_extended" {
        events: ExtendedTransfer, creates: Transfers, status: CreateTransferStatus, rules: 0
    }
    /// Changes the bounds of accounts.
    SetBounds = 5 "set_bounds" {
        events: SetBounds, creates: none, status: AccountChangeStatus, rules: 0
    }
    /// Names accounts that have no name.
    SetName = 6 "set_name" {
        events: SetName, creates: none, status: AccountChangeStatus, rules: 0
    }
    /// Registers the code and the scale of ledgers.
    RegisterAssets = 7 "register_assets" {
        events: Asset, creates: none, status: AssetStatus, rules: 0
    }
    /// Releases the reserves of pending transfers whose timeout has passed.
    Expire = 8 "expire" { events: none, creates: none, status: none, rules: 0 }
    /// Opens the session of a client.
    OpenSession = 9 "open_session" { events: none, creates: none, status: none, rules: 0 }
    /// Creates accounts or transfers, once, for a client with a session.
    SessionCreate = 10 "session_create" { events: none, creates: none, status: none, rules: 0 }
    /// Stores the reply to a read of a client with a session.
    SessionReply = 11 "session_reply" { events: none, creates: none, status: none, rules: 0 }
    /// Creates accounts or transfers of a request with an idempotency key.
    CreateKeyed = 12 "create_keyed" { events: none, creates: none, status: none, rules: 0 }
    /// Changes one or both bounds of accounts.
    ChangeBounds = 13 "change_bounds" {
        events: ChangeBounds, creates: none, status: AccountChangeStatus, rules: 0
    }
    /// Pauses the expiry of imported pending transfers, or lets it run again.
    SetExpiry = 14 "set_expiry" {
        events: SetExpiry, creates: none, status: ExpiryStatus, rules: 0
    }
    /// Accounts with tagged fields.
    CreateAccountsTagged = 15 "create_accounts_tagged" {
        events: TaggedAccount, creates: Accounts, status: CreateAccountStatus, rules: 2
    }
    /// Transfers with tagged fields.
    CreateTransfersTagged = 16 "create_transfers_tagged" {
        events: TaggedTransfer, creates: Transfers, status: CreateTransferStatus, rules: 2
    }
}

impl Operation {
    /// One more than the greatest number.
    pub const NUMBERS: usize = {
        let mut at = 1;
        while at < Self::ALL.len() {
            assert!(
                (Self::ALL[at - 1] as u16) < Self::ALL[at] as u16,
                "numbers ascend, and none is used twice"
            );
            at += 1;
        }
        Self::ALL[at - 1] as usize + 1
    };

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Size of one event in bytes; of the smallest one where events are [tagged](Self::is_tagged). 0 for an
    /// operation whose body is not a sequence of events from a client.
    pub const fn event_size(self) -> usize {
        self.row().event_size
    }

    /// True when each event says its own size: a record with tagged fields.
    pub const fn is_tagged(self) -> bool {
        self.row().is_tagged
    }

    /// The lowest rules of an entry under which it is applied; under lower ones it does nothing.
    pub const fn rules(self) -> u8 {
        self.row().rules
    }

    /// True when clients send events of this operation.
    pub const fn is_from_clients(self) -> bool {
        self.event_size() > 0
    }

    /// What its events create; `None` for all other operations.
    pub const fn creates(self) -> Option<Creates> {
        self.row().creates
    }

    /// Name and meaning of a status of its results; `None` for an unknown number.
    pub fn status(self, number: u32) -> Option<(&'static str, &'static str)> {
        (self.row().status)(number)
    }

    /// The events of a client in a body that was [counted](Self::count), one by one.
    pub fn events(self, body: &[u8]) -> impl Iterator<Item = &[u8]> {
        event::events(body, self.row().size_at_start)
    }

    /// The ids of the events of a client, in order; of assets their ledger numbers. Changes of expiry have
    /// no ids.
    pub fn ids(self, events: &[u8]) -> Vec<u128> {
        self.events(events).filter_map(self.row().id).collect()
    }

    /// The number of events in the body of a client's command. An error when they are not whole, when there
    /// are none or more than [`limits::EVENTS_MAX`], when a tagged field is not as its tag says, or when
    /// clients have no events of this operation.
    pub fn count(self, body: &[u8]) -> Result<u32, DecodeError> {
        if self.is_tagged() {
            return self.count_tagged(body);
        }
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

    fn count_tagged(self, body: &[u8]) -> Result<u32, DecodeError> {
        if body.is_empty() || body.len() > limits::TAGGED_SIZE_MAX {
            return Err(DecodeError::Size);
        }
        let (mut size, mut count) = (0, 0);
        for event in self.events(body) {
            (self.row().check)(event)?;
            size += event.len();
            count += 1;
        }
        if size < body.len() || count > limits::EVENTS_MAX {
            return Err(DecodeError::Size);
        }
        u32::try_from(count).map_err(|_| DecodeError::Size)
    }
}

#[cfg(test)]
mod tests {
    use bezant_types::{LedgerNumber, TransferId};

    use super::*;

    #[test]
    fn every_operation_is_found_by_its_number() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_number(*operation as u16), Some(*operation));
            assert_eq!(operation.is_from_clients(), operation.status(u32::MAX).is_some(), "{operation:?}");
        }
        assert_eq!((Operation::from_number(0), Operation::NUMBERS), (None, Operation::ALL.len() + 1));
    }

    #[test]
    fn the_ids_of_a_request_are_read_from_its_records() {
        let id = |id| Transfer { id: TransferId(id), ..Transfer::default() };
        let records = Event::write_all(&[id(7), id(u128::MAX - 1)]);
        assert_eq!(Operation::CreateTransfers.ids(&records), [7, u128::MAX - 1]);
        let asset = Asset { ledger: LedgerNumber(700), code: "GOLD".parse().unwrap(), scale: 2 };
        assert_eq!(Operation::RegisterAssets.ids(&Event::write_all(&[asset])), [700]);
        assert_eq!(Operation::SetName.ids(&[0; 80]), [0]);
        let pause = Event::write_all(&[SetExpiry::Paused { movements: 7 }]);
        assert_eq!(Operation::SetExpiry.ids(&pause), [0_u128; 0]);
    }

    #[test]
    fn a_status_is_read_as_its_operation_defines() {
        assert_eq!(Operation::CreateAccounts.status(21).unwrap().0, "exists");
        assert_eq!(Operation::CreateTransfers.status(21).unwrap().0, "debit_account_not_found");
        assert_eq!(Operation::SetExpiry.status(1040).unwrap().0, "expiry_invalid");
        assert_eq!(Operation::SetName.status(1), None);
    }

    #[test]
    fn the_events_of_a_body_are_counted() {
        let size = Operation::SetBounds.event_size();
        assert_eq!(Operation::SetBounds.count(&vec![0; 3 * size]), Ok(3));
        for wrong in [0, size - 1, size + 1, (limits::EVENTS_MAX + 1) * size] {
            assert_eq!(Operation::SetBounds.count(&vec![0; wrong]), Err(DecodeError::Size), "{wrong}");
        }
        assert_eq!(Operation::Expire.count(&[0; 16]), Err(DecodeError::Size), "clients send none");
    }
}
