//! Statuses: the result of each event, as a number that is replicated and never changes. Statuses are `Copy`
//! and contain no strings.
//!
//! Variants are in the order of the checks: when several statuses apply, the result is the first of them.
//! Four variants are exceptions. `exists_with_different_name` and `exists_with_different_bounds` are checked
//! before `exists`, `name_already_set` before `name_taken`, and the `exists` of an asset before
//! `ledger_taken`.
//!
//! Numbers up to 999 are those of TigerBeetle's model of accounts and transfers, except in the statuses of
//! operations that only Bezant has. The statuses that Bezant adds begin at 1000. A number is never reused in
//! an enum.

use crate::Nanos;

/// A number that is not the number of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStatus(pub u32);

impl core::fmt::Display for UnknownStatus {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{} is not the number of a status", self.0)
    }
}

impl core::error::Error for UnknownStatus {}

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $(#[doc = $status_doc:literal] $status:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name {
            $(#[doc = $status_doc] $status = $number,)+
            /// Applied.
            Created = u32::MAX,
        }

        impl $name {
            /// Every refusal, in the order of the variants.
            pub const REFUSALS: &'static [Self] = &[$(Self::$status,)+];

            /// The number of the status, which never changes.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// The name in snake case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$status => $text,)+
                    Self::Created => "created",
                }
            }

            /// One sentence that explains the status.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$status => $status_doc.trim_ascii(),)+
                    Self::Created => "Applied.",
                }
            }

            /// The status with that number; an error when this enum has no such number.
            pub const fn from_number(number: u32) -> Result<Self, UnknownStatus> {
                Ok(match number {
                    $($number => Self::$status,)+
                    u32::MAX => Self::Created,
                    _ => return Err(UnknownStatus(number)),
                })
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}

statuses! {
    /// Result of an account in `create_accounts`.
    CreateAccountStatus {
        /// Another event of its chain failed.
        LinkedEventFailed = 1 "linked_event_failed",
        /// The request ends inside a chain: the last event must not be linked.
        LinkedEventChainOpen = 2 "linked_event_chain_open",
        /// The first event of the request is imported, this one is not.
        ImportedEventExpected = 22 "imported_event_expected",
        /// The first event of the request is not imported, this one is.
        ImportedEventNotExpected = 23 "imported_event_not_expected",
        /// The event has a timestamp, and only imported events may have one.
        TimestampMustBeZero = 3 "timestamp_must_be_zero",
        /// The timestamp is 0 or above 2^63 - 1.
        ImportedEventTimestampOutOfRange = 24 "imported_event_timestamp_out_of_range",
        /// The timestamp is not in the past.
        ImportedEventTimestampMustNotAdvance = 25 "imported_event_timestamp_must_not_advance",
        /// A reserved field is not zero.
        ReservedField = 4 "reserved_field",
        /// A flag without a meaning is set.
        ReservedFlag = 5 "reserved_flag",
        /// The id is 0.
        IdMustNotBeZero = 6 "id_must_not_be_zero",
        /// The id is 2^128 - 1.
        IdMustNotBeIntMax = 7 "id_must_not_be_int_max",
        /// The id exists with another value of this field: `flags`.
        ExistsWithDifferentFlags = 15 "exists_with_different_flags",
        /// The id exists with another value of this field: `user_data_128`.
        ExistsWithDifferentUserData128 = 16 "exists_with_different_user_data_128",
        /// The id exists with another value of this field: `user_data_64`.
        ExistsWithDifferentUserData64 = 17 "exists_with_different_user_data_64",
        /// The id exists with another value of this field: `user_data_32`.
        ExistsWithDifferentUserData32 = 18 "exists_with_different_user_data_32",
        /// The id exists with another value of this field: `ledger`.
        ExistsWithDifferentLedger = 19 "exists_with_different_ledger",
        /// The id exists with another value of this field: `code`.
        ExistsWithDifferentCode = 20 "exists_with_different_code",
        /// An equal event was applied before; the timestamp in the answer is that of the first.
        Exists = 21 "exists",
        /// Two flags exclude each other.
        FlagsAreMutuallyExclusive = 8 "flags_are_mutually_exclusive",
        /// A new account begins with zero: `debits_pending`.
        DebitsPendingMustBeZero = 9 "debits_pending_must_be_zero",
        /// A new account begins with zero: `debits_posted`.
        DebitsPostedMustBeZero = 10 "debits_posted_must_be_zero",
        /// A new account begins with zero: `credits_pending`.
        CreditsPendingMustBeZero = 11 "credits_pending_must_be_zero",
        /// A new account begins with zero: `credits_posted`.
        CreditsPostedMustBeZero = 12 "credits_posted_must_be_zero",
        /// The ledger is 0.
        LedgerMustNotBeZero = 13 "ledger_must_not_be_zero",
        /// The code is 0.
        CodeMustNotBeZero = 14 "code_must_not_be_zero",
        /// The timestamp is not after that of the newest account, or a movement has it.
        ImportedEventTimestampMustNotRegress = 26 "imported_event_timestamp_must_not_regress",
        /// Another account has this name.
        NameTaken = 1010 "name_taken",
        /// The name is longer than 64 bytes, not UTF-8, digits only, `.` or `..`, contains invisible characters, has spaces at its ends, or begins with a combining mark.
        NameInvalid = 1011 "name_invalid",
        /// The minimum is above the maximum.
        BoundsInvalid = 1012 "bounds_invalid",
        /// The account exists with another name.
        ExistsWithDifferentName = 1013 "exists_with_different_name",
        /// The account was created with other bounds.
        ExistsWithDifferentBounds = 1014 "exists_with_different_bounds",
    }
}

