//! Imports and exports of files with a real node: which rows of a wrong file are sent, and which files stay
//! on disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::node::{Answer, Node, program};
use serde_json::Value;

/// A node with alice and bob, who hold EUR, and a folder for files.
struct Bench {
    node: Node,
    files: tempfile::TempDir,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let node = Node::start(folder.path());
        for (id, name) in [("1", "alice"), ("2", "bob")] {
            node.done(&["account", "create", name, "--asset", "EUR", "--id", id]);
        }
        Self { node, files: tempfile::tempdir().expect("a folder"), _folder: folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).expect("written");
        self.path(name).to_str().expect("text").to_owned()
    }

    /// The count of the node's movements.
    fn movements(&self) -> u64 {
        let books: Value = serde_json::from_str(&self.node.done(&["books", "-o", "json"])).expect("JSON");
        books["movements"].as_u64().expect("a number")
    }

    fn balance_of_bob(&self) -> String {
        let bob: Value =
            serde_json::from_str(&self.node.done(&["account", "show", "bob", "-o", "json"])).expect("JSON");
        bob["balances"]["credits_posted"].as_str().expect("digits").to_owned()
    }

    /// Runs a command in the folder of the files, with `input` in a pipe.
    fn pipe(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let mut child = program()
            .current_dir(self.files.path())
            .args(["--server", &self.node.url])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // The write may fail: a program that refuses the beginning does not read the rest.
        drop(stdin.write_all(input));
        drop(stdin);
        Answer::new(child.wait_with_output())
    }
}

/// `count` payments of `amount` in CSV.
fn payments(count: usize, amount: &str) -> String {
    let rows = (1..=count).map(|id| format!("{id},alice,bob,{amount},EUR\n"));
    std::iter::once("id,from,to,amount,asset\n".to_owned()).chain(rows).collect()
}

