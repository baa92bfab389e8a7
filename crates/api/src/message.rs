//! Conversions between protobuf messages and the records of the ledger.
//!
//! Every record fits in its message. In a request a number may be too large for its field, or a head may have
//! the wrong size: then the result is a [`Violation`] that names the field. These functions do not check what
//! a value means: the ledger does, with a status.

use bezant_codec::{MOVEMENT_SIZE, movement_to_bytes};
use bezant_types::{
    Account, AccountBalance, AccountFilter, AccountFilterFlags, AccountFlags, AccountId, AccountView, Asset,
    Balances, Bounds, Chain, Head, Hold, HoldFilter, HoldPlace, HoldState, LedgerNumber, Movement,
    MovementKind, MovementNumber, Nanos, QueryFilter, Total, Transfer, TransferFlags, TransferId,
    TransferView, limits,
};
use bezant_types::{Books, ExtendedAccount, ExtendedTransfer, LedgerTotals, name_to_bytes};
use bytes::{BufMut, Bytes, BytesMut};

use crate::draft::{AccountDraft, AccountReference, TransferDraft};
use crate::error::Violation;
use crate::token::{EventPosition, EventsFrom, LEDGER_GROUP, TokenError};
use crate::v1;

impl From<u128> for v1::Uint128 {
    fn from(value: u128) -> Self {
        let [low, high] = halves(value);
        Self { high, low }
    }
}

impl From<v1::Uint128> for u128 {
    fn from(value: v1::Uint128) -> Self {
        Self::from(value.high) << 64 | Self::from(value.low)
    }
}

impl From<i128> for v1::Int128 {
    fn from(value: i128) -> Self {
        let [low, high] = halves(value.cast_unsigned());
        Self { high: high.cast_signed(), low }
    }
}

impl From<v1::Int128> for i128 {
    fn from(value: v1::Int128) -> Self {
        Self::from(value.high) << 64 | Self::from(value.low)
    }
}

/// The low and the high 64 bits.
fn halves(value: u128) -> [u64; 2] {
    let [b0, b1, b2, b3, b4, b5, b6, b7, high @ ..] = value.to_le_bytes();
    [u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]), u64::from_le_bytes(high)]
}

/// The value of an optional number; 0 where it is absent.
pub fn number(value: Option<v1::Uint128>) -> u128 {
    value.map_or(0, u128::from)
}

impl From<Balances> for v1::Balances {
    fn from(balances: Balances) -> Self {
        Self {
            debits_pending: Some(balances.debits_pending.into()),
            debits_posted: Some(balances.debits_posted.into()),
            credits_pending: Some(balances.credits_pending.into()),
            credits_posted: Some(balances.credits_posted.into()),
        }
    }
}

impl From<Bounds> for v1::Bounds {
    fn from(bounds: Bounds) -> Self {
        Self {
            minimum: (bounds.minimum != i128::MIN).then(|| bounds.minimum.into()),
            maximum: (bounds.maximum != i128::MAX).then(|| bounds.maximum.into()),
        }
    }
}

impl From<v1::Bounds> for Bounds {
    fn from(bounds: v1::Bounds) -> Self {
        Self {
            minimum: bounds.minimum.map_or(i128::MIN, i128::from),
            maximum: bounds.maximum.map_or(i128::MAX, i128::from),
        }
    }
}

impl From<Chain> for v1::Chain {
    fn from(chain: Chain) -> Self {
        Self { sequence: chain.sequence, head: head_bytes(&chain.head) }
    }
}

fn head_bytes(head: &Head) -> Bytes {
    Bytes::copy_from_slice(&head.0)
}

impl From<AccountView> for v1::Account {
    fn from(view: AccountView) -> Self {
        let account = view.account;
        let available = view.available().map(v1::Uint128::from);
        Self {
            id: Some(account.id.0.into()),
            balances: Some(account.balances().into()),
            user_data_128: Some(account.user_data_128.into()),
            user_data_64: account.user_data_64,
            user_data_32: account.user_data_32,
            ledger: account.ledger.0,
            code: account.code.into(),
            flags: account.flags.0.into(),
            timestamp: account.timestamp.0,
            name: view.name,
            bounds: (!view.bounds.is_none()).then(|| view.bounds.into()),
            spends: Some(view.spends.into()),
            receipts: Some(view.receipts.into()),
            available,
        }
    }
}

