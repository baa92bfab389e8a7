//! A replica in a group. Its engine is a test double that returns scripted outputs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bezant_consensus::{
    Change, ChangeError, Conflict, Engine, EntryKind, Input as EngineInput, LogEntry, Member, Members,
    Output as EngineOutput, Part, ReadNumber, Role, Standing, Terms, Write, WriteNumber,
};
use bezant_replica::{
    Consistency, ForwardNumber, Input, NoState, Now, Outcome, Output, PeerMessage, Pull, Refusal, Replica,
    ReplicaOptions, Restored, Ticket,
};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos, NodeId, Term};
use bytes::Bytes;

const NOW: Now = Now { wall: Nanos(1_000) };
const OWN: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// Counts entries.
#[derive(Debug, Default)]
struct Counter {
    time: Nanos,
    entries: u64,
    is_cut: bool,
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
    type Rows = ();
    type Query = ();
    type Answer = u64;

    fn time(&self) -> Nanos {
        self.time
    }

    fn position(&self) -> HistoryPosition {
        HistoryPosition::default()
    }

    fn prefetch(&self, _: &Entry) -> Prefetch<u64> {
        Prefetch { keys: Vec::new(), position: self.position() }
    }

    fn apply(&mut self, _: LogIndex, entry: &Entry, _: Found) -> Option<Applied<()>> {
        self.time = entry.time;
        self.entries += 1;
        let results = entry.commands.iter().map(|command| command.body.clone()).collect();
        Some(Applied { results, rows: () })
    }

    fn accepts(command: &Command) -> bool {
        command.events == 1
    }

    fn due(&self, _: Nanos) -> Option<Command> {
        None
    }

    fn due_at(&self) -> Option<Nanos> {
        None
    }

    fn query_step(&self, (): ()) -> Progress<(), u64> {
        Progress::Done(self.entries)
    }

    fn begin_checkpoint(&mut self) {
        self.is_cut = true;
    }

    fn poll_checkpoint(&mut self, _: usize) -> Option<Vec<u8>> {
        std::mem::take(&mut self.is_cut).then(|| self.entries.to_le_bytes().to_vec())
    }

    fn restore(_: &[u8]) -> Result<Self, RestoreError> {
        Err(RestoreError { section: "none" })
    }
}

/// The outputs that the engine returns, and the requests that it received.
#[derive(Debug, Default)]
struct Script {
    leads: bool,
    is_new: bool,
    has_no_term: bool,
    ticks_since_leader: u64,
    committed: u64,
    last: u64,
    writes: u64,
    outputs: VecDeque<EngineOutput>,
    /// Commits that wait until every write is durable.
    commits: Vec<EngineOutput>,
    /// The changes that were requested.
    changes: Vec<Change>,
    /// How often a leadership transfer was requested.
    transfers: u64,
}

#[derive(Clone, Debug)]
struct Scripted {
    members: Members,
    script: Rc<RefCell<Script>>,
}

impl Scripted {
    fn new() -> Self {
        let member = |node| Member {
            node: NodeId(node),
            since: LogIndex(0),
            part: Part::Voter,
            disk: u128::from(node),
            address: String::new(),
        };
        let members = Members { index: LogIndex(0), nodes: (1..=3).map(member).collect() };
        Self { members, script: Rc::default() }
    }

    fn write(&self, index: u64, term: u64, payload: Bytes) {
        let mut script = self.script.borrow_mut();
        script.writes += 1;
        script.last = index;
        let entry = LogEntry { index: LogIndex(index), term: Term(term), kind: EntryKind::Command, payload };
        let write = Write { number: WriteNumber(script.writes), vote: None, entries: vec![entry] };
        script.outputs.push_back(EngineOutput::Persist(write));
    }

    fn commit(&self, index: u64, term: u64, payload: Bytes) {
        let entry = LogEntry { index: LogIndex(index), term: Term(term), kind: EntryKind::Command, payload };
        let mut script = self.script.borrow_mut();
        script.committed = script.committed.max(index);
        script.commits.push(EngineOutput::Commit(entry));
    }
}

