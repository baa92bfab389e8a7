//! How an account or transfer that is sent again is compared with the recorded one that has its id. The ledger
//! applies this comparison; the server and the clients repeat it to interpret the results of a linked chain.

use crate::{
    Account, AccountFlags, AccountView, CreateAccountStatus, CreateTransferStatus, ExtendedAccount, Transfer,
    TransferFlags, TransferId, name_to_bytes,
};

/// Compares a request with the account that has its id. Returns the status of the first field that differs,
/// in the order of the contract, or `exists`. Name and bounds are compared only when the request is extended.
pub fn compare_accounts(
    sent: &ExtendedAccount,
    is_extended: bool,
    existing: &AccountView,
) -> CreateAccountStatus {
    let is_unused = existing.spends.sequence == 0 && existing.receipts.sequence == 0;
    let status = compare_account_records(&sent.account, &existing.account, is_unused, true);
    if status != CreateAccountStatus::Exists || !is_extended {
        status
    } else if name_to_bytes(&existing.name) != Some(sent.name) {
        CreateAccountStatus::ExistsWithDifferentName
    } else if sent.bounds != existing.bounds {
        CreateAccountStatus::ExistsWithDifferentBounds
    } else {
        CreateAccountStatus::Exists
    }
}

/// Compares a request with the record of the account that has its id. `is_unused` is true when that account
/// has never had a transfer. `ignores_missing_import` is true when a request without the flag `imported` may
/// match an imported account.
pub fn compare_account_records(
    account: &Account,
    existing: &Account,
    is_unused: bool,
    ignores_missing_import: bool,
) -> CreateAccountStatus {
    // A transfer may have closed the account since it was created. So the flag `closed` counts only on an
    // account that has never had a transfer: that account was created closed.
    let flags = if is_unused { existing.flags } else { existing.flags.without(AccountFlags::CLOSED) };
    // A program that creates its accounts at each start need not know that they were imported.
    let differs_only_by_import =
        ignores_missing_import && account.flags.union(AccountFlags::IMPORTED) == flags;
    if account.flags != flags && !differs_only_by_import {
        CreateAccountStatus::ExistsWithDifferentFlags
    } else if account.user_data_128 != existing.user_data_128 {
        CreateAccountStatus::ExistsWithDifferentUserData128
    } else if account.user_data_64 != existing.user_data_64 {
        CreateAccountStatus::ExistsWithDifferentUserData64
    } else if account.user_data_32 != existing.user_data_32 {
        CreateAccountStatus::ExistsWithDifferentUserData32
    } else if account.ledger != existing.ledger {
        CreateAccountStatus::ExistsWithDifferentLedger
    } else if account.code != existing.code {
        CreateAccountStatus::ExistsWithDifferentCode
    } else {
        CreateAccountStatus::Exists
    }
}

/// Compares a transfer with the recorded one that has its id. Returns the status of the first field that
/// differs, in the order of the contract, or `exists`. `pending` returns the record of a pending transfer; it
/// is called only for posts and voids.
pub fn compare_transfers(
    transfer: &Transfer,
    existing: &Transfer,
    pending: impl FnOnce(TransferId) -> Transfer,
) -> CreateTransferStatus {
    let resolves = TransferFlags::POST_PENDING.union(TransferFlags::VOID_PENDING);
    if transfer.flags != existing.flags {
        return CreateTransferStatus::ExistsWithDifferentFlags;
    }
    if transfer.pending_id != existing.pending_id {
        return CreateTransferStatus::ExistsWithDifferentPendingId;
    }
    if transfer.timeout_seconds != existing.timeout_seconds {
        return CreateTransferStatus::ExistsWithDifferentTimeout;
    }
    if transfer.flags.intersects(resolves) {
        return check_exists_resolved(transfer, existing, &pending(existing.pending_id));
    }
    let balancing = TransferFlags::BALANCING_DEBIT.union(TransferFlags::BALANCING_CREDIT);
    let amount_differs = if transfer.flags.intersects(balancing) {
        transfer.amount < existing.amount
    } else {
        transfer.amount != existing.amount
    };
    if transfer.debit_account_id != existing.debit_account_id {
        CreateTransferStatus::ExistsWithDifferentDebitAccountId
    } else if transfer.credit_account_id != existing.credit_account_id {
        CreateTransferStatus::ExistsWithDifferentCreditAccountId
    } else if amount_differs {
        CreateTransferStatus::ExistsWithDifferentAmount
    } else if transfer.user_data_128 != existing.user_data_128 {
        CreateTransferStatus::ExistsWithDifferentUserData128
    } else if transfer.user_data_64 != existing.user_data_64 {
        CreateTransferStatus::ExistsWithDifferentUserData64
    } else if transfer.user_data_32 != existing.user_data_32 {
        CreateTransferStatus::ExistsWithDifferentUserData32
    } else if transfer.ledger != existing.ledger {
        CreateTransferStatus::ExistsWithDifferentLedger
    } else if transfer.code != existing.code {
        CreateTransferStatus::ExistsWithDifferentCode
    } else {
        CreateTransferStatus::Exists
    }
}

/// The comparison for a post or void. A field of the request that is zero stands for the value of the pending
/// transfer.
fn check_exists_resolved(
    transfer: &Transfer,
    existing: &Transfer,
    pending: &Transfer,
) -> CreateTransferStatus {
    let all = if transfer.flags.contains(TransferFlags::VOID_PENDING) { 0 } else { u128::MAX };
    let amount = if transfer.amount == all { pending.amount } else { transfer.amount };
    let expected = transfer.resolving(pending, amount, existing.timestamp);
    let debit_differs =
        transfer.debit_account_id.0 != 0 && transfer.debit_account_id != existing.debit_account_id;
    let credit_differs =
        transfer.credit_account_id.0 != 0 && transfer.credit_account_id != existing.credit_account_id;
    if debit_differs {
        CreateTransferStatus::ExistsWithDifferentDebitAccountId
    } else if credit_differs {
        CreateTransferStatus::ExistsWithDifferentCreditAccountId
    } else if expected.amount != existing.amount {
        CreateTransferStatus::ExistsWithDifferentAmount
    } else if expected.user_data_128 != existing.user_data_128 {
        CreateTransferStatus::ExistsWithDifferentUserData128
    } else if expected.user_data_64 != existing.user_data_64 {
        CreateTransferStatus::ExistsWithDifferentUserData64
    } else if expected.user_data_32 != existing.user_data_32 {
        CreateTransferStatus::ExistsWithDifferentUserData32
    } else if transfer.ledger.0 != 0 && transfer.ledger != existing.ledger {
        CreateTransferStatus::ExistsWithDifferentLedger
    } else if transfer.code != 0 && transfer.code != existing.code {
        CreateTransferStatus::ExistsWithDifferentCode
    } else {
        CreateTransferStatus::Exists
    }
}