impl From<Transfer> for v1::Transfer {
    fn from(transfer: Transfer) -> Self {
        Self {
            id: Some(transfer.id.0.into()),
            debit_account_id: Some(transfer.debit_account_id.0.into()),
            credit_account_id: Some(transfer.credit_account_id.0.into()),
            amount: Some(transfer.amount.into()),
            pending_id: Some(transfer.pending_id.0.into()),
            user_data_128: Some(transfer.user_data_128.into()),
            user_data_64: transfer.user_data_64,
            user_data_32: transfer.user_data_32,
            timeout_seconds: transfer.timeout_seconds,
            ledger: transfer.ledger.0,
            code: transfer.code.into(),
            flags: transfer.flags.0.into(),
            timestamp: transfer.timestamp.0,
            hold: None,
        }
    }
}

impl From<HoldState> for v1::HoldState {
    fn from(state: HoldState) -> Self {
        match state {
            HoldState::Pending => Self::Pending,
            HoldState::Posted => Self::Posted,
            HoldState::Voided => Self::Voided,
            HoldState::Expired => Self::Expired,
        }
    }
}

impl From<Hold> for v1::Hold {
    fn from(hold: Hold) -> Self {
        Self {
            state: v1::HoldState::from(hold.state).into(),
            captured_amount: Some(hold.captured.into()),
            resolved_by: (hold.resolved_by.0 != 0).then(|| hold.resolved_by.0.into()),
            resolved_at: hold.resolved_at.0,
        }
    }
}

impl From<TransferView> for v1::Transfer {
    fn from(view: TransferView) -> Self {
        Self { hold: view.hold.map(v1::Hold::from), ..view.transfer.into() }
    }
}

impl From<AccountBalance> for v1::AccountBalance {
    fn from(balance: AccountBalance) -> Self {
        Self { balances: Some(balance.balances.into()), timestamp: balance.timestamp.0 }
    }
}

impl From<Asset> for v1::Asset {
    fn from(asset: Asset) -> Self {
        Self { ledger: asset.ledger.0, code: asset.code.to_string(), scale: asset.scale.into() }
    }
}

impl From<LedgerTotals> for v1::LedgerTotals {
    fn from(totals: LedgerTotals) -> Self {
        let sums = |part: fn(Total) -> u128| Balances {
            debits_pending: part(totals.debits_pending),
            debits_posted: part(totals.debits_posted),
            credits_pending: part(totals.credits_pending),
            credits_posted: part(totals.credits_posted),
        };
        let carries = sums(|total| total.high.into());
        Self {
            ledger: totals.ledger.0,
            accounts: totals.accounts,
            balances: Some(sums(|total| total.low).into()),
            carries: Some(carries).filter(|carries| *carries != Balances::default()).map(Into::into),
        }
    }
}

impl From<Books> for v1::GetBooksReply {
    fn from(books: Books) -> Self {
        Self {
            time: books.time.0,
            accounts: books.accounts,
            movements: books.history.movements,
            refusals: books.history.refusals,
            pending: books.pending,
            expiry_paused: books.expiry_is_paused,
            ledgers: books.ledgers.into_iter().map(v1::LedgerTotals::from).collect(),
        }
    }
}

impl From<MovementKind> for v1::MovementKind {
    fn from(kind: MovementKind) -> Self {
        match kind {
            MovementKind::SinglePhase => Self::SinglePhase,
            MovementKind::Pending => Self::Pending,
            MovementKind::Posted => Self::Posted,
            MovementKind::Voided => Self::Voided,
            MovementKind::Expired => Self::Expired,
        }
    }
}

impl From<(MovementNumber, Movement)> for v1::ChangeEvent {
    /// A row of the ledger's group.
    fn from((number, movement): (MovementNumber, Movement)) -> Self {
        Self {
            number: number.0,
            position: EventPosition::after(LEDGER_GROUP, number).to_string(),
            group: LEDGER_GROUP.0,
            timestamp: movement.timestamp.0,
            kind: v1::MovementKind::from(movement.kind).into(),
            transfer: Some(movement.transfer.into()),
            debit_account: Some(movement.debit.into()),
            credit_account: Some(movement.credit.into()),
            debit_head: head_bytes(&movement.debit_head),
            credit_head: head_bytes(&movement.credit_head),
        }
    }
}

impl FromIterator<(MovementNumber, Movement)> for v1::MovementsReply {
    /// Rows of the ledger's group.
    fn from_iter<T: IntoIterator<Item = (MovementNumber, Movement)>>(movements: T) -> Self {
        let movements = movements.into_iter();
        let mut rows = BytesMut::with_capacity(movements.size_hint().0 * MOVEMENT_SIZE);
        let numbers = movements
            .map(|(number, movement)| {
                rows.put_slice(&movement_to_bytes(&movement));
                number.0
            })
            .collect();
        let group = LEDGER_GROUP.0;
        Self { numbers, rows: rows.freeze(), has_more: false, next: String::new(), group }
    }
}

