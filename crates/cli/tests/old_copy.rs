//! An old copy of one of three folders is put back while another node is away: the third, which knows what was acknowledged
//! since, stops and says so, in its log, in the others' and in `cluster status`; what it has can be exported, and the node
//! joins again. And a copy of a folder is started beside the original: the others refuse it and name both.

#[path = "../src/demo/ports.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ports::free_address;

const TOKEN: &str = "a token for this test alone";
/// No step may take longer.
const TIMEOUT: Duration = Duration::from_mins(1);

struct Machines {
    folder: PathBuf,
    listen: Vec<String>,
    peer_listen: Vec<String>,
    /// Those of the three nodes, and of a copy.
    children: [Option<Child>; 4],
    engine: &'static str,
}

impl Machines {
    fn new(folder: &Path, engine: &'static str) -> Self {
        let addresses = || (0..4).map(|_| free_address().expect("a free port")).collect();
        let (listen, peer_listen) = (addresses(), addresses());
        Self { folder: folder.to_owned(), listen, peer_listen, children: [const { None }; 4], engine }
    }

    fn start(&mut self, node: usize, joins: bool) {
        self.start_as(node, node, joins);
    }

    /// The folder and the addresses are those of `node`.
    fn start_as(&mut self, node: usize, speaks_as: usize, joins: bool) {
        let number = (speaks_as + 1).to_string();
        let numbered = self.peer_listen[..3].iter().zip(1..).map(|(at, number)| format!("{number}={at}"));
        let list =
            if joins { self.peer_listen[..3].join(",") } else { numbered.collect::<Vec<_>>().join(",") };
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(self.log(node));
        let child = Command::new(env!("CARGO_BIN_EXE_bezant"))
            .args(["start", "--node", &number, if joins { "--join" } else { "--nodes" }, &list])
            .args(["--engine", self.engine])
            .args(["--peer-listen", &self.peer_listen[node], "--listen", &self.listen[node], "--data-dir"])
            .arg(self.data(node))
            .env("BEZANT_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .stderr(errors.expect("a file for errors"))
            .spawn();
        self.children[node] = Some(child.expect("the node starts"));
    }

    fn data(&self, node: usize) -> PathBuf {
        self.folder.join(format!("data{}", node + 1))
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.err", node + 1))
    }

    fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            child.kill().expect("the node was running");
            child.wait().expect("the node ends");
        }
    }

    /// Runs the command against these nodes.
    fn run(&self, nodes: &[usize], arguments: &[&str]) -> Output {
        let servers: Vec<&str> = nodes.iter().map(|node| &*self.listen[*node]).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bezant"));
        command.args(arguments).args(["--server", &servers.join(","), "--timeout", "20s"]);
        command.output().expect("the program runs")
    }

    /// The same until it succeeds; what it printed.
    fn succeed(&self, nodes: &[usize], arguments: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let output = self.run(nodes, arguments);
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("text");
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(begun.elapsed() < TIMEOUT, "{arguments:?}: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a node has said that in its log.
    fn wait_for_words(&self, node: usize, words: &str) {
        let begun = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.log(node)).unwrap_or_default();
            if log.contains(words) {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "node {} never said {words:?}, but\n{log}", node + 1);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leader(&self, node: usize) -> usize {
        let begun = Instant::now();
        loop {
            let told = self.succeed(&[node], &["cluster", "status", "-o", "json"]);
            let told: serde_json::Value =
                serde_json::from_str(told.lines().next().unwrap_or("{}")).expect("JSON");
            if let Some(leader) = told["leader"].as_u64() {
                return usize::try_from(leader).expect("a small number") - 1;
            }
            assert!(begun.elapsed() < TIMEOUT, "nobody leads: {told}");
        }
    }

    fn pay(&self, nodes: &[usize], times: usize) {
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

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

fn put_an_old_copy_back(engine: &'static str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), engine);
    (0..3).for_each(|node| machines.start(node, false));
    let all = [0, 1, 2];
    for name in ["alice", "bob"] {
        machines.succeed(&all, &["account", "create", name, "--asset", "EUR"]);
    }
    machines.pay(&all, 3);
    let witness = machines.leader(0);
    let (old, away) = ((witness + 1) % 3, (witness + 2) % 3);

    machines.kill(old);
    let kept = folder.path().join("kept");
    copy(&machines.data(old), &kept);
    machines.start(old, false);
    machines.kill(away);
    machines.pay(&[witness, old], 6);
    machines.kill(witness);
    machines.kill(old);
    std::fs::remove_dir_all(machines.data(old)).expect("it is replaced");
    std::fs::rename(&kept, machines.data(old)).expect("the old copy is back");

    // Those who lack the payments go on.
    machines.start(old, false);
    machines.start(away, false);
    let rest = [old, away];
    machines.pay(&rest, 2);
    machines.start(witness, false);
    let number = (witness + 1).to_string();
    machines.wait_for_words(witness, "it knows the log up to entry");
    for node in rest {
        machines.wait_for_words(node, &format!("node {number} has stopped"));
    }
    // The status follows the log within a tick or two.
    let begun = Instant::now();
    let status = loop {
        let status = machines.run(&all, &["cluster", "status"]);
        if status.status.code() == Some(1) {
            break status;
        }
        assert!(begun.elapsed() < TIMEOUT, "the status never shows it: {status:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(said.contains(&format!("node {number} has stopped: it knows the log up to entry")), "{said}");

    // It comes back so, and shows what it has: five of six at least, for it was killed the moment after the last.
    machines.kill(witness);
    machines.start(witness, false);
    let exported = machines.succeed(&[witness], &["export", "--read", "stale"]);
    let movements = exported.lines().filter(|line| line.contains("\"amount\"")).count();
    assert!(movements >= 3 + 5, "{exported}");
    machines.pay(&rest, 1);

    // A person has decided: it joins again.
    machines.kill(witness);
    std::fs::rename(machines.data(witness), folder.path().join("put away")).expect("it is kept");
    machines.start(witness, true);
    machines.succeed(&rest, &["cluster", "replace", &number]);
    let begun = Instant::now();
    while !machines.run(&all, &["cluster", "status"]).status.success() {
        assert!(begun.elapsed() < TIMEOUT, "it never was well again");
        std::thread::sleep(Duration::from_millis(100));
    }
    machines.pay(&all, 1);
}

#[test]
fn a_copy_that_is_started_beside_the_original_is_refused_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), "raft");
    (0..3).for_each(|node| machines.start(node, false));
    let (all, copied) = ([0, 1, 2], 3);
    for name in ["alice", "bob"] {
        machines.succeed(&all, &["account", "create", name, "--asset", "EUR"]);
    }
    machines.kill(2);
    copy(&machines.data(2), &machines.data(copied));
    machines.start(2, false);
    machines.succeed(&all, &["cluster", "status"]);

    machines.start_as(copied, 2, false);
    let process = machines.children[copied].as_ref().expect("it runs").id();
    let words = format!("and refuses process {process} at 127.0.0.1");
    for node in [0, 1, copied] {
        machines.wait_for_words(node, "two processes speak as node 3");
        machines.wait_for_words(node, &words);
    }
    let status = machines.run(&all, &["cluster", "status"]);
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(status.status.code() == Some(1) && said.contains(&words), "{said}");
    machines.pay(&all, 5);
    machines.kill(copied);
    // It is shown for a while after its last try.
    machines.succeed(&all, &["cluster", "status"]);
    for node in all {
        let log = std::fs::read_to_string(machines.log(node)).expect("its log");
        let original = machines.children[2].as_ref().expect("it runs").id();
        assert!(
            !log.contains(&format!("refuses process {original} ")),
            "the original is never refused:\n{log}"
        );
    }
}

#[test]
fn an_old_copy_of_a_folder_is_noticed_on_raft() {
    put_an_old_copy_back("raft");
}

#[test]
fn an_old_copy_of_a_folder_is_noticed_on_paxos() {
    put_an_old_copy_back("paxos");
}
