//! An old copy of one of three folders is put back while another node is away. The third node, which has the
//! entries acknowledged since, stops. Its log, the others' logs and `cluster status` report it; its state can
//! be exported, and the node joins again. Second case: a copy of a folder is started at the same time as the
//! original. The others refuse it and name both.

#[path = "common/machines.rs"]
mod machines;
#[path = "../src/demo/ports.rs"]
mod ports;

use std::path::Path;
use std::time::{Duration, Instant};

use machines::{Machines, TIMEOUT};

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

    // The two nodes without the payments go on.
    machines.start(old, false);
    machines.start(away, false);
    let rest = [old, away];
    machines.pay(&rest, 2);
    machines.start(witness, false);
    let number = (witness + 1).to_string();
    machines.wait_for_words(witness, "its log is committed up to entry");
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
    let stderr = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(
        stderr.contains(&format!("node {number} has stopped: its log is committed up to entry")),
        "{stderr}"
    );

    // It restarts in that state, and shows its payments: at least five of six, for it was killed right after
    // the last.
    machines.kill(witness);
    machines.start(witness, false);
    let exported = machines.succeed(&[witness], &["export", "--read", "stale"]);
    let movements = exported.lines().filter(|line| line.contains("\"amount\"")).count();
    assert!(movements >= 3 + 5, "{exported}");
    machines.pay(&rest, 1);

    // The operator has decided: the node joins again.
    machines.kill(witness);
    std::fs::rename(machines.data(witness), folder.path().join("put away")).expect("it is kept");
    machines.start(witness, true);
    machines.succeed(&rest, &["cluster", "replace", &number]);
    let begun = Instant::now();
    while !machines.run(&all, &["cluster", "status"]).status.success() {
        assert!(begun.elapsed() < TIMEOUT, "the cluster does not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
    machines.pay(&all, 1);
}

#[test]
fn a_copy_of_a_running_node_is_refused_and_named() {
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
        machines.wait_for_words(node, "two processes run as node 3");
        machines.wait_for_words(node, &words);
    }
    let status = machines.run(&all, &["cluster", "status"]);
    let stderr = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(status.status.code() == Some(1) && stderr.contains(&words), "{stderr}");
    machines.pay(&all, 5);
    machines.kill(copied);
    // The status shows it for a while after its last attempt.
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