impl Engine for Scripted {
    fn propose(&mut self, payload: Bytes) -> Option<LogIndex> {
        let index = self.script.borrow().last + 1;
        self.write(index, 1, payload);
        Some(LogIndex(index))
    }

    fn read(&mut self, _: ReadNumber) {}

    fn change(&mut self, change: Change) -> Result<Option<LogIndex>, ChangeError> {
        self.script.borrow_mut().changes.push(change);
        Err(ChangeError::NotLeading)
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn transfer_leadership(&mut self) {
        self.script.borrow_mut().transfers += 1;
    }

    fn handle(&mut self, input: EngineInput) {
        let mut script = self.script.borrow_mut();
        if input == EngineInput::Admit {
            script.is_new = false;
        }
        if input == EngineInput::Persisted(WriteNumber(script.writes)) {
            let commits = std::mem::take(&mut script.commits);
            script.outputs.extend(commits);
        }
    }

    fn poll(&mut self) -> Option<EngineOutput> {
        self.script.borrow_mut().outputs.pop_front()
    }

    fn may_vote(&self) -> bool {
        !self.script.borrow().is_new
    }

    fn is_leader(&self) -> bool {
        self.script.borrow().leads
    }

    fn leader(&self) -> Option<NodeId> {
        Some(if self.is_leader() { OWN } else { TWO })
    }

    fn standing(&self) -> Standing {
        Standing {
            role: if self.is_leader() { Role::Leader } else { Role::Follower },
            term: Term(u64::from(!self.script.borrow().has_no_term)),
            leader: self.leader(),
            committed: LogIndex(self.script.borrow().committed),
            announced: LogIndex(0),
            ticks_since_leader: self.script.borrow().ticks_since_leader,
            peers: Vec::new(),
        }
    }
}

type CounterReplica = Replica<Counter, Scripted>;

fn replica(engine: &Scripted) -> CounterReplica {
    let options = ReplicaOptions { node: OWN, is_alone: false, ..ReplicaOptions::default() };
    Replica::new(Restored::new(Counter::default(), LogIndex(0), LogIndex(0), 0), engine.clone(), options)
}

fn request(replica: &mut CounterReplica, ticket: u64) {
    let command = Command { operation: 1, events: 1, body: Bytes::from_static(b"event") };
    replica.handle(NOW, Input::Request { ticket: Ticket(ticket), command });
    replica.propose(NOW);
}

/// The writes are durable, and what is committed is applied.
fn persist(replica: &mut CounterReplica, engine: &Scripted) {
    replica.handle(NOW, Input::Tick);
    let number = WriteNumber(engine.script.borrow().writes);
    replica.handle(NOW, Input::Persisted(number));
}

fn read(replica: &mut CounterReplica, ticket: u64, consistency: Consistency) {
    replica.handle(NOW, Input::Query { ticket: Ticket(ticket), query: (), consistency });
}

fn drain(replica: &mut CounterReplica) -> Vec<Output<Counter>> {
    std::iter::from_fn(|| replica.poll()).collect()
}

fn refusals(outputs: &[Output<Counter>]) -> Vec<(u64, &Refusal)> {
    let refusal = |output| match output {
        &Output::Refuse { ticket, ref refusal } => Some((ticket.0, refusal)),
        _ => None,
    };
    outputs.iter().filter_map(refusal).collect()
}

#[test]
fn a_held_leader_refuses_clients_and_transfers_nothing_by_itself() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut replica = replica(&engine);
    replica.handle(NOW, Input::Hold(Some("clock".into())));
    request(&mut replica, 8);
    (0..2_000).for_each(|_| replica.handle(NOW, Input::Tick));
    let not_taken = Refusal::NotTaken("clock".into());
    assert_eq!(refusals(&drain(&mut replica)), [(8, &not_taken)]);
    assert_eq!(engine.script.borrow().transfers, 0);
    assert_eq!(replica.read_only_reason(), Some("clock"));
    // A forwarded command is refused too, and its sender receives that outcome.
    let command = Command { operation: 1, events: 1, body: Bytes::new() };
    let number = ForwardNumber { incarnation: 1, number: 1 };
    replica.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Forward(number, command) });
    let outputs = drain(&mut replica);
    let outcome = outputs.iter().find_map(|output| match output {
        Output::Send { to: TWO, message: PeerMessage::Outcome(_, Outcome::NotTaken(reason)) } => Some(reason),
        _ => None,
    });
    assert_eq!(outcome.map(String::as_str), Some("clock"));
    replica.handle(NOW, Input::Hold(None));
    assert_eq!(replica.read_only_reason(), None);
    replica.handle(NOW, Input::Pressure(Some("full".into())));
    assert_eq!(engine.script.borrow().transfers, 1, "a full disk transfers leadership");
}

