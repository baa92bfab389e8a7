//! Three nodes with threads, sockets and files. One is stopped, a file of its folder is changed, and the node
//! repairs itself at its next start.

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery};
use bezant_replica::ReplicaOptions;
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_runtime::{
    Consistency, EngineKind, FileDisk, Handle, Health, NoState, Options, ReadError, Running, StartError,
    start_member,
};
use bezant_storage::checkpoint::CheckpointStore;
use bezant_storage::log::LogOptions;
use bezant_storage::record::Identity;
use bezant_storage::{HistoryQuery, disk::Disk};
use bezant_types::{AccountId, Fetched, LogIndex, Nanos, TransferId};

use crate::common::{Nodes, create_accounts, listen, listen_again, member, payments};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The node whose disk is damaged.
const DAMAGED: usize = 2;

struct Cluster {
    folder: tempfile::TempDir,
    nodes: Nodes,
    running: Vec<Option<Running<Ledger>>>,
    engine: EngineKind,
    next_id: u128,
}

impl Cluster {
    fn start(engine: EngineKind) -> Self {
        let (listeners, nodes) = listen(3);
        let folder = tempfile::tempdir().expect("there is space");
        let running = vec![None, None, None];
        let mut cluster = Self { folder, nodes, running, engine, next_id: 1 };
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.start_node(at, listener);
        }
        cluster
    }

    fn data_dir(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node-{at}"))
    }

    fn start_node(&mut self, at: usize, listener: TcpListener) {
        self.running[at] = Some(self.try_start(at, listener).expect("the node starts"));
    }

    fn try_start(&self, at: usize, listener: TcpListener) -> Result<Running<Ledger>, StartError> {
        let cluster = member(&self.nodes, at, self.engine, listener);
        // Checkpoints are frequent, and the log's segments are small.
        let options = Options {
            node: ReplicaOptions { checkpoint_interval_bytes: 150 << 10, ..ReplicaOptions::default() },
            log: LogOptions::fixed(1 << 20),
            ..Options::new(self.data_dir(at))
        };
        start_member(&options, cluster)
    }

    /// Starts a stopped node again at its address.
    fn start_again(&mut self, at: usize) {
        self.start_node(at, listen_again(&self.nodes, at));
    }

    fn stop(&mut self, at: usize) {
        self.running[at].take().expect("it runs").stop();
        drop(open(&self.data_dir(at)));
    }

    fn repairs(&self, at: usize) -> Vec<String> {
        let report = self.running[at].as_ref().expect("it runs").report();
        report.repairs.iter().map(ToString::to_string).collect()
    }

    /// The debits that a stale read returns at the damaged node.
    async fn shown(&self) -> Result<u128, ReadError> {
        let query = LedgerQuery::Accounts(vec![AccountId(1)]);
        let read = self.handle(DAMAGED).query_at(query, Consistency::Stale, None).await?;
        let LedgerAnswer::Accounts(accounts) = read.answer else { panic!("{:?}", read.answer) };
        Ok(accounts.first().map_or(0, |view| view.account.debits_posted))
    }

    /// Waits until the damaged node has a state, and reads it at once.
    async fn shown_with_state(&self) -> u128 {
        let mut health = self.handle(DAMAGED).watch_health();
        let has_state = health.wait_for(|health| *health == Health::Serving);
        tokio::time::timeout(TIMEOUT, has_state).await.expect("it gets a state").expect("it runs");
        self.shown().await.expect("it shows its state")
    }

    fn handle(&self, at: usize) -> Handle<Ledger> {
        self.running[at].as_ref().expect("it runs").handle()
    }

    async fn create_accounts(&self) {
        self.execute(create_accounts([1, 2])).await;
    }

    /// Executes a command at the first node; it is retried while no node leads.
    async fn execute(&self, command: Command) {
        let deadline = Instant::now() + TIMEOUT;
        while let Err(error) = self.handle(0).execute(command.clone(), None).await {
            assert!(Instant::now() < deadline, "no answer: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Pays 1 `count` times.
    async fn pay(&mut self, count: u128) {
        let first = self.next_id;
        self.next_id += count;
        self.execute(payments(first..self.next_id)).await;
    }

    /// Pays until the states of all three were found equal after an entry that is newer than all earlier
    /// ones.
    async fn pay_until_all_agree(&mut self) {
        let before = self.handle(0).cluster().applied;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.pay(100).await;
            let (index, count) = self.handle(DAMAGED).cluster().agreed;
            if index > before && count == 3 {
                return;
            }
            let status = self.handle(DAMAGED).cluster();
            assert!(
                Instant::now() < deadline,
                "the node has not caught up: {:?} {status:?}\nthe first: {:?}",
                self.handle(DAMAGED).health(),
                self.handle(0).cluster()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the node, changes its folder, and starts it again; returns what the start repaired.
    fn damage(&mut self, change: impl FnOnce(&Path)) -> Vec<String> {
        self.stop(DAMAGED);
        change(&self.data_dir(DAMAGED));
        self.start_again(DAMAGED);
        self.repairs(DAMAGED)
    }
}

/// Flips a bit in the newest file with this prefix, at `place` percent of what was written.
fn flip_bit(folder: &Path, start: &str, place: usize) {
    let files =
        std::fs::read_dir(folder).expect("it is there").map(|file| file.expect("it can be read").path());
    let is_it = |path: &PathBuf| {
        path.extension().is_none_or(|extension| extension != "tmp")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    let file = files.filter(is_it).max().expect("there is such a file");
    let mut bytes = std::fs::read(&file).expect("it can be read");
    let written = bytes.iter().rposition(|byte| *byte != 0);
    let written = written.unwrap_or_else(|| panic!("something was written in {}", file.display())) + 1;
    let at = (0..written * place / 100).rfind(|at| bytes[*at] != 0).expect("something was written there");
    bytes[at] ^= 8;
    std::fs::write(&file, bytes).expect("it can be written");
}

/// Opens the folder; a thread of a connection may keep it locked for a moment longer than the node.
fn open(folder: &Path) -> FileDisk {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match FileDisk::open(folder) {
            Ok(disk) => return disk,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_repairs_a_damaged_file_on_raft() {
    repair_files(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_repairs_a_damaged_file_on_paxos() {
    repair_files(EngineKind::Paxos).await;
}

async fn repair_files(engine: EngineKind) {
    let mut cluster = Cluster::start(engine);
    cluster.create_accounts().await;
    cluster.pay_until_all_agree().await;
    for (start, place, words) in [
        ("log-0", 98, "entries after"),
        ("checkpoint-", 50, "state, history and log"),
        ("log-0", 0, "entries after"),
        ("history-movements-0", 50, "state, history and log"),
    ] {
        for _ in 0..3 {
            cluster.pay(100).await;
        }
        let repairs = cluster.damage(|folder| flip_bit(folder, start, place.max(1)));
        assert!(repairs.len() == 1 && repairs[0].starts_with(words), "{start}: {repairs:?}");
        cluster.pay_until_all_agree().await;
        let repairs = cluster.damage(|folder| {
            let disk = open(folder);
            let identity = Identity::load(&disk as &dyn Disk).expect("it is whole").expect("it is a node's");
            assert!(identity.is_admitted, "{start}: it votes again");
        });
        assert_eq!(repairs, Vec::<String>::new(), "{start}: nothing is damaged");
        cluster.pay_until_all_agree().await;
    }
    let ids: Vec<TransferId> = (1..cluster.next_id).step_by(97).map(TransferId).collect();
    let query = HistoryQuery::Transfers(ids.clone());
    let found = cluster.handle(DAMAGED).query_history(query, None).await.expect("it can be read");
    assert_eq!(found.len(), ids.len());
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_are_never_served_and_are_repaired_at_start() {
    let mut cluster = Cluster::start(EngineKind::Raft);
    cluster.create_accounts().await;
    // More than one run: older rows leave the memory, and a start does not read them.
    for _ in 0..14 {
        cluster.pay(8000).await;
    }
    cluster.pay_until_all_agree().await;
    let repairs = cluster.damage(|folder| flip_bit(folder, "history-movements-0000", 10));
    assert_eq!(repairs, Vec::<String>::new(), "a start does not read all rows");
    cluster.pay_until_all_agree().await;
    let deadline = Instant::now() + TIMEOUT;
    let mut ids = (1..100_000).step_by(12).map(TransferId);
    loop {
        assert!(Instant::now() < deadline, "the damage is not found");
        let some: Vec<TransferId> = ids.by_ref().take(500).collect();
        match cluster.handle(DAMAGED).query_history(HistoryQuery::Transfers(some.clone()), None).await {
            Ok(found) => assert_eq!(found.len(), some.len(), "all requested rows are served"),
            Err(ReadError::Damaged { reason }) => {
                assert!(reason.contains("history-movements-00000000 is damaged at offset"), "{reason}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let repairs = cluster.damage(|_| {});
    assert!(repairs.len() == 1 && repairs[0].starts_with("state, history and log"), "{repairs:?}");
    cluster.pay_until_all_agree().await;
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}

/// Adds an account to the newest checkpoint that no entry created, as a defect or bad memory could.
fn falsify(folder: &Path) {
    let store = CheckpointStore::new(Arc::new(open(folder)));
    let newest = store.load_newest().expect("it is whole").expect("there is one");
    let mut ledger = Ledger::restore(&newest.bytes).expect("it is a ledger's");
    let commands = vec![create_accounts([3])];
    let entry = Entry { time: Nanos(ledger.time().0 + 1), commands, checkpoint: false, rules: Ledger::RULES };
    let found = Fetched::from(ledger.position());
    ledger.apply(newest.index, &entry, found).expect("it needs no rows");
    ledger.begin_checkpoint();
    let mut writer = store.begin(newest.index, newest.term).expect("there is space");
    while let Some(piece) = ledger.poll_checkpoint(1 << 20) {
        writer.write(&piece).expect("there is space");
    }
    writer.finish(newest.history, ledger.time()).expect("there is space");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diverged_node_stops_and_fetches_the_common_state() {
    let mut cluster = Cluster::start(EngineKind::Raft);
    cluster.create_accounts().await;
    cluster.pay_until_all_agree().await;
    let repairs = cluster.damage(falsify);
    assert_eq!(repairs, Vec::<String>::new(), "all checksums are right");
    let deadline = Instant::now() + TIMEOUT;
    let reason = loop {
        cluster.pay(100).await;
        if let Health::ReadOnly { reason } = cluster.handle(DAMAGED).health() {
            break reason;
        }
        assert!(Instant::now() < deadline, "the difference is not noticed");
    };
    assert!(reason.contains("is not that of the majority"), "{reason}");
    let books = cluster.handle(DAMAGED).query_at(LedgerQuery::Books, Consistency::Stale, None).await;
    assert_eq!(books, Err(ReadError::NoLeader), "its state is never served");
    let repairs = cluster.damage(|_| {});
    assert!(repairs.len() == 1 && repairs[0].contains("not that of the majority"), "{repairs:?}");
    cluster.pay_until_all_agree().await;
    let lookup = LedgerQuery::Accounts(vec![AccountId(3)]);
    let found = cluster.handle(DAMAGED).query(lookup, None).await.expect("it answers again");
    assert!(matches!(&found, LedgerAnswer::Accounts(found) if found.is_empty()), "{found:?}");
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_repair_serves_no_old_state_on_raft() {
    show_nothing_before(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_repair_serves_no_old_state_on_paxos() {
    show_nothing_before(EngineKind::Paxos).await;
}

async fn show_nothing_before(engine: EngineKind) {
    for (start, place) in [("checkpoint-", 50), ("log-0", 1)] {
        let mut cluster = Cluster::start(engine);
        cluster.create_accounts().await;
        cluster.pay_until_all_agree().await;
        cluster.pay(10).await;
        let paid = cluster.next_id - 1;
        (0..3).for_each(|at| cluster.stop(at));
        flip_bit(&cluster.data_dir(DAMAGED), start, place);
        // The same holds after an interrupted start.
        for repairs in [1, 0] {
            cluster.start_again(DAMAGED);
            assert_eq!(cluster.repairs(DAMAGED).len(), repairs, "{start}");
            let handle = cluster.handle(DAMAGED);
            let nothing = ReadError::NoState { reason: NoState::Filling };
            assert_eq!(cluster.shown().await, Err(nothing.clone()), "{start}");
            let session = Consistency::AtLeast(LogIndex(1));
            let read = handle.query_at(LedgerQuery::Books, session, None).await;
            assert_eq!(read, Err(nothing.clone()), "{start}");
            let query = HistoryQuery::Transfers(vec![TransferId(1)]);
            let read = handle.query_history_at(query, Consistency::Stale, None).await;
            assert_eq!(read.map(|read| read.index), Err(nothing), "{start}");
            assert_eq!(handle.health(), Health::NoState { reason: NoState::Filling }, "{start}");
            assert_eq!(handle.cluster().no_state, Some(NoState::Filling), "{start}");
            // A handle keeps the folder locked.
            drop(handle);
            if repairs == 1 {
                cluster.stop(DAMAGED);
            }
        }
        cluster.start_again(0);
        cluster.start_again(1);
        assert_eq!(cluster.shown_with_state().await, paid, "{start}");
        for running in cluster.running.drain(..).flatten() {
            running.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_started_alone_shows_its_committed_state() {
    for engine in [EngineKind::Raft, EngineKind::Paxos] {
        let mut cluster = Cluster::start(engine);
        cluster.create_accounts().await;
        cluster.pay_until_all_agree().await;
        cluster.pay(10).await;
        let paid = cluster.next_id - 1;
        let deadline = Instant::now() + TIMEOUT;
        while cluster.shown().await != Ok(paid) {
            assert!(Instant::now() < deadline, "it applies all payments");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (0..3).for_each(|at| cluster.stop(at));
        cluster.start_again(DAMAGED);
        assert_eq!(cluster.shown_with_state().await, paid, "{engine}");
        for running in cluster.running.drain(..).flatten() {
            running.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_list_of_members_is_restored() {
    let mut cluster = Cluster::start(EngineKind::Raft);
    cluster.create_accounts().await;
    cluster.pay_until_all_agree().await;
    for file in ["members.bzm", "node.bzi"] {
        let repairs = cluster.damage(|folder| flip_bit(folder, file, 50));
        assert_eq!(repairs, Vec::<String>::new(), "{file} has a copy");
        cluster.pay_until_all_agree().await;
    }
    let repairs = cluster.damage(|folder| {
        let disk = open(folder);
        let identity = Identity::load(&disk as &dyn Disk).expect("it is whole").expect("it is a node's");
        assert!(identity.is_admitted, "it votes again");
    });
    assert_eq!(repairs, Vec::<String>::new(), "nothing is damaged");
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}

/// The files of a folder and their bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files =
        std::fs::read_dir(folder).expect("it is there").map(|file| file.expect("it can be read").path());
    let mut files: Vec<_> =
        files.map(|file| (file.clone(), std::fs::read(file).expect("it can be read"))).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_lists_of_members_cost_no_acknowledged_payment() {
    let mut cluster = Cluster::start(EngineKind::Raft);
    cluster.create_accounts().await;
    cluster.pay_until_all_agree().await;
    cluster.stop(DAMAGED);
    // The damaged node has none of these payments, and its lists are whole.
    for _ in 0..5 {
        cluster.pay(100).await;
    }
    let paid = cluster.next_id - 1;
    (0..DAMAGED).for_each(|at| cluster.stop(at));
    let list = std::fs::read(cluster.data_dir(DAMAGED).join("members.bzm")).expect("it is there");
    cluster.start_again(DAMAGED);
    for at in 0..DAMAGED {
        let folder = cluster.data_dir(at);
        for file in ["members.bzm", "members.copy"] {
            match at {
                0 => flip_bit(&folder, file, 50),
                _ => std::fs::remove_file(folder.join(file)).expect("it is there"),
            }
        }
        let before = contents(&folder);
        let listener = listen_again(&cluster.nodes, at);
        let error = cluster.try_start(at, listener).expect_err("it is refused").to_string();
        for word in ["members.bzm", "Copy members.bzm", "docs/operations.md"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        drop(open(&folder));
        assert_eq!(contents(&folder).len(), before.len(), "no file is added or removed");
        assert!(contents(&folder) == before, "no file is changed");
    }
    for at in 0..DAMAGED {
        std::fs::write(cluster.data_dir(at).join("members.bzm"), &list).expect("it can be written");
        cluster.start_again(at);
        assert_eq!(cluster.repairs(at), Vec::<String>::new(), "nothing is fetched again");
    }
    let deadline = Instant::now() + TIMEOUT;
    while cluster.shown().await != Ok(paid) {
        assert!(Instant::now() < deadline, "{:?} of {paid}", cluster.shown().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.pay_until_all_agree().await;
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_vote_or_identity_is_refused_with_advice() {
    let mut cluster = Cluster::start(EngineKind::Raft);
    cluster.create_accounts().await;
    cluster.pay_until_all_agree().await;
    cluster.stop(DAMAGED);
    for files in [&["vote.bzv"][..], &["node.bzi", "node.copy"]] {
        let folder = cluster.data_dir(DAMAGED);
        let whole: Vec<_> =
            files.iter().map(|file| std::fs::read(folder.join(file)).expect("it is there")).collect();
        files.iter().for_each(|file| flip_bit(&folder, file, 50));
        let listener = listen_again(&cluster.nodes, DAMAGED);
        let error = cluster.try_start(DAMAGED, listener).expect_err("it is refused").to_string();
        let words = [files[0], "replace it in the cluster", "docs/operations.md"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        for (file, bytes) in files.iter().zip(whole) {
            std::fs::write(folder.join(file), bytes).expect("it can be written");
        }
    }
    cluster.start_again(DAMAGED);
    cluster.pay_until_all_agree().await;
    for running in cluster.running.drain(..).flatten() {
        running.stop();
    }
}
