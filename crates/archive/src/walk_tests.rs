//! Tests of the walk: a small correct history, and changed, lost, doubled and moved rows.

use super::*;
use bezant_types::{Account, LedgerNumber};

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// Makes movements as a correct server does.
#[derive(Default)]
struct Server {
    accounts: BTreeMap<AccountId, (Chain, Chain, Balances)>,
    rows: Vec<(MovementNumber, Movement)>,
}

impl Server {
    fn account(&mut self, id: AccountId) -> &mut (Chain, Chain, Balances) {
        self.accounts.entry(id).or_insert_with(|| {
            let chain = |side| Chain { sequence: 0, head: initial_head(side, id) };
            (chain(ChainSide::Spends), chain(ChainSide::Receipts), Balances::default())
        })
    }

    fn apply(&mut self, mut transfer: Transfer, kind: MovementKind, released: u128, moved: u128) {
        let number = self.rows.len() as u64;
        let timestamp = Nanos((number + 1) * Nanos::PER_SECOND);
        let is_expired = kind == MovementKind::Expired;
        if !is_expired {
            transfer.timestamp = timestamp;
        }
        let (debit_head, credit_head) = if is_expired {
            (Head::NONE, Head::NONE)
        } else {
            (self.account(transfer.debit_account_id).0.head, self.account(transfer.credit_account_id).1.head)
        };
        let reserved = if kind == MovementKind::Pending { transfer.amount } else { 0 };
        let next = next_head(&transfer, debit_head, credit_head);
        let debit = self.account(transfer.debit_account_id);
        debit.2.debits_pending = debit.2.debits_pending + reserved - released;
        debit.2.debits_posted += moved;
        if !is_expired {
            debit.0 = Chain { sequence: debit.0.sequence + 1, head: next };
        }
        let debit = debit.2;
        let credit = self.account(transfer.credit_account_id);
        credit.2.credits_pending = credit.2.credits_pending + reserved - released;
        credit.2.credits_posted += moved;
        if !is_expired {
            credit.1 = Chain { sequence: credit.1.sequence + 1, head: next };
        }
        let credit = credit.2;
        let movement = Movement { transfer, kind, timestamp, debit, credit, debit_head, credit_head };
        self.rows.push((MovementNumber(number), movement));
    }

    fn views(&self) -> Vec<AccountView> {
        let view =
            |(id, (spends, receipts, balances)): (&AccountId, &(Chain, Chain, Balances))| AccountView {
                account: Account {
                    id: *id,
                    debits_pending: balances.debits_pending,
                    debits_posted: balances.debits_posted,
                    credits_pending: balances.credits_pending,
                    credits_posted: balances.credits_posted,
                    ..Account::default()
                },
                spends: *spends,
                receipts: *receipts,
                ..AccountView::default()
            };
        self.accounts.iter().map(view).collect()
    }
}

fn transfer(id: u128, from: AccountId, to: AccountId, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: from,
        credit_account_id: to,
        amount,
        ledger: LedgerNumber(978),
        code: 1,
        ..Transfer::default()
    }
}

/// A history with payments in both directions, a reserve that is posted in part, one that is voided, and one
/// that expires.
pub(crate) fn history() -> (Vec<(MovementNumber, Movement)>, Vec<AccountView>) {
    let mut server = Server::default();
    let third = AccountId(3);
    let pending = |id, timeout_seconds| Transfer {
        flags: TransferFlags::PENDING,
        timeout_seconds,
        ..transfer(id, BOB, ALICE, 50)
    };
    let resolve = |id, pending_id, flags, amount| Transfer {
        pending_id: TransferId(pending_id),
        flags,
        ..transfer(id, BOB, ALICE, amount)
    };
    server.apply(transfer(10, ALICE, BOB, 100), MovementKind::SinglePhase, 0, 100);
    server.apply(pending(11, 0), MovementKind::Pending, 0, 0);
    server.apply(transfer(12, ALICE, third, 7), MovementKind::SinglePhase, 0, 7);
    server.apply(resolve(13, 11, TransferFlags::POST_PENDING, 30), MovementKind::Posted, 50, 30);
    server.apply(pending(14, 0), MovementKind::Pending, 0, 0);
    server.apply(resolve(15, 14, TransferFlags::VOID_PENDING, 50), MovementKind::Voided, 50, 0);
    server.apply(pending(16, 1), MovementKind::Pending, 0, 0);
    let expired = server.rows.last().expect("a row").1.transfer;
    server.apply(expired, MovementKind::Expired, 50, 0);
    server.apply(transfer(17, ALICE, BOB, 1), MovementKind::SinglePhase, 0, 1);
    (server.rows.clone(), server.views())
}