#[test]
fn a_file_is_checked_before_its_first_row_is_sent() {
    let bench = Bench::new();
    let count = 9000;
    for (name, last, words) in [
        (
            "points.csv",
            "9001,alice,bob,10.50,EUR\n",
            "line 9002: amount is written in another way than on line 2",
        ),
        ("codes.csv", "9001,alice,bob,10 EUR,EUR\n", "line 9002: amount is written in another way"),
        ("names.csv", "9001,alice,carol,10,EUR\n", "line 9002: to: there is no account \"carol\""),
        ("cut.csv", "9001,alice,bo", "line 9002: it has 3 cells"),
        ("zeros.csv", "9001,alice,bob,3.000 EUR,\n", "line 9002: amount"),
    ] {
        let path = bench.write(name, payments(count, "10") + last);
        let complaint = bench.node.fails(2, &["import", "transfers", &path]);
        assert!(complaint.contains(words) && complaint.contains("Nothing was sent"), "{complaint}");
        assert!(!Path::new(&format!("{path}.refused.jsonl")).exists());
    }
    assert_eq!(bench.movements(), 0);
    let linked = "id,from,to,amount,flags\n1,alice,bob,1 EUR,linked\n";
    let complaint = bench.node.fails(2, &["import", "transfers", &bench.write("open.csv", linked)]);
    assert!(complaint.contains("line 2: it is linked to the next row"), "{complaint}");
    assert_eq!(bench.movements(), 0);

    let path = bench.write("good.csv", payments(count, "10"));
    let answer = bench.node.run(&["import", "transfers", &path]);
    assert!(answer.stdout.contains("9000 created"), "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stderr.contains("minor units, from line 2 on"), "the unit is reported: {}", answer.stderr);
    assert_eq!(bench.balance_of_bob(), "90000");
}

#[test]
fn an_option_sets_the_unit_of_bare_amounts() {
    let bench = Bench::new();
    let path = bench.write("rows.csv", payments(2, "10"));
    let answer = bench.node.run(&["import", "transfers", &path, "--assume", "major"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    assert_eq!(bench.balance_of_bob(), "2000");
    let rows = "id,from,to,amount,asset\n3,alice,bob,10 EUR,\n4,alice,bob,10,EUR\n";
    let complaint = bench.node.fails(2, &["import", "transfers", &bench.write("both.csv", rows)]);
    assert!(complaint.contains("line 3"), "{complaint}");
    assert_eq!(bench.balance_of_bob(), "2000");
}

#[test]
fn a_pipe_needs_a_unit_and_reports_its_progress() {
    let bench = Bench::new();
    let import = &["import", "transfers", "-"];
    let answer = bench.pipe(import, payments(3, "10").as_bytes());
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    assert!(answer.stderr.contains("--assume minor or --assume major"), "{}", answer.stderr);
    assert_eq!(bench.movements(), 0);

    let rows = payments(9000, "10") + "9001,alice,bob,ten,EUR\n";
    let answer = bench.pipe(&[import, &["--assume", "minor"][..]].concat(), rows.as_bytes());
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    for words in ["line 9002", "The rows up to line 8190 are done (8189 created", "Nothing after line 8190"] {
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
    assert_eq!(bench.movements(), 8189);
    let answer = bench.pipe(&[import, &["--assume", "minor"][..]].concat(), payments(9000, "10").as_bytes());
    assert!(answer.stdout.contains("811 created, 8189 there before"), "{}", answer.stdout);

    bench.node.done(&["account", "bounds", "bob", "--max", "0"]);
    let answer = bench.pipe(import, b"id,from,to,amount\n9500,alice,bob,1 EUR\n");
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stderr.contains("import.refused.jsonl"), "{}", answer.stderr);
    assert!(bench.path("import.refused.jsonl").exists());
    assert!(!bench.path("-.refused.jsonl").exists());
    // A file on stdin is read like a file, not like a pipe.
    let file = fs::File::open(bench.write("rows.csv", payments(2, "10"))).expect("the file");
    let output = program().args(["--server", &bench.node.url]).args(import).stdin(file).output();
    assert!(Answer::new(output).stdout.contains("2 there before"));
}

#[test]
fn refused_rows_never_overwrite_the_input() {
    let bench = Bench::new();
    let rows = "id,from,to,amount\n1,alice,alice,1 EUR\n2,alice,bob,1 EUR\n";
    let path = bench.write("rows.csv", rows);
    let around =
        bench.files.path().join("..").join(bench.files.path().file_name().expect("a name")).join("rows.csv");
    let link = bench.path("link");
    let hard = bench.path("hard");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    fs::hard_link(&path, &hard).expect("a link");
    for same in [Path::new(&path), &around, &link, &hard] {
        let same = same.to_str().expect("text");
        let complaint = bench.node.fails(2, &["import", "transfers", &path, "--refused", same]);
        assert!(complaint.contains("is the file that is imported"), "{complaint}");
    }
    assert_eq!(fs::read_to_string(&path).expect("the input"), rows);
    assert_eq!(bench.movements(), 0);

    let refused = format!("{path}.refused.jsonl");
    let answer = bench.node.run(&["import", "transfers", &path]);
    assert!(
        answer.code == 1 && answer.stdout.contains("1 created, 0 there before, 1 refused"),
        "{}",
        answer.stdout
    );
    assert!(fs::read_to_string(&refused).expect("refused rows").contains("\"line\":2"));
    assert_eq!(bench.balance_of_bob(), "100");
    bench.write("rows.csv", "id,from,to,amount\n2,alice,bob,1 EUR\n");
    let answer = bench.node.run(&["import", "transfers", &path]);
    assert!(answer.code == 0 && answer.stderr.contains("earlier import are replaced"), "{}", answer.stderr);
    assert!(!Path::new(&refused).exists(), "no row of this run was refused");
}

#[test]
fn a_refused_row_names_its_case() {
    let bench = Bench::new();
    bench.node.done(&["account", "bounds", "bob", "--min", "0"]);
    bench.node.done(&["pay", "alice", "bob", "1 EUR", "--id", "9"]);
    let rows = "id,from,to,amount,flags\n1,bob,alice,99 EUR,\n2,77,alice,1 EUR,\n9,alice,bob,3 EUR,\n\
                3,alice,bob,1 EUR,linked\n4,bob,alice,50 EUR,\n";
    let path = bench.write("rows.csv", rows);
    let cases = || -> Vec<(String, String)> {
        assert_eq!(bench.node.run(&["import", "transfers", &path]).code, 1);
        let refused = fs::read_to_string(format!("{path}.refused.jsonl")).expect("refused rows");
        let rows = refused.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(&row, "status"), text(&row, "detail"))).collect()
    };
    let first = cases();
    let statuses: Vec<_> = first.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(
        statuses,
        [
            "balance_out_of_bounds",
            "debit_account_not_found",
            "exists_with_different_amount",
            "linked_event_failed",
            "balance_out_of_bounds"
        ]
    );
    assert_eq!(
        first[0].1,
        "account bob (2) has a minimum of 0.00 EUR: 99.00 EUR was asked for, 1.00 EUR is available as of now."
    );
    assert_eq!(first[1].1, "There is no account 77.");
    assert_eq!(first[2].1, "Transfer 9 was made with amount 1.00 EUR, not 3.00 EUR.");
    assert!(first[4].1.contains("50.00 EUR was asked for"), "{}", first[4].1);
    let again = cases();
    for at in [0, 1, 4] {
        assert_eq!(again[at].0, "id_already_failed");
        assert!(again[at].1.contains(&format!("refused first with {}", first[at].0)), "{}", again[at].1);
    }

    let many = (100..250).map(|id| format!("{id},bob,alice,99 EUR\n"));
    let path = bench.write("many.csv", format!("id,from,to,amount\n{}", many.collect::<String>()));
    let first = bench.node.run(&["import", "transfers", &path]);
    assert!(first.code == 1 && !first.stderr.contains("no detail"), "{}", first.stderr);
    let again = bench.node.run(&["import", "transfers", &path]);
    assert!(again.stderr.contains("50 of the refused rows have no detail"), "{}", again.stderr);
    let refused = fs::read_to_string(format!("{path}.refused.jsonl")).expect("refused rows");
    assert_eq!(refused.matches("refused first with balance_out_of_bounds at 20").count(), 100);

    let rows = "id,name,asset,code\n5,bob,EUR,1\n1,alice,EUR,7\n";
    let path = bench.write("accounts.csv", rows);
    assert_eq!(bench.node.run(&["import", "accounts", &path]).code, 1);
    let refused = fs::read_to_string(format!("{path}.refused.jsonl")).expect("refused rows");
    assert!(refused.contains("\"detail\":\"The name bob is that of account 2.\""), "{refused}");
    assert!(
        refused.contains("\"detail\":\"The code of account alice (1): 1 as of now, not 7.\""),
        "{refused}"
    );
}

#[test]
fn an_export_in_a_pipe_is_not_read() {
    let bench = Bench::new();
    let export = bench.node.done(&["export"]);
    let answer = bench.pipe(&["import", "history", "/dev/stdin"], export.as_bytes());
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    assert!(answer.stderr.contains("a pipe cannot be read twice: give a file"), "{}", answer.stderr);
}

#[test]
fn files_of_other_formats_send_nothing() {
    let bench = Bench::new();
    let utf16: Vec<u8> =
        "id,from,to,amount\n1,alice,bob,1 EUR\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, words) in [
        ("empty.csv", b"".as_slice(), "is empty"),
        ("array.json", b"[{\"id\":1}]", "one JSON array"),
        ("utf16.csv", &utf16, "UTF-16"),
        ("bare.csv", b"1,alice,bob,1 EUR\n", "holds the headings"),
        (
            "twice.csv",
            b"id,from,to,amount,amount\n1,alice,bob,1 EUR,2 EUR\n",
            "two columns are headed amount",
        ),
        (
            "twice.jsonl",
            b"{\"id\":1,\"from\":1,\"to\":2,\"amount\":\"1 EUR\",\"amount\":\"2 EUR\"}",
            "given twice",
        ),
        (
            "flags.jsonl",
            b"{\"id\":1,\"from\":1,\"to\":2,\"amount\":\"1 EUR\",\"flags\":[2]}",
            "flags is a list",
        ),
        ("post.csv", b"id,pending_id,flags,amount\n1,7,post_pending_transfer,\n", "all for everything"),
    ] {
        let complaint = bench.node.fails(2, &["import", "transfers", &bench.write(name, bytes)]);
        assert!(complaint.contains(words), "{name}: {complaint}");
    }
    let marked = bench.write("marked.csv", b"\xef\xbb\xbfid,from,to,amount\r\n1,alice,bob,1 EUR\r\n");
    assert!(bench.node.done(&["import", "transfers", &marked]).contains("1 created"));
    assert_eq!(bench.movements(), 1);
}

