//! The answers of REST. Amounts are strings of minor units; where the ledger has an asset, `display` has them
//! as text for people.

use bezant_types::{
    AccountBalance, AccountView, Asset, Balances, Bounds, Chain, CreateTransferStatus, EventResult,
    HoldState, LedgerNumber, Movement, MovementNumber, Transfer, TransferView,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::number::{Amount, SignedAmount, Text64};
use crate::assets::{AssetBook, built_in_of};
use crate::error::Failure;
use crate::status::status_of;
use crate::token::{EventPosition, LEDGER_GROUP};
use bezant_codec::Operation;

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<Row: ToSchema> {
    /// The rows, in the requested order.
    pub items: Vec<Row>,
    /// Send it as `cursor`, with all other parameters unchanged, for the next page; null = the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// True when another page follows.
    pub has_more: bool,
}

impl<Row: ToSchema> Page<Row> {
    /// A page, and the cursor of the next page; `None` = the last page.
    pub const fn new(items: Vec<Row>, next_cursor: Option<String>) -> Self {
        let has_more = next_cursor.is_some();
        Self { items, next_cursor, has_more }
    }
}

/// A page of change events.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventsPage {
    /// The events, in commit order.
    pub items: Vec<ChangeReply>,
    /// The position after the last event. Send it as `from` to continue: at once when `has_more` is true,
    /// otherwise later.
    pub next: String,
    /// True when more events exist already.
    pub has_more: bool,
}

/// The four sums of an account, in minor units.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalancesReply {
    /// Reserved debits.
    pub debits_pending: Amount,
    /// Posted debits.
    pub debits_posted: Amount,
    /// Reserved credits.
    pub credits_pending: Amount,
    /// Posted credits.
    pub credits_posted: Amount,
    /// Posted credits minus posted debits, `10.50 EUR`; left out where the ledger has no asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

impl BalancesReply {
    /// Balances of an account of that ledger.
    pub fn new(balances: &Balances, ledger: LedgerNumber, assets: &AssetBook) -> Self {
        Self {
            debits_pending: Amount(balances.debits_pending),
            debits_posted: Amount(balances.debits_posted),
            credits_pending: Amount(balances.credits_pending),
            credits_posted: Amount(balances.credits_posted),
            display: assets.display_difference(ledger, balances.credits_posted, balances.debits_posted),
        }
    }
}

/// Least and greatest balance; null = no limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BoundsReply {
    /// Least balance.
    #[schema(required = true)]
    pub minimum: Option<SignedAmount>,
    /// Greatest balance.
    #[schema(required = true)]
    pub maximum: Option<SignedAmount>,
}

impl From<Bounds> for BoundsReply {
    fn from(bounds: Bounds) -> Self {
        Self {
            minimum: Some(bounds.minimum).filter(|minimum| *minimum != i128::MIN).map(SignedAmount),
            maximum: Some(bounds.maximum).filter(|maximum| *maximum != i128::MAX).map(SignedAmount),
        }
    }
}

/// One of the two hash chains of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChainReply {
    /// Number of transfers in the chain.
    pub sequence: u64,
    /// SHA-256 in 64 hexadecimal digits.
    pub head: String,
}