#[test]
fn a_follower_with_a_full_disk_forwards_commands() {
    let engine = Scripted::new();
    let mut replica = replica(&engine);
    replica.handle(NOW, Input::Pressure(Some("full".into())));
    request(&mut replica, 7);
    let outputs = drain(&mut replica);
    assert_eq!(refusals(&outputs), []);
    let is_forward = |output: &Output<Counter>| {
        matches!(output, Output::Send { to: TWO, message: PeerMessage::Forward(..) })
    };
    assert!(outputs.iter().any(is_forward), "{outputs:?}");
    // If it becomes leader nevertheless, its clients get the reason.
    engine.script.borrow_mut().leads = true;
    replica.handle(NOW, Input::Tick);
    request(&mut replica, 8);
    let full = Refusal::NotTaken("full".into());
    let outputs = drain(&mut replica);
    assert!(refusals(&outputs).contains(&(8, &full)), "{outputs:?}");
}

#[test]
fn the_driver_chooses_the_next_leader() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut replica = replica(&engine);
    replica.handle(NOW, Input::TransferLeadershipTo(TWO));
    assert_eq!(engine.script.borrow().changes, [Change::Lead(TWO)]);
    assert_eq!(replica.time(), Nanos(0), "there is no entry");
    request(&mut replica, 7);
    assert!(replica.time() > Nanos(0), "the time of the newest entry");
}

#[test]
fn reads_without_a_waiting_client_are_dropped() {
    let engine = Scripted::new();
    let mut replica = replica(&engine);
    read(&mut replica, 1, Consistency::AtLeast(LogIndex(100)));
    read(&mut replica, 2, Consistency::AtLeast(LogIndex(100)));
    replica.retain_reads(|ticket| ticket == Ticket(2));
    (0..7_000).for_each(|_| replica.handle(NOW, Input::Tick));
    assert_eq!(refusals(&drain(&mut replica)), [(2, &Refusal::NoLeader)]);
}

/// A replica whose checkpoint after entry 1 has the digest 1.
fn with_checkpoint(engine: &Scripted) -> CounterReplica {
    let mut replica = replica(engine);
    let payload = Entry { time: Nanos(5), commands: Vec::new(), checkpoint: true, rules: 0 }.encode();
    engine.write(1, 1, payload.clone());
    engine.commit(1, 1, payload);
    persist(&mut replica, engine);
    drain(&mut replica);
    replica.handle(NOW, Input::CheckpointPieceTaken);
    drain(&mut replica);
    replica.handle(NOW, Input::CheckpointWritten { index: LogIndex(1), digest: [1; 32] });
    let outputs = drain(&mut replica);
    assert!(outputs.iter().any(|output| matches!(output, Output::Release(LogIndex(1)))), "{outputs:?}");
    replica
}

#[test]
fn after_a_failed_install_the_terms_are_written_again() {
    let engine = Scripted::new();
    let mut replica = with_checkpoint(&engine);
    let mut writes_terms = |index: u64| {
        let payload = Entry { time: Nanos(5), commands: Vec::new(), checkpoint: true, rules: 0 }.encode();
        engine.write(index, 1, payload.clone());
        engine.commit(index, 1, payload);
        persist(&mut replica, &engine);
        let outputs = drain(&mut replica);
        replica.handle(NOW, Input::CheckpointPieceTaken);
        drain(&mut replica);
        replica.handle(NOW, Input::CheckpointWritten { index: LogIndex(index), digest: [1; 32] });
        drain(&mut replica);
        replica.handle(NOW, Input::InstallFailed);
        outputs.iter().any(|output| matches!(output, Output::Terms(_)))
    };
    assert!(!writes_terms(2), "the disk has them");
    assert!(writes_terms(3), "the disk may have a peer's");
}

