//! The messages of a cluster of real processes. Its first start names the node that it waits for, in the
//! answers, in `cluster status`, in the logs and at the start itself. A change that is made in part reports
//! so, and how to go on. A change that would be refused moves no leadership.

#[path = "common/machines.rs"]
mod machines;
#[path = "../src/demo/ports.rs"]
mod ports;

use std::time::Instant;

use machines::{Machines, TIMEOUT};

fn stderr_of(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_first_start_names_the_node_that_it_waits_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), "raft");
    machines.start(0, false);
    machines.start(1, false);
    let waits = format!("the first start waits for node 3 at {}", machines.peer_address(2));
    for node in [0, 1] {
        machines.wait_for_words(node, &format!("{waits}: a new cluster elects no leader"));
        let log = std::fs::read_to_string(machines.log(node)).expect("a log");
        assert_eq!(log.matches(&waits).count(), 1, "it is logged once: {log}");
        let words = std::fs::read_to_string(machines.words(node)).expect("what it printed");
        assert!(words.contains("the first start of a cluster") && !words.contains("Try next"), "{words}");
    }
    for arguments in [&["account", "create", "alice", "--asset", "EUR"][..], &["account", "list"]] {
        let output = machines.run_for(&[0], arguments, "3s");
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(&waits) && !stderr.contains("majority"), "{stderr}");
    }
    let status = machines.run(&[0, 1], &["cluster", "status"]);
    assert_eq!(stderr_of(&status), format!("bezant: no node leads: {waits}\n"));
    assert_eq!(status.status.code(), Some(3));
    let status = machines.run(&[1], &["cluster", "status", "-o", "json"]);
    let line = String::from_utf8(status.stdout).expect("text");
    let own: serde_json::Value = serde_json::from_str(line.lines().next().unwrap_or("{}")).expect("JSON");
    assert_eq!(own["groups"][0]["first_start"], waits.as_str());

    machines.start(2, false);
    for node in 0..3 {
        machines.wait_for_output(node, "Try next");
    }
    machines.succeed(&[0], &["account", "create", "alice", "--asset", "EUR"]);
    let begun = Instant::now();
    loop {
        let status = machines.run(&[0, 1, 2], &["cluster", "status", "-o", "json"]);
        if status.status.success() {
            let printed = String::from_utf8(status.stdout).expect("text");
            assert!(printed.lines().all(|line| line.contains("\"first_start\":null")), "{printed}");
            return;
        }
        assert!(begun.elapsed() < TIMEOUT, "{}", stderr_of(&status));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_node_of_a_working_cluster_reports_no_first_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), "raft");
    (0..3).for_each(|node| machines.start(node, false));
    machines.succeed(&[0], &["account", "create", "alice", "--asset", "EUR"]);
    (0..3).for_each(|node| machines.kill(node));
    machines.start(0, false);
    let begun = Instant::now();
    let stderr = loop {
        let output = machines.run_for(&[0], &["account", "create", "bob", "--asset", "EUR"], "3s");
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(begun.elapsed() < TIMEOUT, "{stderr}");
        // The node may not listen yet.
        if !stderr.contains("no server answers") {
            break stderr;
        }
    };
    assert!(stderr.contains("a majority of the cluster cannot be reached"), "{stderr}");
    assert!(!stderr.contains("first start"), "{stderr}");
}

#[test]
fn a_partial_change_is_reported_and_a_refused_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machines = Machines::new(folder.path(), "raft");
    (0..3).for_each(|node| machines.start(node, false));
    let all = [0, 1, 2];
    machines.succeed(&all, &["account", "create", "alice", "--asset", "EUR"]);
    let address = machines.peer_address(3).to_owned();
    let add = ["cluster", "add", &format!("4={address}"), "--wait", "1s", "-o", "json"];
    let first = machines.run(&all, &add);
    let text = stderr_of(&first);
    assert_eq!(first.status.code(), Some(8), "{text}");
    assert!(
        text.contains("a part of the change was made: node 4") && text.contains("bezant cluster add"),
        "{text}"
    );
    let again = machines.run(&all, &add);
    assert_eq!(again.status.code(), Some(3), "nothing was changed: {}", stderr_of(&again));
    machines.succeed(&all, &["cluster", "remove", "4"]);

    let leader = machines.leader(0);
    let gone = (leader + 1) % 3;
    let left = [leader, (leader + 2) % 3];
    machines.kill(gone);
    let begun = Instant::now();
    loop {
        let status = machines.run(&left, &["cluster", "status", "-o", "json"]);
        let printed = String::from_utf8(status.stdout).expect("text");
        if printed.lines().take(2).all(|line| line.contains("\"connected\":false")) {
            break;
        }
        assert!(begun.elapsed() < TIMEOUT, "the broken connections are noticed: {printed}");
    }
    let number = (leader + 1).to_string();
    let refused = machines.run(&left, &["cluster", "remove", &number]);
    let text = stderr_of(&refused);
    assert_eq!((refused.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("no majority of the voters that are left"), "{text}");
    assert_eq!(machines.leader(left[1]), leader, "the leadership has not moved");
}
