//! The details of refusals, as text for people: the account, the rule, the amount that was asked for and the
//! amount that is available.
//!
//! A status is a number that never changes and names the kind of rule that refused an event. The records are
//! read afterwards and may have changed since, so the text states that it is as of now. Pure; the server
//! reads the records.

use core::fmt::Write;

use bezant_types::{
    AccountFlags, AccountId, AccountView, Bounds, CreateAccountStatus, CreateTransferStatus as Status,
    LedgerNumber, Nanos, Refusal, Transfer, TransferFlags,
};
use bezant_types::{ExtendedAccount, name_from_bytes};

use crate::assets::AssetBook;
use crate::moment::show_moment;

/// The records that were read about a refused transfer; `None` = the record does not exist, or could not be
/// read.
#[derive(Clone, Debug, Default)]
pub struct TransferFacts {
    /// The account that is debited; for a post or void, that of the pending transfer.
    pub debit: Option<AccountView>,
    /// The account that is credited; for a post or void, that of the pending transfer.
    pub credit: Option<AccountView>,
    /// The transfer that has the id already.
    pub existing: Option<Transfer>,
    /// The refusal that used up the id.
    pub refusal: Option<Refusal>,
    /// The transfer that was to be posted or voided.
    pub pending: Option<Transfer>,
}

/// The detail of a refused transfer, in one or two sentences; `None` where the status needs no detail, or
/// where the records are missing.
pub fn explain_transfer(
    status: Status,
    sent: &Transfer,
    facts: &TransferFacts,
    assets: &AssetBook,
) -> Option<String> {
    let name = status.name();
    if name.starts_with("exists_with_different_") {
        return different(status, sent, facts.existing.as_ref()?, assets);
    }
    if name.starts_with("pending_transfer_") || status == Status::ExceedsPendingTransferAmount {
        return of_pending(status, sent, facts, assets);
    }
    let (debit, credit) = (facts.debit.as_ref(), facts.credit.as_ref());
    match status {
        Status::IdAlreadyFailed => {
            let refusal = facts.refusal.as_ref()?;
            Some(format!(
                "Transfer {} was refused first with {} at {}: {}",
                sent.id,
                refusal.status.name(),
                show_moment(refusal.timestamp),
                refusal.status.meaning()
            ))
        }
        Status::DebitAccountNotFound => Some(not_found(sent.debit_account_id)),
        Status::CreditAccountNotFound => Some(not_found(sent.credit_account_id)),
        Status::DebitAccountAlreadyClosed => Some(format!("{} is closed.", name_of(debit?))),
        Status::CreditAccountAlreadyClosed => Some(format!("{} is closed.", name_of(credit?))),
        Status::AccountsMustHaveTheSameLedger | Status::TransferMustHaveTheSameLedgerAsAccounts => {
            let holds =
                |view: &AccountView| format!("{} holds {}", name_of(view), unit(view.account.ledger, assets));
            let asked = unit(sent.ledger, assets);
            Some(format!("{}, {}, the transfer names {asked}.", holds(debit?), holds(credit?)))
        }
        Status::ExceedsCredits => Some(spending(sent, debit?, assets)),
        Status::ExceedsDebits => Some(receiving(sent, credit?, assets)),
        Status::BalanceOutOfBounds => Some(out_of_bounds(sent, debit?, credit?, assets)),
        Status::PrevHashMismatch => {
            let debit = debit?;
            Some(format!("The head of the spends of {} is {} as of now.", name_of(debit), debit.spends.head))
        }
        Status::LedgerMustNotBeZero => {
            Some("The ledger is 0: send the number of an asset's ledger.".to_owned())
        }
        Status::CodeMustNotBeZero => {
            Some("The code is 0: send a category that you choose, 1 to 65535.".to_owned())
        }
        _ => None,
    }
}

/// False for refusals that need no detail, and for results that are no refusals.
pub fn is_of_interest(status: Status) -> bool {
    !matches!(
        status,
        Status::Created | Status::Exists | Status::LinkedEventFailed | Status::LinkedEventChainOpen
    )
}

/// True where the detail needs the transfer or the refusal that has the id.
pub fn is_about_id(status: Status) -> bool {
    status == Status::IdAlreadyFailed || status.name().starts_with("exists_with_different_")
}

/// True where the detail needs the account that has the id or the name.
pub fn is_about_account(status: CreateAccountStatus) -> bool {
    status == CreateAccountStatus::NameTaken || status.name().starts_with("exists_with_different_")
}

