//! Every command against a real node: its output, its failures, and the state after a kill.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use bezant_api::token::{EventPosition, LEDGER_GROUP, SessionToken};
use bezant_types::MovementNumber;

use crate::node::{Answer, Node, program};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON document")
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

/// A node with the accounts alice (minimum -500) and bob (maximum 100).
fn with_accounts(folder: &std::path::Path) -> Node {
    let node = Node::start(folder);
    node.done(&["account", "create", "alice", "--asset", "EUR", "--id", "1", "--min", "-500.00"]);
    node.done(&["account", "create", "bob", "--asset", "EUR", "--id", "2", "--max", "100"]);
    node
}

#[test]
fn money_moves_and_everything_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    assert!(node.greeting.contains("a new ledger"), "{}", node.greeting);

    node.done(&["pay", "alice", "bob", "10.50", "EUR", "--id", "10"]);
    node.done(&["pay", "alice", "bob", "10.50 EUR", "--id", "10"]);
    node.done(&["transfer", "create", "1", "bob", "5", "--pending", "--id", "11", "--expires-in", "3600"]);
    node.done(&["transfer", "post", "11", "2.25"]);
    node.done(&["transfer", "create", "1", "2", "5", "--pending", "--id", "12"]);
    node.done(&["transfer", "void", "12"]);

    let bob = json(&node.done(&["account", "show", "bob", "-o", "json"]));
    assert_eq!(bob["balances"]["credits_posted"], "1275", "the same id pays once: {bob}");
    assert_eq!(bob["balances"]["credits_pending"], "0");
    assert_eq!(bob["bounds"]["maximum"], "10000");
    assert_eq!(bob["receipts"]["sequence"], 5);

    let history = node.done(&["account", "history", "alice"]);
    assert!(history.contains("-10.50") && history.contains("-12.75"), "{history}");
    let listed = json_lines(&node.done(&["transfer", "list", "--reverse", "--limit", "2", "-o", "json"]));
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["id"], "12", "newest first: {listed:?}");
    let json_events = |from: &str| {
        let answer = node.run(&["events", "--from", from, "--until-caught-up", "-o", "json"]);
        (json_lines(&answer.stdout), json(&answer.stderr)["next"].as_str().expect("a position").to_owned())
    };
    let (events, end) = json_events("start");
    let numbers = |events: &[Value]| events.iter().filter_map(|it| it["number"].as_u64()).collect::<Vec<_>>();
    assert_eq!(numbers(&events), [0, 1, 2, 3, 4]);
    assert_eq!(events[4]["position"], end, "the position is after the event");
    let second = events[1]["position"].as_str().expect("a position");
    assert_eq!(numbers(&json_events(second).0), [2, 3, 4]);
    let two = node.run(&["events", "--from", "start", "--limit", "2"]);
    assert_eq!((two.stdout.lines().count(), two.stderr), (2, format!("to continue: --from {second}\n")));
    assert_eq!(json_events("now"), (Vec::new(), end.clone()));
    assert_eq!(node.done(&["events", "--from", &end, "--until-caught-up"]), "", "the end itself");
    let far = EventPosition::of(LEDGER_GROUP, MovementNumber(5000)).to_string();
    for arguments in [&["events", "--from", &far][..], &["events", "--from", &far, "--until-caught-up"]] {
        let line = node.fails(2, arguments);
        assert!(line.contains(&format!("{far} is after the end, {end}")), "{line}");
    }
    let line = node.run(&["events", "--from", "5"]);
    assert_eq!(line.code, 2);
    assert!(line.stderr.contains("use the `position` of an event, or `start`"), "{}", line.stderr);
    let books = json(&node.done(&["books", "-o", "json"]));
    assert_eq!((&books["movements"], &books["balanced"]), (&Value::from(5), &Value::from(true)));

    assert!(node.done(&["verify", "--all"]).contains("5 transfers in 5 movements, 2 accounts"));
    let verified = json(&node.done(&["verify", "alice", "-o", "json"]));
    let alice = json(&node.done(&["account", "show", "alice", "-o", "json"]));
    assert_eq!(verified["chains"][0]["spends_head"], alice["spends"]["head"]);
}

