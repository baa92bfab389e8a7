//! Golden scripts: situations of the protocol, with all messages, writes and commits.
//!
//! | command | what it does |
//! |---|---|
//! | `nodes 3` | a new group of so many nodes |
//! | `tick 1 2` · `tick times=2` | one tick for these nodes, or for all |
//! | `wait 1 2 times=20` | the same, with `run` after every tick |
//! | `run` | delivers messages and syncs disks until nothing is left to do |
//! | `carry from=1 to=2` | delivers the messages of that link, once |
//! | `lose from=1 to=2` · `double from=1 to=2` | loses, or duplicates, the messages on that link |
//! | `sync 1` | the written values of node 1 become durable |
//! | `slow 1` · `fast 1` | `run` stops to sync that disk, or syncs it again |
//! | `cut 1` · `join 1` | cuts that node off, or connects it again |
//! | `propose 1 a b` | node 1 proposes these values |
//! | `read 1 7` | node 1 requests read 7 |
//! | `crash 1 survivors=0` · `start 1` | the power fails, and so many values survive that were not synced; the node starts again |
//! | `checkpoint 1` · `install 1` | a checkpoint of everything that node 1 has committed; node 1 gets the one that it requested |
//! | `lost 2 peer=1` | the connection of 2 to 1 ends |
//! | `transfer_leadership 1` | node 1 transfers leadership |
//! | `add 1 node=4` · `meet 1 node=4` · `promote 1 node=4` · `remove 1 node=4` | node 1 proposes a change |
//! | `new 4` | an empty machine, with the members that node 1 has |
//! | `elect` | ticks until a node leads |
//! | `who` | the role of every node |
//!
//! The output of a command in parentheses (`(run)`) is not shown.

use std::borrow::ToOwned;
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;

use std::error::Error;
use std::fmt::Write as _;

use bezant_consensus::{Change, ChangeError, Engine, Input, Role};
use bezant_types::NodeId;
use goldenscript::{Command, Context};

use super::net::{Disk, Net};

#[derive(Default)]
struct Runner {
    net: Net,
}

/// The arguments of a command: positional ones, then keys.
struct Arguments {
    nodes: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Arguments {
    fn new(command: &Command) -> Self {
        let mut arguments = command.consume_args();
        let nodes = std::iter::from_fn(|| arguments.next_pos().map(str::to_owned)).collect();
        let keys = std::iter::from_fn(|| arguments.next_key());
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { nodes, keys }
    }

    fn node(&self) -> Result<NodeId, Box<dyn Error>> {
        Ok(NodeId(self.nodes.first().ok_or("which node?")?.parse()?))
    }

    fn key(&self, key: &str, otherwise: u64) -> Result<u64, Box<dyn Error>> {
        let found = self.keys.iter().find(|(known, _)| known == key);
        Ok(found.map_or(Ok(otherwise), |(_, value)| value.parse())?)
    }
}

impl Runner {
    fn on_way(&mut self, arguments: &Arguments) -> Result<Vec<super::net::Packet>, Box<dyn Error>> {
        let (from, to) = (NodeId(arguments.key("from", 0)?), NodeId(arguments.key("to", 0)?));
        let is_meant = |packet: &super::net::Packet| {
            (from.0 == 0 || packet.from == from) && (to.0 == 0 || packet.to == to)
        };
        let (taken, left): (Vec<_>, Vec<_>) = self.net.packets.drain(..).partition(is_meant);
        self.net.packets = left.into();
        Ok(taken)
    }

    fn change(&mut self, arguments: &Arguments, change: Change) -> Result<(), Box<dyn Error>> {
        let node = arguments.node()?;
        let made = self.net.engine(node).change(change);
        self.net.note(|| match made {
            Ok(Some(index)) => format!("{node} proposes entry {index}"),
            Ok(None) => format!("{node} proposes nothing"),
            Err(ChangeError::Leads) => "refused: it leads".to_owned(),
            Err(error) => format!("refused: {error:?}"),
        });
        self.net.drain(node);
        Ok(())
    }

    fn who(&self) -> String {
        let mut text = String::new();
        for (node, machine) in &self.net.machines {
            let Some(engine) = &machine.engine else {
                writeln!(text, "{node} is down").unwrap();
                continue;
            };
            let standing = engine.standing();
            let role = match standing.role {
                Role::Leader => "leads".to_owned(),
                Role::Candidate => "tries to lead".to_owned(),
                Role::Follower => {
                    standing.leader.map_or_else(|| "waits".to_owned(), |leader| format!("follows {leader}"))
                }
            };
            let (term, decided, committed) = (standing.term, standing.committed, machine.committed);
            writeln!(text, "{node} {role} in round {term}, decided {decided}, committed {committed}")
                .unwrap();
        }
        text
    }

