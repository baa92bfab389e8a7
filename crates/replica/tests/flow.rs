//! The way of a command through the node, with a machine that only counts.

use bezant_consensus::{Solo, WriteNumber};
use bezant_replica::{
    Consistency, Input, Now, Output, Refusal, ReplayError, Replica, ReplicaOptions, Restored, Ticket, replay,
};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

/// Counts events; operation 2 needs a row, operation 3 comes from time itself.
#[derive(Debug, Default)]
struct Counter {
    time: Nanos,
    events: u64,
    due_at: Option<Nanos>,
    cut: Option<u64>,
}

#[derive(Debug)]
struct Found;

impl From<HistoryPosition> for Found {
    fn from(_: HistoryPosition) -> Self {
        Self
    }
}

impl StateMachine for Counter {
    type Key = u64;
    type Found = Found;
    type Rows = u64;
    type Query = ();
    type Answer = u64;
    const RULES: u8 = 2;

    fn time(&self) -> Nanos {
        self.time
    }

    fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.events, refusals: 0 }
    }

    fn prefetch(&self, entry: &Entry) -> Prefetch<u64> {
        let keys = entry.commands.iter().filter(|command| command.operation == 2).map(|_| 7).collect();
        Prefetch { keys, position: self.position() }
    }

    fn apply(&mut self, _index: LogIndex, entry: &Entry, _found: Found) -> Option<Applied<u64>> {
        assert!(entry.time.0 >= self.time.0 + entry.events(), "timestamps are unique");
        self.time = entry.time;
        let results = entry.commands.iter().map(|command| command.body.clone()).collect();
        if entry.commands.iter().any(|command| command.operation == 3) {
            self.due_at = None;
        }
        self.events += entry.events();
        Some(Applied { results, rows: self.events })
    }

    fn due(&self, now: Nanos) -> Option<Command> {
        let is_due = self.due_at.is_some_and(|moment| moment <= now);
        is_due.then(|| Command { operation: 3, events: 1, body: Bytes::new() })
    }

    fn due_at(&self) -> Option<Nanos> {
        self.due_at
    }

    fn query_step(&self, (): ()) -> Progress<(), u64> {
        Progress::Done(self.events)
    }

    fn begin_checkpoint(&mut self) {
        self.cut = Some(self.events);
    }

    fn poll_checkpoint(&mut self, _size: usize) -> Option<Vec<u8>> {
        self.cut.take().map(|events| events.to_le_bytes().to_vec())
    }

    fn restore(_checkpoint: &[u8]) -> Result<Self, RestoreError> {
        Err(RestoreError { section: "none" })
    }
}

type CounterReplica = Replica<Counter, Solo>;

fn node(machine: Counter, checkpoint_interval_bytes: usize) -> CounterReplica {
    let options = ReplicaOptions { checkpoint_interval_bytes, ..ReplicaOptions::default() };
    let restored = Restored::new(machine, LogIndex(0), LogIndex(0), 0);
    Replica::new(restored, Solo::new(NodeId(1), LogIndex(0)), options)
}

const NOW: Now = Now { wall: Nanos(1_000) };

fn request(node: &mut CounterReplica, ticket: u64, operation: u16) {
    let command = Command { operation, events: 1, body: Bytes::from_static(b"event") };
    node.handle(NOW, Input::Request { ticket: Ticket(ticket), command });
}

/// A line for everything that the node wants done.
fn drain(node: &mut CounterReplica) -> Vec<String> {
    std::iter::from_fn(|| node.poll()).map(|output| describe(&output)).collect()
}

