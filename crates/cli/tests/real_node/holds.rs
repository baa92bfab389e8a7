//! Tests of holds, of changes of one bound, and of the escaping of names for a terminal.

use serde_json::Value;

use crate::node::Node;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON document")
}

#[test]
fn a_hold_shows_its_state_and_open_holds_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    node.done(&["account", "create", "alice", "--asset", "EUR", "--id", "1"]);
    node.done(&["account", "create", "bob", "--asset", "EUR", "--id", "2"]);
    for (id, expires_in) in [("11", "9000"), ("12", "3600"), ("13", "0"), ("14", "100")] {
        let pending = ["transfer", "create", "alice", "bob", "5", "--pending", "--id", id];
        node.done(&[&pending[..], &["--expires-in", expires_in]].concat());
    }
    node.done(&["transfer", "post", "14", "2.25", "--id", "20"]);

    let shown = node.done(&["transfer", "show", "14"]);
    for line in [["state", "posted"], ["captured", "2.25 EUR"], ["resolved by", "20"]] {
        let has_line = shown.lines().any(|shown| line.iter().all(|part| shown.contains(part)));
        assert!(has_line, "{line:?} in\n{shown}");
    }
    let listed = node.done(&["account", "holds", "bob", "-o", "json"]);
    let ids: Vec<_> = listed.lines().map(|line| json(line)["id"].clone()).collect();
    assert_eq!(ids, ["12", "11", "13"]);
    assert_eq!(node.done(&["transfer", "list", "--pending", "-o", "json"]), listed);
    let table = node.done(&["account", "holds", "alice", "--limit", "1"]);
    assert!(table.contains("EXPIRES") && table.contains("5.00") && table.lines().count() == 2, "{table}");

    node.done(&["transfer", "void", "12"]);
    let voided = json(&node.done(&["transfer", "show", "12", "-o", "json"]));
    assert_eq!((&voided["state"], &voided["captured_amount"]), (&"voided".into(), &"0".into()));
    let all = node.done(&["transfer", "list"]);
    assert!(all.contains("posted") && all.contains("voided") && all.contains("pending"), "{all}");
}

#[test]
fn a_bound_that_is_not_given_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    node.done(&["account", "create", "alice", "--asset", "EUR", "--min", "-5", "--max", "100"]);
    let bounds = |arguments: &[&str]| {
        let shown = json(&node.done(&[&["account", "bounds", "alice", "-o", "json"], arguments].concat()));
        (shown["minimum"].clone(), shown["maximum"].clone())
    };
    assert_eq!(bounds(&["--max", "200"]), ("-500".into(), "20000".into()));
    assert_eq!(bounds(&["--min", "none"]), (Value::Null, "20000".into()));
    assert_eq!(bounds(&[]), (Value::Null, "20000".into()));
}

#[test]
fn invisible_letters_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let refused = node.fails(1, &["account", "create", "a\u{202e}b", "--asset", "EUR"]);
    assert!(refused.contains("name_invalid"), "{refused}");
    let unknown = node.fails(4, &["account", "show", "a\u{202e}b\u{1b}[31m"]);
    assert!(unknown.contains(r"a\u{202e}b\u{1b}[31m"), "{unknown}");
    assert!(!unknown.contains('\u{202e}') && !unknown.contains('\u{1b}'), "{unknown}");
}
