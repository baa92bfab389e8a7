//! A damaged checkpoint gives an error or exactly the written content. Arbitrary bytes as a ledger's state
//! give an error or a state that can be queried.

use std::sync::{Arc, LazyLock};

use bezant_ledger::{Event, Ledger, LedgerQuery, Operation, ToCommand};
use bezant_rsm::{Entry, StateMachine};
use bezant_storage::MemoryDisk;
use bezant_storage::checkpoint::{CheckpointStore, inspect};
use bezant_types::{
    Account, AccountId, Fetched, HistoryPosition, LedgerNumber, LogIndex, Nanos, Term, Transfer,
    TransferFlags, TransferId,
};

use super::Target;
use super::damage::{self, Image};

pub(super) const TARGET: Target =
    Target { name: "checkpoint", about: "damaged checkpoint files", seeds: damage::seeds, run };

pub(super) const STATE: Target = Target {
    name: "state",
    about: "the ledger's state in a checkpoint",
    seeds: || vec![state()],
    run: run_state,
};

const INDEX: LogIndex = LogIndex(7);
const HISTORY: HistoryPosition = HistoryPosition { movements: 2, refusals: 0 };

static IMAGE: LazyLock<Image> = LazyLock::new(|| {
    let disk = MemoryDisk::new();
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    let mut writer = store.begin(INDEX, Term(1)).expect("nothing fails on this disk");
    writer.write(&content()).expect("nothing fails on this disk");
    writer.finish(HISTORY, Nanos(9)).expect("nothing fails on this disk");
    damage::image_of(&disk)
});

/// Several pages with different content.
fn content() -> Vec<u8> {
    (0..20_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn run(input: &[u8]) {
    let disk = damage::damaged(&IMAGE, input);
    // Every result is valid here; the inspection must not panic.
    drop(inspect(&disk));
    if let Ok(Some(checkpoint)) = CheckpointStore::new(Arc::new(disk)).load_newest() {
        assert_eq!(checkpoint.bytes, content(), "the content differs");
        assert_eq!((checkpoint.index, checkpoint.history), (INDEX, HISTORY), "the position differs");
    }
}

/// The state of a ledger with accounts, a transfer and a pending transfer, as bytes.
fn state() -> Vec<u8> {
    let mut ledger = Ledger::new();
    let account = |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let transfer = |id, flags| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 5,
        ledger: LedgerNumber(1),
        code: 1,
        flags,
        ..Transfer::default()
    };
    let accounts = Operation::CreateAccounts.command(Event::write_all(&[account(1), account(2)]));
    let transfers = [transfer(1, TransferFlags::NONE), transfer(2, TransferFlags::PENDING)];
    let transfers = Operation::CreateTransfers.command(Event::write_all(&transfers));
    for (index, command) in (1..).zip([accounts, transfers]) {
        let entry = Entry {
            time: Nanos(index * 100),
            commands: vec![command.expect("two events are a command")],
            checkpoint: false,
            rules: 0,
        };
        let found = Fetched::from(ledger.position());
        ledger.apply(LogIndex(index), &entry, found).expect("the window covers every row");
    }
    ledger.begin_checkpoint();
    std::iter::from_fn(|| ledger.poll_checkpoint(4096)).flatten().collect()
}

fn run_state(input: &[u8]) {
    if let Ok(ledger) = Ledger::restore(input) {
        // The checkpoint file has the checksums; every state that can be read must also answer queries.
        drop(ledger.query(LedgerQuery::Books));
        drop(ledger.query(LedgerQuery::Assets));
    }
}