fn describe(output: &Output<Counter>) -> String {
    match output {
        Output::Persist(write) => format!("append {}", write.entries[0].index),
        Output::Fetch { index, prefetch, .. } => format!("fetch {index} {:?}", prefetch.keys),
        Output::Rows(rows) => format!("rows {rows}"),
        Output::Answer { ticket, index, time, .. } => format!("answer {} at {index} time {time}", ticket.0),
        Output::Refuse { ticket, refusal: Refusal::Overloaded } => format!("overloaded {}", ticket.0),
        Output::Refuse { ticket, refusal: Refusal::ReadOnly(reason) } => {
            format!("refuse {} {reason}", ticket.0)
        }
        Output::Refuse { ticket, refusal: Refusal::NotTaken(reason) } => {
            format!("not taken {} {reason}", ticket.0)
        }
        Output::QueryAnswer { ticket, answer, .. } => format!("found {} {answer}", ticket.0),
        Output::BarrierPassed { ticket, position, .. } => {
            format!("barrier {} {}", ticket.0, position.movements)
        }
        Output::CheckpointBegin { index, .. } => format!("checkpoint begins {index}"),
        Output::CheckpointPiece(piece) => format!("piece {piece:?}"),
        Output::CheckpointEnd { index, position, .. } => {
            format!("checkpoint ends {index} {}", position.movements)
        }
        Output::Release(index) => format!("release {index}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_waits_is_merged_and_answered_only_when_durable() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 1);
    request(&mut node, 2, 1);
    node.propose(NOW);
    assert_eq!(drain(&mut node), ["append 1"]);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    assert_eq!(drain(&mut node), ["rows 2", "answer 1 at 1 time 1001", "answer 2 at 1 time 1002"]);
}

#[test]
fn an_entry_has_the_rules_of_the_machine_and_later_ones_are_refused() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 1);
    node.propose(NOW);
    let write = std::iter::from_fn(|| node.poll()).find_map(|output| match output {
        Output::Persist(write) => Some(write),
        _ => None,
    });
    let mut log = write.expect("the entry goes to the disk").entries.remove(0);
    let mut entry = Entry::decode(&log.payload).expect("the node wrote it");
    assert_eq!(entry.rules, Counter::RULES);

    let fetch = |_: &Prefetch<u64>| Ok::<_, std::convert::Infallible>(Found);
    for rules in 0..=Counter::RULES {
        entry.rules = rules;
        log.payload = entry.encode();
        assert_eq!(replay(&mut Counter::default(), &log, fetch), Ok(Some(1)), "rules {rules}");
    }
    entry.rules = Counter::RULES + 1;
    log.payload = entry.encode();
    assert_eq!(replay(&mut Counter::default(), &log, fetch), Err(ReplayError::Entry(log.index)));
    let restored = Restored::new(Counter::default(), LogIndex(0), LogIndex(0), 0);
    assert_eq!(restored.with_entries(&[log]).err(), Some(LogIndex(1)), "nor one that is not agreed yet");
}

#[test]
fn an_entry_waits_for_the_rows_that_it_needs_and_holds_up_those_behind_it() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 2);
    node.propose(NOW);
    request(&mut node, 2, 1);
    node.propose(NOW);
    assert_eq!(drain(&mut node), ["append 1", "append 2", "fetch 1 [7]"], "writes go out first");
    node.handle(NOW, Input::Persisted(WriteNumber(2)));
    assert_eq!(drain(&mut node), Vec::<String>::new());
    node.handle(NOW, Input::Fetched { index: LogIndex(1), term: Term(1), found: Found });
    assert_eq!(drain(&mut node), ["rows 1", "answer 1 at 1 time 1001", "rows 2", "answer 2 at 2 time 1002"]);
}

#[test]
fn time_does_not_go_back_with_the_clock() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    request(&mut node, 2, 1);
    node.propose(Now { wall: Nanos(5) });
    node.handle(NOW, Input::Persisted(WriteNumber(2)));
    let outputs = drain(&mut node);
    assert!(outputs.contains(&"answer 2 at 2 time 1002".into()), "{outputs:?}");
}