fn receive_digest(replica: &mut CounterReplica, from: NodeId, digest: u8) -> Vec<Output<Counter>> {
    let message = PeerMessage::Digest { index: LogIndex(1), digest: [digest; 32] };
    replica.handle(NOW, Input::Message { from, message });
    drain(replica)
}

#[test]
fn an_outvoted_replica_serves_its_state_to_no_one() {
    let engine = Scripted::new();
    let mut replica = with_checkpoint(&engine);
    let pull = Pull { index: LogIndex(0), offset: 0, position: HistoryPosition::default() };
    replica.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Pull(pull) });
    assert!(matches!(drain(&mut replica)[..], [Output::Serve { to: TWO, .. }]));
    let outputs = receive_digest(&mut replica, TWO, 2);
    assert!(matches!(&outputs[..], [Output::Differs { others, .. }] if others == &[TWO]), "{outputs:?}");
    let outputs = receive_digest(&mut replica, THREE, 2);
    assert!(matches!(outputs[0], Output::Diverged { is_outvoted: true, .. }), "{outputs:?}");
    for (ticket, consistency) in [(1, Consistency::Stale), (2, Consistency::AtLeast(LogIndex(1)))] {
        read(&mut replica, ticket, consistency);
        assert_eq!(refusals(&drain(&mut replica)), [(ticket, &Refusal::NoLeader)]);
    }
    replica.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Pull(pull) });
    assert!(drain(&mut replica).is_empty(), "a wrong checkpoint is never supplied");
}

#[test]
fn where_all_differ_all_stop() {
    let engine = Scripted::new();
    let mut replica = with_checkpoint(&engine);
    receive_digest(&mut replica, TWO, 2);
    let outputs = receive_digest(&mut replica, THREE, 3);
    assert!(matches!(outputs[0], Output::Diverged { is_outvoted: false, .. }), "{outputs:?}");
    request(&mut replica, 1);
    assert!(matches!(refusals(&drain(&mut replica))[..], [(1, Refusal::ReadOnly(_))]));
}

fn forwards(outputs: &[Output<Counter>]) -> Vec<ForwardNumber> {
    let number = |output: &Output<Counter>| match output {
        Output::Send { to: TWO, message: PeerMessage::Forward(number, _) } => Some(*number),
        _ => None,
    };
    outputs.iter().filter_map(number).collect()
}

#[test]
fn a_former_leader_is_not_asked_in_a_tight_loop() {
    let engine = Scripted::new();
    let mut replica = replica(&engine);
    request(&mut replica, 7);
    let number = forwards(&drain(&mut replica))[0];
    let message = PeerMessage::Outcome(number, Outcome::NotDone);
    replica.handle(NOW, Input::Message { from: TWO, message });
    replica.propose(NOW);
    assert_eq!(forwards(&drain(&mut replica)), [], "not at once");
    let mut ticks = 0;
    while forwards(&drain(&mut replica)).is_empty() {
        replica.handle(NOW, Input::Tick);
        replica.propose(NOW);
        ticks += 1;
        assert!(ticks < 10, "it is asked again");
    }
}

#[test]
fn a_follower_reports_that_the_leader_is_overloaded() {
    let engine = Scripted::new();
    let mut replica = replica(&engine);
    request(&mut replica, 7);
    let number = forwards(&drain(&mut replica))[0];
    let message = PeerMessage::Outcome(number, Outcome::Overloaded);
    replica.handle(NOW, Input::Message { from: TWO, message });
    assert_eq!(refusals(&drain(&mut replica)), [(7, &Refusal::Overloaded)]);
}

