//! A node among others, with an engine that does what the test says.

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

/// What the engine is told to say.
#[derive(Debug, Default)]
struct Script {
    leads: bool,
    is_new: bool,
    has_met_nobody: bool,
    silent_ticks: u64,
    committed: u64,
    last: u64,
    writes: u64,
    outputs: VecDeque<EngineOutput>,
    /// What was asked of the engine.
    changes: Vec<Change>,
    /// How often another one was to lead.
    offers: u64,
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
        script.outputs.push_back(EngineOutput::Commit(entry));
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
        self.script.borrow_mut().offers += 1;
    }

    fn handle(&mut self, input: EngineInput) {
        if input == EngineInput::Admit {
            self.script.borrow_mut().is_new = false;
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
            term: Term(u64::from(!self.script.borrow().has_met_nobody)),
            leader: self.leader(),
            committed: LogIndex(self.script.borrow().committed),
            announced: LogIndex(0),
            silent_ticks: self.script.borrow().silent_ticks,
            peers: Vec::new(),
        }
    }
}

type CounterReplica = Replica<Counter, Scripted>;

fn node(engine: &Scripted) -> CounterReplica {
    let options = ReplicaOptions { node: OWN, is_alone: false, ..ReplicaOptions::default() };
    Replica::new(Restored::new(Counter::default(), LogIndex(0), LogIndex(0), 0), engine.clone(), options)
}

fn request(node: &mut CounterReplica, ticket: u64) {
    let command = Command { operation: 1, events: 1, body: Bytes::from_static(b"event") };
    node.handle(NOW, Input::Request { ticket: Ticket(ticket), command });
    node.propose(NOW);
}

fn read(node: &mut CounterReplica, ticket: u64, consistency: Consistency) {
    node.handle(NOW, Input::Query { ticket: Ticket(ticket), query: (), consistency });
}

fn drain(node: &mut CounterReplica) -> Vec<Output<Counter>> {
    std::iter::from_fn(|| node.poll()).collect()
}

fn refusals(outputs: &[Output<Counter>]) -> Vec<(u64, &Refusal)> {
    let refusal = |output| match output {
        &Output::Refuse { ticket, ref refusal } => Some((ticket.0, refusal)),
        _ => None,
    };
    outputs.iter().filter_map(refusal).collect()
}

#[test]
fn what_gives_way_to_another_leaders_entry_may_be_done_all_the_same() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut node = node(&engine);
    request(&mut node, 7);
    drain(&mut node);
    engine.script.borrow_mut().leads = false;
    let other = Entry { time: Nanos(5), commands: Vec::new(), checkpoint: false, rules: 0 };
    engine.write(1, 2, other.encode());
    node.handle(NOW, Input::Tick);
    assert_eq!(refusals(&drain(&mut node)), [(7, &Refusal::Interrupted)]);
}

#[test]
fn a_held_leader_refuses_clients_and_offers_nothing_by_itself() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut node = node(&engine);
    node.handle(NOW, Input::Hold(Some("clock".into())));
    request(&mut node, 8);
    (0..2_000).for_each(|_| node.handle(NOW, Input::Tick));
    let not_taken = Refusal::NotTaken("clock".into());
    assert_eq!(refusals(&drain(&mut node)), [(8, &not_taken)]);
    assert_eq!(engine.script.borrow().offers, 0);
    assert_eq!(node.read_only_reason(), Some("clock"));
    // A command of another node was not begun either, and that node hears it.
    let command = Command { operation: 1, events: 1, body: Bytes::new() };
    let number = ForwardNumber { incarnation: 1, number: 1 };
    node.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Forward(number, command) });
    let outputs = drain(&mut node);
    let outcome = outputs.iter().find_map(|output| match output {
        Output::Send { to: TWO, message: PeerMessage::Outcome(_, Outcome::NotTaken(reason)) } => Some(reason),
        _ => None,
    });
    assert_eq!(outcome.map(String::as_str), Some("clock"));
    node.handle(NOW, Input::Hold(None));
    assert_eq!(node.read_only_reason(), None);
    node.handle(NOW, Input::Pressure(Some("full".into())));
    assert_eq!(engine.script.borrow().offers, 1, "a full disk is another matter");
}

#[test]
fn a_follower_with_a_full_disk_hands_commands_on() {
    let engine = Scripted::new();
    let mut node = node(&engine);
    node.handle(NOW, Input::Pressure(Some("full".into())));
    request(&mut node, 7);
    let outputs = drain(&mut node);
    assert_eq!(refusals(&outputs), []);
    let is_forward = |output: &Output<Counter>| {
        matches!(output, Output::Send { to: TWO, message: PeerMessage::Forward(..) })
    };
    assert!(outputs.iter().any(is_forward), "{outputs:?}");
    // When it comes to lead all the same, whoever waits hears why nothing is done.
    engine.script.borrow_mut().leads = true;
    node.handle(NOW, Input::Tick);
    request(&mut node, 8);
    let full = Refusal::NotTaken("full".into());
    let outputs = drain(&mut node);
    assert!(refusals(&outputs).contains(&(8, &full)), "{outputs:?}");
}

