//! Conversion between protobuf and the types of the ledger.
//!
//! The server may have another version: a number out of range, a missing required field or a hash of the
//! wrong size is a [`ClientError::Protocol`]. The client never substitutes a value for it.

use bezant_api::token::EventPosition;
use bezant_api::v1;
use bezant_codec::{MOVEMENT_SIZE, movement_from_bytes, records};
use bezant_types::{
    Account, AccountBalance, AccountFilter, AccountFlags, AccountId, AccountView, Asset, Balances, Bounds,
    Chain, GroupId, Head, HistoryPosition, Hold, HoldFilter, HoldState, LedgerNumber, Movement, MovementKind,
    MovementNumber, Nanos, QueryFilter, Total, Transfer, TransferFlags, TransferId, TransferView,
};
use bezant_types::{Books, LedgerTotals};

use bytes::Bytes;

use crate::{ChangeEvent, ClientError, EventsPage, NewAccount, NewTransfer, Position};

type Result<T> = std::result::Result<T, ClientError>;

fn wrong(field: &str) -> ClientError {
    ClientError::Protocol { reason: format!("the field {field} is out of range") }
}

/// A `u128` in protobuf.
pub(crate) fn uint128(value: u128) -> v1::Uint128 {
    let bytes = value.to_be_bytes();
    let (high, low) = halves(&bytes);
    v1::Uint128 { high: u64::from_be_bytes(high), low: u64::from_be_bytes(low) }
}

/// A transfer to create, in protobuf.
pub(crate) fn transfer_input(new: &NewTransfer) -> v1::TransferInput {
    let transfer = &new.transfer;
    let account = |id: AccountId| (id.0 != 0).then(|| reference_by_id(id));
    v1::TransferInput {
        id: Some(uint128(transfer.id.0)),
        debit_account: account(transfer.debit_account_id),
        credit_account: account(transfer.credit_account_id),
        amount: Some(uint128(transfer.amount)),
        pending_id: Some(uint128(transfer.pending_id.0)),
        user_data_128: Some(uint128(transfer.user_data_128)),
        user_data_64: transfer.user_data_64,
        user_data_32: transfer.user_data_32,
        timeout_seconds: transfer.timeout_seconds,
        ledger: Some(transfer.ledger.0),
        code: Some(transfer.code.into()),
        flags: transfer.flags.0.into(),
        timestamp: transfer.timestamp.0,
        prev_hash: if new.prev_hash.is_none() {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(&new.prev_hash.0)
        },
    }
}

/// An account to create, in protobuf.
pub(crate) fn account_input(new: &NewAccount) -> v1::AccountInput {
    let account = &new.account;
    v1::AccountInput {
        id: Some(uint128(account.id.0)),
        user_data_128: Some(uint128(account.user_data_128)),
        user_data_64: account.user_data_64,
        user_data_32: account.user_data_32,
        ledger: Some(account.ledger.0),
        code: Some(account.code.into()),
        flags: account.flags.0.into(),
        timestamp: account.timestamp.0,
        name: new.name.clone(),
        bounds: (!new.bounds.is_none()).then(|| new.bounds.into()),
    }
}

fn halves(bytes: &[u8; 16]) -> ([u8; 8], [u8; 8]) {
    let (mut high, mut low) = ([0; 8], [0; 8]);
    high.copy_from_slice(&bytes[..8]);
    low.copy_from_slice(&bytes[8..]);
    (high, low)
}

fn u128_of(value: Option<&v1::Uint128>) -> u128 {
    value.map_or(0, |value| (u128::from(value.high) << 64) | u128::from(value.low))
}

fn i128_of(value: &v1::Int128) -> i128 {
    (i128::from(value.high) << 64) | i128::from(value.low)
}

fn u16_of(value: u32, field: &str) -> Result<u16> {
    u16::try_from(value).map_err(|_| wrong(field))
}

fn head_of(bytes: &[u8], field: &str) -> Result<Head> {
    if bytes.is_empty() { Ok(Head::NONE) } else { bytes.try_into().map(Head).map_err(|_| wrong(field)) }
}

fn balances_of(balances: Option<&v1::Balances>) -> Balances {
    balances.map_or_else(Balances::default, |balances| Balances {
        debits_pending: u128_of(balances.debits_pending.as_ref()),
        debits_posted: u128_of(balances.debits_posted.as_ref()),
        credits_pending: u128_of(balances.credits_pending.as_ref()),
        credits_posted: u128_of(balances.credits_posted.as_ref()),
    })
}