impl v1::GetClusterReply {
    /// The state of the answering node's replica of the ledger; `None` when it has none.
    pub fn ledger(&self) -> Option<&v1::ClusterGroup> {
        self.groups.iter().find(|group| group.group == LEDGER_GROUP.0)
    }
}

/// The account that a message refers to.
pub fn account_reference(reference: Option<v1::AccountRef>) -> AccountReference {
    match reference.and_then(|reference| reference.reference) {
        None => AccountReference::None,
        Some(v1::account_ref::Reference::Id(id)) => AccountReference::Id(AccountId(id.into())),
        Some(v1::account_ref::Reference::Name(name)) => AccountReference::Name(name),
    }
}

/// A number that must be present where `is_needed`; 0 is a valid value.
fn required(field: &str, value: Option<u32>, is_needed: bool) -> Result<u32, Violation> {
    match value {
        None if is_needed => Err(Violation::new(field, "is missing: an absent value does not mean 0")),
        value => Ok(value.unwrap_or(0)),
    }
}

/// Converts an account to create.
pub fn account_draft(input: &v1::AccountInput) -> Result<AccountDraft, Violation> {
    let account = Account {
        id: AccountId(number(input.id)),
        user_data_128: number(input.user_data_128),
        user_data_64: input.user_data_64,
        user_data_32: input.user_data_32,
        ledger: LedgerNumber(required("ledger", input.ledger, true)?),
        code: small("code", required("code", input.code, true)?)?,
        flags: AccountFlags(small("flags", input.flags)?),
        timestamp: Nanos(input.timestamp),
        ..Account::default()
    };
    let bounds = input.bounds.map_or(Bounds::NONE, Bounds::from);
    Ok(AccountDraft {
        event: ExtendedAccount { account, bounds, name: name_bytes(&input.name)? },
        asset: None,
        has_id: true,
    })
}

/// Converts a transfer to create.
pub fn transfer_draft(input: v1::TransferInput) -> Result<TransferDraft, Violation> {
    let flags = TransferFlags(small("flags", input.flags)?);
    // A post or void inherits the fields that it leaves out.
    let is_whole = !flags.intersects(TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING));
    let transfer = Transfer {
        id: TransferId(number(input.id)),
        debit_account_id: AccountId::default(),
        credit_account_id: AccountId::default(),
        amount: number(input.amount),
        pending_id: TransferId(number(input.pending_id)),
        user_data_128: number(input.user_data_128),
        user_data_64: input.user_data_64,
        user_data_32: input.user_data_32,
        timeout_seconds: input.timeout_seconds,
        ledger: LedgerNumber(required("ledger", input.ledger, is_whole)?),
        code: small("code", required("code", input.code, is_whole)?)?,
        flags,
        timestamp: Nanos(input.timestamp),
    };
    let prev_hash = match &*input.prev_hash {
        [] => Head::NONE,
        bytes => Head(
            bytes
                .try_into()
                .map_err(|_| Violation::new("prev_hash", "is 32 bytes, or left out to accept any head"))?,
        ),
    };
    Ok(TransferDraft {
        event: ExtendedTransfer { transfer, prev_hash },
        debit_account: account_reference(input.debit_account),
        credit_account: account_reference(input.credit_account),
        asset: None,
        has_id: true,
    })
}

/// Converts an asset to register.
pub fn asset(message: &v1::Asset) -> Result<Asset, Violation> {
    let code = message.code.parse().map_err(|error| Violation::new("code", format!("{error}")))?;
    let scale = u8::try_from(message.scale).map_err(|_| Violation::new("scale", "is at most 38"))?;
    Ok(Asset { ledger: LedgerNumber(message.ledger), code, scale })
}

/// A filter of one account's transfers. The caller provides the account's id, because a name must be looked
/// up first.
pub fn account_filter(
    message: &v1::AccountFilter,
    account_id: AccountId,
) -> Result<AccountFilter, Violation> {
    let is_both = !message.debits && !message.credits;
    let filter = AccountFilter {
        account_id,
        user_data_128: number(message.user_data_128),
        user_data_64: message.user_data_64,
        user_data_32: message.user_data_32,
        code: small("code", message.code)?,
        timestamp_min: Nanos(message.timestamp_min),
        timestamp_max: Nanos(message.timestamp_max),
        limit: results_limit(message.limit),
        flags: AccountFilterFlags {
            debits: message.debits || is_both,
            credits: message.credits || is_both,
            reversed: message.reversed,
        },
    };
    if filter.is_valid() { Ok(filter) } else { Err(timestamps(filter.timestamp_min, filter.timestamp_max)) }
}

