//! What the ledger asks the history for before an entry is applied: the old rows that a check may need, and
//! no row that is in memory. A key too few makes a wrong result; a key too many costs a read of the disk.

use bezant_ledger::{
    Event, ExtendedAccount, ExtendedTransfer, KeyedHead, Operation, SessionHead, name_to_bytes,
};
use bezant_ledger::{ToCommand as _, ToKeyedCommand as _};
use bezant_rsm::{Command, Entry, SessionRequest, StateMachine};
use bezant_types::{
    Account, AccountFlags, AccountId, Bounds, FetchKey, Head, LedgerNumber, Nanos, Transfer, TransferFlags,
    TransferId,
};
use bytes::Bytes;

use crate::twin::Twin;

fn transfer(id: u128, flags: TransferFlags, pending_id: u128) -> Transfer {
    let is_first = flags == TransferFlags::NONE || flags == TransferFlags::PENDING;
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(is_first.into()),
        credit_account_id: AccountId(2 * u128::from(is_first)),
        amount: if flags == TransferFlags::POST_PENDING { u128::MAX } else { 0 },
        pending_id: TransferId(pending_id),
        ledger: LedgerNumber(is_first.into()),
        code: is_first.into(),
        flags,
        ..Transfer::default()
    }
}

fn account(id: u128) -> Account {
    Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() }
}

/// Two accounts; pending transfers 10 and 20; 21 posts 20. All of them are in the newest rows. With
/// `is_restored` the ledger comes from a checkpoint, so that only the open transfer 10 is in memory.
fn ledger(is_restored: bool) -> Twin {
    let mut twin = Twin::default();
    let transfers = [
        transfer(10, TransferFlags::PENDING, 0),
        transfer(20, TransferFlags::PENDING, 0),
        transfer(21, TransferFlags::POST_PENDING, 20),
    ];
    let commands = vec![
        Operation::CreateAccounts.command(Event::write_all(&[account(1), account(2)])).unwrap(),
        Operation::CreateTransfers.command(Event::write_all(&transfers)).unwrap(),
    ];
    twin.submit(Nanos(100), commands);
    if is_restored {
        twin.begin_checkpoint();
        while twin.restored_count == 0 {
            twin.poll_checkpoint(1 << 16);
        }
    }
    twin
}

fn keys(twin: &Twin, command: Command) -> Vec<FetchKey> {
    let entry = Entry { time: Nanos(200), commands: vec![command], checkpoint: false, rules: 1 };
    twin.ledger.prefetch(&entry).keys
}

fn keys_of(twin: &Twin, transfer: Transfer) -> Vec<FetchKey> {
    keys(twin, Operation::CreateTransfers.command(Event::write_all(&[transfer])).unwrap())
}

const fn row(id: u128) -> FetchKey {
    FetchKey::Transfer(TransferId(id))
}

const fn end(id: u128) -> FetchKey {
    FetchKey::Resolution(TransferId(id))
}

#[test]
fn an_id_that_may_be_old_is_fetched() {
    let restored = ledger(true);
    assert_eq!(keys_of(&restored, transfer(22, TransferFlags::NONE, 0)), [], "greater than every id");
    assert_eq!(keys_of(&restored, transfer(21, TransferFlags::NONE, 0)), [row(21)], "the greatest id");
    assert_eq!(keys_of(&restored, transfer(5, TransferFlags::NONE, 0)), [row(5)], "perhaps never used");
    let running = ledger(false);
    for id in [10, 20, 21] {
        assert_eq!(keys_of(&running, transfer(id, TransferFlags::NONE, 0)), [], "{id} is in memory");
    }
    assert_eq!(keys_of(&running, transfer(5, TransferFlags::NONE, 0)), [row(5)]);
}