fn bounds_of(bounds: Option<&v1::Bounds>) -> Bounds {
    let minimum = bounds.and_then(|bounds| bounds.minimum.as_ref()).map_or(i128::MIN, i128_of);
    let maximum = bounds.and_then(|bounds| bounds.maximum.as_ref()).map_or(i128::MAX, i128_of);
    Bounds { minimum, maximum }
}

fn chain_of(chain: Option<&v1::Chain>, field: &str) -> Result<Chain> {
    let Some(chain) = chain else { return Ok(Chain::default()) };
    Ok(Chain { sequence: chain.sequence, head: head_of(&chain.head, field)? })
}

/// An account from a lookup.
pub(crate) fn account_view(view: v1::Account) -> Result<AccountView> {
    let balances = balances_of(view.balances.as_ref());
    let account = Account {
        id: AccountId(u128_of(view.id.as_ref())),
        debits_pending: balances.debits_pending,
        debits_posted: balances.debits_posted,
        credits_pending: balances.credits_pending,
        credits_posted: balances.credits_posted,
        user_data_128: u128_of(view.user_data_128.as_ref()),
        user_data_64: view.user_data_64,
        user_data_32: view.user_data_32,
        reserved: 0,
        ledger: LedgerNumber(view.ledger),
        code: u16_of(view.code, "code")?,
        flags: AccountFlags(u16_of(view.flags, "flags")?),
        timestamp: Nanos(view.timestamp),
    };
    Ok(AccountView {
        account,
        bounds: bounds_of(view.bounds.as_ref()),
        spends: chain_of(view.spends.as_ref(), "spends")?,
        receipts: chain_of(view.receipts.as_ref(), "receipts")?,
        name: view.name,
    })
}

/// A recorded transfer.
pub(crate) fn transfer(transfer: &v1::Transfer) -> Result<Transfer> {
    Ok(Transfer {
        id: TransferId(u128_of(transfer.id.as_ref())),
        debit_account_id: AccountId(u128_of(transfer.debit_account_id.as_ref())),
        credit_account_id: AccountId(u128_of(transfer.credit_account_id.as_ref())),
        amount: u128_of(transfer.amount.as_ref()),
        pending_id: TransferId(u128_of(transfer.pending_id.as_ref())),
        user_data_128: u128_of(transfer.user_data_128.as_ref()),
        user_data_64: transfer.user_data_64,
        user_data_32: transfer.user_data_32,
        timeout_seconds: transfer.timeout_seconds,
        ledger: LedgerNumber(transfer.ledger),
        code: u16_of(transfer.code, "code")?,
        flags: TransferFlags(u16_of(transfer.flags, "flags")?),
        timestamp: Nanos(transfer.timestamp),
    })
}

/// A transfer, and its state when it is a pending one.
pub(crate) fn transfer_view(view: &v1::Transfer) -> Result<TransferView> {
    let hold = |hold: &v1::Hold| {
        let state = u8::try_from(hold.state).ok().and_then(HoldState::from_number);
        Ok(Hold {
            state: state.ok_or_else(|| wrong("state of a hold"))?,
            captured: u128_of(hold.captured_amount.as_ref()),
            resolved_by: TransferId(u128_of(hold.resolved_by.as_ref())),
            resolved_at: Nanos(hold.resolved_at),
        })
    };
    Ok(TransferView { transfer: transfer(view)?, hold: view.hold.as_ref().map(hold).transpose()? })
}

/// A filter over open holds, in protobuf.
pub(crate) fn hold_filter(filter: &HoldFilter) -> v1::ListHoldsRequest {
    v1::ListHoldsRequest {
        account: (filter.account_id.0 != 0).then(|| reference_by_id(filter.account_id)),
        after_expires_at: filter.after.expires_at.0,
        after_timestamp: filter.after.timestamp.0,
        limit: filter.limit,
    }
}

/// Balances of an account right after a transfer.
pub(crate) fn account_balance(balance: &v1::AccountBalance) -> AccountBalance {
    AccountBalance { balances: balances_of(balance.balances.as_ref()), timestamp: Nanos(balance.timestamp) }
}

