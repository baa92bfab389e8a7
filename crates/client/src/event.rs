//! Accounts and transfers to create, and their outcomes.

use bezant_types::{
    Account, AccountFlags, AccountId, Bounds, CreateAccountStatus, CreateTransferStatus, Head, LedgerNumber,
    Nanos, Transfer, TransferFlags, TransferId,
};

/// An account to create.
///
/// ```
/// use bezant_client::{AccountFlags, Bounds, NewAccount, ids::IdGenerator};
///
/// let ids = IdGenerator::new();
/// let euro = 978;
/// let account = NewAccount::new(ids.account_id(), euro, 1)
///     .name("users:alice:main")
///     .flags(AccountFlags::HISTORY)
///     .bounds(Bounds { minimum: -500_00, ..Bounds::NONE });
/// assert_eq!(account.name, "users:alice:main");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewAccount {
    /// The record. Its balances are 0, and its timestamp is 0 unless the account is imported.
    pub account: Account,
    /// Least and greatest balance, in minor units; [`Bounds::NONE`] = no limits.
    pub bounds: Bounds,
    /// The unique name of the account, at most 64 bytes; empty = none.
    pub name: String,
}

impl NewAccount {
    /// An account in `ledger` with the category `code`, without flags, limits or name.
    pub fn new(id: AccountId, ledger: u32, code: u16) -> Self {
        let account = Account { id, ledger: LedgerNumber(ledger), code, ..Account::default() };
        Self::from(account)
    }

    /// Sets the unique name, at most 64 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the flags.
    #[must_use]
    pub const fn flags(mut self, flags: AccountFlags) -> Self {
        self.account.flags = flags;
        self
    }

    /// Sets the least and the greatest balance, in minor units.
    #[must_use]
    pub const fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// True when the event needs more than the 128 bytes of the record.
    pub(crate) fn is_extended(&self) -> bool {
        !self.name.is_empty() || !self.bounds.is_none()
    }
}

impl From<Account> for NewAccount {
    fn from(account: Account) -> Self {
        Self { account, bounds: Bounds::NONE, name: String::new() }
    }
}

/// A transfer to create.
///
/// ```
/// use bezant_client::{AccountId, NewTransfer, TransferFlags, ids::IdGenerator};
///
/// let ids = IdGenerator::new();
/// let euro = 978;
/// let payment = NewTransfer::new(ids.transfer_id(), AccountId(1), AccountId(2), 10_50, euro, 1);
/// let reserve = payment.flags(TransferFlags::PENDING).expires_in_seconds(60);
/// let post = NewTransfer::post(ids.transfer_id(), reserve.transfer.id, u128::MAX);
/// assert_eq!(post.transfer.pending_id, reserve.transfer.id);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NewTransfer {
    /// The record. Its timestamp is 0 unless the transfer is imported.
    pub transfer: Transfer,
    /// The head of the debit account's spends that this transfer must follow: the transfer is refused with
    /// `prev_hash_mismatch` if another spend came first. [`Head::NONE`] = any.
    pub prev_hash: Head,
}

impl NewTransfer {
    /// Moves `amount` minor units immediately.
    pub fn new(
        id: TransferId,
        debit_account_id: AccountId,
        credit_account_id: AccountId,
        amount: u128,
        ledger: u32,
        code: u16,
    ) -> Self {
        let ledger = LedgerNumber(ledger);
        let transfer =
            Transfer { id, debit_account_id, credit_account_id, amount, ledger, code, ..Transfer::default() };
        Self::from(transfer)
    }

    /// Moves up to `amount` of what `pending_id` reserved and releases the rest; `u128::MAX` moves all.
    pub fn post(id: TransferId, pending_id: TransferId, amount: u128) -> Self {
        let flags = TransferFlags::POST_PENDING;
        Self::from(Transfer { id, pending_id, amount, flags, ..Transfer::default() })
    }

    /// Releases everything that `pending_id` reserved.
    pub fn void(id: TransferId, pending_id: TransferId) -> Self {
        let flags = TransferFlags::VOID_PENDING;
        Self::from(Transfer { id, pending_id, flags, ..Transfer::default() })
    }

    /// Sets the flags.
    #[must_use]
    pub const fn flags(mut self, flags: TransferFlags) -> Self {
        self.transfer.flags = flags;
        self
    }

    /// Lets a pending transfer expire `seconds` after it was accepted; 0 = never.
    #[must_use]
    pub const fn expires_in_seconds(mut self, seconds: u32) -> Self {
        self.transfer.timeout_seconds = seconds;
        self
    }

    /// Creates the transfer only if `head` is still the head of the debit account's spends.
    #[must_use]
    pub const fn prev_hash(mut self, head: Head) -> Self {
        self.prev_hash = head;
        self
    }

    /// True when the event needs more than the 128 bytes of the record.
    pub(crate) fn is_extended(&self) -> bool {
        !self.prev_hash.is_none()
    }
}

impl From<Transfer> for NewTransfer {
    fn from(transfer: Transfer) -> Self {
        Self { transfer, prev_hash: Head::NONE }
    }
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<Status> {
    /// The decision of the ledger: created, or the reason of the refusal.
    pub status: Status,
    /// The time of creation, by this call or an earlier one; for a refusal, the time of the decision.
    pub timestamp: Nanos,
}

/// The outcome of an account in [`crate::Client::create_accounts`].
pub type AccountOutcome = Outcome<CreateAccountStatus>;

/// The outcome of a transfer in [`crate::Client::create_transfers`].
pub type TransferOutcome = Outcome<CreateTransferStatus>;

impl AccountOutcome {
    /// True when the account exists exactly as requested, created by this call or an earlier one.
    pub const fn is_done(&self) -> bool {
        matches!(self.status, CreateAccountStatus::Created | CreateAccountStatus::Exists)
    }
}

impl TransferOutcome {
    /// True when the transfer exists exactly as requested, created by this call or an earlier one.
    pub const fn is_done(&self) -> bool {
        matches!(self.status, CreateTransferStatus::Created | CreateTransferStatus::Exists)
    }
}
