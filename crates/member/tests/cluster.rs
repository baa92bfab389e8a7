//! Members in one process: they find each other, do each command once, and work without the former leader.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bezant_member::{
    COMMAND_SIZE_MAX, CallError, Caller, Freshness, Health, Member, MemberOptions, OpenError, RemoveError,
};
use common::{Sum, TIMEOUT, engine, first, join, leader, number, options, seed, three, until, voters};

#[tokio::test(flavor = "multi_thread")]
async fn one_member_works_alone_and_continues_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut address = "127.0.0.1:0".to_owned();
    for round in 1..=3 {
        let member: Member<Sum> = Member::seed(first(folder.path(), "1", &address)).await.unwrap();
        member.address().clone_into(&mut address);
        assert_eq!(member.status().engine, Some(engine()));
        assert_eq!(number(&member.invoke(b"+\x05").await.unwrap()), 5 * round);
        assert_eq!(number(&member.query(b"", Freshness::Linearizable).await.unwrap()), 5 * round);
        member.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_three_members_answers() {
    let folder = tempfile::tempdir().unwrap();
    let members = three(folder.path()).await;
    let mut sum = 0;
    for (member, by) in members.iter().zip(1..) {
        sum += u64::from(by);
        assert_eq!(number(&member.invoke(&[b'+', by]).await.unwrap()), sum);
    }
    for member in &members {
        assert_eq!(number(&member.query(b"", Freshness::Linearizable).await.unwrap()), sum);
        assert_eq!(number(&member.invoke(b"+\x00").await.unwrap()), sum);
        assert_eq!(number(&member.query(b"", Freshness::Session).await.unwrap()), sum, "its own command");
        assert!(number(&member.query(b"", Freshness::Stale).await.unwrap()) <= sum);
    }
    for member in members {
        member.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_members_one_votes_and_the_other_may_stop() {
    let folder = tempfile::tempdir().unwrap();
    let one = seed(folder.path(), "1").await;
    let two = join(folder.path(), "2", &[&one]).await;
    two.invoke(b"+\x01").await.unwrap();
    until("both are connected", || one.status().nodes.iter().all(|node| node.is_connected)).await;
    assert_eq!((one.status().nodes.len(), voters(&one)), (2, 1));
    two.shutdown().await;
    assert_eq!(number(&one.invoke(b"+\x01").await.unwrap()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_is_done_once_over_restarts_and_elections() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(folder.path()).await;
    let addresses: Vec<String> = members.iter().map(|member| member.address().to_owned()).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    // The callers' own member stays: it forwards to the leader.
    let handle = members[2].handle();
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..8 {
        let (handle, is_over, done) = (handle.clone(), Arc::clone(&is_over), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                handle.invoke(b"+\x01").await.expect("it is retried until it is done");
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 0..4 {
        // One of the first two members stops, whether it leads or not, and comes back.
        let at = round % 2;
        let member = members.remove(at);
        member.shutdown().await;
        let before = done.load(Ordering::Relaxed);
        until("commands are done without it", || done.load(Ordering::Relaxed) > before + 8).await;
        let back = options(folder.path(), &(at + 1).to_string(), &addresses[at]);
        members.insert(at, Member::join(back, addresses.clone()).await.unwrap());
        leader(&members).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    for member in &members {
        assert_eq!(number(&member.query(b"", Freshness::Linearizable).await.unwrap()), done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_from_any_member() {
    let folder = tempfile::tempdir().unwrap();
    let members = three(folder.path()).await;
    let subscriber = members[1].handle();
    let listening = tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut last = 0;
        while seen.len() < 20 {
            let event = subscriber.next_event(1, last).await.unwrap();
            last = event.number;
            seen.push(number(&event.bytes));
        }
        (seen, last)
    });
    for _ in 0..20 {
        members[0].invoke(b"+\x01").await.unwrap();
    }
    let (seen, last) = tokio::time::timeout(TIMEOUT, listening).await.unwrap().unwrap();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    let again = members[2].next_event(1, last - 1).await.unwrap();
    assert_eq!((again.number, number(&again.bytes)), (last, 20), "the same numbers everywhere");
    // The call waits until there is an event.
    let waiting = tokio::time::timeout(TIMEOUT, members[2].next_event(1, last));
    let (event, _) = tokio::join!(waiting, members[0].invoke(b"+\x01"));
    let event = event.unwrap().unwrap();
    assert_eq!((event.number, number(&event.bytes)), (last + 1, 21));
    // The error comes at once: the caller does not miss events until then.
    let last = event.number;
    let error = members[2].next_event(1, last + 1).await.unwrap_err();
    assert_eq!(error, CallError::EventNotYet { after: last + 1, last });
    // A number that another member returned is accepted, however far this one lags.
    for _ in 0..50 {
        let before = number(&members[0].invoke(b"+\x01").await.unwrap()) - 1;
        let known = members[0].next_event(1, before).await.unwrap().number;
        let waiting = tokio::time::timeout(TIMEOUT, members[2].next_event(1, known));
        let (event, _) = tokio::join!(waiting, members[0].invoke(b"+\x01"));
        assert_eq!(event.unwrap().unwrap().number, known + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_member_gets_the_state_and_not_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let small = |name: &str| options(folder.path(), name, "127.0.0.1:0").checkpoint_interval(1 << 20);
    let one: Member<Sum> = Member::seed(small("1").engine(engine())).await.unwrap();
    let pad = [b"P".as_slice(), &vec![7; 500_000]].concat();
    // More than a leader keeps for lagging replicas.
    for _ in 0..100 {
        one.invoke(&pad).await.unwrap();
    }
    one.invoke(b"+\x07").await.unwrap();
    let two: Member<Sum> = Member::join(small("2"), [one.address()]).await.unwrap();
    assert_eq!(number(&two.query(b"", Freshness::Linearizable).await.unwrap()), 7);
    assert_eq!(two.query(b"pad", Freshness::Stale).await.unwrap(), pad[1..]);
    // After a restart, the member has the state from its own checkpoint.
    let address = two.address().to_owned();
    two.shutdown().await;
    let options = options(folder.path(), "2", &address);
    let two: Member<Sum> = Member::join(options, [one.address()]).await.unwrap();
    assert!(two.report().checkpoint.0 > 0);
    assert_eq!(number(&two.query(b"", Freshness::Linearizable).await.unwrap()), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_lost_disk_rejoins_after_removal() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(folder.path()).await;
    let lost = members.pop().unwrap();
    let (node, address) = (lost.node(), lost.address().to_owned());
    lost.shutdown().await;
    std::fs::remove_dir_all(folder.path().join("3")).unwrap();
    let others: Vec<String> = members.iter().map(|member| member.address().to_owned()).collect();
    let again = options(folder.path(), "3", &address);
    let soon = again.clone().join_timeout(Duration::from_secs(1));
    let refused = Member::<Sum>::join(soon, others.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("another disk"), "{refused}");
    members[0].remove(node).await.unwrap();
    let back = Member::<Sum>::join(again, others).await.unwrap();
    until("it votes", || voters(&back) == 3).await;
    assert_eq!(number(&back.invoke(b"+\x01").await.unwrap()), 1);
    let unknown = members[0].remove(bezant_member::NodeId(77)).await.unwrap_err();
    assert!(matches!(unknown, RemoveError::Refused { .. }), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_what_cannot_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let one = seed(folder.path(), "1").await;
    let unknown = one.invoke(b"what?").await.unwrap_err();
    assert!(matches!(unknown, CallError::Unknown(_)), "{unknown}");
    let unknown = one.query(b"what?", Freshness::Stale).await.unwrap_err();
    assert!(matches!(unknown, CallError::Unknown(_)), "{unknown}");
    let panicked = one.query(b"panic", Freshness::Stale).await.unwrap_err();
    assert_eq!(panicked, CallError::Panicked);
    let large = one.invoke(&vec![0; COMMAND_SIZE_MAX + 1]).await.unwrap_err();
    assert_eq!(large, CallError::CommandTooLarge { size: COMMAND_SIZE_MAX + 1 });
    assert_eq!(number(&one.invoke(b"+\x01").await.unwrap()), 1, "the member still works");
    let stranger = MemberOptions::new(folder.path().join("2"), "127.0.0.1:0", "another token of some length");
    let stranger = stranger.join_timeout(Duration::from_secs(1));
    let refused = Member::<Sum>::join(stranger, [one.address()]).await.unwrap_err();
    assert!(matches!(refused, OpenError::NotAdmitted { .. }), "{refused}");
    assert!(refused.to_string().contains("token"), "{refused}");
    // A node has never voted with that folder: with the right token it can be used like an empty one.
    let two = join(folder.path(), "2", &[&one]).await;
    assert_eq!(number(&two.query(b"", Freshness::Linearizable).await.unwrap()), 1);
    let unlimited: Member<Sum> =
        Member::seed(first(folder.path(), "3", "127.0.0.1:0").timeout(Duration::MAX)).await.unwrap();
    assert_eq!(number(&unlimited.invoke(b"+\x01").await.unwrap()), 1, "the timeout is not limited");
    let handle = one.handle();
    one.shutdown().await;
    assert_eq!(Caller::invoke(&handle, (&b"+\x01"[..]).into()).await.unwrap_err(), CallError::ShutDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_folder_is_explained_without_flags() {
    let folder = tempfile::tempdir().unwrap();
    let one = seed(folder.path(), "1").await;
    let (was, node) = (one.address().to_owned(), one.node());
    one.shutdown().await;
    let moved = Member::<Sum>::seed(first(folder.path(), "1", "127.0.0.1:0")).await.unwrap_err();
    assert!(
        matches!(&moved, OpenError::OtherAddress { known, own, .. } if *known == was && *own != was),
        "{moved}"
    );
    let there = || first(folder.path(), "1", &was);
    let other = Member::<Sum>::seed(there().node(node.0 + 1)).await.unwrap_err();
    assert!(matches!(other, OpenError::OtherNode { .. }), "{other}");
    let token = MemberOptions::new(folder.path().join("1"), &was, "another token of some length");
    let token = Member::<Sum>::seed(token).await.unwrap_err();
    assert!(matches!(token, OpenError::OtherToken { .. }), "{token}");
    std::fs::create_dir(folder.path().join("papers")).unwrap();
    std::fs::write(folder.path().join("papers/README"), "words").unwrap();
    let papers = Member::<Sum>::seed(first(folder.path(), "papers", "127.0.0.1:0")).await.unwrap_err();
    assert!(matches!(&papers, OpenError::Foreign { file } if file == "README"), "{papers}");
    for error in [moved, other, token, papers] {
        assert!(!error.to_string().contains("--"), "there is no command line: {error}");
    }
    let back: Member<Sum> = Member::seed(there()).await.unwrap();
    assert_eq!(number(&back.invoke(b"+\x01").await.unwrap()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let members = three(folder.path()).await;
    members[0].invoke(b"+\x01").await.unwrap();
    let leads = leader(&members).await;
    let (removed, others) = (&members[(leads + 1) % 3], &members[leads]);
    assert_eq!(number(&removed.query(b"", Freshness::Linearizable).await.unwrap()), 1);
    let waiting = removed.handle();
    let waiting = tokio::spawn(async move { waiting.next_event(7, 0).await });
    others.remove(removed.node()).await.unwrap();
    until("the removal is known", || removed.health() == Health::Removed).await;
    assert_eq!(removed.invoke(b"+\x01").await.unwrap_err(), CallError::Removed);
    assert_eq!(removed.query(b"", Freshness::Linearizable).await.unwrap_err(), CallError::Removed);
    assert_eq!(number(&removed.query(b"", Freshness::Stale).await.unwrap()), 1, "its own state");
    assert_eq!(waiting.await.unwrap().unwrap_err(), CallError::Removed);
    assert_eq!(others.health(), Health::Serving);
}

/// Set for the child process of the test below, which aborts.
const FATAL: &str = "BEZANT_TEST_FATAL_FOLDER";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_command_aborts_without_an_answer() {
    if let Some(folder) = std::env::var_os(FATAL) {
        let one = seed(std::path::Path::new(&folder), "1").await;
        one.invoke(b"+\x01").await.unwrap();
        let answer = one.invoke(b"panic").await;
        unreachable!("no answer is sent: {answer:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let name = std::thread::current().name().expect("of the test").to_owned();
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    let process = process.args([&name, "--exact", "--nocapture"]).env(FATAL, folder.path());
    let output = tokio::task::block_in_place(|| process.output().unwrap());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("a command that panics"), "{words}");
    assert!(!words.contains("no answer is sent"), "{words}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "it aborts: {words}");
}
