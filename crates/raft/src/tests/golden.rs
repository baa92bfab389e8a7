//! Golden scripts: situations of Raft, with all messages, writes and commits.
//!
//! | command | what it does |
//! |---|---|
//! | `nodes 3` | a new group of so many nodes |
//! | `tick 1 2` · `tick times=2` | one tick for these nodes, or for all |
//! | `wait 1 2 times=20` | the same, with `run` after every tick |
//! | `campaign 1` | ticks for node 1 alone until it starts an election |
//! | `run` | delivers messages and syncs disks until nothing is left to do |
//! | `carry from=1 to=2` | delivers the messages of that link, once |
//! | `lose from=1 to=2` · `double from=1 to=2` | loses, or duplicates, the messages on that link |
//! | `sync 1` | everything that node 1 has written becomes durable |
//! | `slow 1` · `full 1` · `fast 1` | `run` stops to sync that disk; it has space for votes alone; it works again |
//! | `cut 1` · `join 1` | cuts that node off, or connects it again |
//! | `lost 2 peer=1` | the connection of 2 to 1 ends |
//! | `propose 1 a b` | node 1 proposes these values |
//! | `read 1 7` | node 1 requests read 7 |
//! | `crash 1 survivors=0` · `start 1` | the power fails, and so many writes survive that were not synced; the node starts again |
//! | `note 1` | the disk of node 1 records what is committed, for its next start |
//! | `copy 1` · `restore 1` | keeps a copy of a disk; puts it back while the node is down |
//! | `damage 1 keep=2` | the disk of node 1, which is down, lost all entries but the first, and was repaired |
//! | `checkpoint 1` · `install 1` | a checkpoint of everything that node 1 has committed; node 1 gets the one that it requested |
//! | `transfer_leadership 1` · `lead 1 node=2` | node 1 transfers leadership |
//! | `add 1 node=4` · `meet 1 node=4` · `promote 1 node=4` · `remove 1 node=4` | node 1 proposes a change |
//! | `new 4` | an empty machine, with the members that node 1 has |
//! | `admit 4` | the disk of node 4 records that it may vote |
//! | `who` | the role of every node |
//!
//! The output of a command in parentheses (`(run)`) is not shown.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use bezant_consensus::{Change, ChangeError, Role};
use goldenscript::{Command, Context};

use super::*;

/// A message in flight: the positions of sender and receiver, and its bytes.
type InFlight = (usize, usize, Bytes);

/// The content of a disk whose node is down, and what it holds beside vote and log.
#[derive(Clone, Debug)]
struct Disk {
    vote: Option<Vote>,
    log: Vec<LogEntry>,
    checkpoint: (LogIndex, Term),
    /// The index that it records as committed.
    committed: LogIndex,
    may_vote: bool,
}

impl Disk {
    fn new(may_vote: bool) -> Self {
        let (log, checkpoint, committed) = (Vec::new(), (LogIndex(0), Term(0)), LogIndex(0));
        Self { vote: None, log, checkpoint, committed, may_vote }
    }
}

struct Runner {
    net: Net,
    disks: BTreeMap<usize, Disk>,
    copies: BTreeMap<usize, Disk>,
    starts: u64,
}

impl Default for Runner {
    fn default() -> Self {
        Self { net: Net::new(0), disks: BTreeMap::new(), copies: BTreeMap::new(), starts: 0 }
    }
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

    /// The positions in the net of all nodes that are named.
    fn nodes(&self) -> Result<Vec<usize>, Box<dyn Error>> {
        self.words.iter().map(|word| at(word.parse()?)).collect()
    }

    fn node(&self) -> Result<usize, Box<dyn Error>> {
        at(self.words.first().ok_or("which node?")?.parse()?)
    }

    fn key(&self, key: &str, otherwise: usize) -> Result<usize, Box<dyn Error>> {
        let found = self.keys.iter().find(|(known, _)| known == key);
        Ok(found.map_or(Ok(otherwise), |(_, value)| value.parse())?)
    }
}

/// The position of a node in the net.
fn at(node: usize) -> Result<usize, Box<dyn Error>> {
    Ok(node.checked_sub(1).ok_or("nodes are counted from 1")?)
}

impl Runner {
    fn disk(&mut self, at: usize) -> &mut Disk {
        self.disks.entry(at).or_insert_with(|| Disk::new(true))
    }

    /// The messages on a link; the others stay in flight.
    fn on_way(&mut self, arguments: &Arguments) -> Result<Vec<InFlight>, Box<dyn Error>> {
        let (from, to) = (arguments.key("from", 0)?, arguments.key("to", 0)?);
        let is_meant =
            |message: &InFlight| (from == 0 || message.0 + 1 == from) && (to == 0 || message.1 + 1 == to);
        let (taken, left): (Vec<_>, Vec<_>) = self.net.messages.drain(..).partition(is_meant);
        self.net.messages = left.into();
        Ok(taken)
    }

