//! Generators of random requests. Most are valid; some have one invalid field, and many repeat an earlier
//! event, unchanged or with one field changed.

use bezant_ledger::{
    ChangeBounds, Event, ExtendedAccount, ExtendedTransfer, Operation, SetBounds, SetExpiry, SetName,
    TaggedAccount, TaggedTransfer, ToCommand, name_to_bytes,
};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountFlags, AccountId, Asset, Bounds, Head, LedgerNumber, MovementKind, Nanos, Transfer,
    TransferFlags, TransferId,
};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::model::Model;

/// One request of a client.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// `is_extended` is true when the events have bounds and names.
    Accounts {
        events: Vec<AccountEvent>,
        is_extended: bool,
        is_imported: bool,
    },
    /// `is_extended` is true when the events have a `prev_hash`.
    Transfers {
        events: Vec<TransferEvent>,
        is_extended: bool,
        is_imported: bool,
    },
    Bounds(Vec<(u128, Bounds)>),
    OneBound(Vec<(u128, Option<i128>, Option<i128>)>),
    Names(Vec<(u128, &'static str)>),
    Assets(Vec<(u32, &'static str, u8)>),
    /// For each event: a pause of expiry with the right or a wrong number of movements, or the end of the
    /// pause.
    Expiry(Vec<Option<bool>>),
}

/// Earlier events, which can be sent again.
#[derive(Debug, Default)]
pub(super) struct Sent {
    accounts: Vec<ExtendedAccount>,
    transfers: Vec<Transfer>,
}

/// A timestamp, relative to the time of the request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stamp {
    /// The valid timestamp: 0, or for an imported event that many nanoseconds in the past.
    Usual(u64),
    /// A timestamp that the event must not have.
    Wrong(u64),
    /// That many nanoseconds in the future.
    Ahead(u64),
}

/// The choice of `prev_hash`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prev {
    None,
    Head,
    Stale,
}

/// The parts of an account event. With `again`, an earlier event is repeated instead, with the field of that
/// number changed.
#[derive(Clone, Debug)]
pub(super) struct AccountEvent {
    extended: ExtendedAccount,
    stamp: Stamp,
    again: Option<(Index, u8)>,
}

/// The parts of a transfer event. With `again`, an earlier event is repeated instead, with the field of that
/// number changed.
#[derive(Clone, Debug)]
pub(super) struct TransferEvent {
    transfer: Transfer,
    prev: Prev,
    stamp: Stamp,
    again: Option<(Index, u8)>,
    /// For a post or void: one of the earlier pending transfers, instead of a random id.
    target: Option<Index>,
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let is_imported = || prop::bool::weighted(0.15);
    let ids = || 0..8_u128;
    prop_oneof![
        5 => (prop::collection::vec(account(), 1..6), any::<bool>(), is_imported()).prop_map(
            |(events, is_extended, is_imported)| Request::Accounts { events, is_extended, is_imported }
        ),
        20 => (prop::collection::vec(transfer(), 1..12), any::<bool>(), is_imported()).prop_map(
            |(events, is_extended, is_imported)| Request::Transfers { events, is_extended, is_imported }
        ),
        1 => prop::collection::vec((ids(), bounds()), 1..4).prop_map(Request::Bounds),
        1 => prop::collection::vec((ids(), bounds(), any::<[bool; 2]>()), 1..4).prop_map(|changes| {
            let change = |(id, bounds, [has_minimum, has_maximum]): (u128, Bounds, [bool; 2])| {
                (id, has_minimum.then_some(bounds.minimum), has_maximum.then_some(bounds.maximum))
            };
            Request::OneBound(changes.into_iter().map(change).collect())
        }),
        1 => prop::collection::vec((ids(), name()), 1..4).prop_map(Request::Names),
        1 => prop::collection::vec((select(&LEDGERS[..]), select(&CODES[..]), 0..40_u8), 1..4)
            .prop_map(Request::Assets),
        2 => prop::collection::vec(prop::option::weighted(0.8, prop::bool::weighted(0.9)), 1..3)
            .prop_map(Request::Expiry),
    ]
}

const LEDGERS: [u32; 6] = [0, 1, 978, 5000, 5001, u32::MAX];
const CODES: [&str; 4] = ["EUR", "POINTS", "MILES", "X"];
const NAMES: [&str; 7] = ["", "alice", "bob", "users:carol:main", " space", "1234", "tab\t"];

fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let minimum = select(&[i128::MIN, i128::MIN + 1, -50, 0, 20, i128::MAX][..]);
    let maximum = select(&[i128::MAX, i128::MAX - 1, 100, 0, -10, i128::MIN][..]);
    prop_oneof![
        2 => Just(Bounds::NONE),
        1 => (minimum, maximum).prop_map(|(minimum, maximum)| Bounds { minimum, maximum })
    ]
}

