//! The contract of `create_accounts`.

use bezant_ledger::ExtendedAccount;
use bezant_types::{Account, AccountFlags, AccountId, AccountView, Chain, CreateAccountStatus, Head, Nanos};
use sha2::{Digest, Sha256};

use super::{Model, Refused};

fn refused(status: CreateAccountStatus) -> Refused {
    Refused { status: status.number(), first: None }
}

impl Model {
    /// `is_extended` is true when the request has a name and bounds. Then both are compared.
    pub(super) fn create_account(
        &mut self,
        wanted: &ExtendedAccount,
        is_extended: bool,
        timestamp: Nanos,
    ) -> Result<(), Refused> {
        let account = &wanted.account;
        check_record(account)?;
        if let Some(existing) = self.accounts.get(&account.id) {
            let status = compare(wanted, is_extended, existing, self.flags[&account.id], self.rules);
            let first = (status == CreateAccountStatus::Exists).then_some(existing.account.timestamp);
            return Err(Refused { status: status.number(), first });
        }
        check_new(account)?;
        if account.flags.contains(AccountFlags::IMPORTED) {
            let regresses = self.accounts.values().any(|other| other.account.timestamp >= timestamp);
            if regresses || self.history.has_timestamp(timestamp) {
                return Err(refused(CreateAccountStatus::ImportedEventTimestampMustNotRegress));
            }
        }
        let name = text_of(&wanted.name).ok_or_else(|| refused(CreateAccountStatus::NameInvalid))?;
        if !name.is_empty() && self.accounts.values().any(|other| other.name == name) {
            return Err(refused(CreateAccountStatus::NameTaken));
        }
        if wanted.bounds.minimum > wanted.bounds.maximum {
            return Err(refused(CreateAccountStatus::BoundsInvalid));
        }
        let view = AccountView {
            account: Account { timestamp, ..*account },
            name,
            bounds: wanted.bounds,
            spends: Chain { sequence: 0, head: initial_head(0, account.id) },
            receipts: Chain { sequence: 0, head: initial_head(1, account.id) },
        };
        self.accounts.insert(account.id, view);
        self.flags.insert(account.id, account.flags);
        Ok(())
    }
}

/// The checks of the record that precede the look-up of an existing account.
fn check_record(account: &Account) -> Result<(), Refused> {
    if account.reserved != 0 {
        Err(refused(CreateAccountStatus::ReservedField))
    } else if account.flags.0 >= 1 << 6 {
        Err(refused(CreateAccountStatus::ReservedFlag))
    } else if account.id.0 == 0 {
        Err(refused(CreateAccountStatus::IdMustNotBeZero))
    } else if account.id.0 == u128::MAX {
        Err(refused(CreateAccountStatus::IdMustNotBeIntMax))
    } else {
        Ok(())
    }
}

/// The checks of the record that follow the look-up.
fn check_new(account: &Account) -> Result<(), Refused> {
    let limits_both = account.flags.contains(AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS)
        && account.flags.contains(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
    if limits_both {
        Err(refused(CreateAccountStatus::FlagsAreMutuallyExclusive))
    } else if account.debits_pending != 0 {
        Err(refused(CreateAccountStatus::DebitsPendingMustBeZero))
    } else if account.debits_posted != 0 {
        Err(refused(CreateAccountStatus::DebitsPostedMustBeZero))
    } else if account.credits_pending != 0 {
        Err(refused(CreateAccountStatus::CreditsPendingMustBeZero))
    } else if account.credits_posted != 0 {
        Err(refused(CreateAccountStatus::CreditsPostedMustBeZero))
    } else if account.ledger.0 == 0 {
        Err(refused(CreateAccountStatus::LedgerMustNotBeZero))
    } else if account.code == 0 {
        Err(refused(CreateAccountStatus::CodeMustNotBeZero))
    } else {
        Ok(())
    }
}

/// `flags` are the flags of the account when it was created. A transfer may have closed the account since,
/// but the same request still gets `exists`.
fn compare(
    wanted: &ExtendedAccount,
    is_extended: bool,
    existing: &AccountView,
    flags: AccountFlags,
    rules: u8,
) -> CreateAccountStatus {
    let (new, old) = (&wanted.account, &existing.account);
    // A program may create an imported account again without the flag `imported`.
    let is_retold = rules > 0 && new.flags.union(AccountFlags::IMPORTED) == flags;
    let is_known = new.flags == flags || is_retold;
    if !is_known {
        CreateAccountStatus::ExistsWithDifferentFlags
    } else if new.user_data_128 != old.user_data_128 {
        CreateAccountStatus::ExistsWithDifferentUserData128
    } else if new.user_data_64 != old.user_data_64 {
        CreateAccountStatus::ExistsWithDifferentUserData64
    } else if new.user_data_32 != old.user_data_32 {
        CreateAccountStatus::ExistsWithDifferentUserData32
    } else if new.ledger != old.ledger {
        CreateAccountStatus::ExistsWithDifferentLedger
    } else if new.code != old.code {
        CreateAccountStatus::ExistsWithDifferentCode
    } else if is_extended && wanted.name != bytes_of(&existing.name) {
        CreateAccountStatus::ExistsWithDifferentName
    } else if is_extended && wanted.bounds != existing.bounds {
        CreateAccountStatus::ExistsWithDifferentBounds
    } else {
        CreateAccountStatus::Exists
    }
}

/// The name in 64 bytes padded with zeros; empty = no name, `None` = invalid.
pub(super) fn text_of(bytes: &[u8; 64]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let has_control = text.chars().any(char::is_control);
    let has_spaces = text.trim() != text;
    let is_number = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    (!has_control && !has_spaces && !is_number).then(|| text.to_owned())
}

fn bytes_of(name: &str) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn initial_head(side: u8, account: AccountId) -> Head {
    let message = [b"bezant/chain/v1".as_slice(), &[side], &account.0.to_le_bytes()].concat();
    Head(Sha256::digest(message).into())
}
