//! The members of a cluster of real processes change while clients pay and read: a node is added, a node
//! loses its disk and is replaced, the leader is removed, all are killed at once. No acknowledged write is
//! lost, and a node with a wiped disk is no member under its old number.

mod common;
#[path = "common/load.rs"]
mod load;
#[path = "../src/demo/ports.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bezant_client::Client;
use load::{Known, TIMEOUT, check_node, connect, make_accounts, pay, read, wait_for_progress};
use ports::free_address;

const TOKEN: &str = "a token for this test alone";

/// The nodes; the first three begin the cluster.
struct Machines {
    folder: PathBuf,
    listen: Vec<String>,
    peer_listen: Vec<String>,
    children: Vec<Option<Child>>,
    engine: &'static str,
}

impl Machines {
    fn new(folder: &Path, count: usize, engine: &'static str) -> Self {
        Self {
            engine,
            folder: folder.to_owned(),
            listen: (0..count).map(|_| free_address().expect("a free port")).collect(),
            peer_listen: (0..count).map(|_| free_address().expect("a free port")).collect(),
            children: (0..count).map(|_| None).collect(),
        }
    }

    /// Starts node `node + 1`: with the list of the first three, or to join them.
    fn start(&mut self, node: usize, joins: bool) {
        let number = (node + 1).to_string();
        let numbered = self.peer_listen.iter().take(3).zip(1..);
        let (flag, list) = if joins {
            ("--join", self.peer_listen.join(","))
        } else {
            ("--nodes", numbered.map(|(at, number)| format!("{number}={at}")).collect::<Vec<_>>().join(","))
        };
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{number}.err")))
            .expect("a file for errors");
        // A node that joins gets the consensus engine from the other nodes.
        let engine = if joins { vec![] } else { vec!["--engine", self.engine] };
        let child = Command::new(env!("CARGO_BIN_EXE_bezant"))
            .args(["start", "--node", &number, flag, &list])
            .args(engine)
            .args(["--peer-listen", &self.peer_listen[node], "--listen", &self.listen[node], "--data-dir"])
            .arg(self.data(node))
            .env("BEZANT_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("the node starts");
        self.children[node] = Some(child);
    }

    fn data(&self, node: usize) -> PathBuf {
        self.folder.join(format!("data{}", node + 1))
    }

    fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            child.kill().expect("the node was running");
            child.wait().expect("the node ends");
        }
    }

    fn urls(&self, nodes: &[usize]) -> Vec<String> {
        nodes.iter().map(|node| format!("http://{}", self.listen[*node])).collect()
    }

    /// Runs `bezant cluster ...` against these nodes.
    async fn cluster(&self, nodes: &[usize], arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bezant"));
        command.arg("cluster").args(arguments).args(["--server", &self.urls(nodes).join(","), "-o", "json"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        output.expect("the program runs")
    }

    /// The same, and it must succeed; returns its output.
    async fn change(&self, nodes: &[usize], arguments: &[&str]) -> serde_json::Value {
        let output = self.cluster(nodes, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one document")
    }

    /// Waits until the log of a node contains `words`.
    async fn wait_for_words(&self, node: usize, words: &str) {
        let begun = Instant::now();
        let path = self.folder.join(format!("{}.err", node + 1));
        loop {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            if log.contains(words) {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "node {} never logged {words:?}, but\n{log}", node + 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        (0..self.children.len()).for_each(|node| self.kill(node));
    }
}

fn numbers(value: &serde_json::Value) -> Vec<u64> {
    value.as_array().expect("a list").iter().filter_map(serde_json::Value::as_u64).collect()
}

async fn leader(client: &Client) -> usize {
    let begun = Instant::now();
    loop {
        let leader = client.cluster().await.expect("an answer").ledger().expect("the ledger").leader;
        if leader > 0 {
            return usize::try_from(leader).expect("a small number") - 1;
        }
        assert!(begun.elapsed() < TIMEOUT, "no node leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A disk is lost. Under the old number the node with the new disk is no member until it is replaced; after
/// that, the node with the old disk is no member.
async fn lose_a_disk(machines: &mut Machines, known: &Known, lost: usize) {
    let others: Vec<usize> = (0..4).filter(|node| *node != lost).collect();
    machines.kill(lost);
    let old = machines.folder.join("old");
    std::fs::rename(machines.data(lost), &old).expect("the disk is gone");
    machines.start(lost, false);
    let number = (lost + 1).to_string();
    machines.wait_for_words(lost, "replace the node in the cluster").await;
    wait_for_progress(known, "a disk was lost").await;
    machines.kill(lost);
    std::fs::remove_dir_all(machines.data(lost)).expect("it holds nothing");
    machines.start(lost, true);
    let replaced = machines.change(&others, &["replace", &number]).await;
    assert_eq!(numbers(&replaced["voters"]), [1, 2, 3, 4]);
    wait_for_progress(known, "a node was replaced").await;
    // The old disk is found again: the node with it is no member, however often it asks.
    machines.kill(lost);
    let new = machines.folder.join("new");
    std::fs::rename(machines.data(lost), &new).expect("the new disk is put aside");
    std::fs::rename(&old, machines.data(lost)).expect("the old one is back");
    machines.start(lost, false);
    machines.wait_for_words(lost, "was removed from the cluster and added again").await;
    wait_for_progress(known, "an old disk was back").await;
    machines.kill(lost);
    std::fs::rename(machines.data(lost), &old).expect("it is put away");
    std::fs::rename(&new, machines.data(lost)).expect("the new one is back");
    machines.start(lost, true);
    wait_for_progress(known, "the new disk is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go_and_nothing_is_lost_on_raft() {
    come_and_go("raft").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go_and_nothing_is_lost_on_paxos() {
    come_and_go("paxos").await;
}

async fn come_and_go(engine: &'static str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), 4, engine);
    (0..3).for_each(|node| machines.start(node, false));
    let all = machines.urls(&[0, 1, 2, 3]);
    let client = connect(&all).await;
    make_accounts(&client).await;
    let known = Arc::new(Known::default());
    let mut tasks = Vec::new();
    for number in 0..3 {
        tasks.push(tokio::spawn(pay(connect(&all).await, Arc::clone(&known), number)));
    }
    tasks.push(tokio::spawn(read(connect(&all).await, Arc::clone(&known))));
    wait_for_progress(&known, "the beginning").await;

    // The command waits for an absent node only for the given timeout; the default would be ten minutes.
    let begun = Instant::now();
    let absent = machines.cluster(&[0, 1, 2], &["add", "9=127.0.0.1:1", "--timeout", "2s"]).await;
    let words = String::from_utf8_lossy(&absent.stderr);
    assert_eq!(absent.status.code(), Some(8), "{words}");
    assert!(words.contains("node 9 has not connected yet"), "{words}");
    assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
    machines.change(&[0, 1, 2], &["remove", "9"]).await;

    // A fourth node starts before it was added, and logs what to do.
    machines.start(3, true);
    machines.wait_for_words(3, "is not a member").await;
    let member = format!("4={}", machines.peer_listen[3]);
    let added = machines.change(&[0, 1, 2], &["add", &member]).await;
    assert_eq!(numbers(&added["voters"]), [1, 2, 3, 4]);
    wait_for_progress(&known, "a node was added").await;

    // A follower's disk is lost.
    let lost = (leader(&client).await + 1) % 3;
    lose_a_disk(&mut machines, &known, lost).await;

    // The leader is removed: another one leads first.
    let removed = leader(&client).await;
    let rest: Vec<usize> = (0..4).filter(|node| *node != removed).collect();
    let number = (removed + 1).to_string();
    let done = machines.change(&rest, &["remove", &number]).await;
    let stay: Vec<u64> = rest.iter().map(|node| *node as u64 + 1).collect();
    assert_eq!(numbers(&done["voters"]), stay);
    assert!(stay.contains(&done["leader"].as_u64().expect("a number")), "{done}");
    machines.wait_for_words(removed, "removed from the cluster").await;
    wait_for_progress(&known, "the leader was removed").await;
    machines.kill(removed);
    let refused = machines.cluster(&rest, &["promote", &number]).await;
    assert_eq!(refused.status.code(), Some(4), "there is no such node");

    // Leadership moves to the wanted node.
    let wanted = rest[usize::from(rest[0] == leader(&client).await)];
    let moved = machines.change(&rest, &["transfer-leader", &(wanted + 1).to_string()]).await;
    assert_eq!(moved["leader"].as_u64(), Some(wanted as u64 + 1));

    // All are killed, and start with the members on their disks: the flags do not count.
    rest.iter().for_each(|node| machines.kill(*node));
    rest.iter().for_each(|node| machines.start(*node, true));
    wait_for_progress(&known, "all were killed").await;
    known.is_over.store(true, Ordering::Release);
    for task in tasks {
        task.await.expect("no client failed");
    }
    let timestamps = std::mem::take(&mut *known.timestamps.lock().expect("no test thread panicked"));
    let mut states = Vec::new();
    for url in machines.urls(&rest) {
        states.push(check_node(&connect(&[url]).await, &timestamps).await);
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "all nodes show the same chains and balances");
    assert!(known.reads.load(Ordering::Acquire) > 0, "a client has read");
}
