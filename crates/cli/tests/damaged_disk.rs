//! The disk of one of three nodes is damaged. Meanwhile the node answers clients that it has no state yet,
//! never that an account does not exist; and it logs when it needs the other nodes, or an operator.

#[path = "common/machines.rs"]
mod machines;
#[path = "../src/demo/ports.rs"]
mod ports;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use machines::{Machines, TIMEOUT};

/// The node whose disk is damaged.
const DAMAGED: usize = 2;
const ALL: [usize; 3] = [0, 1, 2];

/// A cluster in which alice has paid 3 euros, on all nodes; then all nodes are stopped.
fn paid_and_ended(folder: &Path) -> Machines {
    let mut machines = Machines::new(folder, "raft");
    ALL.into_iter().for_each(|node| machines.start(node, false));
    for name in ["alice", "bob"] {
        machines.succeed(&ALL, &["account", "create", name, "--asset", "EUR"]);
    }
    machines.pay(&ALL, 3);
    let begun = Instant::now();
    while !alice(&machines).is_ok_and(|shown| shown.contains("\"debits_posted\":\"300\"")) {
        assert!(begun.elapsed() < TIMEOUT, "the node gets the payments: {:?}", alice(&machines));
        std::thread::sleep(Duration::from_millis(50));
    }
    // SIGTERM, since a stop writes the commit index to disk, and a kill may come before that.
    machines.stop(DAMAGED);
    ALL.into_iter().for_each(|node| machines.kill(node));
    machines
}

/// The answer of the damaged node to a stale read of alice, or its error.
fn alice(machines: &Machines) -> Result<String, String> {
    let show = ["account", "show", "alice", "--read", "stale", "-o", "json"];
    let output = machines.run_for(&[DAMAGED], &show, "1s");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The answer of the damaged node to a request over REST.
fn get(machines: &Machines, path: &str, headers: &str) -> String {
    let address = &machines.listen[DAMAGED];
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("the node reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the node answers");
    answer
}

/// Flips a bit in the first file whose name begins with `start`.
fn rot(folder: &Path, start: &str, offset: usize) {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let is_it = |path: &PathBuf| {
        path.extension().is_none_or(|extension| extension != "tmp")
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    let file = files.filter(is_it).min().expect("there is such a file");
    let mut bytes = std::fs::read(&file).expect("it can be read");
    bytes[offset] ^= 8;
    std::fs::write(&file, bytes).expect("it can be written");
}

fn wait_for_listener(machines: &Machines) {
    let begun = Instant::now();
    while TcpStream::connect(&machines.listen[DAMAGED]).is_err() {
        assert!(begun.elapsed() < TIMEOUT, "it listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_node_under_repair_answers_that_it_has_no_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = paid_and_ended(folder.path());
    rot(&machines.data(DAMAGED), "log-0", 9);
    machines.start(DAMAGED, false);
    wait_for_listener(&machines);
    machines.wait_for_words(DAMAGED, "are fetched from the other nodes");
    let refused = alice(&machines).expect_err("it has nothing to show");
    assert!(refused.contains("this node shows nothing yet: its disk is new or was damaged"), "{refused}");
    for (path, headers) in [("/readyz", ""), ("/v1/accounts/alice", "bezant-read: stale\r\n")] {
        let answer = get(&machines, path, headers);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"no_state\""), "{path}: {answer}");
    }
    let status = machines.run(&[DAMAGED], &["cluster", "status"]);
    let table = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(table.contains("no state yet"), "{table}");

    machines.start(0, false);
    machines.start(1, false);
    let begun = Instant::now();
    let shown = loop {
        match alice(&machines) {
            Ok(shown) => break shown,
            Err(why) => {
                assert!(why.contains("shows nothing yet"), "never that the account does not exist: {why}");
            }
        }
        assert!(begun.elapsed() < TIMEOUT, "it is repaired");
    };
    assert!(shown.contains("\"debits_posted\":\"300\""), "its first answer is complete: {shown}");
    let begun = Instant::now();
    while !get(&machines, "/readyz", "").starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < TIMEOUT, "it is ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_node_that_starts_alone_shows_its_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = paid_and_ended(folder.path());
    machines.start(DAMAGED, false);
    let begun = Instant::now();
    let shown = loop {
        match alice(&machines) {
            Ok(shown) => break shown,
            Err(why) => assert!(!why.contains("not_found") && begun.elapsed() < TIMEOUT, "{why}"),
        }
    };
    assert!(shown.contains("\"debits_posted\":\"300\""), "{shown}");
}

#[test]
fn a_lost_list_of_members_is_copied_from_another_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = paid_and_ended(folder.path());
    let data = machines.data(DAMAGED);
    rot(&data, "members.bzm", 40);
    machines.start(DAMAGED, false);
    machines.wait_for_words(DAMAGED, "members.bzm is written again from its copy");
    wait_for_listener(&machines);
    machines.kill(DAMAGED);

    rot(&data, "members.bzm", 40);
    rot(&data, "members.copy", 40);
    machines.start(DAMAGED, false);
    machines.wait_for_words(DAMAGED, "members.bzm is damaged");
    machines.wait_for_words(
        DAMAGED,
        "Nothing was changed. Copy members.bzm into it from the folder of another node",
    );
    machines.kill(DAMAGED);
    std::fs::copy(machines.data(0).join("members.bzm"), data.join("members.bzm")).expect("a copy");
    ALL.into_iter().for_each(|node| machines.start(node, false));
    let begun = Instant::now();
    while !machines.run(&ALL, &["cluster", "status"]).status.success() {
        assert!(begun.elapsed() < TIMEOUT, "the cluster does not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
    let shown = alice(&machines).expect("it has a state");
    assert!(shown.contains("\"debits_posted\":\"300\""), "{shown}");

    // A lost vote cannot come from the other nodes: the log names the command for the operator.
    machines.kill(DAMAGED);
    rot(&data, "vote.bzv", 24);
    machines.start(DAMAGED, false);
    machines.wait_for_words(DAMAGED, "vote.bzv is damaged");
    machines.wait_for_words(DAMAGED, "`bezant cluster replace N`");
}