statuses! {
    /// Result of a transfer in `create_transfers`.
    CreateTransferStatus {
        /// Another event of its chain failed.
        LinkedEventFailed = 1 "linked_event_failed",
        /// The request ends inside a chain: the last event must not be linked.
        LinkedEventChainOpen = 2 "linked_event_chain_open",
        /// The first event of the request is imported, this one is not.
        ImportedEventExpected = 56 "imported_event_expected",
        /// The first event of the request is not imported, this one is.
        ImportedEventNotExpected = 57 "imported_event_not_expected",
        /// The event has a timestamp, and only imported events may have one.
        TimestampMustBeZero = 3 "timestamp_must_be_zero",
        /// The timestamp is 0 or above 2^63 - 1.
        ImportedEventTimestampOutOfRange = 58 "imported_event_timestamp_out_of_range",
        /// The timestamp is not in the past.
        ImportedEventTimestampMustNotAdvance = 59 "imported_event_timestamp_must_not_advance",
        /// A flag without a meaning is set.
        ReservedFlag = 4 "reserved_flag",
        /// The id is 0.
        IdMustNotBeZero = 5 "id_must_not_be_zero",
        /// The id is 2^128 - 1.
        IdMustNotBeIntMax = 6 "id_must_not_be_int_max",
        /// The id exists with another value of this field: `flags`.
        ExistsWithDifferentFlags = 36 "exists_with_different_flags",
        /// The id exists with another value of this field: `pending_id`.
        ExistsWithDifferentPendingId = 40 "exists_with_different_pending_id",
        /// The id exists with another value of this field: `timeout`.
        ExistsWithDifferentTimeout = 44 "exists_with_different_timeout",
        /// The id exists with another value of this field: `debit_account_id`.
        ExistsWithDifferentDebitAccountId = 37 "exists_with_different_debit_account_id",
        /// The id exists with another value of this field: `credit_account_id`.
        ExistsWithDifferentCreditAccountId = 38 "exists_with_different_credit_account_id",
        /// The id exists with another value of this field: `amount`.
        ExistsWithDifferentAmount = 39 "exists_with_different_amount",
        /// The id exists with another value of this field: `user_data_128`.
        ExistsWithDifferentUserData128 = 41 "exists_with_different_user_data_128",
        /// The id exists with another value of this field: `user_data_64`.
        ExistsWithDifferentUserData64 = 42 "exists_with_different_user_data_64",
        /// The id exists with another value of this field: `user_data_32`.
        ExistsWithDifferentUserData32 = 43 "exists_with_different_user_data_32",
        /// The id exists with another value of this field: `ledger`.
        ExistsWithDifferentLedger = 67 "exists_with_different_ledger",
        /// The id exists with another value of this field: `code`.
        ExistsWithDifferentCode = 45 "exists_with_different_code",
        /// An equal event was applied before; the timestamp in the answer is that of the first.
        Exists = 46 "exists",
        /// An earlier transfer with this id was refused in a way that uses up the id.
        IdAlreadyFailed = 68 "id_already_failed",
        /// Two flags exclude each other.
        FlagsAreMutuallyExclusive = 7 "flags_are_mutually_exclusive",
        /// The debit account is 0.
        DebitAccountIdMustNotBeZero = 8 "debit_account_id_must_not_be_zero",
        /// The debit account is 2^128 - 1.
        DebitAccountIdMustNotBeIntMax = 9 "debit_account_id_must_not_be_int_max",
        /// The credit account is 0.
        CreditAccountIdMustNotBeZero = 10 "credit_account_id_must_not_be_zero",
        /// The credit account is 2^128 - 1.
        CreditAccountIdMustNotBeIntMax = 11 "credit_account_id_must_not_be_int_max",
        /// Debit and credit account are the same.
        AccountsMustBeDifferent = 12 "accounts_must_be_different",
        /// Only post and void name a pending transfer.
        PendingIdMustBeZero = 13 "pending_id_must_be_zero",
        /// Post and void must name a pending transfer.
        PendingIdMustNotBeZero = 14 "pending_id_must_not_be_zero",
        /// The pending id is 2^128 - 1.
        PendingIdMustNotBeIntMax = 15 "pending_id_must_not_be_int_max",
        /// A transfer cannot post or void itself.
        PendingIdMustBeDifferent = 16 "pending_id_must_be_different",
        /// Only a pending transfer has a timeout.
        TimeoutReservedForPendingTransfer = 17 "timeout_reserved_for_pending_transfer",
        /// Only a pending transfer can close an account.
        ClosingTransferMustBePending = 64 "closing_transfer_must_be_pending",
        /// The ledger is 0.
        LedgerMustNotBeZero = 19 "ledger_must_not_be_zero",
        /// The code is 0.
        CodeMustNotBeZero = 20 "code_must_not_be_zero",
        /// There is no such debit account. Uses up the id.
        DebitAccountNotFound = 21 "debit_account_not_found",
        /// There is no such credit account. Uses up the id.
        CreditAccountNotFound = 22 "credit_account_not_found",
        /// The two accounts belong to different ledgers.
        AccountsMustHaveTheSameLedger = 23 "accounts_must_have_the_same_ledger",
        /// The ledger is not that of the accounts.
        TransferMustHaveTheSameLedgerAsAccounts = 24 "transfer_must_have_the_same_ledger_as_accounts",
        /// There is no such pending transfer. Uses up the id.
        PendingTransferNotFound = 25 "pending_transfer_not_found",
        /// The pending id is that of a transfer that was not pending.
        PendingTransferNotPending = 26 "pending_transfer_not_pending",
        /// The pending transfer debits another account.
        PendingTransferHasDifferentDebitAccountId = 27 "pending_transfer_has_different_debit_account_id",
        /// The pending transfer credits another account.
        PendingTransferHasDifferentCreditAccountId = 28 "pending_transfer_has_different_credit_account_id",
        /// The pending transfer is of another ledger.
        PendingTransferHasDifferentLedger = 29 "pending_transfer_has_different_ledger",
        /// The pending transfer has another code.
        PendingTransferHasDifferentCode = 30 "pending_transfer_has_different_code",
        /// The amount is more than the pending amount.
        ExceedsPendingTransferAmount = 31 "exceeds_pending_transfer_amount",
        /// A void releases the whole amount: its amount must be 0 or the pending amount.
        PendingTransferHasDifferentAmount = 32 "pending_transfer_has_different_amount",
        /// The pending transfer was posted before.
        PendingTransferAlreadyPosted = 33 "pending_transfer_already_posted",
        /// The pending transfer was voided before.
        PendingTransferAlreadyVoided = 34 "pending_transfer_already_voided",
        /// The timeout of the pending transfer has passed.
        PendingTransferExpired = 35 "pending_transfer_expired",
        /// The timestamp is not after that of the newest movement, or an account has it.
        ImportedEventTimestampMustNotRegress = 60 "imported_event_timestamp_must_not_regress",
        /// The timestamp is not after that of the debit account.
        ImportedEventTimestampMustPostdateDebitAccount = 61 "imported_event_timestamp_must_postdate_debit_account",
        /// The timestamp is not after that of the credit account.
        ImportedEventTimestampMustPostdateCreditAccount = 62 "imported_event_timestamp_must_postdate_credit_account",
        /// An imported transfer has no timeout, unless expiry is paused.
        ImportedEventTimeoutMustBeZero = 63 "imported_event_timeout_must_be_zero",
        /// The debit account is closed. Uses up the id.
        DebitAccountAlreadyClosed = 65 "debit_account_already_closed",
        /// The credit account is closed. Uses up the id.
        CreditAccountAlreadyClosed = 66 "credit_account_already_closed",
        /// The sum would not fit in 128 bits: `debits_pending`.
        OverflowsDebitsPending = 47 "overflows_debits_pending",
        /// The sum would not fit in 128 bits: `credits_pending`.
        OverflowsCreditsPending = 48 "overflows_credits_pending",
        /// The sum would not fit in 128 bits: `debits_posted`.
        OverflowsDebitsPosted = 49 "overflows_debits_posted",
        /// The sum would not fit in 128 bits: `credits_posted`.
        OverflowsCreditsPosted = 50 "overflows_credits_posted",
        /// The sum would not fit in 128 bits: `debits`.
        OverflowsDebits = 51 "overflows_debits",
        /// The sum would not fit in 128 bits: `credits`.
        OverflowsCredits = 52 "overflows_credits",
        /// The expiry would be after the largest timestamp.
        OverflowsTimeout = 53 "overflows_timeout",
        /// The debit account would owe more than it was credited. Uses up the id.
        ExceedsCredits = 54 "exceeds_credits",
        /// The credit account would be credited more than it was debited. Uses up the id.
        ExceedsDebits = 55 "exceeds_debits",
        /// The debit account's head of spends is not the given one: another spend came first. Uses up the id.
        PrevHashMismatch = 1000 "prev_hash_mismatch",
        /// A balance would leave the bounds of its account. Uses up the id.
        BalanceOutOfBounds = 1001 "balance_out_of_bounds",
        /// The fencing token is older than the newest grant of its lock. Uses up the id.
        FencingTokenStale = 1002 "fencing_token_stale",
        /// Nothing was done: retry.
        ShardUnavailable = 1003 "shard_unavailable",
        /// The limit of unresolved pending transfers is reached: resolve some, then retry.
        TooManyPending = 1004 "too_many_pending",
        /// The ledger uses this id to mark an Idempotency-Key. Uses up the id.
        IdempotencyKeyUsed = 1005 "idempotency_key_used",
    }
}

