//! Creating accounts: the checks, in the order of the contract (`docs/data-model.md`).

use bezant_codec::TaggedAccount;
use bezant_types::{
    Account, AccountFlags, Bounds, CreateAccountStatus as Status, ExtendedAccount, Nanos,
    compare_account_records, limits::NAME_SIZE_MAX, name_from_bytes,
};

use crate::Ledger;
use crate::accounts::AccountState;
use crate::batch::{BatchEvent, BatchStatuses, Creation, Outcome};
use crate::found::Found;

/// The fields of an extended request that are not in the record of 128 bytes.
struct Extension<'event> {
    bounds: Bounds,
    name: &'event [u8; NAME_SIZE_MAX],
}

impl BatchEvent for Account {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.flags.contains(AccountFlags::LINKED)
    }

    fn is_imported(&self) -> bool {
        self.flags.contains(AccountFlags::IMPORTED)
    }

    fn ends_pause(&self) -> bool {
        false
    }

    fn timestamp(&self) -> Nanos {
        self.timestamp
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        create(ledger, self, None, timestamp, found)
    }

    fn refuse(&self, _ledger: &mut Ledger, _outcome: Outcome) {}
}

impl BatchEvent for ExtendedAccount {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.account.is_linked()
    }

    fn is_imported(&self) -> bool {
        self.account.is_imported()
    }

    fn ends_pause(&self) -> bool {
        false
    }

    fn timestamp(&self) -> Nanos {
        self.account.timestamp
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        let extension = Extension { bounds: self.bounds, name: &self.name };
        create(ledger, &self.account, Some(&extension), timestamp, found)
    }

    fn refuse(&self, _ledger: &mut Ledger, _outcome: Outcome) {}
}

impl BatchEvent for TaggedAccount {
    const STATUSES: BatchStatuses = STATUSES;

    fn is_linked(&self) -> bool {
        self.0.is_linked()
    }

    fn is_imported(&self) -> bool {
        self.0.is_imported()
    }

    fn ends_pause(&self) -> bool {
        false
    }

    fn timestamp(&self) -> Nanos {
        BatchEvent::timestamp(&self.0)
    }

    fn create(&self, ledger: &mut Ledger, timestamp: Nanos, found: &Found) -> Creation {
        self.0.create(ledger, timestamp, found)
    }

    fn refuse(&self, _ledger: &mut Ledger, _outcome: Outcome) {}
}

const STATUSES: BatchStatuses = BatchStatuses {
    linked_event_failed: Status::LinkedEventFailed.number(),
    linked_event_chain_open: Status::LinkedEventChainOpen.number(),
    imported_event_expected: Status::ImportedEventExpected.number(),
    imported_event_not_expected: Status::ImportedEventNotExpected.number(),
    timestamp_must_be_zero: Status::TimestampMustBeZero.number(),
    imported_event_timestamp_out_of_range: Status::ImportedEventTimestampOutOfRange.number(),
    imported_event_timestamp_must_not_advance: Status::ImportedEventTimestampMustNotAdvance.number(),
};

fn create(
    ledger: &mut Ledger,
    account: &Account,
    extension: Option<&Extension<'_>>,
    timestamp: Nanos,
    found: &Found,
) -> Creation {
    if let Some(status) = check_shape(account) {
        return Creation::Refused(status.number());
    }
    if let Some(place) = ledger.accounts.find(account.id) {
        let existing = ledger.accounts.get(place).account;
        return match check_exists(ledger, place, account, extension) {
            Status::Exists => Creation::Exists(Status::Exists.number(), existing.timestamp),
            status => Creation::Refused(status.number()),
        };
    }
    let refusal = check_fields(account)
        .or_else(|| check_imported(ledger, account, timestamp, found))
        .or_else(|| extension.and_then(|extension| check_extension(ledger, extension)));
    if let Some(status) = refusal {
        return Creation::Refused(status.number());
    }
    let bounds = extension.map_or(Bounds::NONE, |extension| extension.bounds);
    let state = AccountState::new(Account { timestamp, ..*account }, bounds);
    let place = ledger.accounts.insert(state);
    if let Some(extension) = extension
        && *extension.name != [0; NAME_SIZE_MAX]
    {
        ledger.accounts.set_name(place, *extension.name);
    }
    ledger.note_account_inserted();
    Creation::Created
}

fn check_shape(account: &Account) -> Option<Status> {
    if account.reserved != 0 {
        Some(Status::ReservedField)
    } else if account.flags.has_reserved() {
        Some(Status::ReservedFlag)
    } else if account.id.0 == 0 {
        Some(Status::IdMustNotBeZero)
    } else if account.id.0 == u128::MAX {
        Some(Status::IdMustNotBeIntMax)
    } else {
        None
    }
}

fn check_exists(
    ledger: &Ledger,
    place: usize,
    account: &Account,
    extension: Option<&Extension<'_>>,
) -> Status {
    let state = ledger.accounts.get(place);
    let is_unused = state.spends.sequence == 0 && state.receipts.sequence == 0;
    let ignores_missing_import = ledger.rules.ignores_missing_import();
    let status = compare_account_records(account, &state.account, is_unused, ignores_missing_import);
    if status != Status::Exists {
        status
    } else if extension.is_some_and(|extension| *extension.name != ledger.accounts.name(place)) {
        Status::ExistsWithDifferentName
    } else if extension.is_some_and(|extension| extension.bounds != state.bounds) {
        Status::ExistsWithDifferentBounds
    } else {
        Status::Exists
    }
}

fn check_fields(account: &Account) -> Option<Status> {
    let both =
        AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS.union(AccountFlags::CREDITS_MUST_NOT_EXCEED_DEBITS);
    if account.flags.contains(both) {
        Some(Status::FlagsAreMutuallyExclusive)
    } else if account.debits_pending != 0 {
        Some(Status::DebitsPendingMustBeZero)
    } else if account.debits_posted != 0 {
        Some(Status::DebitsPostedMustBeZero)
    } else if account.credits_pending != 0 {
        Some(Status::CreditsPendingMustBeZero)
    } else if account.credits_posted != 0 {
        Some(Status::CreditsPostedMustBeZero)
    } else if account.ledger.0 == 0 {
        Some(Status::LedgerMustNotBeZero)
    } else if account.code == 0 {
        Some(Status::CodeMustNotBeZero)
    } else {
        None
    }
}

fn check_extension(ledger: &Ledger, extension: &Extension<'_>) -> Option<Status> {
    if name_from_bytes(extension.name).is_none() {
        Some(Status::NameInvalid)
    } else if *extension.name != [0; NAME_SIZE_MAX] && ledger.accounts.find_by_name(extension.name).is_some()
    {
        Some(Status::NameTaken)
    } else if extension.bounds.minimum > extension.bounds.maximum {
        Some(Status::BoundsInvalid)
    } else {
        None
    }
}

fn check_imported(ledger: &Ledger, account: &Account, timestamp: Nanos, found: &Found) -> Option<Status> {
    let regresses = account.is_imported()
        && (timestamp <= ledger.accounts.last_timestamp()
            || ledger.window.has_timestamp(timestamp)
            || found.has_timestamp(timestamp));
    regresses.then_some(Status::ImportedEventTimestampMustNotRegress)
}
