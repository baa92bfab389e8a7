//! Checkpoints: invalid bytes are rejected, with the name of the section.

use bezant_ledger::{
    Event, ExtendedAccount, Ledger, LedgerAnswer, LedgerQuery, Operation, SetExpiry, ToCommand, name_to_bytes,
};
use bezant_rsm::{Entry, StateMachine};
use bezant_types::{
    Account, AccountFlags, AccountId, Asset, Bounds, CreateAccountStatus, CreateTransferStatus, EventResult,
    Fetched, LedgerNumber, LogIndex, Nanos, Transfer, TransferFlags, TransferId,
};

use crate::model::CREATED;
use crate::twin::{Twin, compare, read_checkpoint};

/// Offset of the version in the head.
const VERSION: usize = 8;
/// Offset of the flag in the head that expiry is paused.
const PAUSED: usize = 104;

fn filled() -> Twin {
    let mut twin = Twin::default();
    let account = |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let pending = Transfer {
        id: TransferId(7),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 30,
        timeout_seconds: 5,
        ledger: LedgerNumber(1),
        code: 1,
        flags: TransferFlags::PENDING,
        ..Transfer::default()
    };
    let asset = Asset { ledger: LedgerNumber(5000), code: "POINTS".parse().unwrap(), scale: 3 };
    let accounts = Account::write_all(&[account(1), account(2)]);
    let commands = vec![
        Operation::CreateAccounts.command(accounts).unwrap(),
        Operation::CreateTransfers.command(Transfer::write_all(&[pending])).unwrap(),
        Operation::RegisterAssets.command(Asset::write_all(&[asset])).unwrap(),
    ];
    twin.submit(Nanos(100), commands);
    twin
}

#[test]
fn a_checkpoint_is_independent_of_the_piece_size() {
    let mut twin = filled();
    let whole = read_checkpoint(&mut twin.ledger, 1 << 20);
    for size in [0, 1, 127, 128, 240, 241, 4096] {
        assert_eq!(read_checkpoint(&mut twin.ledger, size), whole, "pieces of {size}");
    }
    compare(&Ledger::restore(&whole).unwrap(), &twin.model);
}

#[test]
fn truncated_and_extended_checkpoints_are_rejected() {
    let whole = read_checkpoint(&mut filled().ledger, 1 << 20);
    for size in 0..whole.len() {
        assert!(Ledger::restore(&whole[..size]).is_err(), "truncated to {size}");
    }
    assert_eq!(Ledger::restore(&[&whole[..], &[0]].concat()).unwrap_err().section, "end");
}

#[test]
fn an_empty_ledger_has_a_checkpoint() {
    let mut twin = Twin::default();
    let whole = read_checkpoint(&mut twin.ledger, 16);
    compare(&Ledger::restore(&whole).unwrap(), &twin.model);
}

#[test]
fn a_restored_ledger_checks_timestamps_against_the_history() {
    let mut twin = filled();
    let movement = twin.model.history.movements[0].timestamp;
    twin.begin_checkpoint();
    while twin.restored_count == 0 {
        twin.poll_checkpoint(1000);
    }
    let account = Account {
        id: AccountId(3),
        ledger: LedgerNumber(1),
        code: 1,
        flags: AccountFlags::IMPORTED,
        timestamp: movement,
        ..Account::default()
    };
    let command = Operation::CreateAccounts.command(Account::write_all(&[account])).unwrap();
    let results = twin.submit(Nanos(200), vec![command]);
    assert_eq!(results[0][0].status, CreateAccountStatus::ImportedEventTimestampMustNotRegress.number());
}

fn statuses(results: &[Vec<EventResult>]) -> Vec<u32> {
    results.iter().flatten().map(|result| result.status).collect()
}

#[test]
fn a_restored_ledger_resolves_no_pending_transfer_twice() {
    let mut twin = filled();
    let void = |id, pending_id| Transfer {
        id: TransferId(id),
        pending_id: TransferId(pending_id),
        flags: TransferFlags::VOID_PENDING,
        ..Transfer::default()
    };
    let post = |id, pending_id| Transfer {
        amount: u128::MAX,
        flags: TransferFlags::POST_PENDING,
        ..void(id, pending_id)
    };
    let hold = twin.model.pending[&TransferId(7)];
    let transfers = [Transfer { id: TransferId(8), timestamp: Nanos(0), ..hold }, post(20, 7), void(21, 8)];
    let command = Operation::CreateTransfers.command(Transfer::write_all(&transfers)).unwrap();
    assert_eq!(statuses(&twin.submit(Nanos(200), vec![command])), [CREATED; 3]);
    twin.begin_checkpoint();
    while twin.restored_count == 0 {
        twin.poll_checkpoint(1000);
    }
    let transfers = [post(22, 7), void(23, 7), post(24, 8), void(25, 8)];
    let command = Operation::CreateTransfers.command(Transfer::write_all(&transfers)).unwrap();
    let posted = CreateTransferStatus::PendingTransferAlreadyPosted.number();
    let voided = CreateTransferStatus::PendingTransferAlreadyVoided.number();
    assert_eq!(statuses(&twin.submit(Nanos(300), vec![command])), [posted, posted, voided, voided]);
}

