//! Records with tagged fields: under which rules they are applied, and what happens to one that is malformed.

use bezant_codec::{records, result_from_bytes};
use bezant_ledger::{
    Event, ExtendedAccount, ExtendedTransfer, KeyedHead, Ledger, LedgerAnswer, LedgerQuery, Operation,
    TaggedAccount, TaggedTransfer, ToCommand, ToKeyedCommand,
};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::limits::RESULT_SIZE;
use bezant_types::{
    Account, AccountId, AccountView, Bounds, CreateTransferStatus, Fetched, Head, LedgerNumber, LogIndex,
    Nanos, Transfer, TransferId, name_to_bytes,
};
use bytes::Bytes;

const CREATED: u32 = u32::MAX;

fn account(id: u128, name: &str) -> TaggedAccount {
    let account = Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let bounds = Bounds { minimum: -100, ..Bounds::NONE };
    TaggedAccount(ExtendedAccount { account, bounds, name: name_to_bytes(name).unwrap() })
}

fn payment(id: u128, prev_hash: Head) -> TaggedTransfer {
    let transfer = Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 60,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    };
    TaggedTransfer(ExtendedTransfer { transfer, prev_hash })
}

fn accounts() -> Command {
    let events = [account(1, "alice"), account(2, "bob")];
    Operation::CreateAccountsTagged.command(TaggedAccount::write_all(&events)).unwrap()
}

/// Applies a command in an entry of its own.
fn apply(ledger: &mut Ledger, rules: u8, command: Command) -> Vec<u32> {
    let time = Nanos(ledger.time().0 + 1 + u64::from(command.events));
    let entry = Entry { time, commands: vec![command], checkpoint: false, rules };
    let entry = Entry::decode(&entry.encode()).unwrap();
    let fetched = Fetched::from(ledger.position());
    let index = LogIndex(time.0);
    let results = ledger.apply(index, &entry, fetched).unwrap().results.pop().unwrap();
    let results = records::<RESULT_SIZE>(&results).unwrap().iter().map(result_from_bytes);
    results.map(|result| result.status).collect()
}

fn found(ledger: &Ledger) -> Vec<AccountView> {
    let query = LedgerQuery::Accounts(vec![AccountId(1), AccountId(2)]);
    match ledger.query_step(query) {
        bezant_rsm::Progress::Done(LedgerAnswer::Accounts(accounts)) => accounts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tagged_fields_are_applied_since_rules_2() {
    let mut ledger = Ledger::new();
    assert_eq!(apply(&mut ledger, 1, accounts()), [0_u32; 0], "an older program ignored the operation");
    assert_eq!(found(&ledger), []);
    assert_eq!(apply(&mut ledger, 2, accounts()), [CREATED; 2]);
    let views = found(&ledger);
    assert_eq!((views[0].name.as_str(), views[0].bounds.minimum), ("alice", -100));
    let heads = [Head::NONE, views[0].spends.head, views[0].spends.head];
    let events: Vec<TaggedTransfer> = heads.iter().zip(10..).map(|(head, id)| payment(id, *head)).collect();
    let command = Operation::CreateTransfersTagged.command(TaggedTransfer::write_all(&events)).unwrap();
    let wrong = CreateTransferStatus::PrevHashMismatch.number();
    assert_eq!(apply(&mut ledger, 2, command), [CREATED, wrong, wrong], "the first payment moved the head");
    let command = Operation::CreateTransfersTagged
        .command(TaggedTransfer::write_all(&[payment(20, found(&ledger)[0].spends.head)]))
        .unwrap();
    let out_of_bounds = CreateTransferStatus::BalanceOutOfBounds.number();
    assert_eq!(apply(&mut ledger, 2, command), [out_of_bounds]);
}

#[test]
fn a_malformed_request_in_the_log_does_nothing() {
    let whole = accounts();
    let mut ledger = Ledger::new();
    let unknown_tag = {
        let mut body = whole.body.to_vec();
        body[130] = 9;
        body
    };
    let cut = whole.body[..whole.body.len() - 1].to_vec();
    for body in [unknown_tag, cut] {
        assert!(Operation::CreateAccountsTagged.command(Bytes::from(body.clone())).is_err(), "not proposed");
        let command = Command { body: Bytes::from(body), ..whole.clone() };
        assert_eq!(apply(&mut ledger, 2, command), [0_u32; 0]);
        assert_eq!(found(&ledger), [], "not even the events before it");
    }
}

#[test]
fn a_keyed_request_may_have_tagged_fields() {
    let operation = Operation::CreateAccountsTagged;
    let head = KeyedHead { guard: TransferId(100), witness: TransferId(101), operation };
    let command = head.command(&accounts().body).unwrap();
    let mut ledger = Ledger::new();
    assert_eq!(apply(&mut ledger, 1, command.clone()), [0_u32; 0]);
    assert_eq!(ledger.position().refusals, 0, "no marks either");
    assert_eq!(apply(&mut ledger, 2, command), [CREATED; 2]);
    assert_eq!(ledger.position().refusals, 2, "the marks");
}

#[test]
fn operations_3_and_4_of_version_0_1_stay() {
    let mut extended = [0; 256];
    extended[0] = 1;
    extended[112] = 1;
    extended[116] = 1;
    extended[128..144].copy_from_slice(&(-100_i128).to_le_bytes());
    extended[144..160].copy_from_slice(&i128::MAX.to_le_bytes());
    extended[160..165].copy_from_slice(b"alice");
    let mut other = extended;
    other[0] = 2;
    other[160..165].copy_from_slice(b"carol");
    for rules in 0..=Ledger::RULES {
        let mut ledger = Ledger::new();
        let body = Bytes::from([extended, other].concat());
        let create = Operation::CreateAccountsExtended.command(body).unwrap();
        assert_eq!((create.operation, create.events), (3, 2));
        assert_eq!(apply(&mut ledger, rules, create), [CREATED; 2]);
        let views = found(&ledger);
        assert_eq!((views[0].name.as_str(), views[0].bounds.minimum), ("alice", -100));
        let record = Transfer::write_all(&[payment(10, Head::NONE).0.transfer]);
        let body = Bytes::from([&record[..], &views[0].spends.head.0].concat());
        let pay = Operation::CreateTransfersExtended.command(body).unwrap();
        assert_eq!((pay.operation, pay.events), (4, 1));
        assert_eq!(apply(&mut ledger, rules, pay), [CREATED]);
    }
}