/// An asset.
pub(crate) fn asset(asset: &v1::Asset) -> Result<Asset> {
    Ok(Asset {
        ledger: LedgerNumber(asset.ledger),
        code: asset.code.parse().map_err(|_| wrong("code of an asset"))?,
        scale: u8::try_from(asset.scale).map_err(|_| wrong("scale"))?,
    })
}

/// The books.
pub(crate) fn books(reply: &v1::GetBooksReply) -> Books {
    Books {
        time: Nanos(reply.time),
        history: HistoryPosition { movements: reply.movements, refusals: reply.refusals },
        accounts: reply.accounts,
        pending: reply.pending,
        expiry_is_paused: reply.expiry_paused,
        ledgers: reply.ledgers.iter().map(ledger_totals).collect(),
    }
}

/// The totals of one ledger.
pub(crate) fn ledger_totals(totals: &v1::LedgerTotals) -> LedgerTotals {
    let low = balances_of(totals.balances.as_ref());
    let high = balances_of(totals.carries.as_ref());
    let total = |high: u128, low| Total { high: u64::try_from(high).unwrap_or(u64::MAX), low };
    LedgerTotals {
        ledger: LedgerNumber(totals.ledger),
        accounts: totals.accounts,
        debits_pending: total(high.debits_pending, low.debits_pending),
        debits_posted: total(high.debits_posted, low.debits_posted),
        credits_pending: total(high.credits_pending, low.credits_pending),
        credits_posted: total(high.credits_posted, low.credits_posted),
    }
}

/// Rows of the history, with their numbers.
pub(crate) fn movements(reply: &v1::MovementsReply) -> Result<Vec<(MovementNumber, Movement)>> {
    let protocol = |reason: String| ClientError::Protocol { reason };
    let rows = records::<MOVEMENT_SIZE>(&reply.rows).map_err(|error| protocol(error.to_string()))?;
    if rows.len() != reply.numbers.len() {
        return Err(protocol(format!("{} rows with {} numbers", rows.len(), reply.numbers.len())));
    }
    let numbers = reply.numbers.iter().copied().map(MovementNumber);
    numbers
        .zip(rows)
        .map(|(number, row)| match movement_from_bytes(row) {
            Ok(movement) => Ok((number, movement)),
            Err(error) => Err(protocol(format!("movement {number}: {error}"))),
        })
        .collect()
}

/// A page of change events. All rows of a page are of one group, so the positions of its events differ from
/// the position after the page in that group alone.
pub(crate) fn events_page(reply: &v1::MovementsReply) -> Result<EventsPage> {
    let mut at: EventPosition = reply.next.parse().map_err(|_| wrong("next"))?;
    let group = GroupId(reply.group);
    let event = |(number, movement)| {
        at.move_after(group, number);
        let position = Position::of_server(at.to_string());
        ChangeEvent { group, number, position, movement }
    };
    let events = movements(reply)?.into_iter().map(event).collect();
    let next = Position::of_server(reply.next.clone());
    Ok(EventsPage { events, next, has_more: reply.has_more })
}

/// A change event of a stream.
pub(crate) fn change_event(event: &v1::ChangeEvent) -> Result<ChangeEvent> {
    let kind = u8::try_from(event.kind).ok().and_then(MovementKind::from_number);
    let movement = Movement {
        transfer: transfer(event.transfer.as_ref().ok_or_else(|| wrong("transfer"))?)?,
        kind: kind.ok_or_else(|| wrong("kind"))?,
        timestamp: Nanos(event.timestamp),
        debit: balances_of(event.debit_account.as_ref()),
        credit: balances_of(event.credit_account.as_ref()),
        debit_head: head_of(&event.debit_head, "debit_head")?,
        credit_head: head_of(&event.credit_head, "credit_head")?,
    };
    event.position.parse::<EventPosition>().map_err(|_| wrong("position"))?;
    Ok(ChangeEvent {
        group: GroupId(event.group),
        number: MovementNumber(event.number),
        position: Position::of_server(event.position.clone()),
        movement,
    })
}

/// A reference to an account by its id.
pub(crate) fn reference_by_id(id: AccountId) -> v1::AccountRef {
    v1::AccountRef { reference: Some(v1::account_ref::Reference::Id(uint128(id.0))) }
}

/// A reference to an account by its name.
pub(crate) fn reference_by_name(name: &str) -> v1::AccountRef {
    v1::AccountRef { reference: Some(v1::account_ref::Reference::Name(name.to_owned())) }
}