/// Walks over all rows and ends the walk.
fn walk(
    scope: Scope,
    views: Vec<AccountView>,
    rows: &[(MovementNumber, Movement)],
    is_exact: bool,
) -> Result<Covered, Broken> {
    let mut walk = Walk::new(scope, views)?;
    rows.iter().try_for_each(|(number, movement)| walk.step(*number, movement))?;
    walk.finish(is_exact)
}

fn rows_of(id: AccountId, rows: &[(MovementNumber, Movement)]) -> Vec<(MovementNumber, Movement)> {
    let takes_part =
        |movement: &Movement| movement.kind != MovementKind::Expired && movement.balances_of(id).is_some();
    rows.iter().filter(|(_, movement)| takes_part(movement)).copied().collect()
}

#[test]
fn a_correct_history_verifies() {
    let (rows, views) = history();
    let covered = walk(Scope::All, views.clone(), &rows, true).unwrap();
    assert_eq!(covered, Covered { movements: 9, transfers: 8, accounts: 3 });
    assert!(walk(Scope::All, Vec::new(), &rows, false).is_ok(), "without accounts too");
    for view in views {
        let id = view.account.id;
        assert!(walk(Scope::Account(id), vec![view], &rows_of(id, &rows), true).is_ok(), "{id}");
    }
}

#[test]
fn every_flipped_bit_of_the_whole_history_is_found() {
    let (rows, views) = history();
    for at in 0..rows.len() {
        for bit in 0..bezant_codec::MOVEMENT_SIZE * 8 {
            // The time of an expiry may be any between the due time and the next row.
            if rows[at].1.kind == MovementKind::Expired && (320..328).contains(&(bit / 8)) {
                continue;
            }
            let mut bytes = bezant_codec::movement_to_bytes(&rows[at].1);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(changed) = bezant_codec::movement_from_bytes(&bytes) else { continue };
            let mut rows = rows.clone();
            rows[at].1 = changed;
            let result = walk(Scope::All, views.clone(), &rows, true);
            assert!(result.is_err(), "bit {bit} of row {at} is not found");
        }
    }
}

#[test]
fn every_flipped_bit_that_one_accounts_chain_covers_is_found() {
    let (rows, views) = history();
    let alice = views.into_iter().find(|view| view.account.id == ALICE).unwrap();
    let rows = rows_of(ALICE, &rows);
    for at in 0..rows.len() {
        let own = if rows[at].1.transfer.debit_account_id == ALICE { 128..192 } else { 192..256 };
        // The transfer, both heads and the time are covered by the hash and the order of the rows.
        for byte in (0..128).chain(256..329) {
            assert!(!own.contains(&byte), "balances are compared by their posted sums");
            for bit in 0..8 {
                let mut bytes = bezant_codec::movement_to_bytes(&rows[at].1);
                bytes[byte] ^= 1 << bit;
                let Ok(changed) = bezant_codec::movement_from_bytes(&bytes) else { continue };
                let mut rows = rows.clone();
                rows[at].1 = changed;
                let result = walk(Scope::Account(ALICE), vec![alice.clone()], &rows, true);
                assert!(result.is_err(), "bit {bit} of byte {byte} of row {at} is not found");
            }
        }
    }
}

#[test]
fn a_lost_doubled_or_moved_row_is_found() {
    let (rows, views) = history();
    for at in 0..rows.len() {
        let mut lost = rows.clone();
        lost.remove(at);
        assert!(walk(Scope::All, views.clone(), &lost, true).is_err(), "row {at} lost");
        let mut doubled = rows.clone();
        doubled.insert(at, rows[at]);
        assert!(walk(Scope::All, views.clone(), &doubled, true).is_err(), "row {at} doubled");
        let mut moved = rows.clone();
        moved.swap(at, (at + 1) % rows.len());
        assert!(walk(Scope::All, views.clone(), &moved, true).is_err(), "row {at} moved");
    }
}

#[test]
fn the_error_names_the_row_and_what_differs() {
    let (mut rows, views) = history();
    rows[2].1.debit.debits_posted += 1;
    let error = walk(Scope::All, views, &rows, true).unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text,
        "movement 2 (transfer 12): debits_posted of account 1 is 108, but the rows so far make it 107"
    );
}

#[test]
fn concurrent_writes_are_no_error() {
    let (rows, views) = history();
    let earlier: Vec<_> = views
        .into_iter()
        .filter(|view| view.account.id == ALICE)
        .map(|mut view| {
            let (_, movement) = rows.last().unwrap();
            view.spends = Chain { sequence: view.spends.sequence - 1, head: movement.debit_head };
            view.account.debits_posted -= movement.transfer.amount;
            view
        })
        .collect();
    assert!(walk(Scope::All, earlier.clone(), &rows, false).is_ok(), "an account as it was a row ago");
    assert!(walk(Scope::All, earlier, &rows, true).is_err(), "but not if nothing was written since");
}
