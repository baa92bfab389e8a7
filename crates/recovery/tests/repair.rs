//! Damage of each kind on the disk of one of several replicas and of a replica alone, and a loss of power at
//! every operation of a repair.
#![allow(clippy::unwrap_used, reason = "a test fails with the first error")]

use std::sync::Arc;

use bezant_consensus::{Change, Conflict, EntryKind, LogEntry, Members, Vote};
use bezant_ledger::{Event, Ledger, Operation, ToCommand};
use bezant_recovery::{Mode, RecoverError, Recovered, Repair, fetch, recover};
use bezant_replica::replay;
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_storage::disk::Disk;
use bezant_storage::log::LogOptions;
use bezant_storage::record::{Identity, KnownDisk, VoteStore, reserve_space, store_conflict, store_members};
use bezant_storage::repair::DamageNote;
use bezant_storage::{FaultPlan, MemoryDisk};
use bezant_types::{Account, AccountId, LedgerNumber, LogIndex, Nanos, NodeId, Term, Transfer, TransferId};

/// A peer whose disk the identity records.
const PEER: KnownDisk = KnownDisk { node: NodeId(1), since: LogIndex(0), disk: 9 };

const LOG: LogOptions = LogOptions::fixed(32 << 10);
/// An entry takes one block, and a segment has space for six.
const CHECKPOINT: LogIndex = LogIndex(3);
const LAST: LogIndex = LogIndex(60);
const TERM: Term = Term(3);

fn command(index: u64) -> Command {
    if index == 1 {
        let account =
            |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
        let accounts: Vec<Account> = (1..=2).map(account).collect();
        return Operation::CreateAccounts.command(Event::write_all(&accounts)).unwrap();
    }
    let transfer = |number: u64| Transfer {
        id: TransferId(u128::from(index * 100 + number)),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    };
    let transfers: Vec<Transfer> = (0..8).map(transfer).collect();
    Operation::CreateTransfers.command(Event::write_all(&transfers)).unwrap()
}

fn entry(index: u64) -> LogEntry {
    let entry =
        Entry { time: Nanos(index * 1000), commands: vec![command(index)], checkpoint: false, rules: 0 };
    LogEntry { index: LogIndex(index), term: TERM, kind: EntryKind::Command, payload: entry.encode() }
}

fn open(disk: &MemoryDisk, mode: Mode) -> Result<Recovered<Ledger>, RecoverError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    recover(&disk, LOG, mode)
}

/// A disk that has an identity and nothing else.
fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let identity = Identity {
        token: [1; 32],
        node: NodeId(2),
        disk: 7,
        since: LogIndex(0),
        is_admitted: true,
        engine: None,
        known: vec![PEER],
    };
    identity.store(&disk).unwrap();
    assert!(reserve_space(&disk).unwrap());
    disk
}

/// The disk of a replica with a checkpoint, and more than one segment of log after it.
fn folder() -> MemoryDisk {
    let disk = new_disk();
    let mut replica = open(&disk, Mode::Grouped).unwrap();
    replica.votes.save(Vote { term: TERM, voted_for: NodeId(1) }).unwrap();
    for index in 1..=LAST.0 {
        let entry = entry(index);
        replica.log.append(&entry).unwrap();
        replica.log.flush().unwrap();
        if index <= CHECKPOINT.0 {
            let reader = replica.history.reader();
            let rows = replay(&mut replica.machine, &entry, |prefetch| fetch(&reader, prefetch)).unwrap();
            let rows = rows.unwrap();
            replica.history.append(rows.movements, rows.refusals).unwrap();
        }
        if index == CHECKPOINT.0 {
            replica.history.flush().unwrap();
            let mut writer = replica.store.begin(CHECKPOINT, TERM).unwrap();
            replica.machine.begin_checkpoint();
            while let Some(piece) = replica.machine.poll_checkpoint(1 << 20) {
                writer.write(&piece).unwrap();
            }
            writer.finish(replica.machine.position(), replica.machine.time()).unwrap();
        }
    }
    disk
}

/// The `number`th file of the disk whose name begins with `start`.
fn file(disk: &MemoryDisk, start: &str, number: usize) -> String {
    let mut files = disk.list().unwrap().into_iter().filter(|file| file.starts_with(start));
    files.nth(number).unwrap_or_else(|| panic!("there is a file {start}"))
}