/// The detail of a refused account; `existing` is the account that has the id or the name.
pub fn explain_account(
    status: CreateAccountStatus,
    sent: &ExtendedAccount,
    existing: &AccountView,
    assets: &AssetBook,
) -> Option<String> {
    let (recorded, requested) = (&existing.account, &sent.account);
    let names = |flags: AccountFlags| {
        let names: Vec<_> = flags.names().collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let bounds = |bounds: &Bounds| {
        let show = |bound: i128| {
            let is_none = bound == i128::MIN || bound == i128::MAX;
            if is_none { "none".to_owned() } else { signed(recorded.ledger, bound, assets) }
        };
        format!("{} to {}", show(bounds.minimum), show(bounds.maximum))
    };
    let name = || name_from_bytes(&sent.name).unwrap_or_default().to_owned();
    let (field, recorded, requested) = match status {
        CreateAccountStatus::NameTaken => {
            return Some(format!("The name {} is that of account {}.", existing.name, recorded.id));
        }
        CreateAccountStatus::ExistsWithDifferentFlags => {
            ("flags", names(recorded.flags), names(requested.flags))
        }
        CreateAccountStatus::ExistsWithDifferentUserData128 => {
            ("user_data_128", recorded.user_data_128.to_string(), requested.user_data_128.to_string())
        }
        CreateAccountStatus::ExistsWithDifferentUserData64 => {
            ("user_data_64", recorded.user_data_64.to_string(), requested.user_data_64.to_string())
        }
        CreateAccountStatus::ExistsWithDifferentUserData32 => {
            ("user_data_32", recorded.user_data_32.to_string(), requested.user_data_32.to_string())
        }
        CreateAccountStatus::ExistsWithDifferentLedger => {
            ("ledger", unit(recorded.ledger, assets), unit(requested.ledger, assets))
        }
        CreateAccountStatus::ExistsWithDifferentCode => {
            ("code", recorded.code.to_string(), requested.code.to_string())
        }
        CreateAccountStatus::ExistsWithDifferentName => ("name", existing.name.clone(), name()),
        CreateAccountStatus::ExistsWithDifferentBounds => {
            ("bounds", bounds(&existing.bounds), bounds(&sent.bounds))
        }
        _ => return None,
    };
    Some(format!("The {field} of {}: {recorded} as of now, not {requested}.", name_of(existing)))
}

fn not_found(id: AccountId) -> String {
    format!("There is no account {id}.")
}

/// An account with its name, where it has one, and its id.
fn name_of(view: &AccountView) -> String {
    if view.name.is_empty() {
        format!("account {}", view.account.id)
    } else {
        format!("account {} ({})", view.name, view.account.id)
    }
}

fn unit(ledger: LedgerNumber, assets: &AssetBook) -> String {
    assets.of(ledger).map_or_else(|| format!("ledger {ledger}"), |asset| asset.code.to_string())
}

/// An amount as text with its asset.
pub fn amount(ledger: LedgerNumber, amount: u128, assets: &AssetBook) -> String {
    assets.display(ledger, amount).unwrap_or_else(|| format!("{amount} (ledger {ledger})"))
}

fn signed(ledger: LedgerNumber, amount: i128, assets: &AssetBook) -> String {
    let text = self::amount(ledger, amount.unsigned_abs(), assets);
    if amount < 0 { format!("-{text}") } else { text }
}

/// The detail of an exceeded limit of the debit account.
fn spending(sent: &Transfer, debit: &AccountView, assets: &AssetBook) -> String {
    let ledger = debit.account.ledger;
    let show = |value| amount(ledger, value, assets);
    let mut rules = Vec::new();
    if debit.account.flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS) {
        rules.push("may not spend more than was credited (debits_must_not_exceed_credits)".to_owned());
    }
    if debit.bounds.minimum != i128::MIN {
        rules.push(format!("has a minimum of {}", signed(ledger, debit.bounds.minimum, assets)));
    }
    let rule = if rules.is_empty() { "has no limit".to_owned() } else { rules.join(" and ") };
    let available = debit.available().map_or_else(|| "any amount".to_owned(), show);
    let mut text = format!(
        "{} {rule}: {} was asked for, {available} is available as of now",
        name_of(debit),
        show(sent.amount)
    );
    if debit.account.debits_pending > 0 {
        // Writing to a string does not fail.
        write!(text, ", besides {} that is reserved", show(debit.account.debits_pending)).unwrap_or_default();
    }
    text.push('.');
    text
}

