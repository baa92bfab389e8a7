//! Starting and stopping a node: the state comes back from the disk (`recover`), then the threads begin.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bezant_consensus::Solo;
use bezant_node::{Node, NodeOptions};
use bezant_rsm::StateMachine;
use bezant_storage::disk::Disk;
use bezant_storage::log::{CutTail, LogOptions};
use bezant_types::{HistoryPosition, LogIndex, Nanos};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::checkpoint_thread::CheckpointThread;
use crate::fetch_thread;
use crate::file_disk::FileDisk;
use crate::handle::{Handle, Message, Shared};
use crate::history_thread::{HistoryThread, run_jobs};
use crate::log_thread::{LogThread, run_preparer};
use crate::metrics::Metrics;
use crate::node_thread::{NodeThread, Workers, now};
use crate::recover::{Recovered, StartError, recover};

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

/// Starts a node on a folder; returns when it is ready.
pub fn start(options: &Options) -> Result<Running, StartError> {
    let begin = Instant::now();
    let disk = Arc::new(FileDisk::open(&options.data_dir)?);
    let is_direct = disk.is_direct();
    let mut running = start_on(disk, options)?;
    running.report.is_direct = is_direct;
    running.report.elapsed = begin.elapsed();
    Ok(running)
}

/// Starts a node on any disk, a faulty one say; the folder of the options is not looked at.
pub fn start_on(disk: Arc<dyn Disk>, options: &Options) -> Result<Running, StartError> {
    let begin = Instant::now();
    let Recovered { store, machine, history, log, checkpoint, applied, log_bytes, entries_replayed, cut } =
        recover(Arc::clone(&disk), options.log)?;
    warn_of_clock(machine.time());
    let report = StartReport {
        checkpoint,
        entries_replayed,
        history: machine.position(),
        cut,
        is_direct: false,
        elapsed: begin.elapsed(),
    };
    let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
    let node = Node::new(machine, Solo::new(applied), applied, checkpoint, log_bytes, options.node);
    let (to_node, messages) = mpsc::channel();
    let (to_log, log_work) = mpsc::channel();
    let (to_fetch, fetches) = mpsc::channel();
    let (to_history, history_work) = mpsc::channel();
    let (to_checkpoint, checkpoint_work) = mpsc::channel();
    let (to_jobs, jobs) = mpsc::channel();
    let handle = Handle { node: to_node.clone(), shared: Arc::clone(&shared) };

    let (prepare, wishes) = mpsc::sync_channel(1);
    let preparer = log.preparer();

    let log = LogThread { log, disk, shared: Arc::clone(&shared), node: to_node.clone(), prepare };
    let history = HistoryThread {
        history,
        shared: Arc::clone(&shared),
        node: to_node.clone(),
        jobs: to_jobs,
        is_pressed: false,
    };
    let checkpoint = CheckpointThread {
        store,
        shared: Arc::clone(&shared),
        node: to_node.clone(),
        history: to_history.clone(),
    };
    let workers =
        Workers { log: to_log, fetch: to_fetch, history: to_history.clone(), checkpoint: to_checkpoint };
    let waiting = tokio::runtime::Builder::new_current_thread().build().map_err(StartError::Thread)?;
    let for_fetch = (Arc::clone(&shared), to_node);
    let node = NodeThread::new(node, shared, workers);
    let threads = vec![
        spawn("log", Urgency::Payment, move || log.run(&log_work))?,
        spawn("prepare", Urgency::Later, move || run_preparer(&preparer, &wishes))?,
        spawn("fetch", Urgency::Payment, move || {
            fetch_thread::run(&for_fetch.0, &waiting, &fetches, &for_fetch.1);
        })?,
        spawn("history", Urgency::Soon, move || history.run(&history_work))?,
        spawn("index", Urgency::Later, move || run_jobs(&jobs, &to_history))?,
        spawn("checkpoint", Urgency::Later, move || checkpoint.run(&checkpoint_work))?,
        spawn("node", Urgency::Payment, move || node.run(&messages))?,
    ];
    Ok(Running { handle, report, threads })
}

/// A machine's clock may be so far behind cluster time without anybody being told.
const CLOCK_TOLERANCE_NANOS: u64 = 60 * Nanos::PER_SECOND;

/// Cluster time stands nearly still until the clock has caught up, and timeouts with it: worth a word.
fn warn_of_clock(cluster_time: Nanos) {
    let behind = cluster_time.0.saturating_sub(now().wall.0);
    if behind > CLOCK_TOLERANCE_NANOS {
        tracing::warn!(
            "this machine's clock is {} s behind cluster time: check it; until it has caught up, pending \
             transfers expire late",
            behind / Nanos::PER_SECOND
        );
    }
}

/// Who waits for a thread. Where the system has fewer processors than there is work, payments go first; what they
/// leave is enough for the rest, and entries wait when it is not.
#[derive(Clone, Copy, Debug)]
enum Urgency {
    /// A payment waits.
    Payment,
    /// A query may wait.
    Soon,
    /// Nobody waits, for now.
    Later,
}

impl Urgency {
    /// A system that does not listen is slower, and nothing else.
    fn tell_system(self) {
        let nice = match self {
            Self::Payment => return,
            Self::Soon => 5,
            Self::Later => 10,
        };
        if let Err(error) = setpriority_process(Some(gettid()), nice) {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }
}

/// A panic in a core thread means that an invariant is broken: the process ends, and the log tells the next
/// one where to go on.
fn spawn(
    name: &str,
    urgency: Urgency,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let body = move || {
        urgency.tell_system();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!("an invariant is broken: the process ends");
            std::process::abort();
        }
    };
    std::thread::Builder::new().name(format!("bezant-{name}")).spawn(body).map_err(StartError::Thread)
}