/// Usually `usual`, sometimes one of `odd`.
fn usually<T: Clone + std::fmt::Debug + 'static>(
    usual: impl Strategy<Value = T> + 'static,
    odd: &[T],
) -> BoxedStrategy<T> {
    prop_oneof![40 => usual, 1 => select(odd.to_vec())].boxed()
}

/// Each flag is set with the probability of its weight.
fn flags(weights: &'static [(u16, f64)]) -> impl Strategy<Value = u16> {
    let each: Vec<_> = weights
        .iter()
        .map(|(bit, weight)| prop::bool::weighted(*weight).prop_map(|is_set| u16::from(is_set) << *bit))
        .collect();
    each.prop_map(|bits| bits.into_iter().sum())
}

fn stamp() -> BoxedStrategy<Stamp> {
    let wrong = select(&[0, 1, 1 << 63, u64::MAX, (1 << 63) - 1][..]);
    prop_oneof![
        30 => (0..40_u64).prop_map(Stamp::Usual),
        1 => wrong.prop_map(Stamp::Wrong),
        1 => (0..6_u64).prop_map(Stamp::Ahead)
    ]
    .boxed()
}

fn again(fields: u8) -> impl Strategy<Value = Option<(Index, u8)>> {
    // Numbers past the last field change nothing, so the event is repeated as it was.
    prop::option::weighted(0.25, (any::<Index>(), 0..fields + 4))
}

fn account() -> impl Strategy<Value = AccountEvent> {
    const FLAGS: &[(u16, f64)] =
        &[(0, 0.15), (1, 0.15), (2, 0.15), (3, 0.2), (4, 0.01), (5, 0.05), (6, 0.01), (15, 0.005)];
    let user_data = (0..2_u128, 0..2_u64, 0..2_u32);
    let sums = prop_oneof![30 => Just([0_u128; 4]), 1 => (0..4_usize).prop_map(|at| {
        let mut sums = [0; 4];
        sums[at] = 1;
        sums
    })];
    let id = usually(1..8_u128, &[0, u128::MAX]);
    let ledger = usually(prop_oneof![6 => Just(1_u32), 1 => Just(2)], &[0]);
    let code = usually(1..3_u16, &[0]);
    let reserved = usually(Just(0_u32), &[7]);
    let extension = (bounds(), prop_oneof![2 => Just(""), 1 => name()]);
    let record = (id, flags(FLAGS), user_data, sums, ledger, code, reserved);
    (record, extension, stamp(), again(8)).prop_map(|(record, (bounds, name), stamp, again)| {
        let (id, flags, user_data, sums, ledger, code, reserved) = record;
        let [debits_pending, debits_posted, credits_pending, credits_posted] = sums;
        let account = Account {
            id: AccountId(id),
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
            user_data_128: user_data.0,
            user_data_64: user_data.1,
            user_data_32: user_data.2,
            reserved,
            ledger: LedgerNumber(ledger),
            code,
            flags: AccountFlags(flags),
            timestamp: Nanos(0),
        };
        let name = name_to_bytes(name).unwrap();
        AccountEvent { extended: ExtendedAccount { account, bounds, name }, stamp, again }
    })
}

fn amount() -> BoxedStrategy<u128> {
    const EDGES: &[u128] = &[u128::MAX, u128::MAX - 1, u128::MAX / 2, u128::MAX / 2 + 1, u128::MAX - 50];
    prop_oneof![20 => 0..60_u128, 2 => Just(0), 2 => select(EDGES)].boxed()
}