impl From<Chain> for ChainReply {
    fn from(chain: Chain) -> Self {
        Self { sequence: chain.sequence, head: chain.head.to_string() }
    }
}

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AccountReply {
    /// The account's id.
    pub id: Amount,
    /// The account's unique name; null = none.
    #[schema(required = true)]
    pub name: Option<String>,
    /// The ledger's number, which identifies the asset.
    pub ledger: u32,
    /// The code of the ledger's asset; null = the ledger has none.
    #[schema(required = true)]
    pub asset: Option<String>,
    /// The client's category.
    pub code: u16,
    /// Names of the account's flags.
    pub flags: Vec<&'static str>,
    /// The account's balances.
    pub balances: BalancesReply,
    /// The most that one debit may take now, in minor units, after bounds, flags and reserved amounts; null =
    /// no rule of this account limits it.
    #[schema(required = true)]
    pub available: Option<Amount>,
    /// The same amount as text, `10.50 EUR`; left out where nothing limits it, or the ledger has no asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_display: Option<String>,
    /// Least and greatest balance.
    pub bounds: BoundsReply,
    /// A key that the client chooses.
    pub user_data_128: Amount,
    /// A key that the client chooses.
    pub user_data_64: Text64,
    /// A key that the client chooses.
    pub user_data_32: u32,
    /// The chain of the transfers that debit it.
    pub spends: ChainReply,
    /// The chain of the transfers that credit it.
    pub receipts: ChainReply,
    /// When it was created: nanoseconds since the Unix epoch.
    pub timestamp: Text64,
}

impl AccountReply {
    /// An account as JSON.
    pub fn new(view: AccountView, assets: &AssetBook) -> Self {
        let account = view.account;
        let available = view.available();
        Self {
            id: Amount(account.id.0),
            available: available.map(Amount),
            available_display: available.and_then(|amount| assets.display(account.ledger, amount)),
            name: Some(view.name).filter(|name| !name.is_empty()),
            ledger: account.ledger.0,
            asset: assets.of(account.ledger).map(|asset| asset.code.to_string()),
            code: account.code,
            flags: account.flags.names().collect(),
            balances: BalancesReply::new(&account.balances(), account.ledger, assets),
            bounds: view.bounds.into(),
            user_data_128: Amount(account.user_data_128),
            user_data_64: Text64(account.user_data_64),
            user_data_32: account.user_data_32,
            spends: view.spends.into(),
            receipts: view.receipts.into(),
            timestamp: Text64(account.timestamp.0),
        }
    }
}

/// A transfer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TransferReply {
    /// The transfer's id.
    pub id: Amount,
    /// The account that is debited.
    pub debit_account_id: Amount,
    /// The account that is credited.
    pub credit_account_id: Amount,
    /// The amount in minor units.
    pub amount: Amount,
    /// The amount as text; left out where the ledger has no asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// The pending transfer that it posted or voided; "0" = none.
    pub pending_id: Amount,
    /// The ledger's number, which identifies the asset.
    pub ledger: u32,
    /// The client's category.
    pub code: u16,
    /// Names of the transfer's flags.
    pub flags: Vec<&'static str>,
    /// Seconds until a pending transfer expires; 0 = never.
    pub timeout_seconds: u32,
    /// A key that the client chooses.
    pub user_data_128: Amount,
    /// A key that the client chooses.
    pub user_data_64: Text64,
    /// A key that the client chooses.
    pub user_data_32: u32,
    /// When it was accepted: nanoseconds since the Unix epoch.
    pub timestamp: Text64,
    /// The state of a pending transfer at the time of the read: `pending`, `posted`, `voided` or `expired`.
    /// Left out of other transfers, and of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// When a pending transfer with a timeout expires, or would have expired: nanoseconds since the Unix
    /// epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Text64>,
    /// Minor units that a resolved pending transfer moved; "0" unless it was posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured_amount: Option<Amount>,
    /// The transfer that posted or voided this pending transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<Amount>,
    /// When the pending transfer was posted, voided or expired: nanoseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Text64>,
}

impl TransferReply {
    /// A transfer and the state of its hold as JSON.
    pub fn of(view: &TransferView, assets: &AssetBook) -> Self {
        let hold = view.hold.as_ref();
        let ended = hold.filter(|hold| hold.state != HoldState::Pending);
        Self {
            state: hold.map(|hold| hold.state.name()),
            captured_amount: ended.map(|hold| Amount(hold.captured)),
            resolved_by: ended.filter(|hold| hold.resolved_by.0 != 0).map(|hold| Amount(hold.resolved_by.0)),
            resolved_at: ended.map(|hold| Text64(hold.resolved_at.0)),
            ..Self::new(&view.transfer, assets)
        }
    }