/// A filter of accounts or transfers.
pub fn query_filter(message: &v1::QueryFilter) -> Result<QueryFilter, Violation> {
    let filter = QueryFilter {
        user_data_128: number(message.user_data_128),
        user_data_64: message.user_data_64,
        user_data_32: message.user_data_32,
        ledger: LedgerNumber(message.ledger),
        code: small("code", message.code)?,
        timestamp_min: Nanos(message.timestamp_min),
        timestamp_max: Nanos(message.timestamp_max),
        limit: results_limit(message.limit),
        reversed: message.reversed,
    };
    if filter.is_valid() { Ok(filter) } else { Err(timestamps(filter.timestamp_min, filter.timestamp_max)) }
}

/// Where the rows of a history begin.
pub fn movements_from(message: &v1::GetMovementsRequest) -> Result<EventsFrom, Violation> {
    let number = (message.from_number != 0).then_some(message.from_number);
    events_from(number, &message.from, EventsFrom::At(EventPosition::START))
}

/// Where a stream of change events begins.
pub fn watch_from(message: &v1::WatchEventsRequest) -> Result<EventsFrom, Violation> {
    events_from(message.from_number, &message.from, EventsFrom::Now)
}

/// Where a reader begins; `number` is a number as version 0.1 sent it, which is refused: without that its
/// clients would miss events.
fn events_from(number: Option<u64>, text: &str, default: EventsFrom) -> Result<EventsFrom, Violation> {
    let from = match (number, text) {
        (Some(_), _) => Err(TokenError::NumberOfPosition),
        (None, "") => Ok(default),
        (None, text) => text.parse(),
    };
    from.map_err(|error| Violation::new("from", error.to_string()))
}

/// A filter of open holds. The caller provides the account's id, because a name must be looked up first; 0 =
/// all accounts.
pub fn hold_filter(message: &v1::ListHoldsRequest, account_id: AccountId) -> HoldFilter {
    let (expires_at, timestamp) = (Nanos(message.after_expires_at), Nanos(message.after_timestamp));
    HoldFilter { account_id, after: HoldPlace { expires_at, timestamp }, limit: results_limit(message.limit) }
}

/// Replaces 0 by the most results that an answer can have.
fn results_limit(limit: u32) -> u32 {
    if limit == 0 { u32::try_from(limits::RESULTS_MAX).unwrap_or(u32::MAX) } else { limit }
}

/// The violation of a filter that is not valid.
pub(crate) fn timestamps(min: Nanos, max: Nanos) -> Violation {
    if max.0 != 0 && max <= Nanos::MAX && min > max && min <= Nanos::MAX {
        Violation::new("timestamp_min", "is above timestamp_max: no timestamp is between them")
    } else if min > Nanos::MAX || max > Nanos::MAX {
        let field = if min > Nanos::MAX { "timestamp_min" } else { "timestamp_max" };
        Violation::new(field, "is at most 2^63 - 1: nanoseconds since the Unix epoch")
    } else {
        Violation::new("account", "must name an account by an id that is not 0 or 2^128 - 1, or by its name")
    }
}

/// A number that the record stores in 16 bits.
fn small(field: &str, value: u32) -> Result<u16, Violation> {
    u16::try_from(value).map_err(|_| Violation::new(field, "is at most 65535"))
}

