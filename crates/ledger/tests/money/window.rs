//! The window of recent rows. A fetch from some entries ago must not let an id be used twice, or a pending
//! transfer be resolved twice, however many rows were added since. A fetch that is too old is rejected.
//!
//! There are more rows than the model could handle, so the expected results follow from the ids: of every
//! sixteen transfers, seven are pending, seven post the previous one, one is refused and one is single-phase.

use std::collections::{BTreeMap, VecDeque};

use bezant_codec::{records, result_from_bytes};
use bezant_ledger::{Event, Ledger, Operation, ToCommand};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::{
    Account, AccountId, CreateTransferStatus, EventResult, FetchKey, Fetched, FetchedTransfer,
    HistoryPosition, LedgerNumber, LogIndex, MovementKind, MovementNumber, Nanos, Resolution, Transfer,
    TransferFlags, TransferId, limits,
};

/// The ledger and its history, found by id.
struct Shard {
    ledger: Ledger,
    time: u64,
    index: LogIndex,
    rows: BTreeMap<TransferId, FetchedTransfer>,
    resolutions: BTreeMap<TransferId, MovementKind>,
    position: HistoryPosition,
}

impl Shard {
    fn new() -> Self {
        let ledger = Ledger::new();
        let (rows, resolutions) = (BTreeMap::new(), BTreeMap::new());
        let position = HistoryPosition::default();
        let mut shard = Self { ledger, time: 0, index: LogIndex(0), rows, resolutions, position };
        let account =
            |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
        let command = Operation::CreateAccounts.command(Account::write_all(&[account(1), account(2)]));
        let found = Fetched::from(shard.position);
        shard.apply(command.unwrap(), found).unwrap();
        shard
    }

    fn fetch(&self, command: &Command) -> Fetched {
        let entry = Entry {
            time: Nanos(0),
            commands: vec![command.clone()],
            checkpoint: false,
            rules: Ledger::RULES,
        };
        let prefetch = self.ledger.prefetch(&entry);
        let mut found = Fetched::from(self.position.earlier(prefetch.position));
        for key in prefetch.keys {
            match key {
                FetchKey::Transfer(id) => found.transfers.extend(self.rows.get(&id)),
                FetchKey::Resolution(pending_id) => found.resolutions.extend(
                    self.resolutions.get(&pending_id).map(|kind| Resolution { pending_id, kind: *kind }),
                ),
                FetchKey::Timestamp(_) => {}
            }
        }
        found
    }

    /// Applies a command in an entry; `None` when the fetch is too old.
    fn apply(&mut self, command: Command, found: Fetched) -> Option<Vec<EventResult>> {
        let time = self.time + u64::from(command.events);
        let entry =
            Entry { time: Nanos(time), commands: vec![command], checkpoint: false, rules: Ledger::RULES };
        let applied = self.ledger.apply(self.index.next(), &entry, found)?;
        (self.time, self.index) = (time, self.index.next());
        for (movement, number) in applied.rows.movements.iter().zip(self.position.movements..) {
            let row = FetchedTransfer::Applied(MovementNumber(number), *movement);
            self.rows.insert(movement.transfer.id, row);
            if movement.kind == MovementKind::Posted {
                self.resolutions.insert(movement.transfer.pending_id, movement.kind);
            }
        }
        for refusal in applied.rows.refusals.iter() {
            self.rows.insert(refusal.id, FetchedTransfer::Refused(*refusal));
        }
        self.position.movements += applied.rows.movements.len() as u64;
        self.position.refusals += applied.rows.refusals.len() as u64;
        let results = applied.results.concat();
        Some(records::<16>(&results).unwrap().iter().map(result_from_bytes).collect())
    }
}

