//! What several protocols do with rows of the history and with results.

use bezant_api::{ErrorCode, Failure};
use bezant_codec::result_from_bytes;
use bezant_runtime::Committed;
use bezant_storage::HistoryAnswer;
use bezant_types::limits::RESULT_SIZE;
use bezant_types::{Account, AccountBalance, AccountFlags, AccountId, EventResult};

use crate::failure::internal;

/// The result of each event.
pub(crate) fn results_of(committed: &Committed) -> Result<impl Iterator<Item = EventResult>, Failure> {
    let results = bezant_codec::records::<RESULT_SIZE>(&committed.results);
    Ok(results.map_err(|_| internal("the results are not whole"))?.iter().map(result_from_bytes))
}

/// Fails unless the account records the history of its balances.
pub(crate) fn check_keeps_history(account: &Account) -> Result<(), Failure> {
    if account.flags.contains(AccountFlags::HISTORY) {
        return Ok(());
    }
    let detail =
        format!("account {} was created without the flag history: ask for its transfers", account.id);
    Err(Failure::new(ErrorCode::HistoryNotKept, detail))
}

/// The balances of an account after each of the rows.
pub(crate) fn balances_of(rows: &HistoryAnswer, account: AccountId) -> impl Iterator<Item = AccountBalance> {
    rows.iter().filter_map(move |(_, row)| {
        row.balances_of(account).map(|balances| AccountBalance { balances, timestamp: row.timestamp })
    })
}