    fn start(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        match name {
            "nodes" => {
                self.net = Net::new(arguments.node()?.0, arguments.key("seed", 1)?);
                self.net.trace = Some(Vec::new());
            }
            "new" => {
                let members = self.net.machine(NodeId(1)).disk.members.clone();
                self.net.add(arguments.node()?, Disk { members, ..Disk::default() });
            }
            "start" => self.net.start(arguments.node()?),
            "crash" => {
                let survivors = arguments.key("survivors", 0)?;
                self.net.crash(arguments.node()?, usize::try_from(survivors)?);
            }
            _ => return Err(format!("no command {name}").into()),
        }
        Ok(())
    }

    fn network(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        match name {
            "run" => self.net.settle(),
            "carry" => {
                for packet in self.on_way(arguments)? {
                    self.net.carry(packet);
                }
            }
            "lose" => drop(self.on_way(arguments)?),
            "double" => {
                let packets = self.on_way(arguments)?;
                self.net.packets.extend(packets.iter().cloned());
                self.net.packets.extend(packets);
            }
            "sync" => self.net.sync(arguments.node()?),
            "slow" => drop(self.net.slow.insert(arguments.node()?)),
            "fast" => drop(self.net.slow.remove(&arguments.node()?)),
            "cut" => drop(self.net.cut.insert(arguments.node()?)),
            "join" => drop(self.net.cut.remove(&arguments.node()?)),
            "lost" => {
                let peer = NodeId(arguments.key("peer", 0)?);
                self.net.handle(arguments.node()?, Input::Lost(peer));
            }
            _ => return self.start(name, arguments),
        }
        Ok(())
    }

    fn tick(&mut self, arguments: &Arguments, runs: bool) -> Result<(), Box<dyn Error>> {
        for _ in 0..arguments.key("times", 1)? {
            if arguments.nodes.is_empty() {
                self.net.tick();
            }
            for node in &arguments.nodes {
                self.net.handle(NodeId(node.parse()?), Input::Tick);
            }
            if runs {
                self.net.settle();
            }
        }
        Ok(())
    }

    fn ask(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        let member = NodeId(arguments.key("node", 0)?);
        match name {
            "tick" => self.tick(arguments, false)?,
            "wait" => self.tick(arguments, true)?,
            "elect" => {
                let leader = self.net.elect();
                self.net.note(|| format!("{leader} leads"));
            }
            "propose" => {
                for payload in arguments.nodes.iter().skip(1) {
                    let slot = self.net.propose(arguments.node()?, payload.as_bytes());
                    if slot.is_none() {
                        self.net.note(|| format!("{payload} is rejected"));
                    }
                }
            }
            "read" => {
                let read = arguments.nodes.get(1).ok_or("which read?")?.parse()?;
                self.net.read(arguments.node()?, read);
            }
            "checkpoint" => self.net.checkpoint(arguments.node()?),
            "install" => drop(self.net.install(arguments.node()?)),
            "transfer_leadership" => {
                self.net.engine(arguments.node()?).transfer_leadership();
                self.net.drain(arguments.node()?);
            }
            "admit" => {
                self.net.machine(arguments.node()?).disk.is_admitted = true;
                self.net.handle(arguments.node()?, Input::Admit);
            }
            "add" => {
                self.change(arguments, Change::Add { node: member, address: format!("host{member}:1") })?;
            }
            "meet" => self.change(arguments, Change::Meet { node: member, disk: 7 })?,
            "promote" => self.change(arguments, Change::Promote(member))?,
            "remove" => self.change(arguments, Change::Remove(member))?,
            _ => return self.network(name, arguments),
        }
        Ok(())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let arguments = Arguments::new(command);
        if command.name == "who" {
            return Ok(self.who());
        }
        self.ask(&command.name, &arguments)?;
        let trace = self.net.trace.as_mut().map(std::mem::take).unwrap_or_default();
        Ok(trace.into_iter().map(|line| line + "\n").collect())
    }
}

#[test]
fn golden_scripts_match() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/scripts");
    let mut failed = Vec::new();
    let scripts = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = scripts.collect();
    scripts.sort();
    for script in scripts {
        let name = script.file_name().map(|name| name.to_string_lossy().into_owned());
        // goldenscript panics on a difference. The panic is caught, so that the other scripts still run.
        let run = std::panic::catch_unwind(|| goldenscript::run(&mut Runner::default(), &script));
        match run {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name:?}: {error}")),
            Err(_) => failed.push(format!("{name:?}: see above")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