#[test]
fn the_driver_says_who_is_to_lead() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut node = node(&engine);
    node.handle(NOW, Input::TransferLeadershipTo(TWO));
    assert_eq!(engine.script.borrow().changes, [Change::Lead(TWO)]);
    assert_eq!(node.time(), Nanos(0), "there is no entry");
    request(&mut node, 7);
    assert!(node.time() > Nanos(0), "that of the newest entry");
}

#[test]
fn one_that_waits_for_room_is_not_silent_and_one_that_hangs_is() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut node = node(&engine);
    request(&mut node, 7);
    drain(&mut node);
    let speaks = |node: &mut CounterReplica| {
        let send = EngineOutput::Send { to: TWO, bytes: Bytes::from_static(b"heartbeat") };
        engine.script.borrow_mut().outputs.push_back(send);
        node.handle(NOW, Input::Persisted(WriteNumber(0)));
        let outputs = drain(node);
        let is_said = outputs.iter().any(|it| matches!(it, Output::Send { to: TWO, .. }));
        assert_eq!(is_said, node.is_leader());
        is_said
    };
    for _ in 0..50 {
        (0..10).for_each(|_| node.handle(NOW, Input::Tick));
        node.handle(NOW, Input::RoomAwaited);
        assert!(speaks(&mut node), "its disk is full, and answers");
    }
    (0..200).for_each(|_| node.handle(NOW, Input::Tick));
    assert!(!speaks(&mut node), "its disk hangs");
}

#[test]
fn reads_for_which_nobody_waits_are_forgotten() {
    let engine = Scripted::new();
    let mut node = node(&engine);
    read(&mut node, 1, Consistency::AtLeast(LogIndex(100)));
    read(&mut node, 2, Consistency::AtLeast(LogIndex(100)));
    node.forget_reads(|ticket| ticket == Ticket(2));
    (0..7_000).for_each(|_| node.handle(NOW, Input::Tick));
    assert_eq!(refusals(&drain(&mut node)), [(2, &Refusal::NoLeader)]);
}

/// A node whose checkpoint behind entry 1 has the digest 1.
fn with_checkpoint(engine: &Scripted) -> CounterReplica {
    let mut node = node(engine);
    let payload = Entry { time: Nanos(5), commands: Vec::new(), checkpoint: true, rules: 0 }.encode();
    engine.write(1, 1, payload.clone());
    engine.commit(1, 1, payload);
    node.handle(NOW, Input::Tick);
    drain(&mut node);
    node.handle(NOW, Input::CheckpointPieceTaken);
    drain(&mut node);
    node.handle(NOW, Input::CheckpointWritten { index: LogIndex(1), digest: [1; 32] });
    let outputs = drain(&mut node);
    assert!(outputs.iter().any(|output| matches!(output, Output::Release(LogIndex(1)))), "{outputs:?}");
    node
}

#[test]
fn after_an_install_that_failed_the_terms_of_this_nodes_log_are_written_again() {
    let engine = Scripted::new();
    let mut node = with_checkpoint(&engine);
    let mut writes_terms = |index: u64| {
        let payload = Entry { time: Nanos(5), commands: Vec::new(), checkpoint: true, rules: 0 }.encode();
        engine.write(index, 1, payload.clone());
        engine.commit(index, 1, payload);
        node.handle(NOW, Input::Tick);
        let outputs = drain(&mut node);
        node.handle(NOW, Input::CheckpointPieceTaken);
        drain(&mut node);
        node.handle(NOW, Input::CheckpointWritten { index: LogIndex(index), digest: [1; 32] });
        drain(&mut node);
        node.handle(NOW, Input::InstallFailed);
        outputs.iter().any(|output| matches!(output, Output::Terms(_)))
    };
    assert!(!writes_terms(2), "they are those on disk");
    assert!(writes_terms(3), "those on disk may be a peer's");
}

fn tell_digest(node: &mut CounterReplica, from: NodeId, digest: u8) -> Vec<Output<Counter>> {
    let message = PeerMessage::Digest { index: LogIndex(1), digest: [digest; 32] };
    node.handle(NOW, Input::Message { from, message });
    drain(node)
}

