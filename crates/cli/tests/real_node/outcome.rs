//! The message of a command whose outcome is not known, or whose answer cannot be printed: following it never
//! makes a payment twice.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::gate::{HEADERS, next_frame, pass_preface};
use crate::node::{Answer, Node, program};

/// Calls of `bezant pay`: the assets, both accounts, the payment.
const CALLS: usize = 4;

/// A proxy to a node that drops all answers after `CALLS` calls were sent.
struct Proxy {
    url: String,
    calls: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let calls = Arc::new(AtomicUsize::new(0));
        let (server, counter) = (node.url.trim_start_matches("http://").to_owned(), Arc::clone(&calls));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(&server).expect("the node runs");
                let (from_server, to_client) =
                    (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let (up, down) = (Arc::clone(&counter), Arc::clone(&counter));
                std::thread::spawn(move || pass_calls(client, server, &up));
                std::thread::spawn(move || pass_answers(from_server, to_client, &down));
            }
        });
        Self { url, calls }
    }
}

fn pass_calls(mut client: TcpStream, mut server: TcpStream, calls: &AtomicUsize) {
    if !pass_preface(&mut client, &mut server) {
        return;
    }
    while let Some(frame) = next_frame(&mut client) {
        if frame[3] == HEADERS {
            calls.fetch_add(1, SeqCst);
        }
        if server.write_all(&frame).is_err() {
            return;
        }
    }
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, calls: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(size) = server.read(&mut buffer) {
        if size == 0 {
            return;
        }
        if calls.load(SeqCst) < CALLS && client.write_all(&buffer[..size]).is_err() {
            return;
        }
    }
}

fn with_accounts(folder: &std::path::Path) -> Node {
    let node = Node::start(folder);
    node.done(&["account", "create", "alice", "--asset", "EUR", "--id", "1"]);
    node.done(&["account", "create", "bob", "--asset", "EUR", "--id", "2"]);
    node
}

fn received(node: &Node) -> Value {
    let bob: Value =
        serde_json::from_str(&node.done(&["account", "show", "bob", "-o", "json"])).expect("JSON");
    bob["balances"]["credits_posted"].clone()
}

/// Waits for the effect of a call whose answer was dropped.
fn wait_for(node: &Node, amount: &str) {
    let begun = std::time::Instant::now();
    while received(node) != amount {
        assert!(begun.elapsed() < Duration::from_mins(1), "the payment is made: {}", received(node));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the command that an answer advises, at the node itself.
fn repeat(node: &Node, line: &str) -> Answer {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let id = words.iter().position(|word| *word == "--id").expect("the id is in the advice");
    let words = [&["pay", "alice", "bob", "1", "EUR"][..], &words[id..=id + 1]].concat();
    node.run(&words)
}

#[test]
fn an_unknown_outcome_names_the_id_and_the_next_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    let proxy = Proxy::start(&node);
    let pay = ["pay", "alice", "bob", "1", "EUR", "--timeout", "2s", "--server", &proxy.url];
    let answer = Answer::new(program().args(pay).output());
    assert_eq!((answer.code, answer.stderr.lines().count()), (6, 1), "{}", answer.stderr);
    let advice = answer.stderr.rsplit(": ").next().expect("a command").trim();
    assert!(advice.starts_with("bezant pay alice bob 1 EUR --timeout 2s"), "{advice}");
    wait_for(&node, "100");
    let again = repeat(&node, advice);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(received(&node), "100", "paid once");

    let proxy = Proxy::start(&node);
    let pay = ["pay", "alice", "bob", "1", "EUR", "--timeout", "2s", "-o", "json", "--server", &proxy.url];
    let answer = Answer::new(program().args(pay).output());
    let error: Value = serde_json::from_str(&answer.stderr).expect("JSON");
    let error = &error["error"];
    assert_eq!((&error["code"], &error["exit_code"]), (&"outcome_unknown".into(), &6.into()), "{error}");
    let id = error["ids"][0].as_str().expect("the id");
    assert!(error["repeat"].as_str().is_some_and(|line| line.ends_with(&format!("--id {id}"))), "{error}");
}

/// Sends SIGINT once the command waits for an answer that the proxy drops.
fn interrupt(child: Child, proxy: &Proxy) -> Answer {
    while proxy.calls.load(SeqCst) < CALLS {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::INT).expect("it runs");
    Answer::new(child.wait_with_output())
}

#[test]
fn a_signal_during_a_payment_names_the_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    let proxy = Proxy::start(&node);
    let child = program()
        .args(["pay", "alice", "bob", "1", "EUR", "--timeout", "2m", "--server", &proxy.url])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let answer = interrupt(child, &proxy);
    assert_eq!((answer.code, answer.stderr.contains("--id ")), (6, true), "{}", answer.stderr);
    wait_for(&node, "100");
}

