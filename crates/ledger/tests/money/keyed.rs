//! Keys: a request is applied once, its retry gets the same outcomes, and a different request with the same
//! key has no effect.

use bezant_codec::{records, result_from_bytes};
use bezant_ledger::{
    Event, KeyedHead, Ledger, LedgerAnswer, LedgerQuery, Operation, ToCommand, ToKeyedCommand,
};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::limits::RESULT_SIZE;
use bezant_types::{
    Account, AccountId, AccountView, CreateAccountStatus, CreateTransferStatus, Fetched, FetchedTransfer,
    HistoryRows, LedgerNumber, LogIndex, Nanos, Transfer, TransferId,
};
use bytes::Bytes;

use crate::twin::read_checkpoint;

const CREATED: u32 = u32::MAX;
const EXISTS: u32 = CreateTransferStatus::Exists.number();
const FAILED: u32 = CreateTransferStatus::IdAlreadyFailed.number();

/// A ledger and the rows that it has returned. The rows that an entry needs are fetched from these.
#[derive(Debug, Default)]
struct Bench {
    ledger: Ledger,
    index: u64,
    rows: Vec<FetchedTransfer>,
}

impl Bench {
    fn with_accounts() -> Self {
        let mut bench = Self::default();
        let account =
            |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
        let accounts = Account::write_all(&[account(1), account(2)]);
        bench.apply(Operation::CreateAccounts.command(accounts).unwrap());
        bench
    }

    fn apply(&mut self, command: Command) -> Bytes {
        self.index += 1;
        let entry = Entry {
            time: Nanos(self.index * 1_000_000),
            commands: vec![command],
            checkpoint: false,
            rules: Ledger::RULES,
        };
        let entry = Entry::decode(&entry.encode()).unwrap();
        let keys = self.ledger.prefetch(&entry).keys;
        let mut fetched = Fetched::from(self.ledger.position());
        for key in keys {
            let found = self.rows.iter().find(|row| bezant_types::FetchKey::Transfer(id_of(row)) == key);
            fetched.transfers.extend(found.copied());
        }
        let mut applied = self.ledger.apply(LogIndex(self.index), &entry, fetched).unwrap();
        self.keep(&applied.rows);
        applied.results.pop().unwrap()
    }

    fn keep(&mut self, rows: &HistoryRows) {
        let numbered = (0..).map(bezant_types::MovementNumber).zip(rows.movements.iter());
        self.rows.extend(numbered.map(|(number, row)| FetchedTransfer::Applied(number, *row)));
        self.rows.extend(rows.refusals.iter().map(|row| FetchedTransfer::Refused(*row)));
    }

    /// Restores the ledger from a checkpoint, so that its window is empty and only the rows have the past
    /// events.
    fn restore(&mut self) {
        let checkpoint = read_checkpoint(&mut self.ledger, 1 << 20);
        self.ledger = Ledger::restore(&checkpoint).unwrap();
    }

    fn spent(&self) -> u128 {
        let query = LedgerQuery::Accounts(vec![AccountId(1)]);
        match self.ledger.query(query) {
            LedgerAnswer::Accounts(found) => {
                found.first().map_or(0, |view: &AccountView| view.account.debits_posted)
            }
            _ => panic!("the answer is to another query"),
        }
    }
}

fn id_of(row: &FetchedTransfer) -> TransferId {
    match row {
        FetchedTransfer::Applied(_, movement) => movement.transfer.id,
        FetchedTransfer::Refused(refusal) => refusal.id,
    }
}

fn transfer(id: u128, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    }
}

fn keyed(guard: u128, witness: u128, events: &[Transfer]) -> Command {
    let operation = Operation::CreateTransfers;
    let head = KeyedHead { guard: TransferId(guard), witness: TransferId(witness), operation };
    head.command(&Transfer::write_all(events)).unwrap()
}

fn statuses(results: &[u8]) -> Vec<u32> {
    records::<RESULT_SIZE>(results).unwrap().iter().map(|bytes| result_from_bytes(bytes).status).collect()
}

