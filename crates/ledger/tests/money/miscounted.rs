//! Commands whose number of events does not match their body. Only a peer's damaged or forged message has one:
//! the leader does not accept it, and the ledger does nothing when the log contains it.

use bezant_codec::put_trailer;
use bezant_ledger::{
    Event, KeyedHead, Ledger, LedgerAnswer, LedgerQuery, Operation, SessionHead, TaggedTransfer, ToCommand,
    ToKeyedCommand,
};
use bezant_rsm::{Command, Entry, SessionRequest, StateMachine};
use bezant_types::limits::RECORD_SIZE;
use bezant_types::{
    Account, AccountId, ClientId, ExtendedTransfer, Fetched, Head, LedgerNumber, LogIndex, Nanos, Transfer,
    TransferId,
};
use bytes::Bytes;

fn account(id: u128) -> Account {
    Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() }
}

fn transfer(id: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    }
}

/// Applies commands in one entry, and returns the size of each one's results.
fn apply(ledger: &mut Ledger, commands: Vec<Command>) -> Vec<usize> {
    let mut entry = Entry { time: Nanos(0), commands, checkpoint: false, rules: Ledger::RULES };
    entry.time = Nanos(ledger.time().0 + 1 + entry.events());
    let fetched = Fetched::from(ledger.position());
    let applied = ledger.apply(LogIndex(entry.time.0), &entry, fetched).unwrap();
    applied.results.iter().map(Bytes::len).collect()
}

fn with_accounts() -> Ledger {
    let mut ledger = Ledger::new();
    let accounts = Account::write_all(&[account(1), account(2)]);
    assert_eq!(apply(&mut ledger, vec![Operation::CreateAccounts.command(accounts).unwrap()]), [32]);
    ledger
}

/// The accounts with their balances, and the end of the history.
fn state(ledger: &Ledger) -> String {
    let query = LedgerQuery::Accounts((1..20).map(AccountId).collect());
    match ledger.query(query) {
        LedgerAnswer::Accounts(accounts) => format!("{accounts:?} {:?}", ledger.position()),
        other => panic!("{other:?}"),
    }
}

/// A command of each kind with three events (or none, where it carries no events), all correct.
fn correct() -> Vec<Command> {
    let accounts = Account::write_all(&[10, 11, 12].map(account));
    let transfers = Transfer::write_all(&[20, 21, 22].map(transfer));
    let tagged = [30, 31, 32].map(|id| {
        let prev_hash = Head::NONE;
        TaggedTransfer(ExtendedTransfer { transfer: transfer(id), prev_hash })
    });
    let tagged = TaggedTransfer::write_all(&tagged);
    let keyed = |guard, operation, events: &[u8]| {
        KeyedHead { guard: TransferId(guard), witness: TransferId(guard + 1), operation }
            .command(events)
            .unwrap()
    };
    let request =
        |client| SessionRequest { client: ClientId(client), release: 1, ..SessionRequest::default() };
    let session = |client, batches| SessionHead {
        request: request(client),
        batches,
        operation: Operation::CreateTransfers as u16,
        ..SessionHead::default()
    };
    let in_session = |client, batches, events: &[u8]| {
        Bytes::from([&session(client, batches).to_bytes()[..], events].concat())
    };
    let more = Transfer::write_all(&[40, 41, 42].map(transfer));
    let mut batches = Transfer::write_all(&[50, 51, 52].map(transfer)).to_vec();
    put_trailer(&mut batches, &[1, 2], RECORD_SIZE);
    vec![
        Operation::CreateAccounts.command(accounts).unwrap(),
        Operation::CreateTransfers.command(transfers).unwrap(),
        Operation::CreateTransfersTagged.command(tagged.clone()).unwrap(),
        Operation::SetBounds.command(Bytes::from(vec![0; 3 * 48])).unwrap(),
        keyed(60, Operation::CreateTransfers, &Transfer::write_all(&[70, 71, 72].map(transfer))),
        keyed(80, Operation::CreateTransfersTagged, &tagged),
        session(1, 0).open(),
        SessionHead::reply(in_session(2, 0, b"reply")),
        SessionHead::create(in_session(3, 1, &more)).unwrap(),
        SessionHead::create(in_session(4, 2, &batches)).unwrap(),
    ]
}

#[test]
fn a_command_with_a_wrong_number_of_events_does_nothing() {
    for command in correct() {
        assert!(Ledger::accepts(&command), "{command:?}");
        let mut ledger = with_accounts();
        let before = state(&ledger);
        for events in [0, 1, 2, 4, u32::MAX].into_iter().filter(|events| *events != command.events) {
            let wrong = Command { events, ..command.clone() };
            assert!(!Ledger::accepts(&wrong), "{wrong:?}");
            assert_eq!(apply(&mut ledger, vec![wrong]), [0], "operation {}", command.operation);
            assert_eq!(state(&ledger), before, "operation {} events {events}", command.operation);
        }
        // The sessions are unchanged, too: the correct command is still new.
        let mut other = with_accounts();
        let results = apply(&mut ledger, vec![command.clone()]);
        assert_eq!(results, apply(&mut other, vec![command.clone()]), "{command:?}");
        assert!(results[0] > 0, "{command:?}");
    }
}

#[test]
fn a_wrong_number_of_events_leaves_the_timestamps_in_order() {
    // The body has more events than the command has timestamps. Commands follow in the same entry and later.
    let mut ledger = with_accounts();
    let [accounts, transfers] = correct().into_iter().take(2).collect::<Vec<_>>().try_into().unwrap();
    let wrong = |command: &Command| Command { events: 1, ..command.clone() };
    let entry = vec![wrong(&accounts), wrong(&transfers), accounts, transfers];
    assert_eq!(apply(&mut ledger, entry), [0, 0, 48, 48]);
    let one = Account::write_all(&[account(13)]);
    assert_eq!(apply(&mut ledger, vec![Operation::CreateAccounts.command(one).unwrap()]), [16]);
}

#[test]
fn commands_that_no_client_has_are_not_accepted() {
    let expire = Command { operation: Operation::Expire as u16, events: 1, body: Bytes::new() };
    assert!(!Ledger::accepts(&expire), "only the leader itself proposes it");
    let body = Transfer::write_all(&[transfer(20)]);
    assert!(!Ledger::accepts(&Command { operation: 999, events: 1, body: body.clone() }), "unknown");
    for cut in [0, 127] {
        let body = body.slice(..cut);
        for events in [0, 1] {
            let command =
                Command { operation: Operation::CreateTransfers as u16, events, body: body.clone() };
            assert!(!Ledger::accepts(&command), "{cut} bytes");
        }
    }
    for operation in [Operation::OpenSession, Operation::SessionCreate, Operation::CreateKeyed] {
        let command = Command { operation: operation as u16, events: 0, body: Bytes::from_static(b"torn") };
        assert!(!Ledger::accepts(&command), "{operation:?}");
    }
}
