//! Checkpoints that contradict themselves: what the ledger asserts before it writes is checked when it reads.
//! The bytes on disk have a checksum, so such a checkpoint was written by a wrong program.

use bezant_ledger::ToCommand as _;
use bezant_ledger::{Event, ExtendedAccount, Ledger, Operation, name_to_bytes};
use bezant_rsm::StateMachine;
use bezant_types::{Account, AccountId, Bounds, LedgerNumber, Nanos, Transfer, TransferFlags, TransferId};

use crate::twin::{Twin, read_checkpoint};

const HEAD_SIZE: usize = 128;
const ACCOUNT_SIZE: usize = 240;
const ACCOUNTS: usize = 4;
const NAME_SIZE: usize = 72;
const NAMES: usize = 2;

/// Offsets in the head and in a record.
const TIME: usize = 16;
const DEBITS_PENDING: usize = 16;
const DEBITS_POSTED: usize = 32;
const CREDITS_PENDING: usize = 48;
const CREDITS_POSTED: usize = 64;
const FLAGS: usize = 118;
const TIMESTAMP: usize = 120;
const MINIMUM: usize = 128;
const MAXIMUM: usize = 144;
const DEBIT_ACCOUNT: usize = 16;
const CREDIT_ACCOUNT: usize = 32;
const AMOUNT: usize = 48;

/// The offset of account `number`, from 1 on.
const fn account(number: usize) -> usize {
    HEAD_SIZE + (number - 1) * ACCOUNT_SIZE
}

/// The offset of name `number`, from 1 on.
const fn name(number: usize) -> usize {
    account(ACCOUNTS + 1) + (number - 1) * NAME_SIZE
}

/// The offset of pending transfer `number`, from 1 on.
const fn pending(number: usize) -> usize {
    name(NAMES + 1) + (number - 1) * 128
}

/// Four accounts, the first two with names, and two pending transfers of 30 and 40 from 1 to 2.
fn checkpoint() -> Vec<u8> {
    let mut twin = Twin::default();
    let account = |id, name| ExtendedAccount {
        account: Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() },
        bounds: Bounds::NONE,
        name: name_to_bytes(name).unwrap(),
    };
    let hold = |id, amount| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount,
        ledger: LedgerNumber(1),
        code: 1,
        flags: TransferFlags::PENDING,
        ..Transfer::default()
    };
    let accounts = [account(1, "alice"), account(2, "bob"), account(3, ""), account(4, "")];
    let commands = vec![
        Operation::CreateAccountsExtended.command(Event::write_all(&accounts)).unwrap(),
        Operation::CreateTransfers.command(Event::write_all(&[hold(7, 30), hold(8, 40)])).unwrap(),
    ];
    twin.submit(Nanos(100), commands);
    read_checkpoint(&mut twin.ledger, 1 << 20)
}

/// Restores the checkpoint with those bytes at those offsets; the section that is refused.
fn refused(changes: &[(usize, &[u8])]) -> Option<&'static str> {
    let mut bytes = checkpoint();
    for (at, change) in changes {
        bytes[*at..*at + change.len()].copy_from_slice(change);
    }
    Ledger::restore(&bytes).err().map(|error| error.section)
}

fn number(value: u128) -> [u8; 16] {
    value.to_le_bytes()
}

fn time(value: u64) -> [u8; 8] {
    value.to_le_bytes()
}

#[test]
fn a_checkpoint_without_a_contradiction_is_restored() {
    assert_eq!(refused(&[]), None);
    assert_eq!(refused(&[(TIME, &time(100))]), None, "the newest movement has the time of the last entry");
    // Four accounts at 95 to 98, two transfers at 99 and 100.
    let later = refused(&[(account(4) + TIMESTAMP, &time(100))]);
    assert_eq!(later, None, "the newest account may be as late as the last entry");
}

#[test]
fn timestamps_of_a_checkpoint_must_fit_together() {
    assert_eq!(refused(&[(TIME, &time(99))]), Some("head"), "a movement after the last entry");
    assert_eq!(refused(&[(account(4) + TIMESTAMP, &time(101))]), Some("accounts"), "after the last entry");
    assert_eq!(refused(&[(account(2) + TIMESTAMP, &time(95))]), Some("accounts"), "two at once");
    assert_eq!(refused(&[(account(1) + TIMESTAMP, &time(97))]), Some("accounts"), "not sorted");
    assert_eq!(
        refused(&[(pending(2) + TIMESTAMP, &time(101))]),
        Some("pending"),
        "after the newest movement"
    );
}

