//! Records as JSON, with the names of the REST API. Integers of 64 and 128 bits are strings, amounts are
//! minor units, heads are hexadecimal.

use bezant_client::{
    AccountId, AccountView, Asset, Balances, Books, Bounds, Chain, ChangeEvent, Head, HoldState,
    LedgerTotals, Movement, MovementNumber, Nanos, Transfer, TransferView,
};
use bezant_types::Total;
use serde::{Serialize, Serializer};

use crate::money::{Assets, Unit};

/// A value that is serialized as its `Display` text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The code of a ledger's asset; `null` = not registered.
fn asset_code(unit: Unit) -> Option<String> {
    unit.asset.map(|asset| asset.code.to_string())
}

/// The four sums of an account.
#[derive(Debug, Serialize)]
pub(crate) struct BalancesJson {
    debits_pending: Text<u128>,
    debits_posted: Text<u128>,
    credits_pending: Text<u128>,
    credits_posted: Text<u128>,
}

impl From<Balances> for BalancesJson {
    fn from(balances: Balances) -> Self {
        Self {
            debits_pending: Text(balances.debits_pending),
            debits_posted: Text(balances.debits_posted),
            credits_pending: Text(balances.credits_pending),
            credits_posted: Text(balances.credits_posted),
        }
    }
}

/// The balance of an account at a moment.
#[derive(Debug, Serialize)]
pub(crate) struct BalanceJson {
    account: Text<u128>,
    asset: Option<String>,
    ledger: u32,
    balances: BalancesJson,
    /// The moment; movements before it count.
    at: Text<Nanos>,
}

impl BalanceJson {
    /// The balance; `unit` is that of the account's ledger.
    pub(crate) fn new(account: AccountId, balances: Balances, unit: Unit, at: Nanos) -> Self {
        let (asset, ledger) = (asset_code(unit), unit.ledger.0);
        Self { account: Text(account.0), asset, ledger, balances: balances.into(), at: Text(at) }
    }
}

/// Limits of a balance; `null` = none.
#[derive(Debug, Serialize)]
pub(crate) struct BoundsJson {
    minimum: Option<Text<i128>>,
    maximum: Option<Text<i128>>,
}

impl From<Bounds> for BoundsJson {
    fn from(bounds: Bounds) -> Self {
        Self {
            minimum: (bounds.minimum != i128::MIN).then_some(Text(bounds.minimum)),
            maximum: (bounds.maximum != i128::MAX).then_some(Text(bounds.maximum)),
        }
    }
}

/// The limits of one account's balance.
#[derive(Debug, Serialize)]
pub(crate) struct AccountBoundsJson {
    id: Text<u128>,
    asset: Option<String>,
    #[serde(flatten)]
    bounds: BoundsJson,
}

impl AccountBoundsJson {
    /// The limits; `unit` is that of the account's ledger.
    pub(crate) fn new(id: AccountId, bounds: Bounds, unit: Unit) -> Self {
        Self { id: Text(id.0), asset: asset_code(unit), bounds: bounds.into() }
    }
}

/// A hash chain.
#[derive(Debug, Serialize)]
pub(crate) struct ChainJson {
    sequence: u64,
    head: Text<Head>,
}

impl From<Chain> for ChainJson {
    fn from(chain: Chain) -> Self {
        Self { sequence: chain.sequence, head: Text(chain.head) }
    }
}

/// An account as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct AccountJson {
    id: Text<u128>,
    name: Option<String>,
    asset: Option<String>,
    ledger: u32,
    code: u16,
    flags: Vec<&'static str>,
    balances: BalancesJson,
    /// The largest amount that one debit may take now; `null` = no limit.
    available: Option<Text<u128>>,
    bounds: BoundsJson,
    user_data_128: Text<u128>,
    user_data_64: Text<u64>,
    user_data_32: u32,
    spends: ChainJson,
    receipts: ChainJson,
    timestamp: Text<Nanos>,
}

