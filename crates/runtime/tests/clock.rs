//! Nodes with clocks that the test sets, most of them three. One clock is set to another century: cluster
//! time stays with the others, on both engines. A node that is alone compares its clock with its ledger.

mod common;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bezant_ledger::Ledger;
use bezant_runtime::{
    Clock, EngineKind, ExecuteError, Handle, Health, Options, Role, Running, StartError, start_member_on,
    start_on,
};
use bezant_storage::MemoryDisk;
use bezant_types::{LogIndex, Nanos};

use crate::common::{Nodes, create_accounts, listen, member};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_mins(1);
const SECOND: i64 = 1_000_000_000;
const CENTURY: i64 = 100 * 365 * 86_400 * SECOND;

/// The machine's clock plus an offset in ns.
#[derive(Clone, Default)]
struct Skew(Arc<AtomicI64>);

impl Skew {
    fn set(&self, nanos: i64) {
        self.0.store(nanos, Ordering::Release);
    }

    fn clock(&self) -> Clock {
        let skew = self.clone();
        Clock::new(move || Nanos(machine().saturating_add_signed(skew.0.load(Ordering::Acquire))))
    }
}

fn machine() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_nanos()).expect("it is earlier than 2554")
}

/// True for a time within two minutes of the machine's clock.
fn is_now(time: Nanos) -> bool {
    time.0.abs_diff(machine()) < 120 * SECOND.unsigned_abs()
}

fn options(skew: &Skew) -> Options {
    Options { clock: skew.clock(), ..Options::new("unused") }
}

/// Creates an account; returns its timestamp, or why it was not created.
async fn create(handle: &Handle<Ledger>, id: u128) -> Result<Nanos, ExecuteError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    Ok(handle.execute(create_accounts([id]), Some(deadline)).await?.time)
}

struct Cluster {
    engine: EngineKind,
    nodes: Nodes,
    disks: Vec<MemoryDisk>,
    running: Vec<Option<Running<Ledger>>>,
    skews: Vec<Skew>,
    next_id: u128,
}

impl Cluster {
    /// Starts nodes with these offsets of their clocks in ns.
    fn start(engine: EngineKind, skews: &[i64]) -> Self {
        let (listeners, nodes) = listen(skews.len());
        let mut cluster = Self {
            engine,
            nodes,
            disks: skews.iter().map(|_| MemoryDisk::new()).collect(),
            running: skews.iter().map(|_| None).collect(),
            skews: skews.iter().map(|_| Skew::default()).collect(),
            next_id: 1,
        };
        for (at, listener) in listeners.into_iter().enumerate() {
            cluster.skews[at].set(skews[at]);
            cluster.begin(at, listener, false);
        }
        cluster
    }

    fn begin(&mut self, at: usize, listener: TcpListener, is_clock_accepted: bool) {
        let member = member(&self.nodes, at, self.engine, listener);
        let options = Options { is_clock_accepted, ..options(&self.skews[at]) };
        let running = start_member_on(Arc::new(self.disks[at].clone()), &options, member);
        self.running[at] = Some(running.expect("the node starts"));
    }

