//! What must hold after every recovery.

use std::collections::BTreeMap;

use bezant_codec::chain;
use bezant_ledger::{LedgerAnswer, LedgerQuery};
use bezant_storage::HistoryQuery;
use bezant_types::{
    AccountId, AccountView, Balances, ChainSide, CreateTransferStatus as Status, Head, Movement,
    MovementFilter, MovementKind, TransferFlags, TransferId,
};

use crate::rig::Rig;
use crate::workload::{ACCOUNTS, Workload, status};

pub(crate) fn check(rig: &Rig, workload: &Workload, place: &str) {
    let movements = all_movements(rig, place);
    check_acknowledged(workload, &movements, place);
    check_whole(workload, &movements, place);
    check_accounts(rig, &movements, place);
}

fn all_movements(rig: &Rig, place: &str) -> Vec<Movement> {
    let filter = MovementFilter { limit: u32::MAX, ..MovementFilter::default() };
    let rows = rig.read(&HistoryQuery::Movements(filter));
    for (number, (place_in_history, _)) in (0..).zip(&rows) {
        assert_eq!(place_in_history.0, number, "{place}: no gaps");
    }
    let movements: Vec<Movement> = rows.into_iter().map(|(_, movement)| movement).collect();
    assert!(movements.is_sorted_by_key(|movement| movement.timestamp), "{place}: time never goes back");
    movements
}

/// Every acknowledged transfer is there once, with the acknowledged outcome.
fn check_acknowledged(workload: &Workload, movements: &[Movement], place: &str) {
    let mut by_id: BTreeMap<TransferId, &Movement> = BTreeMap::new();
    for movement in movements.iter().filter(|movement| movement.kind != MovementKind::Expired) {
        assert!(by_id.insert(movement.transfer.id, movement).is_none(), "{place}: an id has one outcome");
        assert!(
            workload.sent.contains_key(&movement.transfer.id),
            "{place}: every row was sent by the client"
        );
    }
    for (id, acknowledged) in &workload.answered {
        match status(*acknowledged) {
            Status::Created | Status::Exists => {
                let movement = by_id.get(id).unwrap_or_else(|| panic!("{place}: {id:?} was acknowledged"));
                assert_eq!(movement.timestamp, acknowledged.timestamp, "{place}: {id:?}");
            }
            refused => assert!(!by_id.contains_key(id), "{place}: {id:?} was refused with {refused}"),
        }
    }
}

/// Linked transfers are there together or not at all.
fn check_whole(workload: &Workload, movements: &[Movement], place: &str) {
    let is_there = |id: TransferId| movements.iter().any(|movement| movement.transfer.id == id);
    let mut sent = workload.sent.values().collect::<Vec<_>>();
    sent.sort_by_key(|transfer| transfer.id.0 & u128::from(u64::MAX));
    for pair in sent.windows(2).filter(|pair| pair[0].flags.contains(TransferFlags::LINKED)) {
        assert_eq!(is_there(pair[0].id), is_there(pair[1].id), "{place}: a chain is whole or nothing");
    }
}

/// Balances, chains and totals follow from the movements.
fn check_accounts(rig: &Rig, movements: &[Movement], place: &str) {
    let ids = (1..=ACCOUNTS).map(AccountId).collect();
    let LedgerAnswer::Accounts(views) = rig.query(LedgerQuery::Accounts(ids)) else {
        panic!("accounts were asked for");
    };
    let mut heads: BTreeMap<(AccountId, ChainSide), Head> = BTreeMap::new();
    let mut balances: BTreeMap<AccountId, Balances> = BTreeMap::new();
    for movement in movements {
        balances.insert(movement.transfer.debit_account_id, movement.debit);
        balances.insert(movement.transfer.credit_account_id, movement.credit);
        if movement.kind == MovementKind::Expired {
            continue;
        }
        let debit = (movement.transfer.debit_account_id, ChainSide::Spends);
        let credit = (movement.transfer.credit_account_id, ChainSide::Receipts);
        for (key, head) in [(debit, movement.debit_head), (credit, movement.credit_head)] {
            let before = heads.get(&key).copied().unwrap_or_else(|| chain::initial_head(key.1, key.0));
            assert_eq!(head, before, "{place}: the chain of {key:?} holds");
        }
        let next = chain::next_head(&movement.transfer, movement.debit_head, movement.credit_head);
        heads.insert(debit, next);
        heads.insert(credit, next);
    }
    for view in &views {
        check_account(view, &heads, &balances, place);
    }
    let LedgerAnswer::Books(books) = rig.query(LedgerQuery::Books) else { panic!("books were asked for") };
    assert!(
        books.ledgers.iter().all(bezant_ledger::LedgerTotals::is_balanced),
        "{place}: debits equal credits"
    );
    assert_eq!(books.history.movements, movements.len() as u64, "{place}: memory and history agree");
}

fn check_account(
    view: &AccountView,
    heads: &BTreeMap<(AccountId, ChainSide), Head>,
    balances: &BTreeMap<AccountId, Balances>,
    place: &str,
) {
    let id = view.account.id;
    assert_eq!(view.name, format!("account {id}"), "{place}: names stay");
    assert_eq!(
        view.account.balances(),
        balances.get(&id).copied().unwrap_or_default(),
        "{place}: balances of {id}"
    );
    for (side, chain) in [(ChainSide::Spends, view.spends), (ChainSide::Receipts, view.receipts)] {
        let head = heads.get(&(id, side)).copied().unwrap_or_else(|| chain::initial_head(side, id));
        assert_eq!(chain.head, head, "{place}: head of {id}");
    }
}
