//! Events of a request, before names and asset codes are replaced by numbers.
//!
//! Both APIs accept `users:alice` in place of an account id, and `EUR` in place of a ledger number. A draft
//! has the record without these fields, and the texts for them; the server fills them in.

use bezant_types::AccountId;
use bezant_types::{ExtendedAccount, ExtendedTransfer};

/// An account as a request refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AccountReference {
    /// No account is given: id 0.
    #[default]
    None,
    /// An account by id.
    Id(AccountId),
    /// An account by name.
    Name(String),
}

impl AccountReference {
    /// Parses digits as an id and any other text as a name (a name of digits only cannot exist). `None` when
    /// the digits do not fit in 128 bits.
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
    /// The record; its ledger is 0 where `asset` is set.
    pub event: ExtendedAccount,
    /// The code of the ledger's asset; `None` = the record has the ledger.
    pub asset: Option<String>,
    /// False = the server generates the id.
    pub has_id: bool,
}

/// A transfer to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferDraft {
    /// The record; its accounts are 0, and its ledger is 0 where `asset` is set.
    pub event: ExtendedTransfer,
    /// The account that is debited.
    pub debit_account: AccountReference,
    /// The account that is credited.
    pub credit_account: AccountReference,
    /// The code of the ledger's asset; `None` = the record has the ledger.
    pub asset: Option<String>,
    /// False = the server generates the id.
    pub has_id: bool,
}