statuses! {
    /// Result of a change to an account's name or bounds.
    AccountChangeStatus {
        /// The account does not exist.
        AccountNotFound = 1020 "account_not_found",
        /// Another account has this name.
        NameTaken = 1010 "name_taken",
        /// The name is longer than 64 bytes, not UTF-8, digits only, `.` or `..`, contains invisible characters, has spaces at its ends, or begins with a combining mark.
        NameInvalid = 1011 "name_invalid",
        /// The minimum is above the maximum.
        BoundsInvalid = 1012 "bounds_invalid",
        /// The account has another name already: names do not change.
        NameAlreadySet = 1021 "name_already_set",
    }
}

statuses! {
    /// Result of the registration of an asset.
    AssetStatus {
        /// The ledger is 0.
        LedgerMustNotBeZero = 13 "ledger_must_not_be_zero",
        /// The code is not 1 to 16 upper-case letters, digits, `_`, `-`, `.`, letter first.
        CodeInvalid = 1030 "code_invalid",
        /// The scale is above 38.
        ScaleTooLarge = 1031 "scale_too_large",
        /// The ledger number belongs to another asset: a registered one, or a currency that has accounts.
        LedgerTaken = 1032 "ledger_taken",
        /// The code belongs to another ledger number, built in or registered before.
        CodeTaken = 1033 "code_taken",
        /// The limit of registered assets is reached.
        TooManyAssets = 1034 "too_many_assets",
        /// The same asset was registered before.
        Exists = 21 "exists",
    }
}