/// The transfer with that id.
fn transfer(id: u128) -> Transfer {
    let base = Transfer { id: TransferId(id), amount: 1, ..Transfer::default() };
    let full = Transfer {
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        ledger: LedgerNumber(1),
        code: 1,
        ..base
    };
    match id % 16 {
        0 => Transfer { debit_account_id: AccountId(99), ..full },
        15 => full,
        odd if odd % 2 == 1 => Transfer { flags: TransferFlags::PENDING, ..full },
        _ => Transfer { pending_id: TransferId(id - 1), flags: TransferFlags::POST_PENDING, ..base },
    }
}

fn command(transfers: &[Transfer]) -> Command {
    Operation::CreateTransfers.command(Transfer::write_all(transfers)).unwrap()
}

/// Transfers with old ids, spread over all entries so far. Each is sent unchanged, and each post also under a
/// new id.
fn probe(newest: u128) -> Vec<Transfer> {
    let step = (newest / 150).max(1);
    let ids = (1..=newest).rev().step_by(usize::try_from(step).unwrap());
    ids.flat_map(|id| {
        let again = transfer(id);
        let resolved = again.pending_id;
        let twice = Transfer { id: TransferId(id | 1 << 100), ..again };
        [Some(again), (resolved.0 != 0).then_some(twice)]
    })
    .flatten()
    .collect()
}

fn expected(transfer: &Transfer) -> CreateTransferStatus {
    if transfer.id.0 >= 1 << 100 {
        CreateTransferStatus::PendingTransferAlreadyPosted
    } else if transfer.id.0.is_multiple_of(16) {
        CreateTransferStatus::IdAlreadyFailed
    } else {
        CreateTransferStatus::Exists
    }
}

#[test]
fn an_old_fetch_never_lets_an_id_be_used_twice() {
    const BATCH: u128 = 8176;
    const ENTRIES: u128 = 26;
    const { assert!(BATCH as usize <= limits::EVENTS_MAX, "a batch fits in a request") };
    let mut shard = Shard::new();
    let mut probes: VecDeque<(Vec<Transfer>, Fetched)> = VecDeque::new();
    for entry in 0..ENTRIES {
        let batch: Vec<Transfer> = (entry * BATCH + 1..=(entry + 1) * BATCH).map(transfer).collect();
        let command_of_batch = command(&batch);
        let found = shard.fetch(&command_of_batch);
        let results = shard.apply(command_of_batch, found).unwrap();
        let refused = results.iter().filter(|result| result.status != u32::MAX).count();
        assert_eq!(refused as u128, BATCH / 16, "one transfer of sixteen is refused");
        let transfers = probe((entry + 1) * BATCH);
        let found = shard.fetch(&command(&transfers));
        probes.push_back((transfers, found));
        if probes.len() < limits::ENTRIES_IN_FLIGHT_MAX {
            continue;
        }
        let (transfers, found) = probes.pop_front().unwrap();
        let results = shard.apply(command(&transfers), found.clone());
        let results = results.expect("the window reaches back over the entries in flight");
        for (transfer, result) in transfers.iter().zip(results) {
            let status = CreateTransferStatus::from_number(result.status).unwrap();
            assert_eq!(status, expected(transfer), "transfer {} after entry {entry}", transfer.id);
        }
    }
}

#[test]
fn a_fetch_older_than_the_window_is_rejected() {
    const BATCH: u128 = 8176;
    let mut shard = Shard::new();
    let old = command(&[transfer(15)]);
    let found = shard.fetch(&old);
    for entry in 0..26 {
        let batch: Vec<Transfer> = (entry * BATCH + 1..=(entry + 1) * BATCH).map(transfer).collect();
        let found = shard.fetch(&command(&batch));
        shard.apply(command(&batch), found).unwrap();
    }
    let before = crate::twin::read_checkpoint(&mut shard.ledger, 1 << 16);
    assert_eq!(shard.apply(old.clone(), found), None, "a fetch older than the window");
    assert_eq!(crate::twin::read_checkpoint(&mut shard.ledger, 1 << 16), before, "nothing changed");
    let found = shard.fetch(&old);
    let results = shard.apply(old, found).unwrap();
    assert_eq!(results[0].status, CreateTransferStatus::Exists.number());
}