#[test]
fn the_end_of_a_pending_transfer_is_fetched() {
    for resolves in [TransferFlags::POST_PENDING, TransferFlags::VOID_PENDING] {
        let restored = ledger(true);
        assert_eq!(keys_of(&restored, transfer(30, resolves, 10)), [], "10 is open, so it is in memory");
        assert_eq!(keys_of(&restored, transfer(30, resolves, 20)), [row(20), end(20)], "20 was posted");
        assert_eq!(keys_of(&restored, transfer(5, resolves, 20)), [row(5), row(20), end(20)]);
        let running = ledger(false);
        assert_eq!(keys_of(&running, transfer(30, resolves, 20)), [], "its post is in memory");
        assert_eq!(keys_of(&running, transfer(30, resolves, 7)), [row(7), end(7)], "perhaps an old one");
    }
    let restored = ledger(true);
    let single = Transfer { pending_id: TransferId(20), ..transfer(30, TransferFlags::NONE, 0) };
    assert_eq!(keys_of(&restored, single), [], "not a post and not a void");
}

/// A request with a session for that operation.
fn session(operation: Operation, records: &Bytes) -> Command {
    let head = SessionHead {
        request: SessionRequest { number: 1, ..SessionRequest::default() },
        batches: 1,
        operation: operation as u16,
        ..SessionHead::default()
    };
    SessionHead::create(Bytes::from([&head.to_bytes()[..], records].concat())).unwrap()
}

fn keyed(operation: Operation, events: &[u8]) -> Command {
    KeyedHead { guard: TransferId(3), witness: TransferId(40), operation }.command(events).unwrap()
}

#[test]
fn every_operation_that_creates_transfers_fetches_their_rows() {
    let restored = ledger(true);
    let post = transfer(5, TransferFlags::POST_PENDING, 20);
    let extended = ExtendedTransfer { transfer: post, prev_hash: Head::NONE };
    let records = Transfer::write_all(&[post, post]);
    let extended = ExtendedTransfer::write_all(&[extended, extended]);
    let once = [row(5), row(20), end(20)];
    let twice = [once, once].concat();
    let plain = Operation::CreateTransfers;
    assert_eq!(keys(&restored, plain.command(records.clone()).unwrap()), twice);
    let command = Operation::CreateTransfersExtended.command(extended.clone()).unwrap();
    assert_eq!(keys(&restored, command), twice);
    assert_eq!(keys(&restored, session(plain, &records)), twice);
    // The guard of a keyed request may be old; the witness is greater than every id.
    let marked = [&[row(3)][..], &twice].concat();
    assert_eq!(keys(&restored, keyed(plain, &records)), marked);
    assert_eq!(keys(&restored, keyed(Operation::CreateTransfersExtended, &extended)), marked);
}

#[test]
fn the_reply_to_a_read_fetches_no_rows() {
    let restored = ledger(true);
    // The reply has the bytes of transfers, and the head names an operation that creates them.
    let found = Transfer::write_all(&[transfer(5, TransferFlags::NONE, 0)]);
    let create = session(Operation::CreateTransfers, &found);
    assert_eq!(keys(&restored, create.clone()), [row(5)]);
    assert_eq!(keys(&restored, SessionHead::reply(create.body)), []);
}

#[test]
fn every_operation_that_creates_accounts_fetches_imported_timestamps() {
    let twin = ledger(false);
    let imported = Account { flags: AccountFlags::IMPORTED, timestamp: Nanos(77), ..account(3) };
    let own = account(4);
    let extend =
        |account| ExtendedAccount { account, bounds: Bounds::NONE, name: name_to_bytes("").unwrap() };
    let records = Account::write_all(&[imported, own]);
    let extended = ExtendedAccount::write_all(&[extend(imported), extend(own)]);
    let time = FetchKey::Timestamp(Nanos(77));
    let plain = Operation::CreateAccounts;
    assert_eq!(keys(&twin, plain.command(records.clone()).unwrap()), [time]);
    let command = Operation::CreateAccountsExtended.command(extended.clone()).unwrap();
    assert_eq!(keys(&twin, command), [time]);
    assert_eq!(keys(&twin, session(plain, &records)), [time]);
    assert_eq!(keys(&twin, keyed(plain, &records)), [row(3), time]);
    assert_eq!(keys(&twin, keyed(Operation::CreateAccountsExtended, &extended)), [row(3), time]);
}
