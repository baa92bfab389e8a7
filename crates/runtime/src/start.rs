//! Starting and stopping a node: the state is recovered from the disk (`recover`), then the threads start.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bezant_consensus::{Engine, EngineOptions, EngineState, Role, Solo};
use bezant_recovery::{Machine, Mode, Recovered, Repair, Supplier, recover};
use bezant_replica::{Input, NoState, PeerMessage, Replica, ReplicaOptions, Restored};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::log::CutTail;
use bezant_storage::record::{reserve_space, restore_records};
use bezant_types::{HistoryPosition, LogIndex, Term};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::clock::{Clock, check_alone, warn_if_late};
use crate::draw::draw;
use crate::group::checkpoint_thread::CheckpointThread;
use crate::group::directory::Directory;
use crate::group::fetch_thread;
use crate::group::find_members::find_members;
use crate::group::handle::Handle;
use crate::group::history_thread::{HistoryThread, Waiting, run_jobs};
use crate::group::log_thread::{LogThread, Taken, run_preparer};
use crate::group::membership::Membership;
use crate::group::message::{Acquaintance, Message};
use crate::group::metrics::Metrics;
use crate::group::replica_thread::{ClockGuard, ReplicaThread};
use crate::group::shared::{DrivenReplica, Shared};
use crate::group::status::ClusterStatus;
use crate::group::supply_thread;
use crate::group::work::{Supply, Workers};
use crate::peer::{PeerEvent, Peers};
use crate::process::file_disk::FileDisk;
use crate::process::identity::identify;
use crate::process::options::{ClusterOptions, Options};
use crate::start_error::StartError;

/// What a start found.
#[derive(Clone, Debug)]
pub struct StartReport {
    /// True when nothing was ever on this disk, and the node is alone or belongs to a cluster that begins.
    pub is_new: bool,
    /// The checkpoint that the state began with; 0 = none.
    pub checkpoint: LogIndex,
    /// Log entries applied again after it.
    pub entries_replayed: u64,
    /// Rows of the history.
    pub history: HistoryPosition,
    /// The end of the log that a crash had torn, and that was never acknowledged.
    pub cut: Option<CutTail>,
    /// What was damaged and is fetched from the other nodes.
    pub repairs: Vec<Repair>,
    /// True when writes of the log bypass the page cache.
    pub is_direct: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// A node with its threads. Dropping it stops the node; [`stop`](Self::stop) also waits until it has ended.
#[derive(Debug)]
pub struct Running<M: Machine> {
    handle: Handle<M>,
    report: StartReport,
    threads: Vec<JoinHandle<()>>,
    peers: Option<Arc<Peers>>,
}

impl<M: Machine> Running<M> {
    /// The handle of the node.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// What the start found.
    pub const fn report(&self) -> &StartReport {
        &self.report
    }

    /// Finishes what is in flight, ends all threads and unlocks the folder. Blocks for up to about ten
    /// seconds; requests meanwhile are refused with the reason that the node is stopping.
    pub fn stop(mut self) {
        self.announce_stop();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node ended by a panic");
            }
        }
        if let Some(peers) = self.peers.take() {
            peers.stop();
        }
    }

    /// Announces the stop in the shared state and to the replica's thread. If that thread has ended already,
    /// the log's thread may still wait for space; it reads the shared state.
    fn announce_stop(&self) {
        self.handle.shared.announce_stop();
        drop(self.handle.replica.send(Message::Stop));
    }
}

impl<M: Machine> Drop for Running<M> {
    fn drop(&mut self) {
        self.announce_stop();
    }
}

/// Starts a node that is alone on a folder; returns when it is ready.
pub fn start<M: Machine>(options: &Options) -> Result<Running<M>, StartError> {
    start_in(options, None)
}

/// Starts one node of a cluster on a folder; returns when it has begun to dial the others.
pub fn start_member<M: Machine>(
    options: &Options,
    cluster: ClusterOptions,
) -> Result<Running<M>, StartError> {
    start_in(options, Some(cluster))
}

fn start_in<M: Machine>(
    options: &Options,
    cluster: Option<ClusterOptions>,
) -> Result<Running<M>, StartError> {
    let begin = Instant::now();
    let disk = Arc::new(open_disk(&options.data_dir)?);
    let is_direct = disk.is_direct();
    let mut running = start_with(disk, options, cluster)?;
    running.report.is_direct = is_direct;
    running.report.elapsed = begin.elapsed();
    Ok(running)
}