/// A name as the record stores it. Whether the name is allowed is decided later: see [`name`](crate::name).
pub fn name_bytes(name: &str) -> Result<[u8; limits::NAME_SIZE_MAX], Violation> {
    let what = "is at most 64 bytes of UTF-8, without a zero byte";
    name_to_bytes(name).ok_or_else(|| Violation::new("name", what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_numbers_round_trip() {
        for value in [0, 1, u128::MAX, 1 << 64, u128::from(u64::MAX)] {
            assert_eq!(u128::from(v1::Uint128::from(value)), value);
        }
        for value in [0, 1, -1, i128::MIN, i128::MAX, -(1 << 64), 1 << 64] {
            assert_eq!(i128::from(v1::Int128::from(value)), value);
        }
    }

    #[test]
    fn absent_bounds_are_no_limits() {
        assert_eq!(v1::Bounds::from(Bounds::NONE), v1::Bounds::default());
        let bounds = Bounds { minimum: -50_000, maximum: i128::MAX };
        assert_eq!(Bounds::from(v1::Bounds::from(bounds)), bounds);
    }

    #[test]
    fn an_absent_required_field_is_missing_and_not_0() {
        let missing = |draft: Result<TransferDraft, Violation>| {
            let violation = draft.unwrap_err();
            format!("{}: {}", violation.field, violation.description)
        };
        let mut input = v1::TransferInput { code: Some(0), ..Default::default() };
        assert!(missing(transfer_draft(input.clone())).starts_with("ledger: is missing"));
        (input.ledger, input.code) = (Some(0), None);
        assert!(missing(transfer_draft(input.clone())).starts_with("code: is missing"));
        (input.ledger, input.flags) = (None, TransferFlags::VOID_PENDING.0.into());
        let draft = transfer_draft(input).unwrap();
        assert_eq!((draft.event.transfer.ledger, draft.event.transfer.code), (LedgerNumber(0), 0));
        let input = v1::AccountInput { ledger: Some(978), ..Default::default() };
        assert_eq!(account_draft(&input).unwrap_err().field, "code");
        let input = v1::AccountInput { code: Some(0), ..input };
        assert_eq!(account_draft(&input).unwrap().event.account.code, 0, "the ledger checks the value");
    }

    #[test]
    fn messages_of_version_0_1_are_parsed() {
        // Fields 5 and 6, and 10 and 11, as version 0.1 encoded them: plain numbers that are absent when they
        // are 0.
        let account = <v1::AccountInput as prost::Message>::decode(&[0x28, 7, 0x30, 1][..]).unwrap();
        assert_eq!((account.ledger, account.code), (Some(7), Some(1)));
        let transfer = <v1::TransferInput as prost::Message>::decode(&[0x50, 7, 0x58, 1][..]).unwrap();
        assert_eq!((transfer.ledger, transfer.code), (Some(7), Some(1)));
    }

    #[test]
    fn numbers_in_place_of_positions_are_refused() {
        // Field 1 as version 0.1 encoded it.
        let watch = |bytes: &[u8]| <v1::WatchEventsRequest as prost::Message>::decode(bytes).unwrap();
        let page = |bytes: &[u8]| <v1::GetMovementsRequest as prost::Message>::decode(bytes).unwrap();
        for violation in
            [watch_from(&watch(&[8, 0])), watch_from(&watch(&[8, 7])), movements_from(&page(&[8, 7]))]
        {
            let violation = violation.unwrap_err();
            assert_eq!(
                (&*violation.field, violation.description),
                ("from", TokenError::NumberOfPosition.to_string())
            );
        }
        assert_eq!(watch_from(&watch(&[])), Ok(EventsFrom::Now));
        assert_eq!(movements_from(&page(&[])), Ok(EventsFrom::At(EventPosition::START)));
        let from = EventPosition::after(LEDGER_GROUP, MovementNumber(41)).to_string();
        let expected = EventsFrom::At(EventPosition::of(LEDGER_GROUP, MovementNumber(42)));
        assert_eq!(watch_from(&v1::WatchEventsRequest { from, from_number: None }), Ok(expected));
        let from = "42".to_owned();
        assert!(movements_from(&v1::GetMovementsRequest { from, ..Default::default() }).is_err());
    }

    #[test]
    fn fields_that_do_not_fit_are_named() {
        let whole = v1::TransferInput { ledger: Some(978), code: Some(1), ..v1::TransferInput::default() };
        let input = v1::TransferInput { code: Some(65_536), ..whole.clone() };
        assert_eq!(transfer_draft(input).unwrap_err().field, "code");
        let input = v1::TransferInput { prev_hash: Bytes::from_static(b"x"), ..whole };
        assert_eq!(transfer_draft(input).unwrap_err().field, "prev_hash");
        let name = "x".repeat(65);
        let input = v1::AccountInput { name, ledger: Some(978), code: Some(1), ..Default::default() };
        assert_eq!(account_draft(&input).unwrap_err().field, "name");
    }

    #[test]
    fn filters_default_to_both_sides_and_all_results() {
        let filter = account_filter(&v1::AccountFilter::default(), AccountId(7)).unwrap();
        assert!(filter.flags.debits && filter.flags.credits && filter.limit_capped() == limits::RESULTS_MAX);
        let message = v1::QueryFilter { timestamp_min: 2, timestamp_max: 1, ..Default::default() };
        assert_eq!(query_filter(&message).unwrap_err().field, "timestamp_min");
    }
}
