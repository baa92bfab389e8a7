//! Starting a node: what the disk holds becomes the state again, then the threads begin.
//!
//! The order is fixed: newest checkpoint, history cut back to it, log after it applied again. Damage in any
//! of them stops the start with the file, the place and what can be done; nothing is cut in silence.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bezant_consensus::Solo;
use bezant_ledger::Ledger;
use bezant_node::{Node, NodeOptions, ReplayError, replay};
use bezant_rsm::{RestoreError, StateMachine};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::log::{CutTail, Log, LogError, LogOptions};
use bezant_storage::{History, HistoryError};
use bezant_types::{HistoryPosition, LogIndex};
use thiserror::Error;

use crate::checkpoint_thread::CheckpointThread;
use crate::fetch_thread;
use crate::file_disk::FileDisk;
use crate::handle::{Handle, Message, Shared};
use crate::history_thread::{HistoryThread, run_jobs};
use crate::log_thread::LogThread;
use crate::metrics::Metrics;
use crate::node_thread::{NodeThread, Workers};

/// Where a node lives and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with everything that the node keeps; made when it does not exist.
    pub data_dir: PathBuf,
    /// Of the node.
    pub node: NodeOptions,
    /// Of the log.
    pub log: LogOptions,
}

impl Options {
    /// The defaults, in that folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), node: NodeOptions::default(), log: LogOptions::default() }
    }
}

/// Why a node does not start. Nothing was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be used: another process holds it, or the system refused.
    #[error("the data folder cannot be used: {0}")]
    Disk(#[from] DiskError),
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's bytes are sound, but not a ledger's.
    #[error("the checkpoint cannot be used: {0}")]
    Restore(#[from] RestoreError),
    /// The history cannot be read.
    #[error("the history cannot be read: {0}")]
    History(#[from] HistoryError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
    /// An entry of the log cannot be applied.
    #[error("the log cannot be applied: {0}")]
    Replay(#[from] ReplayError<HistoryError>),
    /// The system gives no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What a start found.
#[derive(Clone, Debug)]
pub struct StartReport {
    /// The checkpoint that the state began with; 0 = none.
    pub checkpoint: LogIndex,
    /// Log entries applied again after it.
    pub entries_replayed: u64,
    /// Rows of the history.
    pub history: HistoryPosition,
    /// The end of the log that a crash had torn, and that nobody was told of.
    pub cut: Option<CutTail>,
    /// True when the log is written past the page cache.
    pub is_direct: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// A node with its threads. Dropping it stops the node; [`stop`](Self::stop) also waits until it has ended.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    report: StartReport,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The door to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the start found.
    pub const fn report(&self) -> &StartReport {
        &self.report
    }

    /// Finishes what is in flight, ends all threads and lets go of the folder. Blocks for up to about ten
    /// seconds; what is asked meanwhile hears that the node is stopping.
    pub fn stop(mut self) {
        self.tell_stop();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread of the node ended by a panic");
            }
        }
    }

    /// When the node thread has ended already there is nothing to tell it.
    fn tell_stop(&self) {
        drop(self.handle.node.send(Message::Stop));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tell_stop();
    }
}

/// What the disk held.
struct Recovered {
    disk: Arc<FileDisk>,
    store: CheckpointStore,
    machine: Ledger,
    history: History,
    log: Log,
    applied: LogIndex,
    log_bytes: usize,
    report: StartReport,
}

/// Starts a node on a folder; returns when it is ready.
pub fn start(options: Options) -> Result<Running, StartError> {
    let recovered = recover(&options)?;
    let Recovered { disk, store, machine, history, log, applied, log_bytes, report } = recovered;
    let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
    let node =
        Node::new(machine, Solo::new(applied), applied, report.checkpoint, log_bytes, options.node);
    let (to_node, messages) = mpsc::channel();
    let (to_log, log_work) = mpsc::channel();
    let (to_fetch, fetches) = mpsc::channel();
    let (to_history, history_work) = mpsc::channel();
    let (to_checkpoint, checkpoint_work) = mpsc::channel();
    let (to_jobs, jobs) = mpsc::channel();
    let handle = Handle { node: to_node.clone(), shared: Arc::clone(&shared) };

    let log = LogThread { log, disk, shared: Arc::clone(&shared), node: to_node.clone() };
    let history = HistoryThread { history, shared: Arc::clone(&shared), node: to_node.clone(), jobs: to_jobs };
    let checkpoint = CheckpointThread {
        store,
        shared: Arc::clone(&shared),
        node: to_node.clone(),
        history: to_history.clone(),
    };
    let workers = Workers { log: to_log, fetch: to_fetch, history: to_history.clone(), checkpoint: to_checkpoint };
    let for_fetch = (Arc::clone(&shared), to_node);
    let node = NodeThread::new(node, shared, workers);
    let threads = vec![
        spawn("log", move || log.run(&log_work))?,
        spawn("fetch", move || fetch_thread::run(&for_fetch.0, &fetches, &for_fetch.1))?,
        spawn("history", move || history.run(&history_work))?,
        spawn("index", move || run_jobs(&jobs, &to_history))?,
        spawn("checkpoint", move || checkpoint.run(&checkpoint_work))?,
        spawn("node", move || node.run(&messages))?,
    ];
    Ok(Running { handle, report, threads })
}

/// A panic in a core thread means that an invariant is broken: the process ends, and the log tells the next
/// one where to go on.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let body = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!("an invariant is broken: the process ends");
            std::process::abort();
        }
    };
    std::thread::Builder::new().name(format!("bezant-{name}")).spawn(body).map_err(StartError::Thread)
}

fn recover(options: &Options) -> Result<Recovered, StartError> {
    let start = Instant::now();
    let disk = Arc::new(FileDisk::open(&options.data_dir)?);
    let folder: Arc<dyn Disk> = Arc::<FileDisk>::clone(&disk);
    let store = CheckpointStore::new(Arc::clone(&folder));
    let checkpoint = store.load_newest()?;
    let (mut machine, begin) = match &checkpoint {
        Some(checkpoint) => (Ledger::restore(&checkpoint.bytes)?, checkpoint.index),
        None => (Ledger::new(), LogIndex(0)),
    };
    let mut history = History::open(Arc::clone(&folder), machine.position())?;
    let (log, mut recovered) = Log::open(folder, options.log, begin)?;
    let reader = history.reader();
    let (mut applied, mut log_bytes, mut entries_replayed) = (begin, 0, 0);
    while let Some(entry) = recovered.entries.next()? {
        let rows = replay(&mut machine, &entry, |prefetch| fetch_thread::fetch(&reader, prefetch))?;
        history.append(rows.movements, rows.refusals)?;
        while let Some(job) = history.next_job() {
            history.complete(job.run()?)?;
        }
        applied = entry.index;
        log_bytes += entry.payload.len();
        entries_replayed += 1;
    }
    let report = StartReport {
        checkpoint: begin,
        entries_replayed,
        history: machine.position(),
        cut: recovered.cut,
        is_direct: disk.is_direct(),
        elapsed: start.elapsed(),
    };
    Ok(Recovered { disk, store, machine, history, log, applied, log_bytes, report })
}