fn flip(disk: &MemoryDisk, file: &str, offset: u64) {
    disk.flip_bit(file, offset, 3).unwrap();
}

/// Name of the damage, the damage, and the last entry of the log that is kept; `None` when nothing is kept.
type Damage = (&'static str, fn(&MemoryDisk), Option<u64>);

const DAMAGE: [Damage; 13] = [
    ("the head of the checkpoint", |disk| flip(disk, &file(disk, "checkpoint-", 0), 40), None),
    ("the state in the checkpoint", |disk| flip(disk, &file(disk, "checkpoint-", 0), 4096 + 99), None),
    ("the size of the checkpoint", |disk| disk.put(&file(disk, "checkpoint-", 0), &[0; 4096]), None),
    ("rows of the history", |disk| flip(disk, &file(disk, "history-movements-0", 0), 200), None),
    ("the unfinished rows", |disk| flip(disk, &file(disk, "history-tail-", 0), 200), None),
    ("missing rows", |disk| disk.remove(&file(disk, "history-movements-0", 0)).unwrap(), None),
    ("the first header", |disk| flip(disk, &file(disk, "log-0", 0), 9), Some(3)),
    ("an entry that the checkpoint holds", |disk| flip(disk, &file(disk, "log-0", 0), 4096 + 80), Some(3)),
    ("an entry after it", |disk| flip(disk, &file(disk, "log-0", 0), 5 * 4096 + 80), Some(4)),
    ("a later entry", |disk| flip(disk, &file(disk, "log-0", 1), 4096 + 90), Some(6)),
    ("the header of a later segment", |disk| flip(disk, &file(disk, "log-0", 2), 9), Some(12)),
    ("a missing segment", |disk| disk.remove(&file(disk, "log-0", 3)).unwrap(), Some(18)),
    (
        "the seal of the last segment",
        |disk| {
            let last = disk.list().unwrap().into_iter().rfind(|file| file.starts_with("log-0")).unwrap();
            flip(disk, &last, (32 << 10) - 4090);
        },
        Some(54),
    ),
];

fn rot(damage: fn(&MemoryDisk)) -> MemoryDisk {
    let disk = folder();
    damage(&disk);
    disk.sync_folder().unwrap();
    disk
}

/// Checks a replica that was repaired.
fn check(name: &str, disk: &MemoryDisk, replica: &Recovered<Ledger>, kept: Option<u64>) {
    let identity = Identity::load(disk).unwrap().unwrap();
    assert!(!identity.is_admitted, "{name}");
    assert_eq!((identity.disk, &identity.known[..]), (7, &[PEER][..]), "{name}");
    let vote = replica.vote.unwrap();
    assert!(vote.term > TERM && vote.voted_for == NodeId(0), "{name}: it left its term");
    let last = replica.log.last_index();
    if let Some(kept) = kept {
        assert_eq!(last.0, kept, "{name}");
        assert_eq!(replica.checkpoint, (CHECKPOINT, TERM), "{name}");
    } else {
        assert_eq!((last, replica.checkpoint), (LogIndex(0), (LogIndex(0), Term(0))), "{name}");
        assert_eq!(replica.history.position(), bezant_types::HistoryPosition::default(), "{name}");
    }
    let expected: Vec<LogEntry> = (replica.checkpoint.0.0 + 1..=last.0).map(entry).collect();
    assert_eq!(replica.entries, expected, "{name}: the kept entries are those that were written");
}

#[test]
fn every_damage_is_found_and_repaired_and_the_log_continues() {
    for (name, damage, kept) in DAMAGE {
        let disk = rot(damage);
        let mut replica = open(&disk, Mode::Grouped).unwrap_or_else(|error| panic!("{name}: {error}"));
        let repairs: Vec<Repair> = std::mem::take(&mut replica.repairs);
        assert_eq!(repairs.len(), 1, "{name}: {repairs:?}");
        assert!(repairs[0].to_string().contains("Found: "), "{name}");
        check(name, &disk, &replica, kept);
        let next = replica.log.last_index().next();
        replica.log.append(&LogEntry { term: Term(9), ..entry(next.0) }).unwrap();
        replica.log.flush().unwrap();
        drop(replica);
        let again = open(&disk.crash(1), Mode::Grouped).unwrap();
        assert_eq!((again.log.last_index(), again.repairs.len()), (next, 0), "{name}: nothing is damaged");
        assert!(again.vote.is_some(), "{name}: the disk does not count as a new one");
    }
}

#[test]
fn a_replica_alone_repairs_nothing() {
    for (name, damage, _) in DAMAGE {
        let disk = rot(damage);
        let before = disk.list().unwrap();
        let contents = |disk: &MemoryDisk| before.iter().map(|file| disk.content(file)).collect::<Vec<_>>();
        let bytes = contents(&disk);
        assert!(open(&disk, Mode::Alone).is_err(), "{name}");
        assert_eq!(
            (disk.list().unwrap(), contents(&disk)),
            (before.clone(), bytes),
            "{name}: nothing is changed"
        );
    }
}

/// The only voter of its group, with a learner.
fn store_only_voter(disk: &MemoryDisk) {
    let first = Members::first([(NodeId(2), "host2:1".to_owned())]);
    let learner = Change::Add { node: NodeId(3), address: "host3:1".to_owned() };
    store_members(disk, &first.after(&learner, LogIndex(9))).unwrap();
}

#[test]
fn the_only_voter_is_not_repaired_from_others() {
    for (name, damage, _) in DAMAGE {
        let disk = rot(damage);
        store_only_voter(&disk);
        let before = disk.list().unwrap();
        let contents = |disk: &MemoryDisk| before.iter().map(|file| disk.content(file)).collect::<Vec<_>>();
        let bytes = contents(&disk);
        assert!(open(&disk, Mode::Grouped).is_err(), "{name}");
        assert_eq!((disk.list().unwrap(), contents(&disk)), (before.clone(), bytes), "{name}");
    }
    let disk = folder();
    store_only_voter(&disk);
    DamageNote { file: "history-movements-0".to_owned(), offset: 0 }.store(&disk).unwrap();
    let replica = open(&disk, Mode::Grouped).unwrap();
    assert_eq!((replica.repairs.len(), replica.log.last_index()), (0, LAST), "it shows what can be read");
}

#[test]
fn votes_and_identity_are_not_repaired() {
    for record in ["vote.bzv", "node.bzi"] {
        let disk = rot(|disk| flip(disk, &file(disk, "checkpoint-", 0), 40));
        flip(&disk, record, 30);
        let error = open(&disk, Mode::Grouped).unwrap_err();
        assert!(matches!(error, RecoverError::Record(_)), "{record}: {error}");
        assert!(disk.content(&file(&disk, "checkpoint-", 0)).is_ok(), "{record}: nothing is dropped");
    }
}

#[test]
fn a_folder_with_entries_and_no_vote_is_refused() {
    for damage in [|_: &MemoryDisk| {}, |disk: &MemoryDisk| flip(disk, &file(disk, "checkpoint-", 0), 40)] {
        let disk = rot(damage);
        disk.remove("vote.bzv").unwrap();
        let error = open(&disk, Mode::Grouped).unwrap_err().to_string();
        assert!(error.contains("vote.bzv is damaged: it is missing, although there is a log"), "{error}");
        assert!(disk.content(&file(&disk, "checkpoint-", 0)).is_ok(), "nothing is dropped");
    }
}

#[test]
fn a_folder_gets_a_vote_before_its_log_at_every_loss_of_power() {
    for step in 1.. {
        let disk = new_disk().restart();
        disk.set_faults(FaultPlan { crash_at: Some(step), ..FaultPlan::default() });
        let is_done = open(&disk, Mode::Grouped).is_ok();
        for seed in 0..8 {
            let disk = disk.crash(seed);
            let has_log = disk.list().unwrap().iter().any(|file| file.starts_with("log-0"));
            assert!(!has_log || disk.content("vote.bzv").is_ok(), "step {step}, seed {seed}");
            assert_eq!(open(&disk, Mode::Grouped).unwrap().vote, None, "step {step}, seed {seed}");
        }
        if is_done {
            assert!(step > 3, "a first start writes");
            break;
        }
    }
}

#[test]
fn an_empty_log_is_repaired() {
    let disk = new_disk();
    assert_eq!(open(&disk, Mode::Grouped).unwrap().vote, None);
    flip(&disk, &file(&disk, "log-0", 0), 9);
    let replica = open(&disk, Mode::Grouped).unwrap();
    assert_eq!((replica.repairs.len(), replica.log.last_index()), (1, LogIndex(0)));
    assert_eq!(replica.vote, Some(Vote { term: Term(1), voted_for: NodeId(0) }));
    assert!(!Identity::load(&disk).unwrap().unwrap().is_admitted);
}

#[test]
fn an_empty_log_of_version_0_1_without_a_vote_gets_one() {
    let disk = new_disk();
    open(&disk, Mode::Grouped).unwrap();
    disk.remove("vote.bzv").unwrap();
    assert_eq!(open(&disk, Mode::Grouped).unwrap().vote, None);
    assert!(disk.content("vote.bzv").is_ok());
}

#[test]
fn after_a_loss_of_power_the_next_start_repairs() {
    for (name, damage, kept) in DAMAGE {
        let rotten = rot(damage);
        for step in 1.. {
            let disk = rotten.restart();
            disk.set_faults(FaultPlan { crash_at: Some(step), ..FaultPlan::default() });
            let is_done = open(&disk, Mode::Grouped).is_ok();
            for seed in 0..3 {
                let disk = disk.crash(seed);
                let place = format!("{name}, step {step}, seed {seed}");
                let replica = open(&disk, Mode::Grouped).unwrap_or_else(|error| panic!("{place}: {error}"));
                check(&place, &disk, &replica, kept);
            }
            if is_done {
                assert!(step > 5, "{name}: the repair writes");
                break;
            }
        }
    }
}

#[test]
fn damage_found_while_running_is_repaired_at_the_next_start() {
    let disk = folder();
    let note = DamageNote { file: "history-movements-00000000".to_owned(), offset: 4096 };
    note.store(&disk).unwrap();
    assert_eq!(open(&disk, Mode::Alone).unwrap().applied, LAST, "alone, the note has no effect");
    let replica = open(&disk, Mode::Grouped).unwrap();
    assert!(replica.repairs[0].damage.contains("history-movements-00000000 is damaged at offset 4096"));
    check("noted", &disk, &replica, None);
    assert_eq!(DamageNote::load(&disk).unwrap(), None);
}

#[test]
fn files_that_are_set_aside_do_not_accumulate() {
    let disk = rot(|disk| flip(disk, &file(disk, "checkpoint-", 0), 40));
    drop(open(&disk, Mode::Grouped).unwrap());
    let aside = |disk: &MemoryDisk| disk.list().unwrap().iter().filter(|it| it.ends_with(".damaged")).count();
    assert_eq!(aside(&disk), 1);
    flip(&disk, &file(&disk, "log-0", 0), 9);
    drop(open(&disk, Mode::Grouped).unwrap());
    assert_eq!(aside(&disk), 1);
    let (_, vote) = VoteStore::open(Arc::new(disk)).unwrap();
    assert_eq!(vote.unwrap().term, Term(TERM.0 + 2), "each repair leaves its term");
}

/// A replica that stopped for a conflict may be the only one with its entries.
#[test]
fn a_stopped_replica_applies_committed_entries_and_drops_nothing() {
    let disk = folder();
    let mut replica = open(&disk, Mode::Grouped).unwrap();
    assert_eq!(replica.applied, CHECKPOINT, "later entries are not known to be committed");
    replica.log.note_committed(LogIndex(50));
    replica.log.mark().unwrap();
    drop(replica);
    let replica = open(&disk, Mode::Grouped).unwrap();
    assert_eq!((replica.committed, replica.conflict), (LogIndex(50), None));
    drop(replica);
    let conflict = Conflict {
        from: NodeId(1),
        term: Term(9),
        first: LogIndex(40),
        is_first_exact: true,
        committed: LogIndex(50),
        last: LAST,
        events: 80,
    };
    store_conflict(&disk, &conflict).unwrap();
    let replica = open(&disk, Mode::Grouped).unwrap();
    assert_eq!((replica.applied, replica.conflict), (LogIndex(50), Some(conflict)));
    assert_eq!(replica.entries.last().map(|entry| entry.index), Some(LAST), "the log keeps all of them");
    drop(replica);
    // Damage of a stopped replica is not repaired from the others.
    let file = disk.list().unwrap().into_iter().rfind(|file| file.starts_with("log-0")).unwrap();
    disk.flip_bit(&file, 4096 + 100, 3).unwrap();
    assert!(matches!(open(&disk, Mode::Grouped), Err(RecoverError::Log(_))));
}