/// The detail of an exceeded limit of the credit account.
fn receiving(sent: &Transfer, credit: &AccountView, assets: &AssetBook) -> String {
    let ledger = credit.account.ledger;
    let show = |value| amount(ledger, value, assets);
    let mut rules = Vec::new();
    if credit.account.flags.contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS) {
        rules.push("may not receive more than was debited (credits_must_not_exceed_debits)".to_owned());
    }
    if credit.bounds.maximum != i128::MAX {
        rules.push(format!("has a maximum of {}", signed(ledger, credit.bounds.maximum, assets)));
    }
    let rule = if rules.is_empty() { "has no limit".to_owned() } else { rules.join(" and ") };
    let receivable = credit.receivable().map_or_else(|| "any amount".to_owned(), show);
    let mut text = format!(
        "{} {rule}: {} was sent, {receivable} can be received as of now",
        name_of(credit),
        show(sent.amount)
    );
    if credit.account.credits_pending > 0 {
        write!(text, ", besides {} that is on its way", show(credit.account.credits_pending))
            .unwrap_or_default();
    }
    text.push('.');
    text
}

fn out_of_bounds(sent: &Transfer, debit: &AccountView, credit: &AccountView, assets: &AssetBook) -> String {
    let is_too_much = |limit: Option<u128>| limit.is_some_and(|limit| limit < sent.amount);
    if is_too_much(debit.available()) {
        spending(sent, debit, assets)
    } else if is_too_much(credit.receivable()) {
        receiving(sent, credit, assets)
    } else {
        // A balance may be outside of its bounds already, or may have changed since.
        let limited = debit.bounds.minimum != i128::MIN;
        if limited { spending(sent, debit, assets) } else { receiving(sent, credit, assets) }
    }
}

fn of_pending(status: Status, sent: &Transfer, facts: &TransferFacts, assets: &AssetBook) -> Option<String> {
    let id = sent.pending_id;
    let Some(pending) = &facts.pending else {
        return (status == Status::PendingTransferNotFound).then(|| format!("There is no transfer {id}."));
    };
    let show = |value| amount(pending.ledger, value, assets);
    let reserves = format!("Transfer {id} reserved {}", show(pending.amount));
    Some(match status {
        Status::PendingTransferNotPending => {
            format!("Transfer {id} moved {} at once: it reserves nothing.", show(pending.amount))
        }
        Status::ExceedsPendingTransferAmount | Status::PendingTransferHasDifferentAmount => {
            format!("{reserves}, {} was asked for.", show(sent.amount))
        }
        Status::PendingTransferAlreadyPosted => format!("{reserves}, and was posted."),
        Status::PendingTransferAlreadyVoided => format!("{reserves}, and was voided."),
        Status::PendingTransferExpired => {
            let at = pending.expires_at().unwrap_or(Nanos(0));
            format!("{reserves} until {}.", show_moment(at))
        }
        Status::PendingTransferHasDifferentDebitAccountId => {
            format!(
                "Transfer {id} debits account {}, not {}.",
                pending.debit_account_id, sent.debit_account_id
            )
        }
        Status::PendingTransferHasDifferentCreditAccountId => {
            format!(
                "Transfer {id} credits account {}, not {}.",
                pending.credit_account_id, sent.credit_account_id
            )
        }
        Status::PendingTransferHasDifferentLedger => {
            let (has, requested) = (unit(pending.ledger, assets), unit(sent.ledger, assets));
            format!("Transfer {id} reserves {has}, not {requested}.")
        }
        Status::PendingTransferHasDifferentCode => {
            format!("Transfer {id} has the code {}, not {}.", pending.code, sent.code)
        }
        _ => return None,
    })
}