#[test]
fn a_leader_refuses_forwarded_commands_before_the_sender_gives_up() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut replica = replica(&engine);
    let forward = |number| {
        let number = ForwardNumber { incarnation: 9, number };
        let command = Command { operation: 1, events: 1, body: Bytes::from_static(b"x") };
        Input::Message { from: TWO, message: PeerMessage::Forward(number, command) }
    };
    let outcomes = |outputs: &[Output<Counter>]| {
        let outcome = |output: &Output<Counter>| match output {
            Output::Send { to: TWO, message: PeerMessage::Outcome(number, outcome) } => {
                Some((number.number, outcome.clone()))
            }
            _ => None,
        };
        outputs.iter().filter_map(outcome).collect::<Vec<_>>()
    };
    // Nothing is persisted: entries are in flight, each with a command, up to the limit.
    for number in 1..=10 {
        replica.handle(NOW, forward(number));
        replica.propose(NOW);
    }
    let mut sent = outcomes(&drain(&mut replica));
    assert_eq!(sent, [], "the disk may be slow for a moment");
    for _ in 0..325 {
        replica.handle(NOW, Input::Tick);
        replica.propose(NOW);
        sent.extend(outcomes(&drain(&mut replica)));
    }
    assert!(!sent.is_empty() && sent.len() < 10, "those in flight may be done: {sent:?}");
    assert!(sent.iter().all(|(_, outcome)| *outcome == Outcome::Overloaded), "{sent:?}");
}

#[test]
fn a_leader_without_heartbeats_no_longer_counts() {
    let engine = Scripted::new();
    let mut replica = replica(&engine);
    request(&mut replica, 7);
    assert_eq!(forwards(&drain(&mut replica)).len(), 1);
    engine.script.borrow_mut().ticks_since_leader = 100;
    replica.handle(NOW, Input::Tick);
    assert_eq!(refusals(&drain(&mut replica)), [(7, &Refusal::Interrupted)], "it may be done");
    (0..100).for_each(|_| replica.handle(NOW, Input::Tick));
    request(&mut replica, 8);
    read(&mut replica, 9, Consistency::Linearizable);
    let outputs = drain(&mut replica);
    assert_eq!(refusals(&outputs), [(8, &Refusal::NoLeader), (9, &Refusal::NoLeader)]);
}

fn payload(checkpoint: bool) -> Bytes {
    Entry { time: Nanos(1_000), commands: Vec::new(), checkpoint, rules: Counter::RULES }.encode()
}

/// The result of reads from this replica's state alone: the entry that they include, or why the replica
/// serves no state.
fn shown(replica: &mut CounterReplica) -> Result<LogIndex, NoState> {
    let of = |replica: &mut CounterReplica, consistency| {
        read(replica, 1, consistency);
        let outputs = drain(replica);
        let answer = outputs.iter().find_map(|output| match output {
            Output::QueryAnswer { index, .. } => Some(Ok(*index)),
            Output::Refuse { refusal: Refusal::NoState(why), .. } => Some(Err(*why)),
            _ => None,
        });
        answer.expect("the read is answered at once")
    };
    let stale = of(replica, Consistency::Stale);
    assert_eq!(of(replica, Consistency::AtLeast(LogIndex(0))), stale, "a session that has seen nothing");
    stale
}

#[test]
fn a_replica_that_lacks_committed_entries_serves_nothing() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    let mut replica = replica(&engine);
    assert_eq!(shown(&mut replica), Err(NoState::Filling));
    engine.write(1, 1, payload(false));
    engine.commit(1, 1, payload(false));
    persist(&mut replica, &engine);
    drain(&mut replica);
    assert_eq!((replica.applied(), shown(&mut replica)), (LogIndex(1), Err(NoState::Filling)), "not all");
    engine.write(2, 1, payload(false));
    engine.commit(2, 1, payload(false));
    engine.script.borrow_mut().commits.push(EngineOutput::CaughtUp);
    persist(&mut replica, &engine);
    assert_eq!((replica.applied(), replica.no_state()), (LogIndex(1), Some(NoState::Filling)), "not yet");
    let outputs = drain(&mut replica);
    assert!(outputs.iter().any(|output| matches!(output, Output::CaughtUp)), "{outputs:?}");
    assert_eq!(shown(&mut replica), Ok(LogIndex(2)));
}

