//! The demo's nodes: processes of this same program on fresh folders, which end with it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bezant_client::{Client, ClusterReply};
use bezant_runtime::EngineKind;
use rustix::process::{Pid, Signal, kill_process};

use super::ports::free_address;
use crate::child::{last_lines, own_program};

/// How long a node may take for what it was asked.
const PATIENCE: Duration = Duration::from_secs(30);
/// A node that is so many entries behind follows closely: the status of each is a moment old.
const BEHIND_MAX: u64 = 500;
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// One node.
#[derive(Debug)]
struct Node {
    number: usize,
    listen: String,
    child: Option<Child>,
}

/// All nodes, and the folder that they share. Dropped, it kills the ones and removes the other.
#[derive(Debug)]
pub(super) struct Nodes {
    folder: PathBuf,
    token: String,
    engine: EngineKind,
    list: String,
    all: Vec<Node>,
}

impl Nodes {
    /// Starts that many on a fresh folder.
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

    /// Where a node complains.
    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node-{number}.err"))
    }

    /// What went wrong, and what the nodes said last: the folder with all that they said goes with the demo.
    fn failure(&self, what: &str) -> anyhow::Error {
        let said = self.all.iter().map(|node| {
            let log = fs::read_to_string(self.log(node.number)).unwrap_or_default();
            let said = last_lines(&log);
            format!("\nnode {}:{}", node.number, if said.is_empty() { " nothing" } else { &said })
        });
        anyhow!("{what}; what the nodes said last:{}", said.collect::<String>())
    }

    /// An error when a node has ended that nobody has ended.
    fn ensure_running(&mut self, except: Option<usize>) -> Result<()> {
        for at in 0..self.all.len() {
            let node = &mut self.all[at];
            let number = node.number;
            if Some(number) != except
                && let Some(child) = &mut node.child
                && let Some(status) = child.try_wait()?
            {
                return Err(self.failure(&format!("node {number} ended by itself ({status})")));
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

    /// Sends a signal to a node; after one that ends it, waits for the end.
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

    /// Waits until a node that was told to stop has ended.
    pub(super) async fn wait_for_end(&mut self, number: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let Some(child) = &mut self.all[number - 1].child else { return Ok(()) };
            if let Some(status) = child.try_wait()? {
                self.all[number - 1].child = None;
                anyhow::ensure!(status.success(), "node {number} did not stop well: {status}");
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("node {number} does not stop")
    }

    /// What a node says of itself; `None` when it says nothing.
    pub(super) async fn status(&self, number: usize) -> Option<ClusterReply> {
        let patience = Duration::from_millis(500);
        let builder = Client::builder().address(self.url(number)).deadline(patience);
        let client = builder.connect_timeout(patience).attempt_timeout(patience).connect().await.ok()?;
        client.cluster().await.ok()
    }

    /// Waits until a node leads that is not `except`; its number and term.
    pub(super) async fn leader(&mut self, except: Option<usize>) -> Result<(usize, u64)> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.ensure_running(except)?;
            for node in self.all.iter().filter(|node| Some(node.number) != except) {
                if let Some(status) = self.status(node.number).await
                    && status.role == "leader"
                {
                    return Ok((node.number, status.term));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(self.failure(&format!("no node leads after {} s", PATIENCE.as_secs())))
    }

    /// Waits until all nodes answer, and follow closely: what happens next must not happen to a second one.
    pub(super) async fn healthy(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
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
            if applied.len() == self.all.len() && committed - least.min(committed) <= BEHIND_MAX {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(self.failure("a node does not catch up"))
    }

    /// Waits until all nodes have applied the same entry, and nothing behind it is on its way.
    pub(super) async fn level(&mut self) -> Result<u64> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < PATIENCE {
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
        Err(self.failure("the nodes do not come level"))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.all {
            if let Some(child) = &mut node.child {
                // It may have ended by itself; what matters is that it has.
                drop(child.kill());
                drop(child.wait());
            }
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}