/// A transfer that moves or reserves, or a post or void of one of the few ids.
fn transfer() -> impl Strategy<Value = TransferEvent> {
    let prev = prop_oneof![4 => Just(Prev::None), 4 => Just(Prev::Head), 1 => Just(Prev::Stale)];
    let target = prop::option::weighted(0.8, any::<Index>());
    (prop_oneof![3 => plain(), 2 => resolution()], prev, stamp(), again(12), target).prop_map(
        |(transfer, prev, stamp, again, target)| TransferEvent { transfer, prev, stamp, again, target },
    )
}

fn plain() -> BoxedStrategy<Transfer> {
    const FLAGS: &[(u16, f64)] = &[
        (0, 0.12),
        (1, 0.45),
        (4, 0.08),
        (5, 0.08),
        (6, 0.04),
        (7, 0.04),
        (8, 0.005),
        (9, 0.005),
        (15, 0.005),
    ];
    let id = usually(1..200_u128, &[0, u128::MAX]);
    let account = || usually(1..8_u128, &[0, u128::MAX, 99]);
    let pending_id = usually(Just(0_u128), &[3, 4]);
    let timeout = prop_oneof![6 => Just(0_u32), 3 => 1..4_u32, 1 => Just(u32::MAX)];
    let ledger = usually(prop_oneof![12 => Just(1_u32), 1 => Just(2)], &[0]);
    let code = usually(1..3_u16, &[0]);
    let user_data = (0..2_u128, 0..2_u64, 0..2_u32);
    (id, account(), account(), amount(), pending_id, user_data, timeout, (ledger, code, flags(FLAGS)))
        .prop_map(|(id, debit, credit, amount, pending_id, user_data, timeout, (ledger, code, flags))| {
            let is_pending = flags & TransferFlags::PENDING.0 != 0;
            // A timeout or closing flag without the flag `pending` is invalid, so it is rare.
            let timeout = if is_pending || timeout == 3 { timeout } else { 0 };
            let closing = TransferFlags::CLOSING_DEBIT.union(TransferFlags::CLOSING_CREDIT).0;
            let flags = if is_pending || id % 16 == 0 { flags } else { flags & !closing };
            Transfer {
                id: TransferId(id),
                debit_account_id: AccountId(debit),
                credit_account_id: AccountId(credit),
                amount,
                pending_id: TransferId(pending_id),
                user_data_128: user_data.0,
                user_data_64: user_data.1,
                user_data_32: user_data.2,
                timeout_seconds: timeout,
                ledger: LedgerNumber(ledger),
                code,
                flags: TransferFlags(flags),
                timestamp: Nanos(0),
            }
        })
        .boxed()
}

fn resolution() -> BoxedStrategy<Transfer> {
    const FLAGS: &[(u16, f64)] = &[(0, 0.12), (1, 0.01), (4, 0.01), (7, 0.01), (8, 0.005), (10, 0.005)];
    let id = usually(1..200_u128, &[0, u128::MAX]);
    let pending_id = usually(1..200_u128, &[0, u128::MAX]);
    let account = || prop_oneof![12 => Just(0_u128), 1 => 1..8_u128];
    let amount = prop_oneof![2 => Just(0_u128), 3 => Just(u128::MAX), 3 => 0..60_u128];
    let kind = prop_oneof![20 => Just(4_u16), 20 => Just(8), 1 => Just(12)];
    let user_data = (0..2_u128, 0..2_u64, 0..2_u32);
    let rest = (usually(Just(0_u32), &[1]), usually(Just(0_u32), &[1, 2]), usually(Just(0_u16), &[1, 2]));
    (id, pending_id, (account(), account()), amount, kind, flags(FLAGS), user_data, rest)
        .prop_map(|(id, pending_id, (debit, credit), amount, kind, flags, user_data, rest)| {
            let (timeout_seconds, ledger, code) = rest;
            Transfer {
                id: TransferId(id),
                debit_account_id: AccountId(debit),
                credit_account_id: AccountId(credit),
                amount,
                pending_id: TransferId(pending_id),
                user_data_128: user_data.0,
                user_data_64: user_data.1,
                user_data_32: user_data.2,
                timeout_seconds,
                ledger: LedgerNumber(ledger),
                code,
                flags: TransferFlags(flags | kind),
                timestamp: Nanos(0),
            }
        })
        .boxed()
}

