//! Events on their way in, before names and asset codes have become numbers.
//!
//! Both APIs let people say `users:alice` where the record has an id, and `EUR` where it has a ledger. A
//! draft holds the record with these places empty, and what belongs there; the server fills them in.

use bezant_ledger::{ExtendedAccount, ExtendedTransfer};
use bezant_types::AccountId;

/// An account as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AccountReference {
    /// Not given: id 0.
    #[default]
    None,
    /// By id.
    Id(AccountId),
    /// By name.
    Name(String),
}

impl AccountReference {
    /// Digits only are an id, anything else a name (names of digits only do not exist). `None` when the
    /// digits do not fit in 128 bits.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() {
            Some(Self::None)
        } else if text.bytes().all(|letter| letter.is_ascii_digit()) {
            text.parse().ok().map(AccountId).map(Self::Id)
        } else {
            Some(Self::Name(text.to_owned()))
        }
    }
}

/// An account to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountDraft {
    /// The record; its ledger is 0 where `asset` says it.
    pub event: ExtendedAccount,
    /// The code of the ledger's asset; `None` = the record has the ledger.
    pub asset: Option<String>,
    /// False = the id is to be made by the server.
    pub has_id: bool,
}

/// A transfer to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferDraft {
    /// The record; its accounts are 0, its ledger is 0 where `asset` says it.
    pub event: ExtendedTransfer,
    /// Who pays.
    pub debit_account: AccountReference,
    /// Who is paid.
    pub credit_account: AccountReference,
    /// The code of the ledger's asset; `None` = the record has the ledger.
    pub asset: Option<String>,
    /// False = the id is to be made by the server.
    pub has_id: bool,
}
