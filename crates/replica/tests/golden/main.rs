//! Golden scripts: what replicas are asked, and everything that they write, send, apply and answer.
//!
//! | command | what it does |
//! |---|---|
//! | `replicas 3 interval=1000000` | a new group; a checkpoint is due after so many bytes of log |
//! | `lead 1` | the engine of node 1 leads the next term |
//! | `request 1 7 8 operation=1 events=1` | clients of node 1 send commands with tickets 7 and 8; operation 2 needs a row, operation 4 sets a deadline at 2000 |
//! | `query 1 9 10` · `query 1 9 stale=1` · `query 1 9 at_least=5` · `barrier 1 9` | a client reads the state, or asks for the history |
//! | `propose 1` · `sync 1` | node 1 makes an entry of what waits; its disk does everything that it was asked |
//! | `run` | all nodes propose, sync and receive until nothing is left to do |
//! | `carry from=1 to=2` · `lose from=1 to=2` | delivers, or loses, the messages of that link |
//! | `slow 1` · `fast 1` | the disk of node 1 does nothing for now, or works again |
//! | `cut 1` · `join 1` | cuts a node off, or connects it again |
//! | `lost 2 peer=1` | the connection of 2 to 1 ends |
//! | `tick 1 times=100` | ticks for that node, or for all |
//! | `clock 1 5000` | the clock of node 1 shows that time |
//! | `fail 1 broken` · `pressure 1 full` · `hold 1 clock` | its disk fails; is nearly full; its clock must not be used. Without a reason: not any more |
//! | `crash 1` · `start 1` | the process ends; it starts again from its disk |
//! | `note 1` | the disk of node 1 records what is applied as committed |
//! | `wipe 1` · `admit 1` | it starts with an empty disk, which may not vote; the disk records that it may |
//! | `flaw 3` · `unreadable 1` | its checkpoints have another digest than they should; it supplies states that cannot be read |
//! | `space 1` | a write of node 1 still waits for space |
//! | `who` | what every node has applied |
//!
//! The output of a command in parentheses (`(run)`) is not shown.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod engine;
mod machine;
mod net;
mod rest;

use std::error::Error;
use std::fmt::Write as _;

use bezant_replica::{Consistency, Input, PeerMessage, Ticket};
use bezant_types::{LogIndex, Nanos, NodeId, Term};
use goldenscript::{Command, Context};
use net::{InFlight, Net, command, query};

#[derive(Default)]
struct Runner {
    net: Net,
}

/// The arguments of a command: positional ones, then keys.
struct Arguments {
    words: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Arguments {
    fn new(command: &Command) -> Self {
        let mut arguments = command.consume_args();
        let words = std::iter::from_fn(|| arguments.next_pos().map(str::to_owned)).collect();
        let keys = std::iter::from_fn(|| arguments.next_key());
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { words, keys }
    }

    fn node(&self) -> Result<NodeId, Box<dyn Error>> {
        Ok(NodeId(self.words.first().ok_or("which node?")?.parse()?))
    }

    fn number(&self, at: usize) -> Result<u64, Box<dyn Error>> {
        Ok(self.words.get(at).ok_or("an argument is missing")?.parse()?)
    }

    fn reason(&self) -> Option<String> {
        self.words.get(1).cloned()
    }

    fn key(&self, key: &str, otherwise: u64) -> Result<u64, Box<dyn Error>> {
        let found = self.keys.iter().find(|(known, _)| known == key);
        Ok(found.map_or(Ok(otherwise), |(_, value)| value.parse())?)
    }

    fn consistency(&self) -> Result<Consistency, Box<dyn Error>> {
        Ok(match (self.key("stale", 0)?, self.key("at_least", 0)?) {
            (1, _) => Consistency::Stale,
            (_, 0) => Consistency::Linearizable,
            (_, index) => Consistency::AtLeast(LogIndex(index)),
        })
    }
}

impl Runner {
    /// The messages on a link; the others stay in flight.
    fn on_way(&mut self, arguments: &Arguments) -> Result<Vec<InFlight>, Box<dyn Error>> {
        let (from, to) = (arguments.key("from", 0)?, arguments.key("to", 0)?);
        let is_meant =
            |message: &InFlight| (from == 0 || message.0.0 == from) && (to == 0 || message.1.0 == to);
        let (taken, left): (Vec<_>, Vec<_>) = self.net.messages.drain(..).partition(is_meant);
        self.net.messages = left.into();
        Ok(taken)
    }

    fn who(&mut self) -> String {
        let mut text = String::new();
        for (node, machine) in &self.net.machines {
            let Some(replica) = &machine.replica else {
                writeln!(text, "{node} is down").unwrap();
                continue;
            };
            let role = if replica.is_leader() { "leads" } else { "follows" };
            let (applied, time) = (replica.applied(), replica.time());
            let more = replica
                .read_only_reason()
                .map(|reason| format!(", read-only: {}", reason.split(". ").next().unwrap_or_default()));
            let state = replica.no_state().map(|why| format!(", no state: {why}"));
            let (more, state) = (more.unwrap_or_default(), state.unwrap_or_default());
            writeln!(text, "{node} {role}, applied {applied}, cluster time {time}{more}{state}").unwrap();
        }
        text
    }

