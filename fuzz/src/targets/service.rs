//! A program's service, hosted by a member: commands from the log, and arbitrary bytes as its state.

use bezant_member::{Hosted, HostedQuery, LogIndex, Nanos, state_machine};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::{Fetched, HistoryPosition};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Target;

pub(super) const COMMANDS: Target = Target {
    name: "service",
    about: "commands for a service in a member",
    seeds: command_seeds,
    run: run_commands,
};

pub(super) const STATE: Target = Target {
    name: "service-state",
    about: "a member's state in a checkpoint",
    seeds: || vec![checkpoint(&mut used())],
    run: run_state,
};

/// Operation that opens a session.
const OPEN: u16 = 1;
/// Operation that applies a command of a session: session u64, number u64, oldest u64, the service's command.
const INVOKE: u16 = 2;
/// The session that the first entry opens: its index, shifted to leave bits for other sessions of that entry.
const SESSION: u64 = 1 << 16;
/// Commands of an input, at most.
const COUNT_MAX: usize = 64;
const WORDS_MAX: usize = 100;

state_machine! {
    /// Stores words and publishes each.
    trait Words {
        cmd add(word: String, times: u32) -> u64;
        cmd remove(places: Vec<u32>) -> Result<u64, String>;
        qry newest() -> Option<String>;
        sub added -> String;
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    words: Vec<String>,
}

impl Words for Kept {
    fn add(&mut self, context: &mut WordsContext<'_>, word: String, times: u32) -> u64 {
        context.added(&word);
        let free = WORDS_MAX.saturating_sub(self.words.len());
        self.words.extend((0..times).take(free).map(|_| word.clone()));
        self.words.len() as u64
    }

    fn remove(&mut self, _: &mut WordsContext<'_>, places: Vec<u32>) -> Result<u64, String> {
        for place in places {
            let place = usize::try_from(place).map_err(|error| error.to_string())?;
            if place >= self.words.len() {
                return Err(format!("there is no word {place}"));
            }
            self.words.remove(place);
        }
        Ok(self.words.len() as u64)
    }

    fn newest(&self) -> Option<String> {
        self.words.last().cloned()
    }
}

type Machine = Hosted<WordsMachine<Kept>>;

/// A command in the first session, or with `None` the command that opens it.
fn invoke(number: u64, command: Option<WordsCommand>) -> Command {
    let Some(command) = command else {
        return Command { operation: OPEN, events: 1, body: Bytes::new() };
    };
    let command = command.encode().expect("short enough");
    let body = [SESSION, number, 1].iter().flat_map(|field| field.to_le_bytes()).chain(command).collect();
    Command { operation: INVOKE, events: 1, body }
}

fn commands() -> Vec<Command> {
    vec![
        invoke(0, None),
        invoke(1, Some(WordsCommand::Add { word: "ledger".to_owned(), times: 3 })),
        invoke(2, Some(WordsCommand::Remove { places: vec![1, 0] })),
        invoke(2, Some(WordsCommand::Remove { places: vec![1, 0] })),
        invoke(3, Some(WordsCommand::Remove { places: vec![700] })),
    ]
}

fn apply(machine: &mut Machine, index: u64, commands: Vec<Command>) -> usize {
    let mut entry = Entry { time: Nanos(0), commands, checkpoint: false, rules: 0 };
    entry.time = Nanos(machine.time().0 + entry.events());
    let found = Fetched::from(HistoryPosition::default());
    machine.apply(LogIndex(index), &entry, found).expect("a service needs no rows").results.len()
}

fn used() -> Machine {
    let mut machine = Machine::default();
    (1..).zip(commands()).for_each(|(index, command)| {
        apply(&mut machine, index, vec![command]);
    });
    assert_eq!(machine.service().state().words, ["ledger"], "the seeds reach the service");
    machine
}

fn checkpoint(machine: &mut Machine) -> Vec<u8> {
    machine.begin_checkpoint();
    std::iter::from_fn(|| machine.poll_checkpoint(1000)).flatten().collect()
}

/// All commands in one input; each is operation u8, size of the body u16, body.
fn command_seeds() -> Vec<Vec<u8>> {
    let bytes = |command: &Command| {
        let operation = u8::try_from(command.operation).expect("one of two");
        let size = u16::try_from(command.body.len()).expect("a short one");
        let head = [operation].into_iter().chain(size.to_le_bytes());
        head.chain(command.body.iter().copied()).collect::<Vec<u8>>()
    };
    vec![commands().iter().flat_map(bytes).collect()]
}

fn run_commands(mut input: &[u8]) {
    let (mut machine, mut other) = (Machine::default(), Machine::default());
    for index in 1..=COUNT_MAX as u64 {
        let Some(([operation, low, high], rest)) = input.split_first_chunk() else { break };
        let size = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, rest) = rest.split_at(size);
        input = rest;
        let command =
            Command { operation: u16::from(*operation), events: 1, body: Bytes::copy_from_slice(body) };
        assert_eq!(apply(&mut machine, index, vec![command.clone()]), 1, "every command has a reply");
        apply(&mut other, index, vec![command]);
    }
    let bytes = checkpoint(&mut machine);
    assert!(bytes == checkpoint(&mut other), "two replicas differ");
    let mut restored = Machine::restore(&bytes).expect("a member can read its own checkpoint");
    assert!(bytes == checkpoint(&mut restored), "a restored replica differs");
}

fn run_state(input: &[u8]) {
    // The checkpoint file has the checksums; every state that can be read must also work.
    let Ok(mut machine) = Machine::restore(input) else { return };
    drop(machine.query(HostedQuery::Events { stream: 0, after: 0, limit: 10 }));
    drop(machine.query(HostedQuery::Ask(Bytes::from_static(b"newest"))));
    if machine.time().0 < 1 << 62 {
        apply(&mut machine, 1 << 40, commands());
    }
    let bytes = checkpoint(&mut machine);
    assert!(Machine::restore(&bytes).is_ok(), "a member can read its own checkpoint");
}