#[test]
fn one_that_is_outvoted_shows_its_state_to_nobody() {
    let engine = Scripted::new();
    let mut node = with_checkpoint(&engine);
    let pull = Pull { index: LogIndex(0), offset: 0, position: HistoryPosition::default() };
    node.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Pull(pull) });
    assert!(matches!(drain(&mut node)[..], [Output::Serve { to: TWO, .. }]));
    let told = tell_digest(&mut node, TWO, 2);
    assert!(matches!(&told[..], [Output::Differs { others, .. }] if others == &[TWO]), "{told:?}");
    let told = tell_digest(&mut node, THREE, 2);
    assert!(matches!(told[0], Output::Diverged { is_outvoted: true, .. }), "{told:?}");
    for (ticket, consistency) in [(1, Consistency::Stale), (2, Consistency::AtLeast(LogIndex(1)))] {
        read(&mut node, ticket, consistency);
        assert_eq!(refusals(&drain(&mut node)), [(ticket, &Refusal::NoLeader)]);
    }
    node.handle(NOW, Input::Message { from: TWO, message: PeerMessage::Pull(pull) });
    assert!(drain(&mut node).is_empty(), "a wrong checkpoint is given to nobody");
}

#[test]
fn where_all_differ_all_stop() {
    let engine = Scripted::new();
    let mut node = with_checkpoint(&engine);
    tell_digest(&mut node, TWO, 2);
    let told = tell_digest(&mut node, THREE, 3);
    assert!(matches!(told[0], Output::Diverged { is_outvoted: false, .. }), "{told:?}");
    request(&mut node, 1);
    assert!(matches!(refusals(&drain(&mut node))[..], [(1, Refusal::ReadOnly(_))]));
}

fn forwards(outputs: &[Output<Counter>]) -> Vec<ForwardNumber> {
    let number = |output: &Output<Counter>| match output {
        Output::Send { to: TWO, message: PeerMessage::Forward(number, _) } => Some(*number),
        _ => None,
    };
    outputs.iter().filter_map(number).collect()
}

#[test]
fn a_leader_that_does_not_lead_is_not_asked_in_a_circle() {
    let engine = Scripted::new();
    let mut node = node(&engine);
    request(&mut node, 7);
    let number = forwards(&drain(&mut node))[0];
    let message = PeerMessage::Outcome(number, Outcome::NotDone);
    node.handle(NOW, Input::Message { from: TWO, message });
    node.propose(NOW);
    assert_eq!(forwards(&drain(&mut node)), [], "not at once");
    let mut ticks = 0;
    while forwards(&drain(&mut node)).is_empty() {
        node.handle(NOW, Input::Tick);
        node.propose(NOW);
        ticks += 1;
        assert!(ticks < 10, "it is asked again");
    }
}

#[test]
fn a_follower_passes_on_that_the_leader_is_overloaded() {
    let engine = Scripted::new();
    let mut node = node(&engine);
    request(&mut node, 7);
    let number = forwards(&drain(&mut node))[0];
    let message = PeerMessage::Outcome(number, Outcome::Overloaded);
    node.handle(NOW, Input::Message { from: TWO, message });
    assert_eq!(refusals(&drain(&mut node)), [(7, &Refusal::Overloaded)]);
}

#[test]
fn a_leader_tells_other_nodes_that_it_is_overloaded_before_they_give_up() {
    let engine = Scripted::new();
    engine.script.borrow_mut().leads = true;
    let mut node = node(&engine);
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
    // Nothing is persisted: entries are in flight, each with a command, until there is no room for another.
    for number in 1..=10 {
        node.handle(NOW, forward(number));
        node.propose(NOW);
    }
    let mut told = outcomes(&drain(&mut node));
    assert_eq!(told, [], "the disk may be slow for a moment");
    for _ in 0..325 {
        node.handle(NOW, Input::Tick);
        node.propose(NOW);
        told.extend(outcomes(&drain(&mut node)));
    }
    assert!(!told.is_empty() && told.len() < 10, "those in flight may be done: {told:?}");
    assert!(told.iter().all(|(_, outcome)| *outcome == Outcome::Overloaded), "{told:?}");
}

#[test]
fn a_leader_that_is_silent_for_long_is_none() {
    let engine = Scripted::new();
    let mut node = node(&engine);
    request(&mut node, 7);
    assert_eq!(forwards(&drain(&mut node)).len(), 1);
    engine.script.borrow_mut().silent_ticks = 100;
    node.handle(NOW, Input::Tick);
    assert_eq!(refusals(&drain(&mut node)), [(7, &Refusal::Interrupted)], "what is on its way may be done");
    (0..100).for_each(|_| node.handle(NOW, Input::Tick));
    request(&mut node, 8);
    read(&mut node, 9, Consistency::Linearizable);
    let outputs = drain(&mut node);
    assert_eq!(refusals(&outputs), [(8, &Refusal::NoLeader), (9, &Refusal::NoLeader)]);
}

