//! A node that other machines reach: it warns of that, and changes of its cluster need the token.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use crate::node::{Answer, program};
use crate::ports::free_address;

const TOKEN: &str = "a token for this test alone";

/// A node of a cluster of one that listens on every address; killed when dropped.
struct Exposed {
    child: Child,
    address: String,
}

impl Exposed {
    /// Its stderr goes to the file `err` of the folder.
    fn start(folder: &std::path::Path, listen: &str, arguments: &[&str]) -> Self {
        let errors = File::create(folder.join("err")).expect("a file for errors");
        let mut child = program()
            .args(["start", "--listen", listen, "--data-dir"])
            .arg(folder.join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map(|line| line.expect("text"));
        // The last line comes after the warning.
        let greeting: Vec<String> = lines.by_ref().take_while(|line| !line.contains("bezant pay")).collect();
        let port = greeting[0].rsplit_once(':').expect("it prints where it listens").1.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: format!("127.0.0.1:{port}") }
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::new(program().args(["--server", &self.address]).args(arguments).output())
    }

    /// The status of a change over REST with these headers.
    fn change(&self, headers: &str) -> String {
        let body = r#"{"change":"lead","node":1}"#;
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!(
            "POST /v1/cluster HTTP/1.1\r\nhost: a.example\r\ncontent-type: application/json\r\nconnection: close\r\n\
             {headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn changes_of_an_exposed_cluster_need_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).expect("the token is written");
    let token = token.to_str().expect("text");
    let nodes = format!("1={}", free_address().expect("a free port"));
    let node = Exposed::start(
        folder.path(),
        "0.0.0.0:0",
        &["--node", "1", "--nodes", &nodes, "--token-file", token],
    );
    let add = ["cluster", "add", "2=127.0.0.1:1", "--learner", "--wait", "1s"];
    // The listener for peers closes a browser's connection without an answer.
    let peer = nodes.strip_prefix("1=").expect("an address");
    let mut stream = TcpStream::connect(peer).expect("it listens");
    let page = format!(
        "POST /v1/cluster HTTP/1.1\r\nhost: {peer}\r\ncontent-length: 400\r\n\r\n{}",
        "x".repeat(400)
    );
    stream.write_all(page.as_bytes()).expect("it takes bytes");
    let mut bytes = Vec::new();
    // A reset is a way to close, too.
    drop(stream.read_to_end(&mut bytes));
    assert!(!bytes.windows(4).any(|part| part == b"HTTP"), "{}", String::from_utf8_lossy(&bytes));
    // The token is checked even before the node leads, when no change is possible yet.
    let refused = node.run(&add);
    assert!(refused.code == 2 && refused.stderr.contains("--token-file"), "{}", refused.stderr);
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "another token of some length").expect("it is written");
    let with_wrong = node.run(&[&add[..], &["--token-file", wrong.to_str().expect("text")]].concat());
    assert!(
        with_wrong.code == 2 && with_wrong.stderr.contains("not that of the cluster"),
        "{}",
        with_wrong.stderr
    );
    for headers in
        ["", "authorization: Bearer another token of some length\r\n", "authorization: Basic x\r\n"]
    {
        let answer = node.change(headers).to_lowercase();
        assert!(
            answer.starts_with("http/1.1 401") && answer.contains("www-authenticate: bearer"),
            "{answer}"
        );
        assert!(answer.contains("token_required"), "{answer}");
    }
    // A request with the token gets the cluster's answer.
    let answer = node.change(&format!("authorization: Bearer {TOKEN}\r\n"));
    assert!(!answer.starts_with("HTTP/1.1 401"), "{answer}");
    let added = node.run(&[&add[..], &["--token-file", token]].concat());
    assert!(
        added.code == 8 && added.stderr.contains("has not connected yet"),
        "{}{}",
        added.stdout,
        added.stderr
    );
    let status = node.run(&["cluster", "status", "-o", "json"]);
    assert!(status.stdout.contains("127.0.0.1:1\""), "{}", status.stdout);
    let log = std::fs::read_to_string(folder.path().join("err")).expect("its log");
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("NOT authenticated")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].starts_with("WARNING") && warnings[0].contains("0.0.0.0:"), "{log}");
    assert!(!log.contains(TOKEN), "the token is not in the log: {log}");
}

#[test]
fn a_node_on_loopback_answers_only_for_its_hosts() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = ["--allowed-hosts", "other.example,a.example"];
    let node = Exposed::start(folder.path(), "127.0.0.1:0", &hosts);
    let answer = node.change("");
    assert!(answer.contains("change_refused") && answer.contains("alone"), "{answer}");
    drop(node);
    let node = Exposed::start(folder.path(), "127.0.0.1:0", &[]);
    assert!(node.change("").contains("misdirected_request"), "a host name that it was not given");
    drop(node);
    assert_eq!(
        std::fs::read_to_string(folder.path().join("err")).expect("its log"),
        "",
        "nothing to warn of"
    );
    let wrong = Answer::new(program().args(["start", "--allowed-hosts", "a.example:443"]).output());
    assert!(wrong.code == 2 && wrong.stderr.contains("without a port"), "{}", wrong.stderr);
}