#[test]
fn accounts_of_a_checkpoint_must_be_valid() {
    assert_eq!(refused(&[(account(3), &number(1))]), Some("accounts"), "two with the same id");
    let bounds = |minimum: i128, maximum: i128| {
        refused(&[
            (account(3) + MINIMUM, &minimum.to_le_bytes()[..]),
            (account(3) + MAXIMUM, &maximum.to_le_bytes()),
        ])
    };
    assert_eq!((bounds(5, 5), bounds(6, 5)), (None, Some("accounts")), "the minimum is above the maximum");
    for (debit, credit) in [(1, 3), (3, 2)] {
        let changes = [
            (account(debit) + DEBITS_POSTED, &number(u128::MAX)[..]),
            (account(credit) + CREDITS_POSTED, &number(u128::MAX)),
        ];
        assert_eq!(refused(&changes), Some("accounts"), "a sum that overflows, {debit} to {credit}");
    }
}

#[test]
fn ledgers_of_a_checkpoint_must_be_balanced() {
    let one = number(1);
    for field in [DEBITS_POSTED, CREDITS_POSTED, DEBITS_PENDING, CREDITS_PENDING] {
        assert_eq!(refused(&[(account(3) + field, &one)]), Some("accounts"), "field at {field}");
    }
    let balanced = [(account(3) + DEBITS_POSTED, &one[..]), (account(4) + CREDITS_POSTED, &one)];
    assert_eq!(refused(&balanced), None);
}

#[test]
fn names_of_a_checkpoint_must_be_unique_and_valid() {
    assert_eq!(refused(&[(name(2), &time(0))]), Some("names"), "an account with two names");
    assert_eq!(refused(&[(name(2), &time(4))]), Some("names"), "a name without an account");
    assert_eq!(refused(&[(name(2), &time(3))]), None, "the last account");
    assert_eq!(refused(&[(name(2) + 8, b"alice")]), Some("names"), "two accounts with one name");
    assert_eq!(refused(&[(name(2) + 8, &[0; 3])]), Some("names"), "no name");
    assert_eq!(refused(&[(name(2) + 8, &[0xff])]), Some("names"), "no text");
}

#[test]
fn pending_transfers_of_a_checkpoint_must_have_their_reserves() {
    let (thirty, forty) = (number(30), number(40));
    assert_eq!(refused(&[(pending(1) + FLAGS, &[0, 0])]), Some("pending"), "not a pending transfer");
    assert_eq!(refused(&[(pending(1) + AMOUNT, &forty)]), Some("pending"), "more than is reserved");
    let swapped = [(pending(1) + AMOUNT, &forty[..]), (pending(2) + AMOUNT, &thirty)];
    assert_eq!(refused(&swapped), None, "the reserve is a sum");
    assert_eq!(refused(&[(pending(1) + DEBIT_ACCOUNT, &number(9))]), Some("pending"), "an unknown account");
    assert_eq!(refused(&[(pending(1) + CREDIT_ACCOUNT, &number(9))]), Some("pending"), "an unknown account");
    assert_eq!(
        refused(&[(pending(1) + DEBIT_ACCOUNT, &number(3))]),
        Some("pending"),
        "another debit account"
    );
    assert_eq!(
        refused(&[(pending(1) + CREDIT_ACCOUNT, &number(3))]),
        Some("pending"),
        "another credit account"
    );
    let extra = [(account(3) + DEBITS_PENDING, &thirty[..]), (account(4) + CREDITS_PENDING, &thirty)];
    assert_eq!(refused(&extra), Some("pending"), "a reserve without its transfer");
    let both = [(account(3) + DEBITS_PENDING, &thirty[..]), (account(3) + CREDITS_PENDING, &thirty)];
    assert_eq!(refused(&both), Some("pending"), "debits and credits of one account without their transfers");
    let overflow = [(pending(1) + AMOUNT, &number(u128::MAX)[..])];
    assert_eq!(refused(&overflow), Some("pending"), "more than fits");
}