#[test]
fn a_session_is_carried_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(&folder.path().join("data"));
    let file = folder.path().join("session");
    let name = file.to_str().expect("text");
    node.done(&["pay", "alice", "bob", "1", "--session", name]);
    let seen =
        || fs::read_to_string(&file).expect("the file").trim().parse::<SessionToken>().expect("a token");
    let paid = seen().seen(LEDGER_GROUP);
    assert!(paid.0 > 0);
    node.done(&["account", "show", "bob", "--session", name]);
    assert!(seen().seen(LEDGER_GROUP) >= paid);
    fs::write(&file, "7\n").expect("the file of version 0.1");
    let line = node.fails(2, &["account", "show", "bob", "--session", name]);
    assert!(line.contains("of version 0.1, which kept a number: delete it"), "{line}");
}

#[test]
fn lists_are_readable_and_accept_dates() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["account", "create", "carol", "--asset", "EUR"]);
    for amount in ["1", "2", "3"] {
        node.done(&["pay", "alice", "carol", amount]);
    }
    node.done(&["pay", "alice", "bob", "4", "--id", "12"]);

    let history = node.done(&["account", "history", "alice"]);
    assert!(history.contains("carol") && history.contains("bob"), "names replace ids: {history}");
    assert!(history.lines().all(|line| line.chars().count() <= 100), "{history}");
    let listed = node.done(&["transfer", "list"]);
    assert!(listed.contains("alice") && listed.lines().all(|line| line.chars().count() <= 100), "{listed}");
    let whole = json(&node.done(&["account", "show", "carol", "-o", "json"]))["id"].to_string();
    let wide = node.done(&["account", "list", "--wide"]);
    assert!(wide.contains(whole.trim_matches('"')), "{wide}");
    assert!(!node.done(&["account", "list"]).contains(whole.trim_matches('"')));

    let cut = node.run(&["transfer", "list", "--limit", "3"]);
    assert_eq!((cut.code, cut.stderr.trim()), (0, "more than 3 exist: --limit 0 shows all"));
    for list in [&["transfer", "list"][..], &["account", "list"], &["account", "history", "alice"]] {
        let all = node.merged(&[list, &["--limit", "1"]].concat());
        assert!(all.ends_with("more than 1 exist: --limit 0 shows all\n"), "after the table: {all}");
    }
    for wrong in [
        &["transfer", "list", "--code", "0"][..],
        &["transfer", "list", "--ledger", "0"],
        &["account", "list", "--code", "0"],
        &["account", "history", "alice", "--code", "0"],
        &["account", "create", "zero", "--asset", "EUR", "--code", "0"],
        &["pay", "alice", "bob", "1", "--code", "0"],
    ] {
        assert_eq!(node.run(wrong).code, 2, "{wrong:?}");
    }
    let cut = node.run(&["account", "history", "alice", "--limit", "3", "-o", "json"]);
    assert_eq!((cut.stdout.lines().count(), cut.stderr.trim()), (3, r#"{"has_more":true}"#));
    for limit in ["4", "0"] {
        let all = node.run(&["transfer", "list", "--limit", limit, "-o", "json"]);
        assert_eq!((all.stdout.lines().count(), all.stderr.as_str()), (4, ""), "--limit {limit}");
    }

    // The third payment to carol, by its time.
    let third =
        json_lines(&node.done(&["account", "history", "carol", "-o", "json"]))[2]["timestamp"].clone();
    let third = third.as_str().expect("a string of nanoseconds");
    let balance = |at: &str| json(&node.done(&["account", "show", "carol", "--at", at, "-o", "json"]));
    assert_eq!(balance(third)["balances"]["credits_posted"], "300", "before it");
    assert_eq!(balance("2100-01-01")["balances"]["credits_posted"], "600");
    assert!(node.fails(4, &["account", "show", "carol", "--at", "2001-01-01"]).contains("created later"));
    let count = |arguments: &[&str]| json_lines(&node.done(&[arguments, &["-o", "json"]].concat())).len();
    assert_eq!(count(&["transfer", "list", "--since", third]), 2);
    assert_eq!(count(&["account", "history", "alice", "--until", third]), 2);
    assert_eq!(count(&["events", "--since", third, "--until-caught-up"]), 2);
    assert_eq!(count(&["events", "--from", "start", "--limit", "0", "--until-caught-up"]), 4, "0 = all");
    let quiet = node.run(&["events", "--since", "2100-01-01", "--until-caught-up", "-o", "json"]);
    let all = node.run(&["events", "--from", "start", "--until-caught-up", "-o", "json"]);
    assert_eq!((quiet.stdout.as_str(), &quiet.stderr), ("", &all.stderr), "it continues at the end");
    let answer = node.run(&["transfer", "list", "--since", "01.11.2026"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("2026-11-01T09:30:00Z"), "{}", answer.stderr);
}

#[test]
fn an_error_is_one_line_and_an_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["account", "create", "tokyo", "--asset", "JPY"]);

    let fails_with = |code, arguments: &[&str], words: &[&str]| {
        let line = node.fails(code, arguments);
        words.iter().for_each(|word| assert!(line.contains(word), "{line:?} does not contain {word:?}"));
    };
    fails_with(1, &["pay", "alice", "bob", "100.01"], &["balance_out_of_bounds"]);
    fails_with(1, &["account", "create", "carol", "--asset", "EUR", "--id", "1"], &["exists_with_different"]);
    fails_with(2, &["pay", "alice", "bob", "10.505"], &["10.505", "EUR"]);
    fails_with(2, &["pay", "alice", "bob", "ten"], &["ten"]);
    fails_with(2, &["pay", "alice", "tokyo", "1"], &["tokyo", "JPY", "EUR"]);
    fails_with(4, &["pay", "alice", "missing", "1"], &["missing"]);
    fails_with(4, &["pay", "alice", "bob", "1", "XYZ"], &["XYZ", "asset list"]);
    fails_with(4, &["account", "show", "99"], &["99"]);
    fails_with(4, &["transfer", "show", "99"], &["99"]);
    fails_with(4, &["transfer", "post", "99"], &["99"]);
    fails_with(4, &["transfer", "post", "99", "1", "EUR"], &["99"]);
    fails_with(4, &["transfer", "void", "99"], &["99"]);
    fails_with(4, &["verify", "--file", "/nowhere"], &["/nowhere"]);
    fails_with(2, &["account", "name", "tokyo", "123"], &["digits"]);
    fails_with(2, &["account", "create", "", "--asset", "EUR"], &["empty name"]);
    fails_with(2, &["demo", "-o", "json"], &["only text"]);
    let bounds = json(&node.done(&["account", "bounds", "alice", "-o", "json"]));
    assert_eq!((&bounds["id"], &bounds["asset"]), (&Value::from("1"), &Value::from("EUR")));
    let no_server = Answer::new(program().args(["books", "--server", ""]).output());
    assert_eq!((no_server.code, no_server.stderr.contains("HOST:PORT")), (2, true), "{}", no_server.stderr);
    for (arguments, choices) in [
        (&["verify"][..], &["--all", "--file"][..]),
        (&["account", "create", "dora"], &["--asset", "--ledger"]),
    ] {
        let missing = node.run(arguments);
        assert_eq!(missing.code, 2, "{}", missing.stderr);
        choices.iter().for_each(|choice| assert!(missing.stderr.contains(choice), "{}", missing.stderr));
    }
    fails_with(1, &["account", "name", "tokyo", "alice"], &["name_"]);
    fails_with(1, &["asset", "register", "EURO", "978"], &["ledger_taken"]);
    fails_with(3, &["books", "--server", "http://127.0.0.1:1"], &["127.0.0.1:1", "bezant start"]);
    let port = Answer::new(program().args(["books", "--server", "18000"]).output());
    assert_eq!(port.code, 2, "{}", port.stderr);
    assert!(port.stderr.contains("write 127.0.0.1:18000"), "{}", port.stderr);
    // A server on the command line is measured, also if the environment names the same one.
    let bench = ["bench", "--transfers", "1", "--server", "http://127.0.0.1:1"];
    let bench = Answer::new(program().args(bench).env("BEZANT_SERVER", "http://127.0.0.1:1").output());
    assert!(bench.code != 0 && bench.stderr.contains("127.0.0.1:1"), "{}{}", bench.stdout, bench.stderr);
    let unknown = Answer::new(program().arg("fly").output());
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);

    let file = folder.path().join("lock");
    let file = file.to_str().expect("text");
    for arguments in [
        &["--listen", "nonsense"][..],
        &["--listen", ":99999"],
        &["--listen", "127.0.0.1:0", "--data-dir", file],
    ] {
        let wrong = Answer::new(program().arg("start").args(arguments).output());
        assert_eq!((wrong.code, wrong.stderr.lines().count()), (2, 1), "{}", wrong.stderr);
    }
    let nothing = tempfile::tempdir().expect("a folder");
    let inspected = Answer::new(program().arg("inspect").arg(nothing.path()).output());
    assert_eq!((inspected.code, inspected.stderr.lines().count()), (4, 1), "{}", inspected.stderr);
    assert!(inspected.stderr.contains("no data of Bezant"), "{}", inspected.stderr);
    let running = Answer::new(program().arg("inspect").arg(folder.path()).output());
    assert_eq!(running.stderr.matches(&*folder.path().to_string_lossy()).count(), 1, "{}", running.stderr);

    // A second node on the same port, and one on the same folder.
    let port = node.url.trim_start_matches("http://");
    let taken =
        Answer::new(program().args(["start", "--listen", port, "--data-dir"]).arg(folder.path()).output());
    assert_eq!((taken.code, taken.stderr.lines().count()), (3, 1), "{}", taken.stderr);
    let arguments = ["start", "--listen", "127.0.0.1:0", "--data-dir"];
    let locked = Answer::new(program().args(arguments).arg(folder.path()).output());
    assert_eq!((locked.code, locked.stderr.lines().count()), (3, 1), "{}", locked.stderr);
}

