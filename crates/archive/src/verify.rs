//! The proof that an export is whole: its lines, its chains and sums, and its end.

use std::path::Path;

use bezant_types::AccountId;

use crate::error::{ArchiveError, Damage};
use crate::lines::{End, ExportFile, Header, Record, open};
use crate::walk::{Covered, Scope, Walk};

/// An export that was verified without errors.
#[derive(Debug)]
pub struct Verified {
    /// The walk over its rows, after the last row.
    pub walk: Walk,
    /// The account whose rows the file holds; `None` = all accounts.
    pub account: Option<AccountId>,
    /// False for CSV, which holds only movements.
    pub has_accounts: bool,
    /// The number of records that were checked.
    pub covered: Covered,
    /// False when the ledger took writes during the export, or the file holds no accounts. Then reserves were
    /// not compared.
    pub is_exact: bool,
}

/// Verifies an export: its checksums, chains and sums, and that its last line exists.
///
/// `of` is the account whose rows a CSV file holds, since CSV does not contain it; `None` = all accounts. JSON
/// Lines name the account, and `of` is not used.
pub fn verify(path: &Path, of: Option<AccountId>) -> Result<Verified, ArchiveError> {
    let mut file = open(path)?;
    let account = file.header().map_or(of, Header::account);
    let has_accounts = file.header().is_some();
    let scope = account.map_or(Scope::All, Scope::Account);
    let mut walk = Walk::new(scope, Vec::new()).map_err(ArchiveError::broken)?;
    let is_maybe_of_one = !has_accounts && account.is_none();
    let (accounts, end) = walk_along(&mut file, &mut walk, is_maybe_of_one)?;
    if end.accounts != accounts || end.movements != walk.movements() {
        let damage = Damage::Counts {
            accounts: end.accounts,
            movements: end.movements,
            accounts_found: accounts,
            movements_found: walk.movements(),
        };
        return Err(ArchiveError::damaged(file.line(), damage));
    }
    // A CSV file holds only movements: the accounts cannot be compared.
    let is_exact = end.is_exact && has_accounts;
    let covered = walk.finish(is_exact).map_err(ArchiveError::broken)?;
    Ok(Verified { walk, account, has_accounts, covered, is_exact })
}

/// Walks along all records; returns the count of accounts, and the last record. A gap in a file that
/// `is_maybe_of_one` account may be that account's.
fn walk_along(
    file: &mut ExportFile,
    walk: &mut Walk,
    is_maybe_of_one: bool,
) -> Result<(u64, End), ArchiveError> {
    let (mut accounts, mut end) = (0_u64, None);
    while let Some(record) = file.record()? {
        let damaged = |damage| Err(ArchiveError::damaged(file.line(), damage));
        if end.is_some() {
            return damaged(Damage::AfterEnd);
        }
        match record {
            Record::Export(_) => return damaged(Damage::SecondHeader),
            Record::Account(_) if walk.movements() > 0 => return damaged(Damage::LateAccount),
            Record::Account(view) => {
                walk.expect(view).map_err(ArchiveError::broken)?;
                accounts += 1;
            }
            Record::Movement(number, movement) => {
                let is_maybe_of_one = is_maybe_of_one && number.0 > walk.movements();
                walk.step(number, &movement)
                    .map_err(|broken| ArchiveError::Broken { broken, is_maybe_of_one })?;
            }
            Record::End(record) => end = Some(record),
        }
    }
    let end = end.ok_or_else(|| ArchiveError::damaged(file.line(), Damage::NoEnd))?;
    Ok((accounts, end))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
