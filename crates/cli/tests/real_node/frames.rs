//! A client of TigerBeetle's protocol whose server is killed with signal 9 during requests: each request is
//! executed once, and a retry at the next server gets the bytes that the first server sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bezant_codec::{Batches, account_from_bytes, account_to_bytes, put_trailer, records, transfer_to_bytes};
use bezant_tigerbeetle::{Client, HEADER_SIZE, Header, Operation, Received, Release};
use bezant_types::{Account, AccountId, ClientId, LedgerNumber, Transfer, TransferId};

use crate::node::Node;

/// The count of kills.
const KILLS: u32 = 12;
/// The count of transfers in a request.
const EVENTS: u128 = 200;

/// The address at which a node listens for TigerBeetle clients.
pub(crate) fn listener(node: &Node) -> &str {
    let rest =
        node.greeting.split_once("TigerBeetle clients: ").expect("it listens for TigerBeetle clients").1;
    rest.split(',').next().unwrap_or_default()
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(listener(node)).expect("it listens for TigerBeetle clients");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    stream
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_SIZE];
    stream.read_exact(&mut frame)?;
    let header = Header::read(frame.first_chunk().expect("a header")).expect("a sound header");
    frame.resize(HEADER_SIZE + header.body_size(), 0);
    stream.read_exact(&mut frame[HEADER_SIZE..])?;
    Ok(frame)
}

fn body(operation: Operation, records: Vec<u8>) -> Vec<u8> {
    let mut body = records;
    let size = operation.event_size();
    let count = body.len() / size;
    put_trailer(&mut body, &[count], size);
    body
}

fn payments(first: u128) -> Vec<u8> {
    let transfer = |id| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    };
    (first..first + EVENTS).flat_map(|id| transfer_to_bytes(&transfer(id))).collect()
}

/// One session over many connections.
struct Peer {
    client: Client,
    stream: TcpStream,
}

impl Peer {
    fn request(&mut self, operation: Operation, records: Vec<u8>) -> Vec<u8> {
        let body = body(operation, records);
        [&self.client.request(operation, &body)[..], &body].concat()
    }

    /// Sends a request, and returns its reply.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).expect("the server takes it");
        read_frame(&mut self.stream).expect("the server answers")
    }

    fn take(&mut self, reply: &[u8]) {
        let header = reply.first_chunk().expect("a header");
        let received = self.client.receive(header, &reply[HEADER_SIZE..]);
        assert!(matches!(received, Ok(Received::Reply(_))), "{received:?}");
    }

    fn done(&mut self, operation: Operation, records: Vec<u8>) -> Vec<u8> {
        let request = self.request(operation, records);
        let reply = self.exchange(&request);
        self.take(&reply);
        let batches = Batches::decode(&reply[HEADER_SIZE..], operation.result_size()).expect("batches");
        batches.payload().to_vec()
    }
}