#[test]
fn a_change_of_a_node_that_is_alone_names_the_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    for change in [&["add", "2=b.example:7071"][..], &["transfer-leader", "2"]] {
        let line = node.fails(1, &[&["cluster"], change, &["--wait", "1s"]].concat());
        assert!(line.contains("cannot become a cluster"), "{line}");
        assert!(line.contains("(`bezant start --node`, `--nodes`)"), "{line}");
    }
}

#[test]
fn exports_verify_and_changed_ones_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    for id in 10..20 {
        node.done(&["pay", "alice", "bob", "1", "--id", &id.to_string()]);
    }
    for arguments in [&["export"][..], &["export", "alice"], &["export", "--format", "csv"]] {
        let path = files.path().join("export");
        let path = path.to_str().expect("text");
        node.done(&[arguments, &["--to", path]].concat());
        let verified = program().args(["verify", "--file", path]).output();
        assert!(Answer::new(verified).stdout.contains("10 transfers"), "{arguments:?}");
        let mut bytes = fs::read(path).expect("the export");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("written");
        let bent = Answer::new(program().args(["verify", "--file", path]).output());
        assert_eq!(bent.code, 5, "{arguments:?}: {}{}", bent.stdout, bent.stderr);
        assert!(bent.stderr.contains("line "), "it names the line: {}", bent.stderr);
    }
    node.done(&["account", "create", "carol", "--asset", "EUR", "--id", "3"]);
    node.done(&["pay", "alice", "carol", "1"]);
    let path = files.path().join("carol.csv");
    let path = path.to_str().expect("text");
    node.done(&["export", "carol", "--to", path]);
    let without_account = node.fails(5, &["verify", "--file", path]);
    assert!(without_account.contains("--of ACCOUNT"), "{without_account}");
    for whose in ["3", "carol"] {
        assert!(node.done(&["verify", "--file", path, "--of", whose]).contains("1 transfers"), "{whose}");
    }
    for arguments in [&["verify", "--file", "/etc/passwd"][..], &["import", "history", "/etc/passwd"]] {
        let line = node.fails(2, arguments);
        assert!(line.contains("/etc/passwd, line 1: this is no export of Bezant"), "{line}");
    }
}