/// The field in which a transfer differs from the transfer that has its id.
fn different(status: Status, sent: &Transfer, existing: &Transfer, assets: &AssetBook) -> Option<String> {
    let flags = |flags: TransferFlags| {
        let names: Vec<_> = flags.names().collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let (field, recorded, requested) = match status {
        Status::ExistsWithDifferentFlags => ("flags", flags(existing.flags), flags(sent.flags)),
        Status::ExistsWithDifferentPendingId => {
            ("pending_id", existing.pending_id.to_string(), sent.pending_id.to_string())
        }
        Status::ExistsWithDifferentTimeout => {
            ("timeout", existing.timeout_seconds.to_string(), sent.timeout_seconds.to_string())
        }
        Status::ExistsWithDifferentDebitAccountId => {
            ("debit account", existing.debit_account_id.to_string(), sent.debit_account_id.to_string())
        }
        Status::ExistsWithDifferentCreditAccountId => {
            ("credit account", existing.credit_account_id.to_string(), sent.credit_account_id.to_string())
        }
        Status::ExistsWithDifferentAmount => {
            let show = |value| amount(existing.ledger, value, assets);
            ("amount", show(existing.amount), show(sent.amount))
        }
        Status::ExistsWithDifferentUserData128 => {
            ("user_data_128", existing.user_data_128.to_string(), sent.user_data_128.to_string())
        }
        Status::ExistsWithDifferentUserData64 => {
            ("user_data_64", existing.user_data_64.to_string(), sent.user_data_64.to_string())
        }
        Status::ExistsWithDifferentUserData32 => {
            ("user_data_32", existing.user_data_32.to_string(), sent.user_data_32.to_string())
        }
        Status::ExistsWithDifferentLedger => {
            ("ledger", unit(existing.ledger, assets), unit(sent.ledger, assets))
        }
        Status::ExistsWithDifferentCode => ("code", existing.code.to_string(), sent.code.to_string()),
        _ => return None,
    };
    Some(format!("Transfer {} was made with {field} {recorded}, not {requested}.", existing.id))
}

#[cfg(test)]
mod tests {
    use bezant_types::{Account, Bounds, TransferId};

    use super::*;

    const EURO: LedgerNumber = LedgerNumber(978);

    fn view(id: u128, name: &str, credits_posted: u128, bounds: Bounds) -> AccountView {
        let account = Account { id: AccountId(id), ledger: EURO, credits_posted, ..Account::default() };
        AccountView { account, name: name.to_owned(), bounds, ..AccountView::default() }
    }

    fn sent() -> Transfer {
        Transfer {
            id: TransferId(7),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: 9900,
            ledger: EURO,
            ..Transfer::default()
        }
    }

    fn explain(status: Status, facts: &TransferFacts) -> String {
        explain_transfer(status, &sent(), facts, &AssetBook::default()).unwrap_or_default()
    }

    #[test]
    fn a_refusal_names_account_rule_and_amounts() {
        let mut debit = view(1, "users:bob", 1050, Bounds { minimum: 0, ..Bounds::NONE });
        debit.account.debits_pending = 50;
        let facts = TransferFacts {
            debit: Some(debit),
            credit: Some(view(2, "", 0, Bounds::NONE)),
            ..TransferFacts::default()
        };
        assert_eq!(
            explain(Status::BalanceOutOfBounds, &facts),
            "account users:bob (1) has a minimum of 0.00 EUR: 99.00 EUR was asked for, 10.00 EUR is available as of \
             now, besides 0.50 EUR that is reserved."
        );
        let facts = TransferFacts {
            debit: Some(view(1, "a", 0, Bounds::NONE)),
            credit: Some(view(2, "", 5000, Bounds { maximum: 10_000, ..Bounds::NONE })),
            ..TransferFacts::default()
        };
        assert_eq!(
            explain(Status::BalanceOutOfBounds, &facts),
            "account 2 has a maximum of 100.00 EUR: 99.00 EUR was sent, 50.00 EUR can be received as of now."
        );
    }

    #[test]
    fn a_used_id_shows_the_record_that_has_it() {
        let facts =
            TransferFacts { existing: Some(Transfer { amount: 1050, ..sent() }), ..TransferFacts::default() };
        let text = explain(Status::ExistsWithDifferentAmount, &facts);
        assert_eq!(text, "Transfer 7 was made with amount 10.50 EUR, not 99.00 EUR.");
        let refusal = Refusal { id: TransferId(7), timestamp: Nanos(5), status: Status::ExceedsCredits };
        let facts = TransferFacts { refusal: Some(refusal), ..TransferFacts::default() };
        let text = explain(Status::IdAlreadyFailed, &facts);
        assert!(text.contains("first with exceeds_credits at 1970-01-01T00:00:00.000000005Z:"), "{text}");
        let pending = Transfer {
            timeout_seconds: 60,
            timestamp: Nanos(1_793_491_200_000_000_000),
            flags: TransferFlags::PENDING,
            ..sent()
        };
        let facts = TransferFacts { pending: Some(pending), ..TransferFacts::default() };
        assert!(
            explain(Status::PendingTransferExpired, &facts)
                .ends_with("99.00 EUR until 2026-11-01T00:01:00Z."),
            "{}",
            explain(Status::PendingTransferExpired, &facts)
        );
    }

    #[test]
    fn without_records_no_amount_is_shown() {
        let facts = TransferFacts::default();
        for status in Status::REFUSALS {
            let text = explain(*status, &facts);
            assert!(!text.contains("EUR"), "{text}");
        }
        assert_eq!(explain(Status::DebitAccountNotFound, &facts), "There is no account 1.");
    }
}