fn payload(checkpoint: bool) -> Bytes {
    Entry { time: Nanos(1_000), commands: Vec::new(), checkpoint, rules: Counter::RULES }.encode()
}

/// What reads that ask nobody else hear: an entry that is shown, or why there is none.
fn shown(node: &mut CounterReplica) -> Result<LogIndex, NoState> {
    let of = |node: &mut CounterReplica, consistency| {
        read(node, 1, consistency);
        let outputs = drain(node);
        let answer = outputs.iter().find_map(|output| match output {
            Output::QueryAnswer { index, .. } => Some(Ok(*index)),
            Output::Refuse { refusal: Refusal::NoState(why), .. } => Some(Err(*why)),
            _ => None,
        });
        answer.expect("it hears something at once")
    };
    let stale = of(node, Consistency::Stale);
    assert_eq!(of(node, Consistency::AtLeast(LogIndex(0))), stale, "one that has seen nothing");
    stale
}

#[test]
fn a_replica_that_lacks_what_was_agreed_shows_nothing() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    let mut node = node(&engine);
    assert_eq!(shown(&mut node), Err(NoState::Filling));
    engine.write(1, 1, payload(false));
    engine.commit(1, 1, payload(false));
    node.handle(NOW, Input::Tick);
    drain(&mut node);
    assert_eq!((node.applied(), shown(&mut node)), (LogIndex(1), Err(NoState::Filling)), "there is more");
    engine.write(2, 1, payload(false));
    engine.commit(2, 1, payload(false));
    engine.script.borrow_mut().outputs.push_back(EngineOutput::CaughtUp);
    node.handle(NOW, Input::Tick);
    assert_eq!((node.applied(), node.no_state()), (LogIndex(1), Some(NoState::Filling)), "not applied yet");
    let outputs = drain(&mut node);
    assert!(outputs.iter().any(|output| matches!(output, Output::CaughtUp)), "{outputs:?}");
    assert_eq!(shown(&mut node), Ok(LogIndex(2)));
}

#[test]
fn where_all_disks_are_new_there_is_nothing_to_wait_for() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    engine.script.borrow_mut().has_met_nobody = true;
    let mut node = node(&engine);
    assert_eq!(shown(&mut node), Err(NoState::Meeting), "nothing was damaged");
    engine.script.borrow_mut().has_met_nobody = false;
    assert_eq!(shown(&mut node), Err(NoState::Filling));
    node.handle(NOW, Input::Admit);
    assert_eq!(shown(&mut node), Ok(LogIndex(0)));
}

#[test]
fn what_the_disk_says_to_be_committed_is_shown_without_a_leader() {
    let engine = Scripted::new();
    let options = ReplicaOptions { node: OWN, is_alone: false, ..ReplicaOptions::default() };
    let kind = EntryKind::Command;
    let entry =
        |index: u64| LogEntry { index: LogIndex(index), term: Term(1), kind, payload: payload(index == 2) };
    let entries: Vec<LogEntry> = (1..=3).map(entry).collect();
    let restored = Restored::new(Counter::default(), LogIndex(0), LogIndex(0), 0);
    let restored = restored.with_floor(LogIndex(2), Terms::new()).with_entries(&entries).expect("entries");
    let mut node = Replica::new(restored, engine.clone(), options);
    assert_eq!(node.no_state(), Some(NoState::Replaying));
    read(&mut node, 1, Consistency::Stale);
    let outputs = drain(&mut node);
    assert_eq!(refusals(&outputs), [(1, &Refusal::NoState(NoState::Replaying))]);
    assert_eq!(shown(&mut node), Ok(LogIndex(2)), "the third may give way");
    let begins = |output: &Output<Counter>| matches!(output, Output::CheckpointBegin { .. });
    assert!(!outputs.iter().any(begins), "the engine may still need what lies before");
    // What the engine says later changes nothing.
    (1..=3).for_each(|index| engine.commit(index, 1, payload(false)));
    node.handle(NOW, Input::Tick);
    drain(&mut node);
    assert_eq!(shown(&mut node), Ok(LogIndex(3)));
}

#[test]
fn a_replica_that_has_stopped_shows_what_it_has() {
    let engine = Scripted::new();
    engine.script.borrow_mut().is_new = true;
    let mut node = node(&engine);
    let (from, term, index) = (TWO, Term(2), LogIndex(9));
    let (first, committed, last) = (index, index, index);
    let conflict = Conflict { from, term, first, is_first_exact: true, committed, last, events: 1 };
    node.handle(NOW, Input::Stopped(conflict));
    drain(&mut node);
    assert_eq!(node.no_state(), None);
}