#[test]
fn a_failed_disk_refuses_everything_and_still_answers_reads() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 1);
    node.propose(NOW);
    request(&mut node, 2, 1);
    node.handle(NOW, Input::Failed { reason: "broken".into() });
    request(&mut node, 3, 1);
    node.propose(NOW);
    // A late confirmation must not bring the entry back: whoever sent it has heard that it is unknown.
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    node.handle(NOW, Input::Query { ticket: Ticket(4), query: (), consistency: Consistency::Linearizable });
    assert_eq!(
        drain(&mut node),
        ["append 1", "refuse 1 broken", "refuse 2 broken", "refuse 3 broken", "found 4 0"]
    );
}

#[test]
fn a_full_disk_refuses_for_now() {
    let mut node = node(Counter::default(), usize::MAX);
    node.handle(NOW, Input::Pressure(Some("full".into())));
    request(&mut node, 1, 1);
    node.handle(NOW, Input::Pressure(None));
    request(&mut node, 2, 1);
    node.propose(NOW);
    assert_eq!(drain(&mut node), ["not taken 1 full", "append 1"]);
}

#[test]
fn who_waits_when_the_disk_fills_up_hears_of_it_at_once() {
    let mut node = node(Counter { due_at: Some(Nanos(900)), ..Counter::default() }, usize::MAX);
    request(&mut node, 1, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Tick);
    request(&mut node, 2, 1);
    node.handle(NOW, Input::Pressure(Some("full".into())));
    assert_eq!(drain(&mut node), ["append 1", "not taken 2 full"]);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    assert_eq!(drain(&mut node), ["rows 1", "answer 1 at 1 time 1001"]);
    // What time demands was not lost.
    node.handle(NOW, Input::Pressure(None));
    node.propose(NOW);
    assert_eq!(drain(&mut node), ["append 2"]);
}

#[test]
fn a_checkpoint_is_cut_in_pieces_and_frees_the_log() {
    let mut node = node(Counter::default(), 1);
    request(&mut node, 1, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    let outputs = drain(&mut node);
    assert_eq!(
        outputs[3..],
        ["checkpoint begins 1", "piece [1, 0, 0, 0, 0, 0, 0, 0]", "checkpoint ends 1 1"],
        "{outputs:?}"
    );
    node.handle(NOW, Input::CheckpointPieceTaken);
    node.handle(NOW, Input::CheckpointWritten { index: LogIndex(1), digest: [0; 32] });
    assert_eq!(drain(&mut node), ["release 1"]);
}

#[test]
fn what_time_demands_goes_through_the_log_once() {
    let mut node = node(Counter { due_at: Some(Nanos(900)), ..Counter::default() }, usize::MAX);
    for _ in 0..3 {
        node.handle(NOW, Input::Tick);
        node.propose(NOW);
    }
    assert_eq!(drain(&mut node), ["append 1"]);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    assert_eq!(drain(&mut node), ["rows 1"]);
}

#[test]
fn a_barrier_names_all_that_was_answered() {
    let mut node = node(Counter::default(), usize::MAX);
    request(&mut node, 1, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    drain(&mut node);
    node.handle(NOW, Input::Barrier { ticket: Ticket(2), consistency: Consistency::Linearizable });
    assert_eq!(drain(&mut node), ["barrier 2 1"]);
}

#[test]
fn a_checkpoint_without_room_keeps_the_log_and_another_follows() {
    let mut node = node(Counter::default(), 1);
    request(&mut node, 1, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Persisted(WriteNumber(1)));
    node.handle(NOW, Input::CheckpointPieceTaken);
    drain(&mut node);
    node.handle(NOW, Input::CheckpointAbandoned(LogIndex(1)));
    assert_eq!(drain(&mut node), Vec::<String>::new(), "no log is released");
    request(&mut node, 2, 1);
    node.propose(NOW);
    node.handle(NOW, Input::Persisted(WriteNumber(2)));
    let outputs = drain(&mut node);
    assert!(outputs.contains(&"checkpoint begins 2".into()), "{outputs:?}");
}