#[test]
fn a_pause_of_expiry_is_restored_only_in_version_3() {
    let mut twin = filled();
    let pause = SetExpiry::write_all(&[SetExpiry::Paused { movements: 1 }]);
    let hold = Transfer {
        id: TransferId(8),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        timeout_seconds: 5,
        ledger: LedgerNumber(1),
        code: 1,
        flags: TransferFlags::PENDING.union(TransferFlags::IMPORTED),
        timestamp: Nanos(150),
        ..Transfer::default()
    };
    let commands = vec![
        Operation::SetExpiry.command(pause).unwrap(),
        Operation::CreateTransfers.command(Transfer::write_all(&[hold])).unwrap(),
    ];
    twin.submit(Nanos(200), commands);
    let whole = read_checkpoint(&mut twin.ledger, 1 << 20);
    let restored = Ledger::restore(&whole).unwrap();
    compare(&restored, &twin.model);
    let own = twin.model.pending[&TransferId(7)].expires_at();
    assert_eq!(
        (restored.due_at(), twin.model.pending.len()),
        (own, 2),
        "only the transfer that was not imported expires"
    );
    let end = Nanos(u64::MAX >> 1);
    assert_eq!(restored.due(end).map(|it| it.events), Some(1), "the imported transfer does not expire");
    assert_eq!(whole[VERSION], 3);
    for (version, paused, is_read) in
        [(3, 1, true), (3, 2, false), (2, 1, false), (2, 0, true), (1, 1, false), (1, 0, true), (4, 0, false)]
    {
        let mut bytes = whole.clone();
        (bytes[VERSION], bytes[PAUSED]) = (version, paused);
        assert_eq!(Ledger::restore(&bytes).is_ok(), is_read, "version {version}, {paused}");
    }
}

#[test]
fn a_piece_has_the_size_that_was_asked_for() {
    let mut twin = Twin::default();
    let name = |id: u128| name_to_bytes(&format!("account {id}")).unwrap();
    let account = |id| ExtendedAccount {
        account: Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() },
        bounds: Bounds::NONE,
        name: name(id),
    };
    let pending = |id| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(1),
        code: 1,
        flags: TransferFlags::PENDING,
        ..Transfer::default()
    };
    let accounts: Vec<ExtendedAccount> = (1..=100).map(account).collect();
    let transfers: Vec<Transfer> = (1..=100).map(pending).collect();
    let commands = vec![
        Operation::CreateAccountsExtended.command(ExtendedAccount::write_all(&accounts)).unwrap(),
        Operation::CreateTransfers.command(Transfer::write_all(&transfers)).unwrap(),
    ];
    twin.submit(Nanos(1_000), commands);
    // Items of 240, 72 and 128 bytes: as many as fit, and one more. Names are counted without their place.
    for (size, accounts, names, pending) in [(0, 1, 1, 1), (300, 2, 5, 3), (1_000, 5, 16, 8)] {
        twin.ledger.begin_checkpoint();
        let pieces = std::iter::from_fn(|| twin.ledger.poll_checkpoint(size));
        let sizes: Vec<usize> = pieces.map(|piece| piece.len()).filter(|size| *size > 0).collect();
        let split = |item: usize, count: usize| {
            let (full, rest) = (100 / count, 100 % count);
            std::iter::repeat_n(item * count, full).chain((rest > 0).then_some(item * rest))
        };
        let expected: Vec<usize> = std::iter::once(128)
            .chain(split(240, accounts))
            .chain(split(72, names))
            .chain(split(128, pending))
            .collect();
        assert_eq!(sizes, expected, "pieces of {size}");
    }
}

#[test]
fn a_restored_ledger_counts_the_accounts_of_each_currency() {
    let mut ledger = Ledger::restore(&read_checkpoint(&mut filled().ledger, 1 << 20)).unwrap();
    assert_eq!(ledger.time(), Nanos(100));
    let accounts = |ledger: &Ledger| match ledger.query(LedgerQuery::Ledger(LedgerNumber(1))) {
        LedgerAnswer::Ledger(totals) => totals.map(|totals| totals.accounts),
        other => panic!("the answer is to another query: {other:?}"),
    };
    assert_eq!(accounts(&ledger), Some(2));
    let account = |id, flags| Account {
        id: AccountId(id),
        ledger: LedgerNumber(1),
        code: 1,
        flags,
        ..Account::default()
    };
    // The chain fails, and the account 3 is removed again.
    let chain = [account(3, AccountFlags::LINKED), account(0, AccountFlags::NONE)];
    let commands = vec![Operation::CreateAccounts.command(Account::write_all(&chain)).unwrap()];
    let entry = Entry { time: Nanos(200), commands, checkpoint: false, rules: Ledger::RULES };
    let fetched = Fetched::from(ledger.position());
    ledger.apply(LogIndex(9), &entry, fetched).unwrap();
    assert_eq!(accounts(&ledger), Some(2));
}
