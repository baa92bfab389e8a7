//! Three nodes whose disks all fill up: payments stop with a reason, reads and elections go on, and payments
//! continue when there is space. What was acknowledged is on every node.

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery};
use bezant_replica::ReplicaOptions;
use bezant_runtime::{
    Consistency, EngineKind, ExecuteError, Handle, Health, Options, ReadError, Role, Running, start_member_on,
};
use bezant_storage::log::LogOptions;
use bezant_storage::{FaultPlan, HistoryQuery, MemoryDisk};
use bezant_types::{AccountId, TransferId};

use crate::common::{Nodes, are_created, create_accounts, listen, listen_again, member, payments};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of the log between two checkpoints.
const CHECKPOINT_INTERVAL: usize = 200 << 10;
/// Payments in one command.
const BATCH: u128 = 50;

struct Cluster {
    disks: Vec<MemoryDisk>,
    nodes: Nodes,
    running: Vec<Option<Running<Ledger>>>,
    engine: EngineKind,
    /// Bytes of free space below which a node takes no payments.
    space_kept: u64,
    next_id: u128,
    /// The first ids of the acknowledged batches.
    acknowledged: Vec<u128>,
    /// The first ids of the batches that a node refused without doing anything.
    not_taken: Vec<u128>,
}

impl Cluster {
    async fn start(engine: EngineKind, space_kept: u64) -> Self {
        let (listeners, nodes) = listen(3);
        let mut cluster = Self {
            disks: (0..3).map(|_| MemoryDisk::new()).collect(),
            nodes,
            running: vec![None, None, None],
            engine,
            space_kept,
            next_id: 1,
            acknowledged: Vec::new(),
            not_taken: Vec::new(),
        };
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.start_node(at, listener);
        }
        cluster.create_accounts().await;
        cluster
    }

    fn start_node(&mut self, at: usize, listener: TcpListener) {
        let cluster = member(&self.nodes, at, self.engine, listener);
        let options = Options {
            node: ReplicaOptions {
                checkpoint_interval_bytes: CHECKPOINT_INTERVAL,
                ..ReplicaOptions::default()
            },
            log: LogOptions::fixed(256 << 10),
            space_kept: self.space_kept,
            ..Options::new("unused")
        };
        let disk = Arc::new(self.disks[at].clone());
        self.running[at] = Some(start_member_on(disk, &options, cluster).expect("the node starts"));
    }

    /// Starts a node again on what its disk holds.
    fn start_again(&mut self, at: usize) {
        self.start_node(at, listen_again(&self.nodes, at));
    }

    async fn stop(&mut self, at: usize) {
        let running = self.running[at].take().expect("it runs");
        tokio::task::spawn_blocking(move || running.stop()).await.expect("the node stops");
    }

    fn up(&self) -> impl Iterator<Item = Handle<Ledger>> {
        self.running.iter().flatten().map(Running::handle)
    }

    /// Limits every disk to this many more bytes; `None` for no limit.
    fn set_space(&self, space: Option<u64>) {
        for disk in &self.disks {
            let capacity_bytes = space.map(|space| disk.used_bytes() + space);
            disk.set_faults(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        }
    }

    async fn create_accounts(&self) {
        let command = create_accounts([1, 2]);
        let handle = self.up().next().expect("one runs");
        let deadline = Instant::now() + TIMEOUT;
        while let Err(error) = handle.execute(command.clone(), None).await {
            assert!(Instant::now() < deadline, "no answer: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Pays at one node; true when that was acknowledged.
    async fn pay(&mut self, handle: &Handle<Ledger>) -> bool {
        let first = self.next_id;
        self.next_id += BATCH;
        let command = payments(first..self.next_id);
        match handle.execute(command, Some(Instant::now() + CLIENT_TIMEOUT)).await {
            Ok(committed) => {
                assert!(are_created(&committed.results), "all are created");
                self.acknowledged.push(first);
                true
            }
            Err(error) => {
                if matches!(error, ExecuteError::NotTaken { .. }) {
                    self.not_taken.push(first);
                }
                false
            }
        }
    }

    /// Pays at every running node until none of them takes payments any more, and a majority reports a full
    /// disk. The third node may still have space for a few entries. It does not receive them, because they
    /// cannot be committed.
    async fn pay_until_full(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut is_taken = false;
            for handle in self.up().collect::<Vec<_>>() {
                is_taken |= self.pay(&handle).await;
            }
            let healths: Vec<Health> = self.up().map(|handle| handle.health()).collect();
            let reports_full = |health: &&Health| matches!(health, Health::ReadOnly { reason } if reason.contains("disk is"));
            if !is_taken && healths.iter().filter(reports_full).count() >= 2 {
                return;
            }
            assert!(Instant::now() < deadline, "they are not full: {healths:?}");
        }
    }

    /// Pays until the leader refuses without doing anything.
    async fn pay_until_not_taken(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.not_taken.is_empty() {
            assert!(Instant::now() < deadline, "no refusal reports that nothing was done");
            for handle in self.up().collect::<Vec<_>>() {
                self.pay(&handle).await;
            }
        }
    }

    /// The leader, once all running nodes have it.
    async fn leader(&self) -> usize {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let handles: Vec<_> = self.up().collect();
            let leads = |handle: &&Handle<Ledger>| handle.cluster().role == Role::Leader;
            if let Some(leader) = handles.iter().find(leads).map(|handle| handle.cluster().node)
                && handles.iter().all(|handle| handle.cluster().leader == Some(leader))
            {
                return usize::try_from(leader.0).expect("it is small") - 1;
            }
            let statuses: Vec<_> = handles.iter().map(Handle::cluster).collect();
            assert!(Instant::now() < deadline, "no node leads: {statuses:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every running node answers stale reads, once it has applied the entries that its disk holds as
    /// committed.
    async fn check_stale_reads(&self) {
        let deadline = Instant::now() + TIMEOUT;
        for handle in self.up() {
            while let Err(error) = debits(&handle, Consistency::Stale).await {
                let is_replaying = matches!(error, ReadError::NoState { .. });
                assert!(is_replaying && Instant::now() < deadline, "it needs no other node: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Every node that has applied the committed entries shows at least what was acknowledged. At least
    /// `least` nodes must have applied them.
    async fn check_reads(&self, least: usize) {
        let acknowledged = self.acknowledged.len() as u128 * BATCH;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let committed = self.up().map(|handle| handle.cluster().committed).max().expect("one runs");
            let current: Vec<_> = self.up().filter(|handle| handle.cluster().applied >= committed).collect();
            if current.len() >= least {
                for handle in current {
                    let debits = debits(&handle, Consistency::Linearizable).await;
                    let Ok(debits) = debits else {
                        let statuses: Vec<_> = self.up().map(|handle| handle.cluster()).collect();
                        panic!("reads go on: {debits:?} from {:?} of {statuses:?}", handle.cluster().node)
                    };
                    assert!(debits >= acknowledged, "{debits} of {acknowledged} acknowledged");
                }
                return;
            }
            let statuses: Vec<_> = self.up().map(|handle| handle.cluster()).collect();
            assert!(Instant::now() < deadline, "too few have what is committed: {statuses:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Checks the cluster after it has space again: all nodes serve, payments continue, and all nodes have
    /// everything acknowledged and the same state.
    async fn check_recovery(&mut self) {
        for handle in self.up().collect::<Vec<_>>() {
            let mut health = handle.watch_health();
            let serving = health.wait_for(|health| *health == Health::Serving);
            tokio::time::timeout(TIMEOUT, serving).await.expect("it serves").expect("it runs");
        }
        let deadline = Instant::now() + TIMEOUT;
        let before = self.up().map(|handle| handle.cluster().applied).max().expect("they run");
        let agree = |status: &bezant_runtime::ClusterStatus| status.agreed.0 > before && status.agreed.1 == 3;
        loop {
            let mut taken = 0;
            for handle in self.up().collect::<Vec<_>>() {
                taken += usize::from(self.pay_for_a_checkpoint(&handle).await);
            }
            // Nothing is paid meanwhile, so that all nodes report their digests before the next checkpoint
            // begins.
            let reported = Instant::now() + Duration::from_secs(5);
            while taken == 3 && Instant::now() < reported {
                if self.up().all(|handle| agree(&handle.cluster())) {
                    return self.check_payments().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let statuses: Vec<_> = self.up().map(|handle| handle.cluster()).collect();
            assert!(Instant::now() < deadline, "they do not continue: {statuses:?}");
        }
    }

    /// Pays at one node until a checkpoint is cut; true when all payments were acknowledged.
    async fn pay_for_a_checkpoint(&mut self, handle: &Handle<Ledger>) -> bool {
        for _ in 0..=CHECKPOINT_INTERVAL / (BATCH as usize * 128) {
            if !self.pay(handle).await {
                return false;
            }
        }
        true
    }

    /// Every node has every acknowledged payment, and none of a refused batch.
    async fn check_payments(&self) {
        self.check_reads(3).await;
        for handle in self.up() {
            for first in &self.acknowledged {
                let ids: Vec<TransferId> = (*first..first + BATCH).map(TransferId).collect();
                let found = handle.query_history(HistoryQuery::Transfers(ids), None).await;
                assert_eq!(found.expect("reads go on").len() as u128, BATCH, "{first} was acknowledged");
            }
            for first in &self.not_taken {
                let ids: Vec<TransferId> = (*first..first + BATCH).map(TransferId).collect();
                let found = handle.query_history(HistoryQuery::Transfers(ids), None).await;
                assert!(found.expect("reads go on").is_empty(), "{first} was not taken");
            }
        }
    }
}

/// The debits of the first account in one node's state; 0 when the account does not exist yet.
async fn debits(handle: &Handle<Ledger>, consistency: Consistency) -> Result<u128, ReadError> {
    let query = LedgerQuery::Accounts(vec![AccountId(1)]);
    let read = handle.query_at(query, consistency, Some(Instant::now() + TIMEOUT)).await?;
    let LedgerAnswer::Accounts(accounts) = read.answer else { panic!("accounts were asked for") };
    Ok(accounts.first().map_or(0, |found| found.account.debits_posted))
}

/// Payments end before the last byte is used: nothing waits for the disk, so another node can be elected.
async fn nearly_full(engine: EngineKind) {
    // Far more than is written between two checks of the space.
    let mut cluster = Cluster::start(engine, 8 << 20).await;
    cluster.set_space(Some(11 << 20));
    cluster.pay_until_full().await;
    cluster.pay_until_not_taken().await;
    cluster.check_reads(3).await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.stop(leader).await;
        assert_ne!(cluster.leader().await, leader, "another node leads");
        cluster.check_reads(2).await;
        cluster.start_again(leader);
        cluster.leader().await;
        cluster.check_reads(3).await;
    }
    cluster.set_space(None);
    cluster.check_recovery().await;
}

/// Payments end when nothing fits any more: entries and rows wait. A leader that took leadership from a node
/// with a full disk cannot have its first entry committed, so it confirms no reads. It stays the leader, and
/// all nodes answer stale reads.
async fn quite_full(engine: EngineKind) {
    let mut cluster = Cluster::start(engine, 0).await;
    cluster.set_space(Some(3 << 20));
    cluster.pay_until_full().await;
    let leader = cluster.leader().await;
    cluster.check_stale_reads().await;
    cluster.stop(leader).await;
    cluster.check_stale_reads().await;
    cluster.start_again(leader);
    cluster.check_stale_reads().await;
    cluster.set_space(None);
    cluster.check_recovery().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nearly_full_disks_elect_and_continue_on_raft() {
    nearly_full(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nearly_full_disks_elect_and_continue_on_paxos() {
    nearly_full(EngineKind::Paxos).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_read_and_continue_on_raft() {
    quite_full(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_read_and_continue_on_paxos() {
    quite_full(EngineKind::Paxos).await;
}
