//! Three nodes as processes, each with its own folder, log and addresses, and the command to ask them.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ports::free_address;

const TOKEN: &str = "a token for this test alone";
/// The longest time that a step may take.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) struct Machines {
    folder: PathBuf,
    pub(crate) listen: Vec<String>,
    peer_listen: Vec<String>,
    /// The processes of the three nodes, and of a copy of one.
    pub(crate) children: [Option<Child>; 4],
    engine: &'static str,
}

impl Machines {
    pub(crate) fn new(folder: &Path, engine: &'static str) -> Self {
        let addresses = || (0..4).map(|_| free_address().expect("a free port")).collect();
        let (listen, peer_listen) = (addresses(), addresses());
        Self { folder: folder.to_owned(), listen, peer_listen, children: [const { None }; 4], engine }
    }

    pub(crate) fn start(&mut self, node: usize, joins: bool) {
        self.start_as(node, node, joins);
    }

    /// Starts a node with the folder and the addresses of `node`, and the number of `numbered_as`.
    pub(crate) fn start_as(&mut self, node: usize, numbered_as: usize, joins: bool) {
        let number = (numbered_as + 1).to_string();
        let peers = &self.peer_listen[..3];
        let numbered = peers.iter().zip(1..).map(|(at, number)| format!("{number}={at}"));
        let list = if joins { peers.join(",") } else { numbered.collect::<Vec<_>>().join(",") };
        let append = |path| std::fs::OpenOptions::new().create(true).append(true).open(path);
        let (answers, errors) = (append(self.words(node)), append(self.log(node)));
        let child = Command::new(env!("CARGO_BIN_EXE_bezant"))
            .args(["start", "--node", &number, if joins { "--join" } else { "--nodes" }, &list])
            .args(["--engine", self.engine])
            .args(["--peer-listen", &self.peer_listen[node], "--listen", &self.listen[node], "--data-dir"])
            .arg(self.data(node))
            .env("BEZANT_TOKEN", TOKEN)
            .stdout(answers.expect("a file for answers"))
            .stderr(errors.expect("a file for errors"))
            .spawn();
        self.children[node] = Some(child.expect("the node starts"));
    }

    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.folder.join(format!("data{}", node + 1))
    }

    pub(crate) fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.err", node + 1))
    }

    /// The file with the output of its start.
    pub(crate) fn words(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.out", node + 1))
    }

    /// The address at which its peers reach it.
    pub(crate) fn peer_address(&self, node: usize) -> &str {
        &self.peer_listen[node]
    }

    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            child.kill().expect("the node was running");
            child.wait().expect("the node ends");
        }
    }

    /// Stops it with SIGTERM.
    pub(crate) fn stop(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            kill_process(Pid::from_child(&child), Signal::TERM).expect("the node was running");
            child.wait().expect("the node ends");
        }
    }

    /// Runs the command against these nodes.
    pub(crate) fn run(&self, nodes: &[usize], arguments: &[&str]) -> Output {
        self.run_for(nodes, arguments, "20s")
    }

    /// The same, with a timeout.
    pub(crate) fn run_for(&self, nodes: &[usize], arguments: &[&str], timeout: &str) -> Output {
        let servers: Vec<&str> = nodes.iter().map(|node| &*self.listen[*node]).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bezant"));
        command.args(arguments).args(["--server", &servers.join(","), "--timeout", timeout]);
        command.output().expect("the program runs")
    }

    /// The same until it succeeds; returns its output.
    pub(crate) fn succeed(&self, nodes: &[usize], arguments: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let output = self.run(nodes, arguments);
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("text");
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(begun.elapsed() < TIMEOUT, "{arguments:?}: {stderr}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the log of a node contains `words`.
    pub(crate) fn wait_for_words(&self, node: usize, words: &str) {
        Self::wait_for(node, &self.log(node), words);
    }

    /// Waits until the output of a node contains `words`.
    pub(crate) fn wait_for_output(&self, node: usize, words: &str) {
        Self::wait_for(node, &self.words(node), words);
    }

    fn wait_for(node: usize, file: &Path, words: &str) {
        let begun = Instant::now();
        loop {
            let log = std::fs::read_to_string(file).unwrap_or_default();
            if log.contains(words) {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "node {} never printed {words:?}, but\n{log}", node + 1);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn leader(&self, node: usize) -> usize {
        let begun = Instant::now();
        loop {
            let status = self.succeed(&[node], &["cluster", "status", "-o", "json"]);
            let status: serde_json::Value =
                serde_json::from_str(status.lines().next().unwrap_or("{}")).expect("JSON");
            if let Some(leader) = status["groups"][0]["leader"].as_u64() {
                return usize::try_from(leader).expect("a small number") - 1;
            }
            assert!(begun.elapsed() < TIMEOUT, "no node leads: {status}");
        }
    }

    pub(crate) fn pay(&self, nodes: &[usize], times: usize) {
        for _ in 0..times {
            self.succeed(nodes, &["pay", "alice", "bob", "1", "EUR"]);
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        (0..4).for_each(|node| self.kill(node));
    }
}