#[test]
fn imports_resume_and_list_refused_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let accounts = write("accounts.csv", "id,name,asset,maximum\n1,alice,EUR,\n2,bob,EUR,20.00 EUR\n");
    assert!(node.done(&["import", "accounts", &accounts]).contains("2 created, 0 there before"));
    assert!(node.done(&["import", "accounts", &accounts]).contains("0 created, 2 there before"));
    let transfers = write(
        "transfers.jsonl",
        "{\"id\":\"1\",\"from\":\"alice\",\"to\":\"bob\",\"amount\":\"10.50 EUR\"}\n\
         {\"id\":2,\"from\":1,\"to\":2,\"amount\":950,\"ledger\":978}\n\
         {\"id\":3,\"from\":\"alice\",\"to\":\"bob\",\"amount\":\"1 EUR\"}\n",
    );
    let answer = node.run(&["import", "transfers", &transfers]);
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stdout.contains("2 created, 0 there before, 1 refused"), "{}", answer.stdout);
    let refused = fs::read_to_string(format!("{transfers}.refused.jsonl")).expect("the list");
    let refused = json(refused.trim());
    assert_eq!(
        (&refused["line"], &refused["status"]),
        (&Value::from(3), &Value::from("balance_out_of_bounds"))
    );
    let column =
        write("column.csv", "id,from,to,amount,asset\n21,bob,alice,1.50,EUR\n22,bob,alice,2.00,EUR\n");
    assert!(node.done(&["import", "transfers", &column]).contains("2 created"));
    let shown = node.done(&["transfer", "show", "21", "-o", "json"]);
    assert_eq!(json(&shown)["amount"], "150");
    let minor = write("minor.csv", "id,from,to,amount,asset\n23,bob,alice,1,EUR\n24,alice,bob,9999,EUR\n");
    fs::write(format!("{minor}.refused.jsonl"), "{\"line\":2}\n").expect("of an earlier import");
    for arguments in [&["import", "transfers", &minor, "-o", "json"][..], &["export", "-o", "json"]] {
        let answer = node.run(arguments);
        let notes: Vec<_> = answer.stderr.lines().map(json).filter(|line| line["note"].is_string()).collect();
        assert!(!notes.is_empty(), "{}", answer.stderr);
    }
    let mixed = write("mixed.csv", "id,from,to,amount,asset\n31,bob,alice,1.50,EUR\n32,bob,alice,2,EUR\n");
    assert!(node.fails(2, &["import", "transfers", &mixed]).contains("line 3"));
    node.fails(4, &["transfer", "show", "31"]);
    let wrong = write("wrong.csv", "id,from,to,amount\n7,alice,bob,1.234 EUR\n");
    assert!(node.fails(2, &["import", "transfers", &wrong]).contains("line 2"));
}