    /// Starts a stopped node again, with this offset of its clock in ns.
    fn restart(&mut self, at: usize, skew: i64, is_clock_accepted: bool) {
        let deadline = Instant::now() + TIMEOUT;
        let listener = loop {
            match TcpListener::bind(&self.nodes[at].1) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "its address: {error}"),
            }
        };
        self.skews[at].set(skew);
        self.begin(at, listener, is_clock_accepted);
    }

    /// Waits until each of these nodes refuses writes because no clock is right. No node may write anything
    /// meanwhile.
    async fn until_nothing_is_taken(&self, nodes: &[usize]) {
        let deadline = Instant::now() + TIMEOUT;
        for at in nodes {
            loop {
                match create(&self.handle(*at), 999).await {
                    Err(ExecuteError::NotTaken { reason }) => {
                        assert!(reason.contains("with their clocks accepted"), "{reason}");
                        break;
                    }
                    Err(error) => assert!(Instant::now() < deadline, "another reason: {error}"),
                    Ok(time) => panic!("it was stamped: {time}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn handle(&self, at: usize) -> Handle<Ledger> {
        self.running[at].as_ref().expect("it runs").handle()
    }

    fn runs(&self) -> impl Iterator<Item = usize> {
        (0..self.running.len()).filter(|at| self.running[*at].is_some())
    }

    /// Creates accounts through all nodes in turn until `count` are created; returns their timestamps.
    async fn create(&mut self, count: usize) -> Vec<Nanos> {
        let mut times = Vec::new();
        let deadline = Instant::now() + TIMEOUT;
        let nodes: Vec<usize> = self.runs().collect();
        for at in nodes.into_iter().cycle() {
            if times.len() == count {
                break;
            }
            match create(&self.handle(at), self.next_id).await {
                Ok(time) => {
                    times.push(time);
                    self.next_id += 1;
                }
                Err(error) => {
                    assert!(Instant::now() < deadline, "no answer: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        times
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !is_so(self) {
            let statuses: Vec<_> = self.runs().map(|at| self.handle(at).cluster()).collect();
            assert!(Instant::now() < deadline, "waited until {what}: {statuses:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn leader(&self) -> Option<usize> {
        self.runs().find(|at| self.handle(*at).cluster().role == Role::Leader)
    }

    fn stop(&mut self, at: usize) {
        self.running[at].take().expect("it runs").stop();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.drain(..).flatten().for_each(Running::stop);
    }
}

async fn set_the_clock_of_the_leader(engine: EngineKind, by: i64) {
    let mut cluster = Cluster::start(engine, &[0; 3]);
    assert!(cluster.create(3).await.into_iter().all(is_now));
    cluster.until("a node leads", |cluster| cluster.leader().is_some()).await;
    let first = cluster.leader().expect("it was there");
    let wrong = (first + 1) % 3;
    // A wrong clock of a follower does not matter. With a wrong clock of the leader, another node takes over.
    for wrong in [wrong, first] {
        cluster.skews[wrong].set(by);
        let times = cluster.create(3).await;
        assert!(times.iter().copied().all(is_now), "nothing is stamped with it: {times:?}");
        cluster
            .until("its clock is reported", |cluster| cluster.handle(wrong).cluster().clock.is_some())
            .await;
        let times = cluster.create(6).await;
        assert!(times.iter().copied().all(is_now), "{times:?}");
        assert!(times.is_sorted(), "{times:?}");
        cluster
            .until("another one leads", |cluster| cluster.leader().is_some_and(|leader| leader != wrong))
            .await;
        let text = cluster.handle(wrong).cluster().clock.expect("it is reported");
        assert!(text.contains("its clock shows"), "{text}");
        assert_eq!(cluster.handle(wrong).health(), Health::Serving, "it forwards its clients' commands");
        cluster.skews[wrong].set(0);
        cluster.until("its clock is right", |cluster| cluster.handle(wrong).cluster().clock.is_none()).await;
    }
    assert!(cluster.create(3).await.into_iter().all(is_now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_another_century_is_replaced_on_raft() {
    set_the_clock_of_the_leader(EngineKind::Raft, 2 * CENTURY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_another_century_is_replaced_on_paxos() {
    set_the_clock_of_the_leader(EngineKind::Paxos, 2 * CENTURY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_goes_back_is_replaced() {
    set_the_clock_of_the_leader(EngineKind::Raft, -CENTURY / 4).await;
}

/// Node 1 has the wrong clock: of several candidates, the one with the lowest number is elected first.
async fn begin_with_a_wrong_clock(engine: EngineKind) {
    let mut cluster = Cluster::start(engine, &[2 * CENTURY, 0, 0]);
    let times = cluster.create(9).await;
    assert!(times.iter().copied().all(is_now), "{times:?}");
    cluster.until("it is reported", |cluster| cluster.handle(0).cluster().clock.is_some()).await;
    cluster.until("another one leads", |cluster| cluster.leader().is_some_and(|leader| leader != 0)).await;
    // Two are left, and one of them has the wrong clock.
    cluster.stop(cluster.leader().expect("it was there"));
    let times = cluster.create(9).await;
    assert!(times.iter().copied().all(is_now), "{times:?}");
    cluster.until("the other one leads", |cluster| cluster.leader().is_some_and(|leader| leader != 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_begins_in_2226_loses_leadership_on_raft() {
    begin_with_a_wrong_clock(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_begins_in_2226_loses_leadership_on_paxos() {
    begin_with_a_wrong_clock(EngineKind::Paxos).await;
}

/// Leadership goes to a node with a right clock, and not from one wrong clock to the other.
async fn some_of_five(engine: EngineKind) {
    let mut cluster = Cluster::start(engine, &[2 * CENTURY, 2 * CENTURY, 0, 0, 0]);
    assert!(cluster.create(10).await.into_iter().all(is_now));
    let leads = |cluster: &Cluster, first: usize| cluster.leader().is_some_and(|leader| leader >= first);
    cluster.until("the third or a later one leads", |cluster| leads(cluster, 2)).await;
    // A majority of the clocks is absurd: the right ones are used.
    cluster.skews[2].set(2 * CENTURY);
    assert!(cluster.create(10).await.into_iter().all(is_now));
    cluster.until("the fourth or the fifth leads", |cluster| leads(cluster, 3)).await;
    assert!(cluster.create(50).await.into_iter().all(is_now));
    cluster.until("such a node still leads", |cluster| leads(cluster, 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_five_clocks_are_wrong_on_raft() {
    some_of_five(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_five_clocks_are_wrong_on_paxos() {
    some_of_five(EngineKind::Paxos).await;
}

/// All stop, and two start again in 2226. The third starts later, or never.
async fn two_come_back_in_another_century(engine: EngineKind) {
    let mut cluster = Cluster::start(engine, &[0; 3]);
    assert!(cluster.create(3).await.into_iter().all(is_now));
    (0..3).for_each(|at| cluster.stop(at));
    [1, 2].into_iter().for_each(|at| cluster.restart(at, 2 * CENTURY, false));
    cluster.until_nothing_is_taken(&[1, 2]).await;
    cluster.restart(0, 0, false);
    assert!(cluster.create(9).await.into_iter().all(is_now));
    cluster.until("the first leads", |cluster| cluster.leader() == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_in_another_century_stamp_nothing_on_raft() {
    two_come_back_in_another_century(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_in_another_century_stamp_nothing_on_paxos() {
    two_come_back_in_another_century(EngineKind::Paxos).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_accepts_absurd_clocks() {
    let mut cluster = Cluster::start(EngineKind::Raft, &[0; 3]);
    assert!(cluster.create(3).await.into_iter().all(is_now));
    (0..3).for_each(|at| cluster.stop(at));
    let by = CENTURY / 5;
    (0..3).for_each(|at| cluster.restart(at, by, false));
    cluster.until_nothing_is_taken(&[0, 1, 2]).await;
    (0..3).for_each(|at| cluster.stop(at));
    (0..3).for_each(|at| cluster.restart(at, by, true));
    let is_later = |time: Nanos| is_now(Nanos(time.0.saturating_add_signed(-by)));
    assert!(cluster.create(6).await.into_iter().any(is_later));
}

/// Two clocks were off, and are not near enough to the third to count as right again. When the third node
/// stops, one of the two must lead all the same.
async fn two_are_off_on_either_side(engine: EngineKind) {
    let mut cluster = Cluster::start(engine, &[0, 400 * SECOND, -400 * SECOND]);
    assert!(cluster.create(3).await.into_iter().all(is_now));
    let are_named = |cluster: &Cluster| (1..3).all(|at| cluster.handle(at).cluster().clock.is_some());
    cluster.until("both are reported", are_named).await;
    cluster.until("the first leads", |cluster| cluster.leader() == Some(0)).await;
    cluster.skews[1].set(270 * SECOND);
    cluster.skews[2].set(-270 * SECOND);
    assert!(cluster.create(6).await.into_iter().all(is_now));
    assert!(are_named(&cluster), "they are not near enough");
    let terms = |cluster: &Cluster| (1..3).map(|at| cluster.handle(at).cluster().term.0).fold(0, u64::max);
    let before = terms(&cluster);
    cluster.stop(0);
    cluster.create(20).await;
    assert!(terms(&cluster) - before < 10, "leadership does not go back and forth");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wrong_clocks_do_not_exchange_leadership_on_raft() {
    two_are_off_on_either_side(EngineKind::Raft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wrong_clocks_do_not_exchange_leadership_on_paxos() {
    two_are_off_on_either_side(EngineKind::Paxos).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_with_an_empty_ledger_accepts_its_clock() {
    let skew = Skew::default();
    skew.set(-i64::try_from(machine()).expect("it fits") + SECOND);
    let running = start_on::<Ledger>(Arc::new(MemoryDisk::new()), &options(&skew)).expect("it starts");
    skew.set(0);
    assert!(create(&running.handle(), 1).await.is_ok_and(is_now));
    assert_eq!(running.handle().cluster().clock, None);
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn equally_wrong_clocks_stop_no_node() {
    for skew in [CENTURY, -CENTURY / 20] {
        let mut cluster = Cluster::start(EngineKind::Raft, &[skew; 3]);
        let times = cluster.create(6).await;
        let expected = machine().saturating_add_signed(skew);
        assert!(
            times.iter().all(|time| time.0.abs_diff(expected) < 120 * SECOND.unsigned_abs()),
            "{times:?}"
        );
        // All clocks are corrected together, as after a suspension of all machines.
        cluster.skews.iter().for_each(|skew| skew.set(0));
        cluster.create(6).await;
        assert!((0..3).all(|at| cluster.handle(at).cluster().clock.is_none()), "they agree");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_refuses_a_clock_unlike_its_ledger() {
    let (disk, skew) = (MemoryDisk::new(), Skew::default());
    let start = |options: &Options| start_on::<Ledger>(Arc::new(disk.clone()), options);
    let running = start(&options(&skew)).expect("it starts");
    assert!(create(&running.handle(), 1).await.is_ok_and(is_now));
    running.stop();
    for (by, word) in [(2 * CENTURY, "later"), (CENTURY / 50, "later"), (-CENTURY / 4, "earlier")] {
        skew.set(by);
        match start(&options(&skew)) {
            Err(error @ StartError::Clock { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains("start the node once with its clock accepted; see \"The clock\""),
                    "{text}"
                );
                assert!(text.contains(word) || by == 2 * CENTURY, "{text}");
            }
            other => panic!("{by}: {other:?}"),
        }
    }
    let accepting = Options { is_clock_accepted: true, ..options(&skew) };
    let running = start(&accepting).expect("the operator accepts it");
    create(&running.handle(), 2).await.expect("it works");
    running.stop();
    skew.set(0);
    start(&options(&skew)).expect("it starts again").stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_stamps_nothing_with_a_clock_far_ahead() {
    let skew = Skew::default();
    let running = start_on::<Ledger>(Arc::new(MemoryDisk::new()), &options(&skew)).expect("it starts");
    let handle = running.handle();
    assert!(create(&handle, 1).await.is_ok_and(is_now));
    skew.set(2 * CENTURY);
    match create(&handle, 2).await {
        Err(ExecuteError::NotTaken { reason }) => {
            assert!(reason.starts_with("this machine's clock is wrong: it shows"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(handle.health(), Health::ReadOnly { .. }) && handle.cluster().clock.is_some());
    skew.set(0);
    let mut health = handle.watch_health();
    let is_well = tokio::time::timeout(TIMEOUT, health.wait_for(|health| *health == Health::Serving)).await;
    assert!(is_well.is_ok_and(|health| health.is_ok()), "writes continue");
    assert!(create(&handle, 2).await.is_ok_and(is_now));
    assert_eq!(handle.cluster().committed, LogIndex(0), "a node that is alone reports 0");
    running.stop();
}