    /// Of what was not synced, `survivors` writes are durable all the same.
    fn crash(&mut self, at: usize, survivors: usize) {
        let replica = &mut self.net.replicas[at];
        for write in std::mem::take(&mut replica.unsynced).into_iter().take(survivors) {
            replica.vote = write.vote.or(replica.vote);
            if let Some(first) = write.entries.first() {
                replica.log.retain(|entry| entry.index < first.index);
            }
            replica.log.extend(write.entries);
        }
        let (vote, log) = (replica.vote, replica.log.clone());
        let disk = self.disk(at);
        (disk.vote, disk.log) = (vote, log);
        self.net.down.insert(at);
    }

    fn start(&mut self, at: usize) {
        self.starts += 1;
        let Disk { vote, log, checkpoint, committed, may_vote } = self.disk(at).clone();
        let old = &self.net.replicas[at];
        let members =
            if old.members == Members::default() { old.engine.members() } else { &old.members }.clone();
        let entries = log.iter().filter(|entry| entry.index > checkpoint.0).cloned().collect();
        let state = EngineState { vote, checkpoint, entries, committed };
        let options =
            EngineOptions { may_vote, members: members.clone(), ..options(at, 1, 100 + self.starts) };
        let engine = Raft::new(&options, state).unwrap();
        self.net.replicas[at] = Replica { vote, log, members, ..Replica::new(engine) };
        self.net.down.remove(&at);
        self.net.drain(at);
    }

    fn add(&mut self, at: usize) {
        let members = self.net.replicas[0].engine.members().clone();
        let options = EngineOptions { may_vote: false, members: members.clone(), ..options(at, 1, 7) };
        let engine = Raft::new(&options, EngineState::default()).unwrap();
        self.disks.insert(at, Disk::new(false));
        let replica = Replica { members, ..Replica::new(engine) };
        match self.net.replicas.get_mut(at) {
            Some(old) => *old = replica,
            None => self.net.replicas.push(replica),
        }
        self.net.down.remove(&at);
    }

    fn checkpoint(&mut self, at: usize) -> Result<(), Box<dyn Error>> {
        let replica = &self.net.replicas[at];
        let index = replica.engine.standing().committed;
        let entry = replica.log.iter().find(|entry| entry.index == index).ok_or("nothing is committed")?;
        let term = entry.term;
        self.disk(at).checkpoint = (index, term);
        self.net.replicas[at].engine.handle(Input::Released { index, term });
        self.net.drain(at);
        Ok(())
    }

    fn install(&mut self, at: usize) -> Result<(), Box<dyn Error>> {
        let (from, needed) = self.net.replicas[at].installs.pop().ok_or("no checkpoint was requested")?;
        let from = self::at(usize::try_from(from.0)?)?;
        let (index, term) = self.disk(from).checkpoint;
        assert!(index >= needed, "the source has such a checkpoint");
        let members = self.net.replicas[from].engine.members().clone();
        self.net.note(|| format!("{} installs a checkpoint of {index} from {}", at + 1, from + 1));
        self.disk(at).checkpoint = (index, term);
        let replica = &mut self.net.replicas[at];
        replica.log.clear();
        replica.engine.handle(Input::Installed { index, term, members });
        self.net.drain(at);
        Ok(())
    }

    fn change(&mut self, arguments: &Arguments, change: Change) -> Result<(), Box<dyn Error>> {
        let at = arguments.node()?;
        let made = self.net.replicas[at].engine.change(change);
        self.net.note(|| match made {
            Ok(Some(index)) => format!("{} proposes entry {index}", at + 1),
            Ok(None) => format!("{} proposes nothing", at + 1),
            Err(ChangeError::Leads) => "refused: it leads".to_owned(),
            Err(error) => format!("refused: {error:?}"),
        });
        self.net.drain(at);
        Ok(())
    }

    fn campaign(&mut self, at: usize) -> Result<(), Box<dyn Error>> {
        let before = (self.net.replicas[at].engine.standing().role, self.net.messages.len());
        for _ in 0..40 {
            self.net.replicas[at].engine.handle(Input::Tick);
            self.net.drain(at);
            let now = (self.net.replicas[at].engine.standing().role, self.net.messages.len());
            if now.1 > before.1 || (now.0 == Role::Candidate && now.0 != before.0) {
                return Ok(());
            }
        }
        Err("it starts no election".into())
    }

    fn tick(&mut self, arguments: &Arguments, runs: bool) -> Result<(), Box<dyn Error>> {
        let named = arguments.nodes()?;
        let all = (0..self.net.replicas.len()).collect();
        let nodes: Vec<usize> = if named.is_empty() { all } else { named };
        for _ in 0..arguments.key("times", 1)? {
            for node in nodes.iter().filter(|node| !self.net.down.contains(node)).copied().collect::<Vec<_>>()
            {
                self.net.replicas[node].engine.handle(Input::Tick);
                self.net.drain(node);
            }
            if runs {
                self.net.settle();
            }
        }
        Ok(())
    }