#[test]
fn acknowledged_writes_survive_a_kill_and_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["pay", "alice", "bob", "1", "--id", "10"]);
    node.kill();

    let node = Node::start(folder.path());
    assert!(node.greeting.contains("recovered"), "{}", node.greeting);
    assert!(node.done(&["transfer", "show", "10"]).contains("1.00 EUR"));
    node.done(&["pay", "alice", "bob", "2", "--id", "11"]);
    let stop = Command::new("kill").args(["-TERM", &node.id().to_string()]).status();
    assert!(stop.expect("kill runs").success());
    assert_eq!(node.wait(), 0, "a stop by a signal is a success");

    let is_log = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("log-0");
    let mut files = fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry"));
    let log = files.find(is_log).expect("a log").path();
    let name = log.file_name().expect("a name");
    let frames = |segment: &std::ffi::OsStr| {
        Answer::new(program().arg("inspect").arg(folder.path()).arg("--frames").arg(segment).output())
    };
    let (by_path, by_name) = (frames(log.as_os_str()), frames(name));
    assert_eq!((by_path.code, &by_path.stdout), (0, &by_name.stdout), "{}", by_path.stderr);
    assert_eq!(frames("/etc/passwd".as_ref()).code, 4, "a file of another folder");
    let inspected =
        json(&Answer::new(program().arg("inspect").arg(folder.path()).args(["-o", "json"]).output()).stdout);
    assert_eq!(inspected["damage"], Value::Array(Vec::new()), "{inspected}");
    let entries: u64 = inspected["segments"]
        .as_array()
        .expect("segments")
        .iter()
        .filter_map(|segment| segment["entries"].as_u64())
        .sum();
    assert!(entries > 0, "the log holds the writes: {inspected}");

    let node = Node::start(folder.path());
    assert!(node.done(&["verify", "--all"]).contains("2 transfers"));
    let bob = json(&node.done(&["account", "show", "bob", "-o", "json"]));
    assert_eq!(bob["balances"]["credits_posted"], "300");
}