impl AccountJson {
    /// The account; `unit` is that of its ledger.
    pub(crate) fn new(view: &AccountView, unit: Unit) -> Self {
        let account = &view.account;
        Self {
            id: Text(account.id.0),
            name: (!view.name.is_empty()).then(|| view.name.clone()),
            asset: asset_code(unit),
            ledger: account.ledger.0,
            code: account.code,
            flags: account.flags.names().collect(),
            balances: account.balances().into(),
            available: view.available().map(Text),
            bounds: view.bounds.into(),
            user_data_128: Text(account.user_data_128),
            user_data_64: Text(account.user_data_64),
            user_data_32: account.user_data_32,
            spends: view.spends.into(),
            receipts: view.receipts.into(),
            timestamp: Text(account.timestamp),
        }
    }
}

/// A transfer as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct TransferJson {
    id: Text<u128>,
    debit_account_id: Text<u128>,
    credit_account_id: Text<u128>,
    amount: Text<u128>,
    asset: Option<String>,
    ledger: u32,
    code: u16,
    flags: Vec<&'static str>,
    /// The id of the pending transfer that this one posts or voids; "0" = none.
    pending_id: Text<u128>,
    timeout_seconds: u32,
    user_data_128: Text<u128>,
    user_data_64: Text<u64>,
    user_data_32: u32,
    timestamp: Text<Nanos>,
    /// The state of a pending transfer that was looked up; left out of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Text<Nanos>>,
    /// This field and the next two are present for a hold that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    captured_amount: Option<Text<u128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<Text<u128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Text<Nanos>>,
}

impl TransferJson {
    /// The transfer with the state of its hold.
    pub(crate) fn of(view: &TransferView, unit: Unit) -> Self {
        let hold = view.hold.as_ref();
        let ended = hold.filter(|hold| hold.state != HoldState::Pending);
        Self {
            state: hold.map(|hold| hold.state.name()),
            captured_amount: ended.map(|hold| Text(hold.captured)),
            resolved_by: ended.filter(|hold| hold.resolved_by.0 != 0).map(|hold| Text(hold.resolved_by.0)),
            resolved_at: ended.map(|hold| Text(hold.resolved_at)),
            ..Self::new(&view.transfer, unit)
        }
    }

    /// The transfer; `unit` is that of its ledger.
    pub(crate) fn new(transfer: &Transfer, unit: Unit) -> Self {
        Self {
            id: Text(transfer.id.0),
            debit_account_id: Text(transfer.debit_account_id.0),
            credit_account_id: Text(transfer.credit_account_id.0),
            amount: Text(transfer.amount),
            asset: asset_code(unit),
            ledger: transfer.ledger.0,
            code: transfer.code,
            flags: transfer.flags.names().collect(),
            pending_id: Text(transfer.pending_id.0),
            timeout_seconds: transfer.timeout_seconds,
            user_data_128: Text(transfer.user_data_128),
            user_data_64: Text(transfer.user_data_64),
            user_data_32: transfer.user_data_32,
            timestamp: Text(transfer.timestamp),
            state: None,
            expires_at: transfer.expires_at().map(Text),
            captured_amount: None,
            resolved_by: None,
            resolved_at: None,
        }
    }
}

/// A row of the history.
#[derive(Debug, Serialize)]
pub(crate) struct MovementJson {
    /// The position after the event; left out where the rows are those of one account.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// The number of the row, as in exports and in the messages of `verify`.
    number: u64,
    kind: &'static str,
    timestamp: Text<Nanos>,
    transfer: TransferJson,
    debit_account: BalancesJson,
    credit_account: BalancesJson,
    debit_head: Text<Head>,
    credit_head: Text<Head>,
}

impl MovementJson {
    /// A change event; `unit` is that of its ledger.
    pub(crate) fn of_event(event: &ChangeEvent, unit: Unit) -> Self {
        let position = Some(event.position.to_string());
        Self { position, ..Self::new(event.number, &event.movement, unit) }
    }