#[test]
fn a_signal_stops_an_export_and_leaves_no_file() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let node = with_accounts(folder.path());
    // An export calls: the books, the account, its movements, the books.
    let proxy = Proxy::start(&node);
    let child = program()
        .args(["export", "alice", "--timeout", "2m", "--server", &proxy.url, "--to"])
        .arg(files.path().join("alice.csv"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let answer = interrupt(child, &proxy);
    assert_eq!((answer.code, answer.stderr.lines().count()), (130, 1), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("stopped: nothing was changed. Nothing was written to"),
        "{}",
        answer.stderr
    );
    assert_eq!(std::fs::read_dir(files.path()).expect("the folder").count(), 0);
}

#[test]
fn a_change_whose_answer_cannot_be_printed_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    let full = |arguments: &[&str]| {
        let output = File::options().write(true).open("/dev/full").expect("a full disk");
        Answer::new(program().args(["--server", &node.url]).args(arguments).stdout(output).output())
    };
    let answer = full(&["pay", "alice", "bob", "1", "EUR", "--id", "77"]);
    assert_eq!((answer.code, answer.stderr.lines().count()), (7, 1), "{}", answer.stderr);
    assert!(answer.stderr.contains("transfer 77 was made"), "{}", answer.stderr);
    assert_eq!(received(&node), "100");
    node.done(&["transfer", "create", "alice", "bob", "1", "--pending", "--id", "78"]);
    for arguments in [
        &["transfer", "void", "78", "--id", "79"][..],
        &["account", "create", "carol", "--asset", "EUR"],
        &["account", "bounds", "carol", "--min", "0"],
        &["asset", "register", "POINTS", "100001"],
    ] {
        let answer = full(arguments);
        assert_eq!(answer.code, 7, "{arguments:?}: {}", answer.stderr);
    }
    let json = full(&["pay", "alice", "bob", "1", "EUR", "--id", "80", "-o", "json"]);
    let error: Value = serde_json::from_str(&json.stderr).expect("JSON");
    assert_eq!(
        (&error["error"]["code"], &error["error"]["ids"][0]),
        (&"made_not_shown".into(), &"80".into())
    );
    for arguments in [&["completions", "bash"][..], &["account", "list"], &["books"]] {
        let answer = full(arguments);
        assert_eq!((answer.code, answer.stderr.lines().count()), (1, 1), "{arguments:?}: {}", answer.stderr);
    }
}

#[test]
fn errors_are_json_with_the_option_for_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["account", "bounds", "alice", "--min", "0"]);
    let code = |arguments: &[&str]| {
        let answer = node.run(&[arguments, &["-o", "json"]].concat());
        let error: Value = serde_json::from_str(&answer.stderr).expect(&answer.stderr);
        assert_eq!(error["error"]["exit_code"], answer.code, "{error}");
        error["error"].clone()
    };
    let refused = code(&["pay", "alice", "bob", "99", "EUR"]);
    assert_eq!((&refused["code"], &refused["status"]), (&"refused".into(), &"balance_out_of_bounds".into()));
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.contains("0.00 EUR is available")),
        "{refused}"
    );
    assert_eq!(code(&["account", "show", "missing"])["code"], "not_found");
    let strange = code(&["account", "show", "a\u{202e}\\u{b"]);
    assert!(strange["detail"].as_str().is_some_and(|text| text.contains("a\u{202e}\\u{b")), "{strange}");
    assert_eq!(code(&["pay", "alice", "bob", "x"])["code"], "usage");
    assert_eq!(code(&["pay", "alice"])["code"], "usage", "errors of the argument parser, too");
    let alice: Value =
        serde_json::from_str(&node.done(&["account", "show", "alice", "-o", "json"])).expect("JSON");
    assert_eq!(alice["available"], "0");
}