    fn who(&self) -> String {
        let mut text = String::new();
        for (at, replica) in self.net.replicas.iter().enumerate() {
            let node = at + 1;
            if self.net.down.contains(&at) {
                writeln!(text, "{node} is down").unwrap();
                continue;
            }
            let standing = replica.engine.standing();
            let role = match (standing.role, standing.leader) {
                (Role::Leader, _) => "leads".to_owned(),
                (Role::Candidate, _) => "is a candidate".to_owned(),
                (Role::Follower, Some(leader)) => format!("follows {leader}"),
                (Role::Follower, None) => "waits".to_owned(),
            };
            let vote = if replica.engine.may_vote() { "" } else { ", may not vote" };
            let (term, committed) = (standing.term, standing.committed);
            let last = replica.engine.raw.raft.raft_log.last_index();
            writeln!(text, "{node} {role} in term {term}, log ends {last}, committed {committed}{vote}")
                .unwrap();
        }
        text
    }

    fn disk_or_process(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        let node = arguments.node()?;
        match name {
            "nodes" => {
                self.net = Net::new(node + 1);
                self.net.trace = Some(Vec::new());
            }
            "new" => self.add(node),
            "crash" => self.crash(node, arguments.key("survivors", 0)?),
            "start" => self.start(node),
            "note" => self.disk(node).committed = self.net.replicas[node].engine.standing().committed,
            "copy" => {
                let replica = &self.net.replicas[node];
                let (vote, log) = (replica.vote, replica.log.clone());
                let copy = Disk { vote, log, ..self.disk(node).clone() };
                self.copies.insert(node, copy);
            }
            "restore" => {
                let copy = self.copies.get(&node).ok_or("there is no copy")?;
                self.disks.insert(node, copy.clone());
            }
            "damage" => {
                let kept = arguments.key("keep", 0)?;
                let disk = self.disk(node);
                disk.log.truncate(kept);
                let term = Term(disk.vote.unwrap_or_default().term.0 + 1);
                disk.vote = Some(Vote { term, voted_for: NodeId(0) });
                disk.may_vote = false;
            }
            "admit" => {
                self.disk(node).may_vote = true;
                self.net.replicas[node].engine.handle(Input::Admit);
                self.net.drain(node);
            }
            "checkpoint" => self.checkpoint(node)?,
            "install" => self.install(node)?,
            _ => return Err(format!("no command {name}").into()),
        }
        Ok(())
    }

    fn network(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        match name {
            "run" => self.net.settle(),
            "carry" => {
                for (from, to, bytes) in self.on_way(arguments)? {
                    self.net.deliver(from, to, bytes);
                }
            }
            "lose" => drop(self.on_way(arguments)?),
            "double" => {
                let messages = self.on_way(arguments)?;
                self.net.messages.extend(messages.iter().cloned());
                self.net.messages.extend(messages);
            }
            "sync" => self.net.sync(arguments.node()?),
            "slow" => drop(self.net.slow.insert(arguments.node()?)),
            "full" => drop(self.net.full.insert(arguments.node()?)),
            "fast" => {
                self.net.slow.remove(&arguments.node()?);
                self.net.full.remove(&arguments.node()?);
            }
            "cut" => self.net.cut.extend(arguments.nodes()?),
            "join" => drop(self.net.cut.remove(&arguments.node()?)),
            "lost" => {
                let peer = NodeId(arguments.key("peer", 0)? as u64);
                let node = arguments.node()?;
                self.net.replicas[node].engine.handle(Input::Lost(peer));
                self.net.drain(node);
            }
            _ => return self.disk_or_process(name, arguments),
        }
        Ok(())
    }

    fn perform(&mut self, name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
        let member = NodeId(arguments.key("node", 0)? as u64);
        match name {
            "tick" => self.tick(arguments, false)?,
            "wait" => self.tick(arguments, true)?,
            "campaign" => self.campaign(arguments.node()?)?,
            "propose" => {
                let node = arguments.node()?;
                for payload in arguments.words.iter().skip(1) {
                    let made = self.net.replicas[node].engine.propose(Bytes::from(payload.clone()));
                    if made.is_none() {
                        self.net.note(|| format!("{payload} is rejected"));
                    }
                    self.net.drain(node);
                }
            }
            "read" => {
                let read = ReadNumber(arguments.words.get(1).ok_or("which read?")?.parse()?);
                self.net.replicas[arguments.node()?].engine.read(read);
                self.net.drain(arguments.node()?);
            }
            "transfer_leadership" => {
                self.net.replicas[arguments.node()?].engine.transfer_leadership();
                self.net.drain(arguments.node()?);
            }
            "lead" => self.change(arguments, Change::Lead(member))?,
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
        if command.name == "who" {
            return Ok(self.who());
        }
        self.perform(&command.name, &Arguments::new(command))?;
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