    /// The row; `unit` is that of its ledger.
    pub(crate) fn new(number: MovementNumber, movement: &Movement, unit: Unit) -> Self {
        Self {
            position: None,
            number: number.0,
            kind: movement.kind.name(),
            timestamp: Text(movement.timestamp),
            transfer: TransferJson::new(&movement.transfer, unit),
            debit_account: movement.debit.into(),
            credit_account: movement.credit.into(),
            debit_head: Text(movement.debit_head),
            credit_head: Text(movement.credit_head),
        }
    }
}

/// An asset as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct AssetJson {
    ledger: u32,
    code: String,
    scale: u8,
}

impl From<&Asset> for AssetJson {
    fn from(asset: &Asset) -> Self {
        Self { ledger: asset.ledger.0, code: asset.code.to_string(), scale: asset.scale }
    }
}

/// The books as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct BooksJson {
    time: Text<Nanos>,
    accounts: u64,
    movements: u64,
    refusals: u64,
    pending: u64,
    expiry_paused: bool,
    balanced: bool,
    ledgers: Vec<LedgerTotalsJson>,
}

/// Sums of one ledger.
#[derive(Debug, Serialize)]
pub(crate) struct LedgerTotalsJson {
    ledger: u32,
    asset: Option<String>,
    /// Digits after the decimal point; `null` = the ledger has no asset.
    scale: Option<u8>,
    accounts: u64,
    balanced: bool,
    balances: TotalsJson,
}

impl LedgerTotalsJson {
    /// The totals; `unit` is that of the ledger.
    pub(crate) fn new(totals: &LedgerTotals, unit: Unit) -> Self {
        Self {
            ledger: totals.ledger.0,
            asset: asset_code(unit),
            scale: unit.asset.map(|asset| asset.scale),
            accounts: totals.accounts,
            balanced: totals.is_balanced(),
            balances: TotalsJson {
                debits_pending: Text(totals.debits_pending),
                debits_posted: Text(totals.debits_posted),
                credits_pending: Text(totals.credits_pending),
                credits_posted: Text(totals.credits_posted),
            },
        }
    }
}

/// Sums over the accounts of a ledger.
#[derive(Debug, Serialize)]
pub(crate) struct TotalsJson {
    debits_pending: Text<Total>,
    debits_posted: Text<Total>,
    credits_pending: Text<Total>,
    credits_posted: Text<Total>,
}

impl BooksJson {
    /// The books, with the codes of the assets.
    pub(crate) fn new(books: &Books, assets: &Assets) -> Self {
        let totals = |totals: &LedgerTotals| LedgerTotalsJson::new(totals, assets.unit(totals.ledger));
        Self {
            time: Text(books.time),
            accounts: books.accounts,
            movements: books.history.movements,
            refusals: books.history.refusals,
            pending: books.pending,
            expiry_paused: books.expiry_is_paused,
            balanced: books.ledgers.iter().all(LedgerTotals::is_balanced),
            ledgers: books.ledgers.iter().map(totals).collect(),
        }
    }
}

/// A moment as text: `2026-01-31T12:00:00.123456789Z`; `-` = not given.
pub(crate) fn moment(time: Nanos) -> String {
    if time.0 == 0 {
        return "-".to_owned();
    }
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .map_or_else(|_| time.to_string(), |timestamp| format!("{timestamp:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_integers_are_strings() {
        let view = AccountView::default();
        let unit = Unit { ledger: view.account.ledger, asset: None };
        let json = serde_json::to_value(AccountJson::new(&view, unit)).unwrap();
        assert_eq!(json["id"], "0");
        assert_eq!(json["timestamp"], "0");
        assert_eq!(json["bounds"]["minimum"], serde_json::Value::Null);
        assert_eq!(json["balances"]["credits_posted"], "0");
    }

    #[test]
    fn moments_keep_their_nanoseconds() {
        assert_eq!(moment(Nanos(1_767_225_600_000_000_001)), "2026-01-01T00:00:00.000000001Z");
        assert_eq!(moment(Nanos(0)), "-");
    }
}
