//! The pause of expiry by an import: when it begins, and how it ends.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bezant_client::{
    Account, AccountFlags, AccountId, Client, ExpiryStatus, NewAccount, NewTransfer, Transfer, TransferFlags,
    TransferId,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::frames::listener;
use crate::gate::{Gate, Trouble};
use crate::node::{Answer, Node, program};

fn books(node: &Node) -> Value {
    serde_json::from_str(&node.done(&["books", "-o", "json"])).expect("JSON")
}

fn state(node: &Node, id: &str) -> String {
    let shown: Value =
        serde_json::from_str(&node.done(&["transfer", "show", id, "-o", "json"])).expect("JSON");
    shown["state"].as_str().expect("a hold").to_owned()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The node that is imported, with accounts 1 and 2.
struct Source {
    node: Node,
    _data: tempfile::TempDir,
}

impl Source {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let node = Node::start_with(data.path(), &["--tigerbeetle-listen", "127.0.0.1:0"]);
        for id in ["1", "2"] {
            node.done(&["account", "create", "--asset", "EUR", "--id", id]);
        }
        Self { node, _data: data }
    }

    /// Creates a reserve that expires after `seconds`; 0 = never.
    fn hold(&self, id: &str, seconds: &str) {
        let pending = ["transfer", "create", "1", "2", "3", "--pending", "--id", id];
        self.node.done(&[&pending[..], &["--expires-in", seconds]].concat());
    }

    fn export(&self, path: &Path) -> String {
        let path = path.to_str().expect("text").to_owned();
        self.node.done(&["export", "--to", &path]);
        path
    }

    fn address(&self) -> String {
        listener(&self.node).to_owned()
    }
}

/// An export with two reserves, of which the first expires after `seconds`.
fn export(folder: &Path, seconds: &str) -> String {
    let source = Source::start();
    source.hold("11", seconds);
    source.hold("12", "0");
    source.export(&folder.join("all.jsonl"))
}

/// Runs `work` with a client of the node.
fn with_client<T>(node: &Node, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(&node.url).await.expect("it listens");
        work(&client).await
    })
}

fn pause(node: &Node) {
    let movements = books(node)["movements"].as_u64().expect("a number");
    let outcome = with_client(node, async |client| client.pause_expiry(movements).await.expect("an answer"));
    assert_eq!(outcome.status, ExpiryStatus::Created);
}

#[test]
fn a_complete_import_reports_later_movements() {
    let [files, data, sources] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let path = export(files.path(), "2");
    let node = Node::start(data.path());
    let done = node.done(&["import", "history", &path]);
    assert!(done.starts_with("2 accounts, 2 movements imported"), "{done}");
    assert_eq!(books(&node)["expiry_paused"], false);
    wait_until("a reserve of two seconds expires", || state(&node, "11") == "expired");
    node.done(&["pay", "1", "2", "1"]);
    let again = node.run(&["import", "history", &path]);
    assert_eq!(
        (again.code, again.stdout.as_str(), again.stderr.as_str()),
        (0, "this import is complete; 2 movements came after it\n", "")
    );
    let again: Value =
        serde_json::from_str(&node.done(&["import", "history", &path, "-o", "json"])).expect("JSON");
    assert_eq!((&again["movements_before"], &again["movements_after"]), (&2.into(), &2.into()));
    // The state after an import that was killed between its last row and the bounds, in a ledger that went
    // on.
    let source = Node::start(sources.path());
    source.done(&["account", "create", "--asset", "EUR", "--id", "1"]);
    source.done(&["account", "create", "--asset", "EUR", "--id", "2", "--max", "5"]);
    source.done(&["pay", "1", "2", "1"]);
    let bounded = files.path().join("bounded.jsonl");
    let bounded = bounded.to_str().expect("text");
    source.done(&["export", "--to", bounded]);
    source.done(&["account", "bounds", "2", "--max", "none"]);
    source.done(&["pay", "1", "2", "9"]);
    let again = source.run(&["import", "history", bounded]);
    let warning = "warning: 1 of the accounts have bounds in the export and none here";
    assert!(again.stderr.starts_with(warning) && again.stderr.contains("account 2"), "{}", again.stderr);
    // Another ledger with as many rows is no such import.
    let other = tempfile::tempdir().expect("a folder");
    let other = Node::start(other.path());
    for id in ["1", "2"] {
        other.done(&["account", "create", "--asset", "EUR", "--id", id]);
    }
    (0..3).for_each(|_| drop(other.done(&["pay", "1", "2", "1"])));
    let refused = other.fails(2, &["import", "history", &path]);
    assert!(refused.contains("its movement 1 is not the source's"), "{refused}");
    assert_eq!(books(&other)["expiry_paused"], false);
}