    /// The record of a transfer as JSON.
    pub fn new(transfer: &Transfer, assets: &AssetBook) -> Self {
        Self {
            id: Amount(transfer.id.0),
            debit_account_id: Amount(transfer.debit_account_id.0),
            credit_account_id: Amount(transfer.credit_account_id.0),
            amount: Amount(transfer.amount),
            display: assets.display(transfer.ledger, transfer.amount),
            pending_id: Amount(transfer.pending_id.0),
            ledger: transfer.ledger.0,
            code: transfer.code,
            flags: transfer.flags.names().collect(),
            timeout_seconds: transfer.timeout_seconds,
            user_data_128: Amount(transfer.user_data_128),
            user_data_64: Text64(transfer.user_data_64),
            user_data_32: transfer.user_data_32,
            timestamp: Text64(transfer.timestamp.0),
            state: None,
            expires_at: transfer.expires_at().map(|at| Text64(at.0)),
            captured_amount: None,
            resolved_by: None,
            resolved_at: None,
        }
    }
}

/// Balances of an account just after one of its transfers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BalanceReply {
    /// The transfer's timestamp.
    pub timestamp: Text64,
    /// The four sums.
    pub balances: BalancesReply,
}

impl BalanceReply {
    /// A balance as JSON.
    pub fn new(balance: &AccountBalance, ledger: LedgerNumber, assets: &AssetBook) -> Self {
        Self {
            timestamp: Text64(balance.timestamp.0),
            balances: BalancesReply::new(&balance.balances, ledger, assets),
        }
    }
}

/// A change event: a row of the history. Its hash is SHA-256 over the transfer's 128 bytes, `debit_head` and
/// `credit_head`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangeReply {
    /// The position after the event, as opaque text: send it as `from` or as `Last-Event-ID` to continue.
    pub position: String,
    /// The number of the row in the history of its group, counted from 0 without gaps.
    pub number: u64,
    /// The group that has the row.
    pub group: u32,
    /// When the event happened: nanoseconds since the Unix epoch.
    pub timestamp: Text64,
    /// `single_phase`, `two_phase_pending`, `two_phase_posted`, `two_phase_voided` or `two_phase_expired`.
    pub kind: &'static str,
    /// The transfer; for an expiry, the pending transfer that expired.
    pub transfer: TransferReply,
    /// The balances of the debit account after the event.
    pub debit_account: BalancesReply,
    /// The balances of the credit account after the event.
    pub credit_account: BalancesReply,
    /// Head of the debit account's spends before the event.
    pub debit_head: String,
    /// Head of the credit account's receipts before the event.
    pub credit_head: String,
}

impl ChangeReply {
    /// A row of the history of the ledger's group as JSON.
    pub fn new(number: MovementNumber, movement: &Movement, assets: &AssetBook) -> Self {
        let ledger = movement.transfer.ledger;
        Self {
            position: EventPosition::after(LEDGER_GROUP, number).to_string(),
            number: number.0,
            group: LEDGER_GROUP.0,
            timestamp: Text64(movement.timestamp.0),
            kind: movement.kind.name(),
            transfer: TransferReply::new(&movement.transfer, assets),
            debit_account: BalancesReply::new(&movement.debit, ledger, assets),
            credit_account: BalancesReply::new(&movement.credit, ledger, assets),
            debit_head: movement.debit_head.to_string(),
            credit_head: movement.credit_head.to_string(),
        }
    }
}

/// An asset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AssetReply {
    /// The ledger's number in accounts and transfers.
    pub ledger: u32,
    /// The asset's code.
    pub code: String,
    /// Digits after the decimal point.
    pub scale: u8,
    /// True for the currencies of ISO 4217.
    pub built_in: bool,
}