#[test]
fn a_retry_finds_its_outcomes_and_another_request_does_nothing() {
    let mut bench = Bench::with_accounts();
    let (a, b) = (transfer(101, 10), transfer(102, 20));
    assert_eq!(statuses(&bench.apply(keyed(900, 901, &[a, b]))), [CREATED, CREATED]);
    for is_restored in [false, true] {
        if is_restored {
            bench.restore();
        }
        assert_eq!(statuses(&bench.apply(keyed(900, 901, &[a, b]))), [EXISTS, EXISTS]);
        let others = [
            vec![transfer(101, 30), transfer(102, 10), transfer(103, 20)],
            vec![a],
            vec![a, b, transfer(103, 1)],
        ];
        for (witness, other) in (902..).zip(others) {
            assert!(bench.apply(keyed(900, witness, &other)).is_empty(), "{witness}");
            assert!(bench.apply(keyed(900, witness, &other)).is_empty(), "repeated: {witness}");
        }
        assert_eq!(bench.spent(), 30);
    }
}

#[test]
fn a_single_transfer_and_several_never_share_a_key() {
    let mut bench = Bench::with_accounts();
    // The id of a single transfer equals the guard of several.
    let single = |bench: &mut Bench, id| {
        let records = Transfer::write_all(&[transfer(id, 10)]);
        statuses(&bench.apply(Operation::CreateTransfers.command(records).unwrap()))
    };
    assert_eq!(single(&mut bench, 900), [CREATED]);
    assert!(bench.apply(keyed(900, 901, &[transfer(101, 10), transfer(102, 20)])).is_empty());
    assert_eq!(statuses(&bench.apply(keyed(910, 911, &[transfer(111, 1), transfer(112, 2)]))), [CREATED; 2]);
    assert_eq!(single(&mut bench, 910), [FAILED]);
    assert_eq!(bench.spent(), 13);
}

#[test]
fn a_refused_request_keeps_its_key() {
    let mut bench = Bench::with_accounts();
    let wrong = Transfer { code: 0, ..transfer(101, 10) };
    let missing = Transfer { credit_account_id: AccountId(77), ..transfer(102, 10) };
    let first = statuses(&bench.apply(keyed(900, 901, &[wrong, missing])));
    assert!(first.iter().all(|status| *status != CREATED));
    assert!(bench.apply(keyed(900, 902, &[transfer(101, 10)])).is_empty());
    let again = statuses(&bench.apply(keyed(900, 901, &[wrong, missing])));
    assert_eq!(again, [first[0], FAILED]);
    assert_eq!(bench.spent(), 0);
}

#[test]
fn accounts_have_keys_too() {
    let mut bench = Bench::with_accounts();
    let account =
        |id, code| Account { id: AccountId(id), ledger: LedgerNumber(1), code, ..Account::default() };
    let operation = Operation::CreateAccounts;
    let command = |witness, events: &[Account]| {
        let head = KeyedHead { guard: TransferId(500), witness: TransferId(witness), operation };
        head.command(&Account::write_all(events)).unwrap()
    };
    let two = [account(500, 1), account(501, 2)];
    assert_eq!(statuses(&bench.apply(command(701, &two))), [CREATED; 2]);
    assert_eq!(statuses(&bench.apply(command(701, &two))), [CreateAccountStatus::Exists.number(); 2]);
    assert!(bench.apply(command(702, &[account(500, 3), account(501, 1), account(502, 2)])).is_empty());
    // An account whose request has no marks, as in version 0.1.
    let records = Account::write_all(&[account(600, 1)]);
    bench.apply(Operation::CreateAccounts.command(records).unwrap());
    let head = KeyedHead { guard: TransferId(600), witness: TransferId(703), operation };
    let several = head.command(&Account::write_all(&[account(600, 1), account(601, 1)])).unwrap();
    assert!(bench.apply(several).is_empty());
}

#[test]
fn marks_are_found_in_the_history_by_their_value() {
    let mut bench = Bench::with_accounts();
    assert_eq!(statuses(&bench.apply(keyed(900, 901, &[transfer(101, 10)]))), [CREATED]);
    bench.restore();
    assert!(bench.apply(keyed(900, 902, &[transfer(102, 10)])).is_empty(), "the key was used before");
    let lower = keyed(800, 801, &[transfer(103, 10)]);
    assert_eq!(statuses(&bench.apply(lower)), [CREATED], "new marks that are lower than the known ones");
    assert!(bench.apply(keyed(800, 802, &[transfer(104, 10)])).is_empty(), "they are known now");
}
