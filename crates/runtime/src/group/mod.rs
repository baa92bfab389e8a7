//! One group on this node: its replica, and the tasks that drive it.
//!
//! [`start`] recovers the state from the disk (`recover`) and begins the tasks. Each task owns one thing and
//! communicates by messages: the replica (`replica_task`), the log (`log_task`) and its next segment
//! (`prepare_task`), the history (`history_task`) and its indexes (`index_task`), checkpoints
//! (`checkpoint_task`), reads of old rows (`fetch_task`), answers to lagging replicas (`supply_task`).
//!
//! Always holds: what these tasks send to each other is in `message` and `work`, and what they share is in
//! `shared`. No file of a task names another.

mod admission;
mod checkpoint_task;
pub(crate) mod directory;
mod fetch_task;
mod find_members;
mod growth;
pub(crate) mod handle;
mod history_task;
mod index_task;
mod link;
mod log_task;
mod membership;
pub(crate) mod message;
pub(crate) mod metrics;
mod prepare_task;
mod replica_task;
pub(crate) mod shared;
pub(crate) mod status;
mod supply_task;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_consensus::{Engine, EngineOptions, EngineState, Solo};
use bezant_recovery::{Machine, Mode, Recovered, Repair, Supplier, recover};
use bezant_replica::{Input, Replica, ReplicaOptions, Restored};
use bezant_storage::disk::Disk;
use bezant_storage::log::CutTail;
use bezant_storage::record::{reserve_space, restore_records};
use bezant_types::{HistoryPosition, LogIndex};

use crate::clock::{check_alone, warn_if_late};
use crate::draw::draw;
use crate::peer::Peers;
use crate::process::identity::identify;
use crate::process::mailbox::{Mailbox, Sender, mailbox};
use crate::process::options::{ClusterOptions, Options};
use crate::process::pool::{Place, Pools, Slot};
use crate::start_error::StartError;
use checkpoint_task::{CheckpointTask, Unfinished};
use directory::Directory;
use fetch_task::FetchTask;
use find_members::find_members;
use handle::Handle;
use history_task::HistoryTask;
use index_task::IndexTask;
use link::{Link, connect};
use log_task::{Course, LogTask, Taken};
use message::Message;
use metrics::Metrics;
use prepare_task::PrepareTask;
use replica_task::{ClockGuard, ReplicaTask};
use shared::{DrivenReplica, Shared};
use supply_task::SupplyTask;
use work::Workers;

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

/// A group that was started.
pub(crate) struct Started<M: Machine> {
    pub(crate) handle: Handle<M>,
    pub(crate) report: StartReport,
    pub(crate) tasks: Vec<Arc<Slot>>,
    /// The connections to the other nodes; `None` for a node that is alone.
    pub(crate) peers: Option<Arc<Peers>>,
}

/// Starts a group on its disk: the state is recovered, then the connections and the tasks begin.
pub(crate) fn start<M: Machine>(
    pools: &Pools,
    disk: Arc<dyn Disk>,
    options: &Options,
    cluster: Option<ClusterOptions>,
) -> Result<Started<M>, StartError> {
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
    let replica_slot = pools.slot(Place::Worker);
    let (to_replica, messages) = mailbox(&replica_slot);
    let link = match (cluster, identity, members) {
        (Some(cluster), Some(identity), Some(members)) => {
            let addresses = cluster.nodes.iter().cloned();
            let directory = Directory::new(Arc::clone(&disk), identity, members, addresses, is_fresh);
            Some(connect(cluster, Arc::new(directory), &options.clock, &to_replica)?)
        }
        _ => None,
    };
    begin_tasks(Parts {
        pools,
        disk,
        options,
        recovered,
        report,
        shared,
        to_replica,
        replica_slot,
        messages,
        link,
    })
}

