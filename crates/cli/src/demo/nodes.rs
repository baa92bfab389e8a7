//! The demo's nodes: processes of this program on new folders. They end with the demo.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bezant_client::{Client, ClusterGroup};
use bezant_runtime::EngineKind;
use rustix::process::{Pid, Signal, kill_process};

use super::ports::free_address;
use crate::child::{last_lines, own_program};

/// How long the demo waits for a state of the nodes before it fails.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A node that lags by at most so many entries counts as up to date: its status is already old when it is
/// read.
const LAG_MAX: u64 = 500;
/// The pause between two looks at the nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// One node of the demo. `child` is `None` while the node is down.
#[derive(Debug)]
struct Node {
    number: usize,
    listen: String,
    child: Option<Child>,
}

/// All nodes, and the folder that they share. Dropping the value kills the nodes and removes the folder.
#[derive(Debug)]
pub(super) struct Nodes {
    folder: PathBuf,
    token: String,
    engine: EngineKind,
    list: String,
    all: Vec<Node>,
}

impl Nodes {
    /// Starts `count` nodes on a new folder.
    pub(super) fn start(count: usize, engine: EngineKind) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("bezant-demo-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let peers = (0..count).map(|_| free_address()).collect::<io::Result<Vec<_>>>()?;
        let list: Vec<String> =
            peers.iter().enumerate().map(|(at, address)| format!("{}={address}", at + 1)).collect();
        let nodes = (1..=count)
            .map(|number| Ok(Node { number, listen: free_address()?, child: None }))
            .collect::<Result<Vec<_>>>()?;
        let token = bezant_client::ids::IdGenerator::new().transfer_id().0.to_string();
        let mut nodes = Self { folder, token, engine, list: list.join(","), all: nodes };
        for number in 1..=count {
            nodes.start_one(number)?;
        }
        Ok(nodes)
    }

    /// Starts a node on its folder, again or for the first time.
    pub(super) fn start_one(&mut self, number: usize) -> Result<()> {
        let errors = fs::OpenOptions::new().create(true).append(true).open(self.log(number))?;
        let node = &mut self.all[number - 1];
        let child = own_program()?
            .args(["start", "--node", &number.to_string(), "--nodes", &self.list])
            .args(["--listen", &node.listen, "--engine", self.engine.name()])
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{number}")))
            .env("BEZANT_TOKEN", &self.token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("a node cannot be started")?;
        node.child = Some(child);
        Ok(())
    }

    /// The file with a node's standard error.
    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node-{number}.err"))
    }

    /// An error with the last log lines of all nodes: the folder with their logs is removed at the end.
    fn failure(&self, what: &str) -> anyhow::Error {
        let lines = self.all.iter().map(|node| {
            let log = fs::read_to_string(self.log(node.number)).unwrap_or_default();
            let lines = last_lines(&log);
            format!("\nnode {}:{}", node.number, if lines.is_empty() { " nothing" } else { &lines })
        });
        anyhow!("{what}; the last log lines of the nodes:{}", lines.collect::<String>())
    }

    /// Fails when a node other than `except` has ended that the demo did not stop.
    fn ensure_running(&mut self, except: Option<usize>) -> Result<()> {
        for at in 0..self.all.len() {
            let node = &mut self.all[at];
            let number = node.number;
            if Some(number) != except
                && let Some(child) = &mut node.child
                && let Some(status) = child.try_wait()?
            {
                return Err(self.failure(&format!("node {number} ended unexpectedly ({status})")));
            }
        }
        Ok(())
    }

    /// The address of a node, as a URL.
    pub(super) fn url(&self, number: usize) -> String {
        format!("http://{}", self.all[number - 1].listen)
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.all.iter().map(|node| self.url(node.number)).collect()
    }

    /// Sends a signal to a node. After SIGKILL it waits for the end of the process.
    pub(super) fn signal(&mut self, number: usize, signal: Signal) -> Result<()> {
        let node = &mut self.all[number - 1];
        let Some(child) = &mut node.child else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).context("a node cannot be signalled")?;
        if signal == Signal::KILL {
            child.wait().context("a node does not end")?;
            node.child = None;
        }
        Ok(())
    }

    /// Waits until a node that was asked to stop has ended.
    pub(super) async fn wait_for_end(&mut self, number: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            let Some(child) = &mut self.all[number - 1].child else { return Ok(()) };
            if let Some(status) = child.try_wait()? {
                self.all[number - 1].child = None;
                anyhow::ensure!(status.success(), "node {number} failed when it stopped: {status}");
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        bail!("node {number} does not stop")
    }

    /// The status of a node's replica of the ledger; `None` when the node does not answer in time.
    pub(super) async fn status(&self, number: usize) -> Option<ClusterGroup> {
        let timeout = Duration::from_millis(500);
        let builder = Client::builder().address(self.url(number)).deadline(timeout);
        let client = builder.connect_timeout(timeout).attempt_timeout(timeout).connect().await.ok()?;
        client.cluster().await.ok()?.ledger().cloned()
    }

    /// Waits until a node other than `except` leads; returns its number and term.
    pub(super) async fn leader(&mut self, except: Option<usize>) -> Result<(usize, u64)> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            self.ensure_running(except)?;
            for node in self.all.iter().filter(|node| Some(node.number) != except) {
                if let Some(status) = self.status(node.number).await
                    && status.role == "leader"
                {
                    return Ok((node.number, status.term));
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.failure(&format!("no node leads after {} s", WAIT_MAX.as_secs())))
    }

    /// Waits until all nodes answer and are up to date, so that at most one node is down at a time.
    pub(super) async fn healthy(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            self.ensure_running(None)?;
            let mut applied = Vec::new();
            let mut committed = 0;
            for node in &self.all {
                if let Some(status) = self.status(node.number).await {
                    applied.push(status.applied);
                    committed = committed.max(status.committed);
                }
            }
            let least = applied.iter().min().copied().unwrap_or(0);
            if applied.len() == self.all.len() && committed - least.min(committed) <= LAG_MAX {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(self.failure("a node does not catch up"))
    }

    /// Waits until all nodes have applied the same entry, and no later entry is in progress.
    pub(super) async fn level(&mut self) -> Result<u64> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < WAIT_MAX {
            self.ensure_running(None)?;
            let mut applied = Vec::new();
            for node in &self.all {
                applied.push(self.status(node.number).await.map(|status| (status.applied, status.committed)));
            }
            if let Some(Some((index, committed))) = applied.first().copied()
                && index == committed
                && applied.iter().all(|other| *other == Some((index, index)))
                && last.replace(index) == Some(index)
            {
                return Ok(index);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(self.failure("the nodes do not reach the same log entry"))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.all {
            if let Some(child) = &mut node.child {
                // Both fail when the process has already ended, which is fine.
                drop(child.kill());
                drop(child.wait());
            }
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}