#[test]
fn an_export_replaces_a_file_only_when_complete() {
    let bench = Bench::new();
    bench.node.done(&["import", "transfers", &bench.write("rows.csv", payments(9000, "10.00"))]);
    let keep = bench.write("keep.jsonl", "what was there");
    let names = || {
        let entries = fs::read_dir(bench.files.path()).expect("the folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let mut child = program()
        .args(["--server", &bench.node.url, "export", "--to", &keep])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The partial file exists while the export is written.
    while names() == before && child.try_wait().expect("it runs or has ended").is_none() {}
    let stop = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    stop.expect("kill runs");
    let status = child.wait().expect("it ends");
    let text = fs::read_to_string(&keep).expect("the file");
    assert_eq!(names(), before, "nothing else is left");
    assert_eq!(text == "what was there", !status.success(), "the old file or a whole new one");

    bench.node.done(&["export", "--to", &keep]);
    let verify = |path: &str| Answer::new(program().args(["verify", "--file", path]).output()).stdout;
    assert!(verify(&keep).contains("9000 transfers"));
    let csv = bench.path("e.csv");
    let csv = csv.to_str().expect("text");
    bench.node.done(&["export", "--to", csv]);
    assert!(fs::read_to_string(csv).expect("the export").starts_with("position,timestamp,"));
    assert!(verify(csv).contains("9000 transfers"));
    bench.node.fails(2, &["export", "--format", "jsonl", "--to", csv]);

    let marked = [b"\xef\xbb\xbf".as_slice(), &fs::read(&keep).expect("the export")].concat();
    let marked = bench.write("marked.jsonl", marked);
    assert!(bench.node.fails(2, &["import", "transfers", &marked]).contains("import history"));
    assert!(verify(&marked).contains("9000 transfers"));
}

#[test]
fn an_import_whose_server_dies_reports_its_progress() {
    let bench = Bench::new();
    let mut child = program()
        .current_dir(bench.files.path())
        .args(["--server", &bench.node.url, "--timeout", "1s", "import", "transfers", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(payments(8189, "10.00").as_bytes()).expect("a batch");
    while bench.movements() < 8189 {
        assert!(child.try_wait().expect("it runs or has ended").is_none(), "it waits for more");
    }
    bench.node.kill();
    stdin.write_all(b"9001,alice,bob,1.00,EUR\n9002,1,2,1.00,EUR\n").expect("a second batch");
    drop(stdin);
    let answer = Answer::new(child.wait_with_output());
    // No row was sent over a refused connection; a connection that breaks may have carried rows.
    let end = match answer.code {
        8 => "The rows up to line 8190 are done (8189 created",
        6 => "from line 8191 to 8192 were sent, and what became of them is not known",
        code => panic!("{code}: {}", answer.stderr),
    };
    for words in [end, "8189 created", "Start the same import again"] {
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
    assert!(!answer.stderr.contains("nothing was changed"), "{}", answer.stderr);
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_noticed() {
    let bench = Bench::new();
    // The last batch is read after the first one was sent. Whether the new row comes in time depends on the
    // machine.
    let is_noticed = (1..=5).any(|round| {
        let first = round * 1_000_000;
        let rows = (first..first + 8189 * 4 * round).map(|id| format!("{id},1,2,1.00,EUR\n"));
        let rows: String = std::iter::once("id,from,to,amount,asset\n".to_owned()).chain(rows).collect();
        let path = bench.write("rows.csv", rows);
        let before = bench.movements();
        let child = program()
            .args(["--server", &bench.node.url, "import", "transfers", &path])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        while bench.movements() == before {}
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the file");
        writeln!(file, "77,1,2,9.00,EUR").expect("a row more");
        let answer = Answer::new(child.wait_with_output());
        bench.node.fails(4, &["transfer", "show", "77"]);
        assert!(
            answer.code == 0 || answer.stderr.contains("was changed while it was read"),
            "{}",
            answer.stderr
        );
        answer.code == 2
    });
    assert!(is_noticed);
}

/// The lines of an export in JSON with `old` replaced by `new`, and new checksums, as version 0.1 would write
/// them.
fn sealed_anew(export: &str, old: &str, new: &str) -> String {
    let mut seal = 0;
    let changed = export.replace(old, new);
    let sealed = changed.lines().map(|line| {
        let (body, _) = line.rsplit_once(",\"checksum\"").expect("a checksum");
        seal = bezant_codec::checksum_seeded(seal, body.as_bytes());
        format!("{body},\"checksum\":\"{seal:016x}\"}}\n")
    });
    sealed.collect()
}

#[test]
fn an_export_with_names_refused_now_is_rebuilt() {
    let bench = Bench::new();
    bench.node.done(&["account", "create", "Jose", "--asset", "EUR", "--id", "3", "--min", "0"]);
    bench.node.done(&["pay", "alice", "Jose", "1 EUR"]);
    let export = bench.node.done(&["export"]);
    let export = sealed_anew(&export, "\"bob\"", "\"bo\u{200b}b\"");
    let export = sealed_anew(&export, "\"Jose\"", "\"Jose\u{301}\"");
    let path = bench.write("old.jsonl", &export);
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let answer = node.run(&["import", "history", &path]);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stdout.contains("3 accounts, 1 movements imported"), "{}", answer.stdout);
    for words in [
        "warning: account 2: no new account can have its name, \"bo\\u{200b}b\": it has no name here",
        "warning: account 3: no new account can have its name, \"Jose\\u{301}\": its name here is Jos\u{e9}",
    ] {
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
    let again = node.run(&["import", "history", &path, "-o", "json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let rebuilt: Value = serde_json::from_str(&again.stdout).expect("JSON");
    let names: Vec<_> = (0..2)
        .map(|at| {
            let one = &rebuilt["renamed"][at];
            (one["account_id"].as_str(), one["name"].as_str(), one["name_here"].as_str())
        })
        .collect();
    assert_eq!(
        names,
        [(Some("2"), Some("bo\u{200b}b"), None), (Some("3"), Some("Jose\u{301}"), Some("Jos\u{e9}"))]
    );
    let view: Value =
        serde_json::from_str(&node.done(&["account", "show", "3", "-o", "json"])).expect("JSON");
    assert_eq!((&view["name"], &view["balances"]["credits_posted"]), (&"Jos\u{e9}".into(), &"100".into()));
}