/// A filter over an account's transfers, in protobuf.
pub(crate) fn account_filter(filter: &AccountFilter) -> v1::AccountFilter {
    v1::AccountFilter {
        account: Some(reference_by_id(filter.account_id)),
        user_data_128: Some(uint128(filter.user_data_128)),
        user_data_64: filter.user_data_64,
        user_data_32: filter.user_data_32,
        code: u32::from(filter.code),
        timestamp_min: filter.timestamp_min.0,
        timestamp_max: filter.timestamp_max.0,
        limit: filter.limit,
        debits: filter.flags.debits,
        credits: filter.flags.credits,
        reversed: filter.flags.reversed,
    }
}

/// A filter over all accounts or transfers, in protobuf.
pub(crate) fn query_filter(filter: &QueryFilter) -> v1::QueryFilter {
    v1::QueryFilter {
        user_data_128: Some(uint128(filter.user_data_128)),
        user_data_64: filter.user_data_64,
        user_data_32: filter.user_data_32,
        ledger: filter.ledger.0,
        code: u32::from(filter.code),
        timestamp_min: filter.timestamp_min.0,
        timestamp_max: filter.timestamp_max.0,
        limit: filter.limit,
        reversed: filter.reversed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_integers_survive_the_round_trip() {
        for value in [0, 1, u128::from(u64::MAX), 1 << 64, u128::MAX, 7 << 100 | 3] {
            assert_eq!(u128_of(Some(&uint128(value))), value, "{value}");
        }
        assert_eq!(i128_of(&v1::Int128 { high: -1, low: u64::MAX }), -1);
        assert_eq!(i128_of(&v1::Int128 { high: i64::MIN, low: 0 }), i128::MIN);
        assert_eq!(i128_of(&v1::Int128 { high: 0, low: 5 }), 5);
    }

    #[test]
    fn missing_bounds_mean_no_limits() {
        assert_eq!(bounds_of(None), Bounds::NONE);
        let minimum = Some(v1::Int128 { high: 0, low: 0 });
        let only_minimum = v1::Bounds { minimum, maximum: None };
        assert_eq!(bounds_of(Some(&only_minimum)), Bounds { minimum: 0, ..Bounds::NONE });
    }

    #[test]
    fn a_value_out_of_range_is_an_error() {
        assert!(transfer(&v1::Transfer { code: 65_536, ..Default::default() }).is_err());
        assert!(change_event(&v1::ChangeEvent::default()).is_err(), "an event without a transfer");
        assert!(head_of(&[1; 31], "head").is_err());
        let reply = v1::MovementsReply { numbers: vec![1], ..v1::MovementsReply::default() };
        assert!(movements(&reply).is_err(), "a number without a row");
        assert!(events_page(&v1::MovementsReply::default()).is_err(), "a page without a next position");
        let transfer = Some(v1::Transfer::default());
        let event = v1::ChangeEvent { transfer, ..v1::ChangeEvent::default() };
        assert!(change_event(&event).is_err(), "an event of version 0.1, without a position");
    }

    #[test]
    fn events_of_a_page_have_positions_of_all_groups() {
        let row = bezant_codec::movement_to_bytes(&Movement {
            transfer: Transfer::default(),
            kind: MovementKind::Pending,
            timestamp: Nanos(7),
            debit: Balances::default(),
            credit: Balances::default(),
            debit_head: Head::NONE,
            credit_head: Head::NONE,
        });
        let mut next = EventPosition::after(GroupId(1), MovementNumber(5));
        next.merge(&EventPosition::of(GroupId(2), MovementNumber(9)));
        let page = events_page(&v1::MovementsReply {
            numbers: vec![4, 5],
            rows: [row, row].concat().into(),
            has_more: true,
            next: next.to_string(),
            group: 1,
        })
        .unwrap();
        let places: Vec<EventPosition> =
            page.events.iter().map(|event| event.position.as_str().parse().unwrap()).collect();
        let numbers = |place: &EventPosition| (place.next(GroupId(1)), place.next(GroupId(2)));
        assert_eq!(numbers(&places[0]), (MovementNumber(5), MovementNumber(9)));
        assert_eq!(places[1], next);
        assert_eq!((page.next.as_str(), page.has_more), (&*next.to_string(), true));
    }
}