#[test]
fn a_retry_after_a_kill_gets_the_first_reply() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || Node::start_with(folder.path(), &["--tigerbeetle-listen", "127.0.0.1:0"]);
    let mut node = start();
    let mut peer = Peer { client: Client::new(ClientId(7), 0, Release::OWN), stream: connect(&node) };
    let register = peer.client.register();
    let opened = peer.exchange(&register);
    peer.take(&opened);
    let account = |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let accounts = [1, 2].map(account).iter().flat_map(account_to_bytes).collect();
    assert_eq!(peer.done(Operation::CreateAccounts, accounts).len(), 32);

    for kill in 0..KILLS {
        let first = 1 + u128::from(kill) * 1_000_000;
        peer.done(Operation::CreateTransfers, payments(first));
        let request = peer.request(Operation::CreateTransfers, payments(first + 500_000));
        // In every other round the client receives the answer before the kill. In the rest, the server may be
        // killed at any step of the request.
        let first_reply = (kill % 2 == 0).then(|| peer.exchange(&request));
        if first_reply.is_none() {
            peer.stream.write_all(&request).expect("the server takes it");
            std::thread::yield_now();
        }
        node.kill();
        node = start();
        peer.stream = connect(&node);
        let again = peer.exchange(&request);
        assert!(first_reply.is_none_or(|first_reply| first_reply == again), "the bytes of the first reply");
        peer.stream = connect(&node);
        assert_eq!(peer.exchange(&request), again, "and on another connection");
        peer.take(&again);
        let statuses = Batches::decode(&again[HEADER_SIZE..], 16).expect("batches").payload().to_vec();
        assert!(
            statuses.chunks(16).all(|result| result[8..12] == [0xff; 4]),
            "each was created by this request"
        );
    }
    let found = peer.done(Operation::LookupAccounts, [1_u128, 2].map(u128::to_le_bytes).concat());
    let posted: Vec<_> = records(&found)
        .expect("accounts")
        .iter()
        .map(account_from_bytes)
        .map(|account| (account.debits_posted, account.credits_posted))
        .collect();
    let sum = u128::from(KILLS) * 2 * EVENTS;
    assert_eq!(posted, [(sum, 0), (0, sum)], "every request was done once");
    node.done(&["verify", "--all"]);
}

/// Imports the source through its TigerBeetle listener.
fn import(source: &Node, target: &Node) -> String {
    target.done(&["import", "tigerbeetle", listener(source)])
}

/// Balances and flags from `account list`, without the flag `imported`.
fn books(node: &Node) -> String {
    let accounts = node.done(&["account", "list", "-o", "json"]);
    let lines = accounts.lines().map(|line| {
        let account: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let flags = account["flags"].to_string().replace(",\"imported\"", "").replace("\"imported\"", "");
        format!("{} {} {flags}\n", account["id"], account["balances"])
    });
    lines.collect()
}

#[test]
fn a_tigerbeetle_is_imported_with_its_expiries() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = Node::start_with(folders[0].path(), &["--tigerbeetle-listen", "127.0.0.1:0"]);
    let target = Node::start(folders[1].path());
    for (name, id) in [("alice", "1"), ("bob", "2"), ("carol", "3")] {
        source.done(&["account", "create", name, "--asset", "EUR", "--id", id]);
    }
    source.done(&["pay", "alice", "bob", "10", "--id", "10"]);
    assert!(import(&source, &target).starts_with("3 accounts, 1 movements imported, 0 there before"));
    let pending = |id, amount, more: &[&str]| {
        let words = ["transfer", "create", "alice", "bob", amount, "--id", id, "--pending"];
        source.done(&[&words[..], more].concat());
    };
    pending("11", "3", &["--expires-in", "1"]);
    pending("12", "4", &[]);
    pending("13", "5", &[]);
    pending("14", "6", &["--expires-in", "999"]);
    source.done(&["transfer", "post", "12", "2.50"]);
    source.done(&["transfer", "void", "13"]);
    let waiting = || source.done(&["books", "-o", "json"]).contains("\"pending\":1,");
    let begin = std::time::Instant::now();
    while !waiting() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", source.done(&["books", "-o", "json"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(import(&source, &target).starts_with("3 accounts, 7 movements imported, 1 there before"));
    assert!(import(&source, &target).starts_with("3 accounts, 0 movements imported, 8 there before"));
    assert_eq!(books(&source), books(&target));
    target.done(&["verify", "--all"]);
    target.done(&["pay", "1", "2", "1", "--id", "99"]);
    assert_eq!(import(&source, &target), "this import is complete; 1 movements came after it\n");
    source.done(&["pay", "alice", "bob", "1", "--id", "98"]);
    let refused = target.fails(2, &["import", "tigerbeetle", listener(&source)]);
    assert!(refused.contains("neither empty") && refused.contains("1 movements came here"), "{refused}");
}