impl From<&Asset> for AssetReply {
    fn from(asset: &Asset) -> Self {
        Self {
            ledger: asset.ledger.0,
            code: asset.code.to_string(),
            scale: asset.scale,
            built_in: built_in_of(asset.ledger).as_ref() == Some(asset),
        }
    }
}

/// The result of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventReply {
    /// The event's id; for an asset, its ledger's number.
    pub id: Amount,
    /// The status: `created`, `exists`, `exceeds_credits`, ...; `unknown` where the outcome of a write is not
    /// known.
    pub status: &'static str,
    /// The number of the status; 4294967295 = created, 0 = unknown.
    pub status_code: u32,
    /// For `created`: the event's timestamp. For `exists`: that of the first one. Nanoseconds since the Unix
    /// epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Text64>,
    /// For a refusal: what it means, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

const CREATED: u32 = u32::MAX;

impl EventReply {
    /// The result of an event of `operation`; `case` is the detail of a refusal, where it is known.
    pub fn new(operation: Operation, id: u128, result: EventResult, case: Option<&str>) -> Self {
        let (status, meaning) = status_of(operation, result.status);
        let is_refused = !matches!(status, "created" | "exists");
        Self {
            id: Amount(id),
            status,
            status_code: result.status,
            timestamp: (!is_refused).then_some(Text64(result.timestamp.0)),
            detail: is_refused.then(|| {
                let case = case.map(|case| format!("{case} ")).unwrap_or_default();
                format!("{meaning} {case}{}", advice(operation, result.status))
            }),
        }
    }

    /// The result of an event whose outcome is not known.
    fn unknown(id: u128) -> Self {
        Self { id: Amount(id), status: "unknown", status_code: 0, timestamp: None, detail: None }
    }

    /// True for `created`.
    pub fn is_created(&self) -> bool {
        self.status_code == CREATED
    }

    /// True for anything but `created` and `exists`.
    pub fn is_refused(&self) -> bool {
        self.detail.is_some()
    }

    /// True for a refusal that a recorded event causes: 409 instead of 422.
    pub fn is_conflict(&self) -> bool {
        self.status.starts_with("exists_with_different")
            || self.status.starts_with("pending_transfer_already")
            || self.status.ends_with("_taken")
            || matches!(self.status, "id_already_failed" | "name_already_set" | "prev_hash_mismatch")
    }
}

/// What the client can do about a refusal.
fn advice(operation: Operation, number: u32) -> &'static str {
    let is_transfer = matches!(operation, Operation::CreateTransfers | Operation::CreateTransfersExtended);
    let transfer = CreateTransferStatus::from_number(number).ok().filter(|_| is_transfer);
    if transfer.is_some_and(CreateTransferStatus::uses_up_id) {
        return "Correct the event, then send it with a new id, or with a new Idempotency-Key where it has no id.";
    }
    match status_of(operation, number).0 {
        "linked_event_failed" => "See the status of the other events of the chain.",
        "id_already_failed" => "Send it with a new id, or with a new Idempotency-Key where it has no id.",
        "shard_unavailable" | "too_many_pending" => "Nothing was recorded: try again later with the same id.",
        name if name.starts_with("exists_with_different") => {
            "The id belongs to the event that was recorded first: use a new id, or send the recorded fields."
        }
        _ => "Nothing was recorded: change the event and send it again.",
    }
}

/// The results of the events of an array.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchReply {
    /// The log entry that carried the request.
    pub log_index: u64,
    /// Timestamp of the request's last event.
    pub timestamp: Text64,
    /// Number of events with the status `created`.
    pub created: usize,
    /// Number of events with a status other than `created` and `exists`.
    pub refused: usize,
    /// One result an event, in the order of the events.
    pub results: Vec<EventReply>,
}

