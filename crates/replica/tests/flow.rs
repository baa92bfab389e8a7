//! The path of a command through a replica whose machine only counts.

use bezant_consensus::{Solo, WriteNumber};
use bezant_replica::{
    Consistency, Input, Now, Output, Refusal, ReplayError, Replica, ReplicaOptions, Restored, Ticket, replay,
};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId};
use bytes::Bytes;

/// Counts events. Operation 2 needs a row; the machine itself proposes operation 3 at its deadline.
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

fn replica(machine: Counter, checkpoint_interval_bytes: usize) -> CounterReplica {
    let options = ReplicaOptions { checkpoint_interval_bytes, ..ReplicaOptions::default() };
    let restored = Restored::new(machine, LogIndex(0), LogIndex(0), 0);
    Replica::new(restored, Solo::new(NodeId(1), LogIndex(0)), options)
}

const NOW: Now = Now { wall: Nanos(1_000) };

fn request(replica: &mut CounterReplica, ticket: u64, operation: u16) {
    let command = Command { operation, events: 1, body: Bytes::from_static(b"event") };
    replica.handle(NOW, Input::Request { ticket: Ticket(ticket), command });
}

/// One line for each output.
fn drain(replica: &mut CounterReplica) -> Vec<String> {
    std::iter::from_fn(|| replica.poll()).map(|output| describe(&output)).collect()
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
fn entries_have_the_machines_rules_and_later_rules_are_refused() {
    let mut replica = replica(Counter::default(), usize::MAX);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    let write = std::iter::from_fn(|| replica.poll()).find_map(|output| match output {
        Output::Persist(write) => Some(write),
        _ => None,
    });
    let mut log = write.expect("the entry goes to the disk").entries.remove(0);
    let mut entry = Entry::decode(&log.payload).expect("the replica encoded it");
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
    assert_eq!(restored.with_entries(&[log]).err(), Some(LogIndex(1)), "nor an entry that is not committed");
}

#[test]
fn a_failed_disk_refuses_everything_and_still_answers_reads() {
    let mut replica = replica(Counter::default(), usize::MAX);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    request(&mut replica, 2, 1);
    replica.handle(NOW, Input::Failed { reason: "broken".into() });
    request(&mut replica, 3, 1);
    replica.propose(NOW);
    // A late confirmation must not apply the entry: its client has the answer that the outcome is unknown.
    replica.handle(NOW, Input::Persisted(WriteNumber(1)));
    replica
        .handle(NOW, Input::Query { ticket: Ticket(4), query: (), consistency: Consistency::Linearizable });
    assert_eq!(
        drain(&mut replica),
        ["append 1", "refuse 1 broken", "refuse 2 broken", "refuse 3 broken", "found 4 0"]
    );
}

#[test]
fn a_disk_that_fills_up_refuses_waiting_commands_at_once() {
    let mut replica = replica(Counter { due_at: Some(Nanos(900)), ..Counter::default() }, usize::MAX);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    replica.handle(NOW, Input::Tick);
    request(&mut replica, 2, 1);
    replica.handle(NOW, Input::Pressure(Some("full".into())));
    assert_eq!(drain(&mut replica), ["append 1", "not taken 2 full"]);
    replica.handle(NOW, Input::Persisted(WriteNumber(1)));
    assert_eq!(drain(&mut replica), ["rows 1", "answer 1 at 1 time 1001"]);
    // The machine's own command is not lost.
    replica.handle(NOW, Input::Pressure(None));
    replica.propose(NOW);
    assert_eq!(drain(&mut replica), ["append 2"]);
}

#[test]
fn a_checkpoint_is_cut_in_pieces_and_frees_the_log() {
    let mut replica = replica(Counter::default(), 1);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    replica.handle(NOW, Input::Persisted(WriteNumber(1)));
    let outputs = drain(&mut replica);
    assert_eq!(
        outputs[3..],
        ["checkpoint begins 1", "piece [1, 0, 0, 0, 0, 0, 0, 0]", "checkpoint ends 1 1"],
        "{outputs:?}"
    );
    replica.handle(NOW, Input::CheckpointPieceTaken);
    replica.handle(NOW, Input::CheckpointWritten { index: LogIndex(1), digest: [0; 32] });
    assert_eq!(drain(&mut replica), ["release 1"]);
}

#[test]
fn a_barrier_includes_everything_that_was_answered() {
    let mut replica = replica(Counter::default(), usize::MAX);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    replica.handle(NOW, Input::Persisted(WriteNumber(1)));
    drain(&mut replica);
    replica.handle(NOW, Input::Barrier { ticket: Ticket(2), consistency: Consistency::Linearizable });
    assert_eq!(drain(&mut replica), ["barrier 2 1"]);
}

#[test]
fn an_abandoned_checkpoint_keeps_the_log_and_another_follows() {
    let mut replica = replica(Counter::default(), 1);
    request(&mut replica, 1, 1);
    replica.propose(NOW);
    replica.handle(NOW, Input::Persisted(WriteNumber(1)));
    replica.handle(NOW, Input::CheckpointPieceTaken);
    drain(&mut replica);
    replica.handle(NOW, Input::CheckpointAbandoned(LogIndex(1)));
    assert_eq!(drain(&mut replica), Vec::<String>::new(), "no log is released");
    request(&mut replica, 2, 1);
    replica.propose(NOW);
    replica.handle(NOW, Input::Persisted(WriteNumber(2)));
    let outputs = drain(&mut replica);
    assert!(outputs.contains(&"checkpoint begins 2".into()), "{outputs:?}");
}