/// The state of a hold, and the moment of its expiry.
fn hold(node: &Node, id: &str) -> (String, String) {
    let shown = node.done(&["transfer", "show", id, "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    (shown["state"].as_str().expect("a hold").to_owned(), shown["expires_at"].to_string())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_imported_hold_expires_as_it_would_at_the_source() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = Node::start_with(folders[0].path(), &["--tigerbeetle-listen", "127.0.0.1:0"]);
    let target = Node::start(folders[1].path());
    for id in ["1", "2"] {
        source.done(&["account", "create", "--asset", "EUR", "--id", id]);
    }
    for (id, seconds) in [("11", "10"), ("12", "9999"), ("13", "0"), ("14", "5")] {
        let pending = ["transfer", "create", "1", "2", "3", "--pending", "--id", id];
        source.done(&[&pending[..], &["--expires-in", seconds]].concat());
    }

    // With --more-follows a reserve expires here only by the source's own expiry.
    let answer = target.run(&["import", "tigerbeetle", listener(&source), "--more-follows"]);
    assert!(answer.stdout.contains("4 movements imported") && answer.stdout.contains("all balances agree"));
    assert!(answer.stderr.contains("4 reserves are still pending and do not expire"), "{}", answer.stderr);
    for id in ["11", "12", "13", "14"] {
        assert_eq!(hold(&target, id).1, hold(&source, id).1, "{id} keeps its expiry");
    }
    wait_until("a hold of five seconds expires", || hold(&source, "14").0 == "expired");
    assert_eq!(hold(&target, "14").0, "pending");

    let answer = target.run(&["import", "tigerbeetle", listener(&source), "-o", "json"]);
    assert!(answer.stdout.contains("\"expires\":true"), "{}", answer.stdout);
    assert_eq!(hold(&target, "14").0, "voided");
    wait_until("a hold of ten seconds expires", || hold(&target, "11").0 == "expired");
    wait_until("and at the source", || hold(&source, "11").0 == "expired");
    assert_eq!([hold(&target, "12").0, hold(&target, "13").0], ["pending", "pending"]);
    assert_eq!(books(&source), books(&target));
    target.done(&["verify", "--all"]);
    let refused = target.fails(2, &["import", "tigerbeetle", listener(&source)]);
    assert!(refused.contains("has expired here"), "{refused}");
}

#[test]
fn a_source_in_use_is_imported_until_its_last_write() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let source = Node::start_with(folders[0].path(), &["--tigerbeetle-listen", "127.0.0.1:0"]);
    let target = Node::start(folders[1].path());
    for id in ["1", "2"] {
        source.done(&["account", "create", "--asset", "EUR", "--id", id]);
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut id = 100;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                // Accounts are created meanwhile, too.
                let [account, payment] = [id.to_string(), (id + 1).to_string()];
                source.done(&["account", "create", "--asset", "EUR", "--id", &account]);
                source.done(&["pay", "1", &account, "1", "--id", &payment]);
                id += 2;
            }
        });
        for _ in 0..5 {
            import(&source, &target);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        user.join().expect("the user's payments succeed");
    });
    assert!(import(&source, &target).contains("all balances agree"));
    assert!(import(&source, &target).contains(" 0 movements imported"));
    assert_eq!(books(&source), books(&target));
    // Creating the same accounts again, as many programs do at their start, returns exists.
    target.done(&["account", "create", "--asset", "EUR", "--id", "1"]);
    target.fails(1, &["account", "create", "--asset", "EUR", "--id", "1", "--code", "7"]);
}

#[test]
fn the_error_for_another_cluster_names_the_option() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let arguments = ["--tigerbeetle-listen", "127.0.0.1:0", "--tigerbeetle-cluster", "7"];
    let source = Node::start_with(folders[0].path(), &arguments);
    let target = Node::start(folders[1].path());
    let refused = target.fails(3, &["import", "tigerbeetle", listener(&source), "--timeout", "2s"]);
    assert!(refused.contains("0 was asked for, --cluster names another"), "{refused}");
    target.done(&["import", "tigerbeetle", listener(&source), "--cluster", "7"]);
}