statuses! {
    /// Result of pausing or resuming the expiry of pending transfers.
    ExpiryStatus {
        /// The request is malformed: the first byte is not 0 or 1, or a byte that must be 0 is not 0.
        ExpiryInvalid = 1040 "expiry_invalid",
        /// The ledger has another number of movements than the request names: it was changed meanwhile.
        MovementsDiffer = 1041 "movements_differ",
    }
}

impl CreateTransferStatus {
    /// True for refusals that the ledger stores with the id, because they depend on its state. A later
    /// transfer with the same id is refused as `id_already_failed`.
    pub const fn uses_up_id(self) -> bool {
        matches!(
            self,
            Self::DebitAccountNotFound
                | Self::CreditAccountNotFound
                | Self::PendingTransferNotFound
                | Self::DebitAccountAlreadyClosed
                | Self::CreditAccountAlreadyClosed
                | Self::ExceedsCredits
                | Self::ExceedsDebits
                | Self::PrevHashMismatch
                | Self::BalanceOutOfBounds
                | Self::FencingTokenStale
                | Self::IdempotencyKeyUsed
        )
    }
}

/// Result of one event: 16 bytes on the wire.
///
/// The meaning of `timestamp` depends on the status:
/// - `created`: the timestamp of the record, which for an imported event is the client's.
/// - `exists`: the timestamp of the record that was stored before.
/// - `linked_event_failed`, for an imported event before the failed event of its chain: the event's own
///   timestamp.
/// - otherwise: the timestamp of the event's position in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventResult {
    /// Nanoseconds since the Unix epoch; see above for its meaning.
    pub timestamp: Nanos,
    /// The number of a status. The operation determines which enum it belongs to.
    pub status: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_number() {
        for status in CreateTransferStatus::REFUSALS {
            assert_eq!(CreateTransferStatus::from_number(status.number()), Ok(*status), "{status}");
        }
        for status in CreateAccountStatus::REFUSALS {
            assert_eq!(CreateAccountStatus::from_number(status.number()), Ok(*status), "{status}");
        }
        assert_eq!(CreateTransferStatus::from_number(u32::MAX), Ok(CreateTransferStatus::Created));
        assert_eq!(CreateTransferStatus::from_number(18), Err(UnknownStatus(18)));
    }

    #[test]
    fn eleven_statuses_use_up_the_id() {
        let count = CreateTransferStatus::REFUSALS.iter().filter(|status| status.uses_up_id()).count();
        assert_eq!(count, 11, "seven of TigerBeetle's model and four of Bezant");
    }
}