impl Stamp {
    fn resolve(self, time: u64, is_imported: bool) -> Nanos {
        Nanos(match self {
            Self::Usual(ago) if is_imported => time - ago,
            Self::Usual(_) => 0,
            Self::Wrong(timestamp) => timestamp,
            Self::Ahead(nanos) => time + nanos,
        })
    }
}

impl Request {
    /// The command of this request, when cluster time is `time`.
    pub(super) fn command(&self, time: u64, sent: &mut Sent, model: &Model) -> Command {
        let (operation, body) = match self {
            Self::Accounts { events, is_extended, is_imported } => {
                let all: Vec<ExtendedAccount> =
                    events.iter().map(|event| event.resolve(time, *is_imported, sent)).collect();
                sent.accounts.extend(&all);
                accounts_body(all, *is_extended)
            }
            Self::Transfers { events, is_extended, is_imported } => {
                let all: Vec<ExtendedTransfer> =
                    events.iter().map(|event| event.resolve(time, *is_imported, sent, model)).collect();
                sent.transfers.extend(all.iter().map(|extended| extended.transfer));
                transfers_body(all, *is_extended)
            }
            Self::Bounds(changes) => {
                let change = |(id, bounds): &_| SetBounds { account_id: AccountId(*id), bounds: *bounds };
                let events: Vec<SetBounds> = changes.iter().map(change).collect();
                (Operation::SetBounds, SetBounds::write_all(&events))
            }
            Self::OneBound(changes) => {
                let change = |(id, minimum, maximum): &_| ChangeBounds {
                    account_id: AccountId(*id),
                    minimum: *minimum,
                    maximum: *maximum,
                };
                let events: Vec<ChangeBounds> = changes.iter().map(change).collect();
                (Operation::ChangeBounds, ChangeBounds::write_all(&events))
            }
            Self::Names(changes) => {
                let change = |(id, name): &(u128, &str)| SetName {
                    account_id: AccountId(*id),
                    name: name_to_bytes(name).unwrap(),
                };
                let events: Vec<SetName> = changes.iter().map(change).collect();
                (Operation::SetName, SetName::write_all(&events))
            }
            Self::Assets(assets) => {
                let asset = |(ledger, code, scale): &(u32, &str, u8)| Asset {
                    ledger: LedgerNumber(*ledger),
                    code: code.parse().unwrap(),
                    scale: *scale,
                };
                let events: Vec<Asset> = assets.iter().map(asset).collect();
                (Operation::RegisterAssets, Asset::write_all(&events))
            }
            Self::Expiry(changes) => {
                let movements = model.history.movements.len() as u64;
                let change = |is_right: &Option<bool>| match is_right {
                    None => SetExpiry::Runs,
                    Some(true) => SetExpiry::Paused { movements },
                    Some(false) => SetExpiry::Paused { movements: movements + 1 },
                };
                let events: Vec<SetExpiry> = changes.iter().map(change).collect();
                (Operation::SetExpiry, SetExpiry::write_all(&events))
            }
        };
        operation.command(body).unwrap()
    }
}

/// The operation that creates the accounts: the plain one, that of version 0.1, or that with tagged fields.
fn accounts_body(all: Vec<ExtendedAccount>, is_extended: bool) -> (Operation, Bytes) {
    if !is_extended {
        let records: Vec<Account> = all.iter().map(|extended| extended.account).collect();
        return (Operation::CreateAccounts, Account::write_all(&records));
    }
    if all.first().is_some_and(|first| first.account.id.0.is_multiple_of(2)) {
        let tagged: Vec<TaggedAccount> = all.into_iter().map(TaggedAccount).collect();
        return (Operation::CreateAccountsTagged, TaggedAccount::write_all(&tagged));
    }
    (Operation::CreateAccountsExtended, ExtendedAccount::write_all(&all))
}