#[test]
fn a_damaged_log_is_reported_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["pay", "alice", "bob", "1"]);
    node.kill();
    let is_log = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("log-");
    let mut files = fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry"));
    let log = files.find(is_log).expect("a log");
    let mut bytes = fs::read(log.path()).expect("the log");
    // After the segment's first block, which is its header.
    let at = (4200..bytes.len()).find(|at| bytes[*at] != 0).expect("an entry");
    bytes[at] ^= 1;
    fs::write(log.path(), &bytes).expect("written");

    let arguments = ["start", "--listen", "127.0.0.1:0", "--data-dir"];
    let start = Answer::new(program().args(arguments).arg(folder.path()).output());
    assert_eq!((start.code, start.stderr.lines().count()), (5, 1), "{}", start.stderr);
    assert!(start.stderr.contains("log-") && start.stderr.contains("offset"), "{}", start.stderr);
    let inspect = Answer::new(program().arg("inspect").arg(folder.path()).output());
    assert_eq!((inspect.code, inspect.stderr.contains("offset")), (5, true), "{}", inspect.stderr);
    assert_eq!(fs::read(log.path()).expect("the log"), bytes, "nothing was changed");
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Answer::new(program().args(["completions", shell]).output()).stdout;
        assert!(script.contains("bezant") && script.contains("verify"), "{shell}");
    }
}

/// The four sums of every account of a node, by id.
fn sums(node: &Node) -> std::collections::BTreeMap<String, String> {
    json_lines(&node.done(&["account", "list", "-o", "json"]))
        .into_iter()
        .map(|account| (account["id"].to_string(), account["balances"].to_string()))
        .collect()
}

#[test]
fn an_export_rebuilds_the_ledger() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let files = tempfile::tempdir().expect("a folder");
    let source = with_accounts(folders[0].path());
    let path = files.path().join("all.jsonl");
    let path = path.to_str().expect("text");
    let target = Node::start(folders[1].path());
    source.done(&["pay", "alice", "bob", "10", "--id", "10"]);
    // The state after an import that was interrupted after its first row.
    source.done(&["export", "--to", path]);
    assert!(target.done(&["import", "history", path]).contains("1 movements imported, 0 there"));
    source.done(&["account", "create", "carol", "--asset", "EUR"]);
    source.done(&["transfer", "create", "alice", "bob", "3", "--id", "11", "--pending", "--expires-in", "1"]);
    source.done(&["transfer", "create", "alice", "bob", "4", "--id", "12", "--pending"]);
    source.done(&["transfer", "create", "alice", "bob", "5", "--id", "13", "--pending"]);
    source.done(&[
        "transfer",
        "create",
        "bob",
        "alice",
        "6",
        "--id",
        "14",
        "--pending",
        "--expires-in",
        "999",
    ]);
    source.done(&["transfer", "post", "12", "2.50"]);
    source.done(&["transfer", "void", "13"]);
    source.done(&["account", "bounds", "bob", "--max", "50"]);
    let is_expired = || json(&source.done(&["books", "-o", "json"]))["pending"] == 1;
    let start = std::time::Instant::now();
    while !is_expired() {
        assert!(start.elapsed().as_secs() < 20, "the reserve of a second expires");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    source.done(&["export", "--to", path]);
    assert!(target.fails(2, &["import", "accounts", path]).contains("import history"));
    for before in [1, 8] {
        let answer = target.done(&["import", "history", path]);
        assert!(answer.contains(&format!("{} movements imported, {before} there", 8 - before)), "{answer}");
    }
    assert_eq!(sums(&source), sums(&target));
    assert!(target.done(&["verify", "--all"]).contains("verified"));
    let bob = json(&target.done(&["account", "show", "bob", "-o", "json"]));
    assert_eq!(bob["bounds"]["maximum"], "5000");
    let hold = |node: &Node| {
        let hold = json(&node.done(&["transfer", "show", "14", "-o", "json"]));
        (hold["state"].clone(), hold["timeout_seconds"].clone(), hold["expires_at"].clone())
    };
    assert_eq!(hold(&source), hold(&target), "an open hold keeps its timeout");
    assert_eq!(hold(&target).1, 999);
    target.done(&["pay", "alice", "bob", "1", "--id", "99"]);
    let again = target.done(&["import", "history", path]);
    assert_eq!(again, "this import is complete; 1 movements came after it\n");
    source.done(&["export", "alice", "--to", path]);
    assert!(target.fails(2, &["import", "history", path]).contains("alone"));
}