/// An error in the shape of RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A link to the explanation of this kind of error.
    #[serde(rename = "type")]
    pub kind: String,
    /// The meaning of this kind of error.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code of the error; for a refused event, the name of its status.
    pub code: String,
    /// What to change, in a sentence.
    pub detail: String,
    /// Milliseconds before a retry can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// For `position_after_end`: the position after the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The fields with invalid values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
    /// The result of the event that was refused, or of the only event whose outcome is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventReply>,
    /// For a write whose outcome is not known: the ids of its events, in order. The same request with these
    /// ids returns the outcome.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Amount>,
}

/// A field with an invalid value.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemField {
    /// The path of the field, such as `[3].code`.
    pub field: String,
    /// What to change.
    pub detail: String,
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        let errors = failure
            .violations
            .iter()
            .map(|violation| ProblemField {
                field: violation.field.clone(),
                detail: violation.description.clone(),
            })
            .collect();
        Self {
            kind: format!("/docs#{}", failure.code),
            title: failure.code.meaning().to_owned(),
            status: failure.code.http_status(),
            code: failure.code.name().to_owned(),
            detail: failure.detail.clone(),
            retry_after_ms: failure
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            end: failure.end.as_ref().map(ToString::to_string),
            errors,
            event: match &*failure.unknown_ids {
                [id] => Some(EventReply::unknown(*id)),
                _ => None,
            },
            ids: failure.unknown_ids.iter().copied().map(Amount).collect(),
        }
    }
}

impl From<EventReply> for Problem {
    /// A refused event that was sent alone.
    fn from(event: EventReply) -> Self {
        Self {
            kind: "/docs#event_refused".to_owned(),
            title: "The ledger refused the event.".to_owned(),
            status: if event.is_conflict() { 409 } else { 422 },
            code: event.status.to_owned(),
            detail: event.detail.clone().unwrap_or_default(),
            retry_after_ms: None,
            end: None,
            errors: Vec::new(),
            event: Some(event),
            ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bezant_types::Nanos;

    use super::*;

    fn reply(status: CreateTransferStatus) -> EventReply {
        let result = EventResult { timestamp: Nanos(5), status: status.number() };
        EventReply::new(Operation::CreateTransfers, 7, result, None)
    }

    #[test]
    fn refusals_have_advice() {
        let created = reply(CreateTransferStatus::Created);
        assert!(created.is_created() && !created.is_refused() && created.timestamp == Some(Text64(5)));
        assert!(!reply(CreateTransferStatus::Exists).is_refused());
        let refused = reply(CreateTransferStatus::ExceedsCredits);
        let problem = Problem::from(refused);
        assert_eq!((problem.status, problem.code.as_str()), (422, "exceeds_credits"));
        assert!(problem.detail.contains("with a new id"), "{}", problem.detail);
        assert_eq!(Problem::from(reply(CreateTransferStatus::ExistsWithDifferentAmount)).status, 409);
    }

    #[test]
    fn problems_have_the_shape_of_the_standard() {
        let failure = Failure::overloaded(
            crate::Scarce::Requests,
            "too many requests",
            core::time::Duration::from_millis(50),
        );
        let json = serde_json::to_value(Problem::from(&failure)).unwrap();
        assert_eq!(json["type"], "/docs#overloaded");
        assert_eq!(json["status"], 429);
        assert_eq!(json["code"], "overloaded");
        assert_eq!(json["retry_after_ms"], 50);
    }

    #[test]
    fn accounts_have_numbers_as_strings_and_texts() {
        let mut view = AccountView::default();
        view.account.ledger = LedgerNumber(978);
        view.account.credits_posted = 1050;
        let json = serde_json::to_value(AccountReply::new(view, &AssetBook::default())).unwrap();
        assert_eq!(json["balances"]["credits_posted"], "1050");
        assert_eq!(json["balances"]["display"], "10.50 EUR");
        assert_eq!(json["asset"], "EUR");
        assert_eq!(json["name"], serde_json::Value::Null);
        assert_eq!(json["bounds"]["minimum"], serde_json::Value::Null);
    }
}