/// The same for transfers.
fn transfers_body(all: Vec<ExtendedTransfer>, is_extended: bool) -> (Operation, Bytes) {
    if !is_extended {
        let records: Vec<Transfer> = all.iter().map(|extended| extended.transfer).collect();
        return (Operation::CreateTransfers, Transfer::write_all(&records));
    }
    if all.first().is_some_and(|first| first.transfer.id.0.is_multiple_of(2)) {
        let tagged: Vec<TaggedTransfer> = all.into_iter().map(TaggedTransfer).collect();
        return (Operation::CreateTransfersTagged, TaggedTransfer::write_all(&tagged));
    }
    (Operation::CreateTransfersExtended, ExtendedTransfer::write_all(&all))
}

impl AccountEvent {
    fn resolve(&self, time: u64, is_imported: bool, sent: &Sent) -> ExtendedAccount {
        if let Some((which, field)) = &self.again
            && !sent.accounts.is_empty()
        {
            let mut extended = *which.get(&sent.accounts);
            let account = &mut extended.account;
            match field {
                0 => account.flags.0 ^= AccountFlags::HISTORY.0,
                1 => account.user_data_128 += 1,
                2 => account.user_data_64 += 1,
                3 => account.user_data_32 += 1,
                4 => account.ledger.0 += 1,
                5 => account.code += 1,
                6 => extended.bounds.maximum ^= 1,
                7 => extended.name = name_to_bytes("carol").unwrap(),
                _ => {}
            }
            return extended;
        }
        let mut extended = self.extended;
        if is_imported {
            extended.account.flags.0 ^= AccountFlags::IMPORTED.0;
        }
        let is_imported = extended.account.flags.contains(AccountFlags::IMPORTED);
        extended.account.timestamp = self.stamp.resolve(time, is_imported);
        extended
    }
}

impl TransferEvent {
    fn resolve(&self, time: u64, is_imported: bool, sent: &Sent, model: &Model) -> ExtendedTransfer {
        let mut transfer = self.transfer;
        if let Some((which, field)) = &self.again
            && !sent.transfers.is_empty()
        {
            transfer = *which.get(&sent.transfers);
            change(&mut transfer, *field);
        } else {
            if is_imported {
                transfer.flags.0 ^= TransferFlags::IMPORTED.0;
            }
            let is_imported = transfer.flags.contains(TransferFlags::IMPORTED);
            transfer.timestamp = self.stamp.resolve(time, is_imported);
            let resolves = TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING);
            let rows = model.history.movements.iter();
            let pending: Vec<TransferId> =
                rows.filter(|row| row.kind == MovementKind::Pending).map(|row| row.transfer.id).collect();
            if let Some(target) = &self.target
                && transfer.flags.intersects(resolves)
                && !pending.is_empty()
            {
                transfer.pending_id = *target.get(&pending);
            }
        }
        let prev_hash = match self.prev {
            Prev::None => Head::NONE,
            Prev::Head => {
                model.accounts.get(&transfer.debit_account_id).map_or(Head::NONE, |view| view.spends.head)
            }
            Prev::Stale => Head([9; 32]),
        };
        ExtendedTransfer { transfer, prev_hash }
    }
}

/// Changes one field; a number past the last field changes nothing.
fn change(transfer: &mut Transfer, field: u8) {
    match field {
        0 => transfer.flags.0 ^= TransferFlags::PENDING.0,
        1 => transfer.pending_id.0 ^= 1,
        2 => transfer.timeout_seconds ^= 1,
        3 => transfer.debit_account_id.0 ^= 1,
        4 => transfer.credit_account_id.0 ^= 1,
        5 => transfer.amount ^= 1,
        6 => transfer.user_data_128 ^= 1,
        7 => transfer.user_data_64 ^= 1,
        8 => transfer.user_data_32 ^= 1,
        9 => transfer.ledger.0 ^= 1,
        10 => transfer.code ^= 1,
        11 => transfer.id.0 ^= 1,
        _ => {}
    }
}