    fn process(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        let node = arguments.node()?;
        match name {
            "replicas" => {
                let interval = usize::try_from(arguments.key("interval", 1_000_000)?)?;
                self.net = Net::new(node.0, interval);
            }
            "crash" => self.net.crash(node),
            "start" => self.net.start(node),
            "note" => {
                let applied = self.net.replica(node).applied();
                self.net.machine(node).disk.committed = applied;
            }
            "wipe" => {
                self.net.crash(node);
                self.net.machine(node).disk = net::Disk::default();
                self.net.start(node);
            }
            "admit" => {
                self.net.machine(node).disk.may_vote = true;
                self.net.handle(node, Input::Admit);
            }
            "flaw" => drop(self.net.flawed.insert(node)),
            "unreadable" => drop(self.net.unreadable.insert(node)),
            "clock" => self.net.machine(node).wall = Nanos(arguments.number(1)?),
            "fail" => {
                let reason = arguments.reason().ok_or("which reason?")?;
                self.net.handle(node, Input::Failed { reason });
            }
            "pressure" => self.net.handle(node, Input::Pressure(arguments.reason())),
            "hold" => self.net.handle(node, Input::Hold(arguments.reason())),
            "space" => self.net.handle(node, Input::SpaceAwaited),
            _ => return Err(format!("no command {name}").into()),
        }
        Ok(())
    }

    fn network(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        match name {
            "run" => self.net.run(),
            "carry" => {
                for message in self.on_way(arguments)? {
                    self.net.deliver(message);
                }
            }
            "lose" => drop(self.on_way(arguments)?),
            "slow" => drop(self.net.slow.insert(arguments.node()?)),
            "fast" => drop(self.net.slow.remove(&arguments.node()?)),
            "cut" => drop(self.net.cut.insert(arguments.node()?)),
            "join" => drop(self.net.cut.remove(&arguments.node()?)),
            "lost" => {
                let peer = NodeId(arguments.key("peer", 0)?);
                self.net.handle(arguments.node()?, Input::Lost(peer));
            }
            "tick" => {
                for _ in 0..arguments.key("times", 1)? {
                    let all: Vec<NodeId> = self.net.machines.keys().copied().collect();
                    let named = arguments.node().ok();
                    for node in all.into_iter().filter(|node| named.is_none_or(|named| named == *node)) {
                        self.net.handle(node, Input::Tick);
                    }
                }
            }
            _ => return self.process(name, arguments),
        }
        Ok(())
    }

    fn perform(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        match name {
            "lead" => {
                self.net.term = Term(self.net.term.0 + 1);
                let (node, message) = (arguments.node()?, engine::appointment(self.net.term));
                self.net.handle(node, Input::Message { from: node, message: PeerMessage::Engine(message) });
            }
            "request" => {
                let operation = u16::try_from(arguments.key("operation", 1)?)?;
                let events = u32::try_from(arguments.key("events", 1)?)?;
                for ticket in 1..arguments.words.len() {
                    let ticket = Ticket(arguments.number(ticket)?);
                    let command = command(operation, events);
                    self.net.handle(arguments.node()?, Input::Request { ticket, command });
                }
            }
            "query" => {
                let tickets = 1..arguments.words.len();
                let tickets = tickets.map(|at| arguments.number(at)).collect::<Result<Vec<_>, _>>()?;
                let consistency = arguments.consistency()?;
                let inputs = tickets.into_iter().map(|ticket| query(ticket, consistency));
                self.net.handle_all(arguments.node()?, inputs);
            }
            "barrier" => {
                let (ticket, consistency) = (Ticket(arguments.number(1)?), arguments.consistency()?);
                self.net.handle(arguments.node()?, Input::Barrier { ticket, consistency });
            }
            "propose" => self.net.propose(arguments.node()?),
            "sync" => self.net.sync(arguments.node()?),
            _ => return self.network(name, arguments),
        }
        Ok(())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if command.name == "who" {
            return Ok(self.who());
        }
        self.perform(&command.name, &Arguments::new(command))?;
        Ok(std::mem::take(&mut self.net.trace).into_iter().map(|line| line + "\n").collect())
    }
}

#[test]
fn golden_scripts_match() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scripts");
    let mut failed = Vec::new();
    let scripts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = scripts.collect();
    scripts.sort();
    for script in scripts {
        let name = script.file_name().map(|name| name.to_string_lossy().into_owned());
        // goldenscript panics on a difference: catch it, so that the other scripts run as well.
        let run = std::panic::catch_unwind(|| goldenscript::run(&mut Runner::default(), &script));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name:?}: {error}")),
            Err(_) => failed.push(format!("{name:?}: see above")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