#[test]
fn where_all_disks_are_new_state_is_served_after_admission() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    engine.script.borrow_mut().has_no_term = true;
    let mut replica = replica(&engine);
    assert_eq!(shown(&mut replica), Err(NoState::Meeting), "nothing was damaged");
    engine.script.borrow_mut().has_no_term = false;
    assert_eq!(shown(&mut replica), Err(NoState::Filling));
    replica.handle(NOW, Input::Admit);
    assert_eq!(shown(&mut replica), Ok(LogIndex(0)));
}

#[test]
fn entries_committed_on_disk_are_served_without_a_leader() {
    let engine = Scripted::new();
    let options = ReplicaOptions { node: OWN, is_alone: false, ..ReplicaOptions::default() };
    let kind = EntryKind::Command;
    let entry =
        |index: u64| LogEntry { index: LogIndex(index), term: Term(1), kind, payload: payload(index == 2) };
    let entries: Vec<LogEntry> = (1..=3).map(entry).collect();
    let restored = Restored::new(Counter::default(), LogIndex(0), LogIndex(0), 0);
    let restored = restored.with_floor(LogIndex(2), Terms::new()).with_entries(&entries).expect("entries");
    let mut replica = Replica::new(restored, engine.clone(), options);
    assert_eq!(replica.no_state(), Some(NoState::Replaying));
    read(&mut replica, 1, Consistency::Stale);
    let outputs = drain(&mut replica);
    assert_eq!(refusals(&outputs), [(1, &Refusal::NoState(NoState::Replaying))]);
    assert_eq!(shown(&mut replica), Ok(LogIndex(2)), "the third may be replaced");
    let begins = |output: &Output<Counter>| matches!(output, Output::CheckpointBegin { .. });
    assert!(!outputs.iter().any(begins), "the engine may still need the entries before it");
    // The engine's later outputs change nothing.
    (1..=3).for_each(|index| engine.commit(index, 1, payload(false)));
    persist(&mut replica, &engine);
    drain(&mut replica);
    assert_eq!(shown(&mut replica), Ok(LogIndex(3)));
}

#[test]
fn a_stopped_replica_serves_its_state() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    let mut replica = replica(&engine);
    let (from, term, index) = (TWO, Term(2), LogIndex(9));
    let (first, committed, last) = (index, index, index);
    let conflict = Conflict { from, term, first, is_first_exact: true, committed, last, events: 1 };
    replica.handle(NOW, Input::Stopped(conflict));
    drain(&mut replica);
    assert_eq!(replica.no_state(), None);
}

#[test]
fn a_malformed_command_of_a_peer_is_refused_and_never_proposed() {
    let too_large = vec![0; bezant_types::limits::ENTRY_SIZE_MAX];
    for (events, body, reason) in [(3, vec![0], "node 2"), (1, too_large, "larger than an entry")] {
        let engine = Scripted::new();
        engine.script.borrow_mut().leads = true;
        let (mut follower, mut leader) = (replica(&Scripted::new()), replica(&engine));
        request(&mut follower, 7);
        let number = forwards(&drain(&mut follower))[0];
        let command = Command { operation: 1, events, body: Bytes::from(body) };
        leader.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Forward(number, command) });
        leader.propose(NOW);
        assert_eq!(engine.script.borrow().last, 0, "nothing is proposed");
        for output in drain(&mut leader) {
            if let Output::Send { to: TWO, message } = output {
                follower.handle(NOW, Input::Message { from: TWO, message });
            }
        }
        let outputs = drain(&mut follower);
        let [(7, Refusal::NotTaken(text))] = refusals(&outputs)[..] else { panic!("{outputs:?}") };
        assert!(text.contains(reason) && text.contains("nothing was done"), "{text}");
    }
}