#[test]
fn an_import_that_fails_for_good_resumes_expiry() {
    let [files, data] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let source = Source::start();
    let accounts = source.export(&files.path().join("accounts.jsonl"));
    source.hold("11", "1");
    let all = source.export(&files.path().join("all.jsonl"));
    let node = Node::start(data.path());
    node.done(&["import", "history", &accounts]);
    node.done(&["account", "bounds", "2", "--max", "0"]);
    let refused = node.fails(1, &["import", "history", &all]);
    assert!(refused.contains("transfer 11: balance_out_of_bounds"), "{refused}");
    assert_eq!(books(&node)["expiry_paused"], false);
}

#[test]
fn reserves_imported_without_their_timeout_are_named() {
    let [files, data] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let source = Source::start();
    source.hold("11", "9999");
    source.hold("12", "0");
    let (accounts, holds) = with_client(&source.node, async |client| {
        let accounts = client.lookup_accounts(&[1, 2].map(AccountId)).await.expect("accounts");
        (accounts, client.lookup_transfers(&[11, 12].map(TransferId)).await.expect("reserves"))
    });
    let node = Node::start(data.path());
    with_client(&node, async |client| {
        let accounts: Vec<NewAccount> = accounts
            .iter()
            .map(|view| {
                let flags = view.account.flags.union(AccountFlags::IMPORTED);
                let (id, ledger, code) = (view.account.id, view.account.ledger, view.account.code);
                let timestamp = view.account.timestamp;
                NewAccount::from(Account { id, ledger, code, flags, timestamp, ..Account::default() })
            })
            .collect();
        let outcomes = client.create_accounts(&accounts).await.expect("an answer");
        assert!(!outcomes.iter().any(|outcome| !outcome.is_done()), "{outcomes:?}");
        let holds: Vec<NewTransfer> = holds
            .iter()
            .map(|view| {
                let flags = view.transfer.flags.union(TransferFlags::IMPORTED);
                NewTransfer::from(Transfer { flags, timeout_seconds: 0, ..view.transfer })
            })
            .collect();
        let outcomes = client.create_transfers(&holds).await.expect("an answer");
        assert!(!outcomes.iter().any(|outcome| !outcome.is_done()), "{outcomes:?}");
    });
    let words = "1 of the reserves that are still pending have a timeout at the source and none here";
    let path = source.export(&files.path().join("all.jsonl"));
    let answer = node.run(&["import", "history", &path]);
    assert!(answer.code == 0 && answer.stderr.contains(words), "{}", answer.stderr);
    assert!(answer.stderr.contains("the first is transfer 11"), "{}", answer.stderr);
    let answer = node.run(&["import", "tigerbeetle", &source.address()]);
    assert!(answer.code == 0 && answer.stderr.contains(words), "{}", answer.stderr);
}

#[test]
fn a_pause_is_shown_and_ended_by_hand() {
    let [files, data] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let path = export(files.path(), "9999");
    let node = Node::start(data.path());
    assert!(node.done(&["import", "resume-expiry"]).contains("was not paused"));
    pause(&node);
    assert!(node.done(&["books"]).contains("expiry is paused, since an import is under way"));
    assert_eq!(node.done(&["import", "resume-expiry", "-o", "json"]).trim(), "{\"was_paused\":true}");
    assert!(!node.done(&["books"]).contains("paused"));
    // An import ends the pause of an earlier one, even if it has nothing to import.
    pause(&node);
    node.done(&["import", "history", &path]);
    assert_eq!(books(&node)["expiry_paused"], false);
    pause(&node);
    node.done(&["import", "history", &path]);
    assert_eq!(books(&node)["expiry_paused"], false);
}

/// Imports through a gate. An import that is held there is ended by a signal.
fn interrupt(node: &Node, trouble: Trouble, import: &[&str]) -> Answer {
    let gate = Gate::start(node, trouble);
    let timeout = if matches!(trouble, Trouble::Hold(_)) { "2m" } else { "1s" };
    let child = program()
        .args(["--server", &gate.url, "--timeout", timeout, "import"])
        .args(import)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    if matches!(trouble, Trouble::Hold(_)) {
        wait_until("the call is held", || gate.has_held());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it runs");
    }
    Answer::new(child.wait_with_output())
}