/// Everything that the tasks need.
struct Parts<'process, M: Machine> {
    pools: &'process Pools,
    disk: Arc<dyn Disk>,
    options: &'process Options,
    recovered: Recovered<M>,
    report: StartReport,
    shared: Arc<Shared>,
    to_replica: Sender<Message<M>>,
    replica_slot: Arc<Slot>,
    messages: Mailbox<Message<M>>,
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

fn begin_tasks<M: Machine>(parts: Parts<'_, M>) -> Result<Started<M>, StartError> {
    let Parts { pools, disk, options, mut recovered, report, shared, to_replica, .. } = parts;
    let (replica_slot, messages, link) = (parts.replica_slot, parts.messages, parts.link);
    let replica = make_replica(&mut recovered, options, link.as_ref())?;
    let clock = check_clock(&replica, options, link.as_ref())?;
    let Recovered { store, history, log, votes, .. } = recovered;
    let (log_slot, prepare_slot) = (pools.slot(Place::Log), pools.slot(Place::Later));
    let (to_log, log_work) = mailbox(&log_slot);
    let (to_prepare, requests) = mailbox(&prepare_slot);
    let fetch_slot = pools.slot(Place::Read);
    let (to_fetch, fetches) = mailbox(&fetch_slot);
    shared.wake_on_rows(&fetch_slot);
    let (history_slot, index_slot) = (pools.slot(Place::Soon), pools.slot(Place::Later));
    let (to_history, history_work) = mailbox(&history_slot);
    let (to_index, jobs) = mailbox(&index_slot);
    let (checkpoint_slot, supply_slot) = (pools.slot(Place::Later), pools.slot(Place::Later));
    let (to_checkpoint, checkpoint_work) = mailbox(&checkpoint_slot);
    let (to_supply, supplies) = mailbox(&supply_slot);
    let handle = Handle { replica: to_replica.clone(), shared: Arc::clone(&shared) };

    let prepare = PrepareTask { preparer: log.preparer(), requests };
    let supplier = Supplier::new(Arc::clone(&disk), store.clone(), history.reader());

    let log = LogTask {
        log,
        votes,
        disk: Arc::clone(&disk),
        shared: Arc::clone(&shared),
        replica: to_replica.clone(),
        prepare: to_prepare,
        space_kept: options.space_kept,
        is_member: link.is_some(),
        work: log_work,
        taken: Taken::default(),
        course: Course::begin(),
    };
    let history = HistoryTask::new(history, Arc::clone(&shared), to_replica.clone(), to_index, history_work);
    let index = IndexTask { jobs, history: to_history.clone() };
    let checkpoint = CheckpointTask {
        store,
        disk,
        shared: Arc::clone(&shared),
        replica: to_replica.clone(),
        history: to_history.clone(),
        log: to_log.clone(),
        work: checkpoint_work,
        unfinished: Unfinished::default(),
    };
    let workers = Workers { log: to_log, fetch: to_fetch, history: to_history, checkpoint: to_checkpoint };
    let fetch = FetchTask::new(Arc::clone(&shared), fetches, to_replica);
    let for_supply = Arc::clone(&shared);
    let peers = link.as_ref().map(|link| Arc::clone(&link.peers));
    let membership = link.map(|link| link.into_membership(to_supply, replica.no_state(), &options.clock));
    if let Some(membership) = &membership {
        shared.cluster.send_replace(membership.status());
    }
    let replica = ReplicaTask::new(replica, membership, shared, messages, workers, clock);
    let mut tasks = vec![
        log_slot.begin(Box::new(log))?,
        prepare_slot.begin(Box::new(prepare))?,
        fetch_slot.begin(Box::new(fetch))?,
        history_slot.begin(Box::new(history))?,
        index_slot.begin(Box::new(index))?,
        checkpoint_slot.begin(Box::new(checkpoint))?,
        replica_slot.begin(Box::new(replica))?,
    ];
    if let Some(peers) = peers.clone() {
        let task = SupplyTask { supplier, shared: for_supply, peers, work: supplies };
        tasks.push(supply_slot.begin(Box::new(task))?);
    }
    Ok(Started { handle, report, tasks, peers })
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
