//! A folder whose ledger has a time far from this machine's clock.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bezant_ledger::{Event, Ledger, Operation, ToCommand};
use bezant_runtime::{Clock, Options};
use bezant_types::{Account, AccountId, LedgerNumber, Nanos};

use crate::node::{Answer, Node, program};

const DAY: Duration = Duration::from_hours(24);

/// A folder with account 1, whose creation time is `ahead` of today.
fn folder_from(ahead: Duration) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::new(move || {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        Nanos(u64::try_from((today + ahead).as_nanos()).expect("it is earlier than 2554"))
    });
    let options = Options { clock, ..Options::new(folder.path()) };
    let running = bezant_runtime::start::<Ledger>(&options).expect("the node starts");
    let account = Account { id: AccountId(1), ledger: LedgerNumber(978), code: 1, ..Account::default() };
    let command = Operation::CreateAccounts.command(Event::write_all(&[account])).expect("well formed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let deadline = Some(Instant::now() + Duration::from_mins(1));
    runtime.block_on(running.handle().execute(command, deadline)).expect("it is created");
    running.stop();
    folder
}

#[test]
fn a_ledger_of_the_future_starts_with_accept_clock() {
    let folder = folder_from(90 * DAY);
    let refused = program()
        .args(["start", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .output();
    let refused = Answer::new(refused);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    for words in [
        "this machine's clock shows 20",
        "and the last entry of the ledger is of 20",
        "the clock is more than a day earlier: cluster time would not advance",
        "Set the clock; if it is right, start the node with --accept-clock",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }

    let node = Node::start_with(folder.path(), &["--accept-clock"]);
    node.done(&["account", "create", "--asset", "EUR", "--id", "2"]);
    node.done(&["pay", "1", "2", "1 EUR"]);
    node.kill();
    // The acceptance was for one start only.
    let again =
        program().args(["start", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path()).output();
    assert_eq!(Answer::new(again).code, 3);
}

#[test]
fn a_ledger_one_hour_ahead_starts() {
    let folder = folder_from(Duration::from_hours(1));
    let node = Node::start(folder.path());
    node.done(&["account", "create", "--asset", "EUR", "--id", "2"]);
}