#[test]
fn books_hold_more_than_one_account_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    for id in ["1", "2", "3", "4"] {
        node.done(&["account", "create", "--asset", "EUR", "--id", id]);
    }
    // Each is two cents less than 2^128; modulo 2^128 their sum would look like a negative balance.
    let amount = "3402823669209384634633746074317682114.54";
    node.done(&["pay", "1", "2", amount, "--id", "10"]);
    node.done(&["pay", "3", "4", amount, "--id", "11"]);
    let books = node.done(&["books"]);
    assert!(
        books.contains("6805647338418769269267492148635364229.08") && books.contains("balanced"),
        "{books}"
    );
    let books = json(&node.done(&["books", "-o", "json"]));
    let sum = Value::from("680564733841876926926749214863536422908");
    let totals = &books["ledgers"][0]["balances"];
    assert_eq!((&totals["debits_posted"], &totals["credits_posted"]), (&sum, &sum));
    assert_eq!(books["balanced"], Value::from(true));
}

/// Status and body of a GET.
fn get(node: &Node, path: &str) -> (u16, String) {
    let address = node.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

#[test]
fn one_ledger_shows_its_totals() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = with_accounts(folder.path());
    node.done(&["account", "create", "--ledger", "700", "--id", "3"]);
    node.done(&["pay", "alice", "bob", "10.50", "--id", "10"]);
    let euro = json(&node.done(&["books", "EUR", "-o", "json"]));
    let field = |name: &str| euro[name].clone();
    assert_eq!([field("ledger"), field("scale"), field("accounts")], [978, 2, 2]);
    assert_eq!((field("asset"), field("balanced")), ("EUR".into(), true.into()));
    assert_eq!(euro["balances"]["debits_posted"], "1050");
    assert!(node.done(&["books", "978"]).contains("10.50"), "by its number");
    let empty = json(&node.done(&["books", "usd", "-o", "json"]));
    assert_eq!((&empty["accounts"], &empty["balances"]["debits_posted"]), (&0.into(), &"0".into()));
    let unknown = node.fails(4, &["books", "701"]);
    assert!(unknown.contains("ledger 701 has neither an account nor an asset"), "{unknown}");
    assert!(node.fails(4, &["books", "GOLD"]).contains("no asset"));

    let (status, body) = get(&node, "/v1/ledgers/978");
    let mut shown = json(&body);
    assert_eq!((status, &shown["balances"]["display"]), (200, &"0.00 EUR".into()));
    shown["balances"].as_object_mut().expect("an object").remove("display");
    assert_eq!(shown, euro, "REST shows what the command shows");
    let (status, body) = get(&node, "/v1/ledgers/700");
    assert_eq!((status, &json(&body)["asset"], &json(&body)["accounts"]), (200, &Value::Null, &1.into()));
    for (path, expected) in [("701", (404, "ledger_not_found")), ("EUR", (400, "invalid_field"))] {
        let (status, body) = get(&node, &format!("/v1/ledgers/{path}"));
        assert_eq!((status, json(&body)["code"].as_str()), (expected.0, Some(expected.1)), "{body}");
    }
    let metrics = get(&node, "/metrics").1;
    for outcome in ["ok", "ledger_not_found"] {
        for api in ["grpc", "rest"] {
            let line = format!("api=\"{api}\",call=\"get_ledger\",outcome=\"{outcome}\"");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
    }
}
