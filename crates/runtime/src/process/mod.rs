//! A node of this process: started on its data folder, and stopped.
//!
//! What the groups of a process share is here: the data folder on the real disk, its identity, the options,
//! and the threads that run the groups' tasks (`pool`). A process has one group today.

mod claim;
pub(crate) mod file_disk;
pub(crate) mod identity;
pub(crate) mod mailbox;
pub(crate) mod options;
mod os_error;
pub(crate) mod pool;
pub(crate) mod thread;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_recovery::Machine;
use bezant_storage::disk::{Disk, DiskError};

use crate::group::handle::Handle;
use crate::group::message::Message;
use crate::group::{self, StartReport, Started};
use crate::peer::Peers;
use crate::start_error::StartError;
use file_disk::FileDisk;
use options::{ClusterOptions, Options};
use pool::{Pools, Slot};

/// A node that runs. Dropping it stops the node; [`stop`](Self::stop) also waits until it has ended.
#[derive(Debug)]
pub struct Running<M: Machine> {
    handle: Handle<M>,
    report: StartReport,
    tasks: Vec<Arc<Slot>>,
    peers: Option<Arc<Peers>>,
    /// The threads that run the tasks; `None` after the stop.
    pools: Option<Pools>,
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
        self.tasks.iter().for_each(|task| task.join());
        if let Some(peers) = self.peers.take() {
            peers.stop();
        }
        if let Some(pools) = self.pools.take() {
            pools.stop();
        }
    }

    /// Announces the stop in the shared state and to the replica's task. If that task has ended already, the
    /// log's task may still wait for space; it reads the shared state.
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
    let mut running = group_on(disk, options, cluster)?;
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
    group_on(disk, options, None)
}

/// Starts one node of a cluster on any disk; the folder of the options is not used.
pub fn start_member_on<M: Machine>(
    disk: Arc<dyn Disk>,
    options: &Options,
    cluster: ClusterOptions,
) -> Result<Running<M>, StartError> {
    group_on(disk, options, Some(cluster))
}

fn group_on<M: Machine>(
    disk: Arc<dyn Disk>,
    options: &Options,
    cluster: Option<ClusterOptions>,
) -> Result<Running<M>, StartError> {
    let pools = Pools::new();
    let Started { handle, report, tasks, peers } = group::start(&pools, disk, options, cluster)?;
    Ok(Running { handle, report, tasks, peers, pools: Some(pools) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::metrics::Metrics;
    use crate::group::shared::{Health, Shared};
    use crate::process::mailbox::mailbox;
    use crate::process::pool::tests::detached;
    use bezant_ledger::Ledger;
    use bezant_storage::{History, MemoryDisk};
    use bezant_types::{HistoryPosition, LogIndex};

    #[test]
    fn a_stop_is_announced_after_the_replicas_task_ended() {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let handle = Handle::<Ledger> { replica: mailbox(&detached()).0, shared: Arc::clone(&shared) };
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
        Running { handle, report, tasks: Vec::new(), peers: None, pools: None }.stop();
        assert_eq!(*shared.health.borrow(), Health::Stopping);
    }
}