/// How long a stopped node of this process may keep its folder locked: a read may still be under way.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the folder, after an earlier node of this process has released it.
fn open_disk(folder: &Path) -> Result<FileDisk, DiskError> {
    let begun = Instant::now();
    loop {
        match FileDisk::open(folder) {
            Err(DiskError::Locked { holder: Some(holder), .. })
                if holder == std::process::id() && begun.elapsed() < RELEASE_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Starts a node that is alone on any disk, for example a faulty one; the folder of the options is not used.
pub fn start_on<M: Machine>(disk: Arc<dyn Disk>, options: &Options) -> Result<Running<M>, StartError> {
    start_with(disk, options, None)
}

/// Starts one node of a cluster on any disk; the folder of the options is not used.
pub fn start_member_on<M: Machine>(
    disk: Arc<dyn Disk>,
    options: &Options,
    cluster: ClusterOptions,
) -> Result<Running<M>, StartError> {
    start_with(disk, options, Some(cluster))
}

fn start_with<M: Machine>(
    disk: Arc<dyn Disk>,
    options: &Options,
    cluster: Option<ClusterOptions>,
) -> Result<Running<M>, StartError> {
    let begin = Instant::now();
    if cluster.is_some() {
        for file in restore_records(&*disk)? {
            tracing::warn!("the disk of this node was damaged: {file} is written again from its copy");
        }
    }
    let mut identity = identify(&disk, cluster.as_ref())?;
    let members = match (&cluster, &mut identity) {
        (Some(cluster), Some(identity)) => Some(find_members(&disk, cluster, identity, &options.clock)?),
        _ => None,
    };
    let mode = if cluster.is_some() { Mode::Grouped } else { Mode::Alone };
    if cluster.is_some() && !reserve_space(&*disk)? {
        tracing::warn!("the disk is full: no space can be kept for votes and lists of members");
    }
    let recovered: Recovered<M> = recover(&disk, options.log, mode)?;
    for repair in &recovered.repairs {
        tracing::warn!("the disk of this node was damaged: {repair}");
    }
    // A repair records in the identity that this disk is no longer admitted, so the identity is read again.
    let identity = if recovered.repairs.is_empty() { identity } else { identify(&disk, cluster.as_ref())? };
    // A disk that was repaired has a vote, though it may hold no entry.
    let is_fresh = recovered.vote.is_none() && recovered.log.last_index() == LogIndex(0);
    let is_beginning = members.as_ref().is_none_or(|members| members.index == LogIndex(0));
    let report = StartReport {
        is_new: is_fresh && is_beginning && recovered.repairs.is_empty(),
        checkpoint: recovered.checkpoint.0,
        entries_replayed: recovered.entries_replayed.max(recovered.entries.len() as u64),
        history: recovered.machine.position(),
        cut: recovered.cut.clone(),
        repairs: recovered.repairs.clone(),
        is_direct: false,
        elapsed: begin.elapsed(),
    };
    let shared = Arc::new(Shared::new(Metrics::new(), recovered.history.reader()));
    if cluster.is_some() {
        shared.repair_from_others(Arc::clone(&disk));
    }
    let (to_replica, messages) = mpsc::channel();
    let link = match (cluster, identity, members) {
        (Some(cluster), Some(identity), Some(members)) => {
            let addresses = cluster.nodes.iter().cloned();
            let directory = Directory::new(Arc::clone(&disk), identity, members, addresses, is_fresh);
            Some(connect(cluster, Arc::new(directory), &options.clock, &to_replica)?)
        }
        _ => None,
    };
    spawn_all(Parts { disk, options, recovered, report, shared, to_replica, messages, link })
}

/// The connections to the other nodes.
struct Link {
    peers: Arc<Peers>,
    directory: Arc<Directory>,
    cluster: ClusterOptions,
}

impl Link {
    /// The membership with which a node starts.
    fn into_membership(
        self,
        to_supply: mpsc::Sender<Supply>,
        no_state: Option<NoState>,
        clock: &Clock,
    ) -> Membership {
        let (role, term, engine) = (Role::Follower, Term(0), Some(self.directory.engine()));
        let node = self.cluster.node;
        let leader = None;
        let status = ClusterStatus { node, engine, no_state, role, term, leader, ..ClusterStatus::alone() };
        let grows = self.cluster.growth.is_some();
        Membership::new(self.peers, to_supply, self.directory, status, clock.clone(), grows)
    }
}

/// Begins to dial the other nodes.
fn connect<M: Machine>(
    cluster: ClusterOptions,
    directory: Arc<Directory>,
    clock: &Clock,
    replica: &mpsc::Sender<Message<M>>,
) -> Result<Link, StartError> {
    let listener = cluster.listener.try_clone().map_err(StartError::Thread)?;
    let replica = replica.clone();
    let events = move |event| {
        let message = match event {
            PeerEvent::Message { from, disk, bytes } => {
                let Some(message) = PeerMessage::decode(bytes) else {
                    tracing::warn!(
                        node = from.0,
                        "a message of a peer cannot be read: does it run another version?"
                    );
                    return;
                };
                Message::FromPeer { from, disk, message }
            }
            PeerEvent::Met { node, is_fresh, clock } => {
                Message::Met { node, acquaintance: Acquaintance { is_fresh, clock } }
            }
            PeerEvent::Lost { node } => Message::Event(Input::Lost(node)),
            PeerEvent::Asks { node, address } => Message::Asks { node, address },
        };
        // A replica that has ended needs no messages.
        drop(replica.send(message));
    };
    let grows = cluster.growth.is_some();
    let peers = Peers::start(Arc::clone(&directory), listener, grows, clock.clone(), events);
    let peers = peers.map_err(StartError::Thread)?;
    Ok(Link { peers: Arc::new(peers), directory, cluster })
}

/// Everything that the threads need.
struct Parts<'options, M: Machine> {
    disk: Arc<dyn Disk>,
    options: &'options Options,
    recovered: Recovered<M>,
    report: StartReport,
    shared: Arc<Shared>,
    to_replica: mpsc::Sender<Message<M>>,
    messages: mpsc::Receiver<Message<M>>,
    link: Option<Link>,
}

/// Makes the engine, and the replica with the recovered state.
fn make_replica<M: Machine>(
    recovered: &mut Recovered<M>,
    options: &Options,
    link: Option<&Link>,
) -> Result<DrivenReplica<M>, StartError> {
    let (applied, checkpoint) = (recovered.applied, recovered.checkpoint);
    let machine = std::mem::take(&mut recovered.machine);
    let restored = Restored::new(machine, applied, checkpoint.0, recovered.log_bytes);
    let Some(link) = link else {
        let engine: Box<dyn Engine + Send> = Box::new(Solo::new(options.node.node, applied));
        return Ok(Replica::new(restored, engine, options.node.clone()));
    };
    let entries = std::mem::take(&mut recovered.entries);
    let restored = restored.with_floor(recovered.committed, std::mem::take(&mut recovered.terms));
    let restored = restored.with_entries(&entries).map_err(|_| StartError::Entries)?;
    let incarnation = draw();
    let (node, directory) = (link.cluster.node, &link.directory);
    let engine_options = EngineOptions::new(node, directory.members(), directory.is_admitted(), incarnation);
    let state = EngineState { vote: recovered.vote, checkpoint, entries, committed: recovered.committed };
    let engine = bezant_engines::begin(directory.engine(), &engine_options, state);
    let engine = engine.ok_or(StartError::Entries)?;
    let node_options = ReplicaOptions { node, is_alone: false, incarnation, ..options.node.clone() };
    let mut replica = Replica::new(restored, engine, node_options);
    if let Some(conflict) = recovered.conflict {
        replica.handle(options.clock.now(), Input::Stopped(conflict));
        tracing::error!("{}", replica.read_only_reason().unwrap_or_default());
    }
    Ok(replica)
}

fn spawn_all<M: Machine>(parts: Parts<'_, M>) -> Result<Running<M>, StartError> {
    let Parts { disk, options, mut recovered, report, shared, to_replica, messages, link } = parts;
    let replica = make_replica(&mut recovered, options, link.as_ref())?;
    let clock = check_clock(&replica, options, link.as_ref())?;
    let Recovered { store, history, log, votes, .. } = recovered;
    let (to_log, log_work) = mpsc::channel();
    let (to_fetch, fetches) = mpsc::channel();
    let ((to_history, history_work), (to_checkpoint, checkpoint_work)) = (mpsc::channel(), mpsc::channel());
    let ((to_jobs, jobs), (to_supply, supplies)) = (mpsc::channel(), mpsc::channel());
    let handle = Handle { replica: to_replica.clone(), shared: Arc::clone(&shared) };

    let (prepare, prepare_requests) = mpsc::sync_channel(1);
    let preparer = log.preparer();
    let supplier = Supplier::new(Arc::clone(&disk), store.clone(), history.reader());

    let log = LogThread {
        log,
        votes,
        disk: Arc::clone(&disk),
        shared: Arc::clone(&shared),
        replica: to_replica.clone(),
        prepare,
        space_kept: options.space_kept,
        is_pressed: false,
        is_member: link.is_some(),
        work: log_work,
        taken: Taken::default(),
    };
    let history = HistoryThread {
        history,
        shared: Arc::clone(&shared),
        replica: to_replica.clone(),
        jobs: to_jobs,
        is_pressed: false,
        waiting: Waiting::default(),
    };
    let checkpoint = CheckpointThread {
        store,
        disk,
        terms: None,
        shared: Arc::clone(&shared),
        replica: to_replica.clone(),
        history: to_history.clone(),
        log: to_log.clone(),
    };
    let workers =
        Workers { log: to_log, fetch: to_fetch, history: to_history.clone(), checkpoint: to_checkpoint };
    let waiting = tokio::runtime::Builder::new_current_thread().build().map_err(StartError::Thread)?;
    let (for_fetch, for_supply) = ((Arc::clone(&shared), to_replica), Arc::clone(&shared));
    let peers = link.as_ref().map(|link| Arc::clone(&link.peers));
    let membership = link.map(|link| link.into_membership(to_supply, replica.no_state(), &options.clock));
    if let Some(membership) = &membership {
        shared.cluster.send_replace(membership.status());
    }
    let thread = ReplicaThread::new(replica, membership, shared, workers, clock);
    let mut threads = vec![
        spawn("log", Urgency::Request, move || log.run())?,
        spawn("prepare", Urgency::Later, move || run_preparer(&preparer, &prepare_requests))?,
        spawn("fetch", Urgency::Request, move || {
            fetch_thread::run(&for_fetch.0, &waiting, &fetches, &for_fetch.1);
        })?,
        spawn("history", Urgency::Soon, move || history.run(&history_work))?,
        spawn("index", Urgency::Later, move || run_jobs(&jobs, &to_history))?,
        spawn("checkpoint", Urgency::Later, move || checkpoint.run(&checkpoint_work))?,
        spawn("node", Urgency::Request, move || thread.run(&messages))?,
    ];
    if let Some(peers) = peers.clone() {
        threads.push(spawn("supply", Urgency::Later, move || {
            supply_thread::run(supplier, &for_supply, &peers, &supplies);
        })?);
    }
    Ok(Running { handle, report, threads, peers })
}

/// Compares the clock with the ledger, for a node that is alone or the only voter: there is no other clock to
/// compare with.
fn check_clock(
    replica: &DrivenReplica<impl Machine>,
    options: &Options,
    link: Option<&Link>,
) -> Result<ClockGuard, StartError> {
    let (clock, ledger) = (options.clock.now().wall, replica.time());
    let is_alone = link.is_none_or(|link| replica.members().voters().eq([link.cluster.node]));
    if is_alone && !options.is_clock_accepted {
        check_alone(clock, ledger)?;
    }
    warn_if_late(clock, ledger);
    Ok(ClockGuard::new(options.clock.clone(), options.is_clock_accepted))
}

/// The priority of a thread. When there is more work than processors, threads that serve requests run first.
/// The other threads get the rest of the processor time. If they lag too far, no entries are made until they
/// have caught up.
#[derive(Clone, Copy, Debug)]
enum Urgency {
    /// A client's write waits for it.
    Request,
    /// A query may wait for it.
    Soon,
    /// No client waits for it.
    Later,
}

impl Urgency {
    /// Sets the thread's priority. If the system refuses, the node is slower, but works.
    fn set_priority(self) {
        let nice = match self {
            Self::Request => return,
            Self::Soon => 5,
            Self::Later => 10,
        };
        if let Err(error) = setpriority_process(Some(gettid()), nice) {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }
}

/// The size of a thread's stack in bytes. It is large because the parts of a command may be nested; the
/// system provides memory only for the part that is used.
const STACK_SIZE: usize = 64 << 20;

/// Starts a thread. A panic in it means that an invariant is broken: the process ends, and the next start
/// continues from the log.
fn spawn(
    name: &str,
    urgency: Urgency,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let body = move || {
        urgency.set_priority();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!("an invariant is broken: the process ends");
            std::process::abort();
        }
    };
    let thread = std::thread::Builder::new().name(format!("bezant-{name}")).stack_size(STACK_SIZE);
    thread.spawn(body).map_err(StartError::Thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::shared::Health;
    use bezant_ledger::Ledger;
    use bezant_storage::{History, MemoryDisk};

    #[test]
    fn a_stop_is_announced_after_the_replicas_thread_ended() {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let handle = Handle::<Ledger> { replica: mpsc::channel().0, shared: Arc::clone(&shared) };
        let report = StartReport {
            is_new: true,
            checkpoint: LogIndex(0),
            entries_replayed: 0,
            history: HistoryPosition::default(),
            cut: None,
            repairs: Vec::new(),
            is_direct: false,
            elapsed: Duration::ZERO,
        };
        Running { handle, report, threads: Vec::new(), peers: None }.stop();
        assert_eq!(*shared.health.borrow(), Health::Stopping);
    }
}