/// Checks that expiry stays paused, and that the answer reports it.
fn check_interrupted(node: &Node, answer: &Answer) {
    // A call whose connection broke may have arrived.
    assert!([6, 8].contains(&answer.code), "{}: {}", answer.code, answer.stderr);
    for words in
        ["Start the same import again", "Until then expiry is paused", "`bezant import resume-expiry`"]
    {
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
    assert_eq!(books(node)["expiry_paused"], true);
}

#[test]
fn an_interrupted_import_keeps_the_pause() {
    let files = tempfile::tempdir().expect("a folder");
    let source = Source::start();
    source.hold("11", "9999");
    source.hold("12", "0");
    let (path, address) = (source.export(&files.path().join("all.jsonl")), source.address());
    for import in [["history", &path], ["tigerbeetle", &address]] {
        // Nothing was imported, the accounts, or everything.
        for (trouble, movements) in [
            (Trouble::Hold(1), 0),
            (Trouble::Cut(1), 0),
            (Trouble::Hold(2), 0),
            (Trouble::Cut(2), 0),
            (Trouble::Hold(3), 2),
            (Trouble::Cut(3), 2),
        ] {
            let data = tempfile::tempdir().expect("a folder");
            let node = Node::start(data.path());
            check_interrupted(&node, &interrupt(&node, trouble, &import));
            assert_eq!(books(&node)["movements"], movements, "{import:?} {trouble:?}");
            let again = node.done(&[&["import"], &import[..]].concat());
            let words = format!("{} movements imported, {movements} there before", 2 - movements);
            assert!(again.contains(&words), "{import:?} {trouble:?}: {again}");
            assert_eq!(books(&node)["expiry_paused"], false, "{import:?} {trouble:?}");
            assert_eq!(state(&node, "11"), "pending");
        }
    }
}

#[test]
fn an_import_goes_on_after_expiry_was_resumed_by_hand() {
    let [files, data] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let path = export(files.path(), "9999");
    let node = Node::start(data.path());
    let import = ["history", &path];
    // The accounts are there, and no row.
    check_interrupted(&node, &interrupt(&node, Trouble::Cut(2), &import));
    assert!(node.done(&["import", "resume-expiry"]).contains("expiry runs again"));
    assert_eq!(books(&node)["expiry_paused"], false);
    check_interrupted(&node, &interrupt(&node, Trouble::Hold(3), &import));
    assert!(node.done(&["import", "resume-expiry"]).contains("expiry runs again"));
    let again = node.done(&["import", "history", &path]);
    assert!(again.contains("0 movements imported, 2 there before; all balances agree"), "{again}");
    assert_eq!(books(&node)["expiry_paused"], false);
}

#[test]
fn a_source_is_refused_after_a_reserve_expired_here() {
    let [files, data] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let source = Source::start();
    source.hold("11", "2");
    let first = source.export(&files.path().join("first.jsonl"));
    let node = Node::start(data.path());
    check_interrupted(&node, &interrupt(&node, Trouble::Hold(3), &["history", &first]));
    wait_until("it expires at the source", || state(&source.node, "11") == "expired");
    assert_eq!(state(&node, "11"), "pending", "the pause holds it");
    assert!(node.done(&["import", "resume-expiry"]).contains("expiry runs again"));
    wait_until("it expires here", || state(&node, "11") == "expired");
    source.node.done(&["pay", "1", "2", "1"]);
    let second = source.export(&files.path().join("second.jsonl"));
    let refused = node.fails(2, &["import", "history", &second]);
    assert!(refused.contains("is not the source's"), "{refused}");
    assert_eq!(books(&node)["expiry_paused"], false);
}

#[test]
fn an_import_into_an_older_server_imports_nothing() {
    let files = tempfile::tempdir().expect("a folder");
    let source = Source::start();
    source.hold("11", "9999");
    let (path, address) = (source.export(&files.path().join("all.jsonl")), source.address());
    let data = tempfile::tempdir().expect("a folder");
    let node = Node::start(data.path());
    for import in [["history", &path], ["tigerbeetle", &address]] {
        let answer = interrupt(&node, Trouble::IsOld, &import);
        assert_eq!(answer.code, 2, "{import:?}: {}", answer.stderr);
        let words = "the server is older than this program";
        assert!(answer.stderr.contains(words), "{import:?}: {}", answer.stderr);
        let books = books(&node);
        assert_eq!((&books["accounts"], &books["expiry_paused"]), (&0.into(), &false.into()), "{import:?}");
    }
}
