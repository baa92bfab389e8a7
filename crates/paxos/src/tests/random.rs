//! Random runs of clusters. A seed determines the faults: lost, duplicated and reordered messages, power
//! failures that lose unsynced values, lagging replicas, checkpoints, changes of members.
//!
//! Checked: decided values are the same on every node and are never lost; each has the predecessor with which
//! it was proposed. Reads are linearizable. When the faults end, the cluster makes progress.

use std::string::{String, ToString};

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::vec::Vec;

use bezant_consensus::{Change, Engine, EntryKind, Input, Part, ReadNumber};
use bezant_types::{LogIndex, NodeId};

use super::net::{Disk, Net};
use crate::ballot::Mark;

/// A generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick(&mut self, nodes: &[NodeId]) -> NodeId {
        nodes[self.below(nodes.len())]
    }
}

/// One run.
struct Run {
    net: Net,
    random: Random,
    commands: u64,
    reads: u64,
    /// The slot that each read must cover.
    asked: BTreeMap<(NodeId, ReadNumber), LogIndex>,
    changes: bool,
    leaders: BTreeMap<u64, NodeId>,
}

impl Run {
    fn new(seed: u64, changes: bool) -> Self {
        let mut random = Random(seed);
        let count = if changes { 3 } else { [1, 2, 3, 3, 3, 5][random.below(6)] };
        let mut net = Net::new(count, seed);
        net.trace = std::env::var_os("PAXOS_TRACE").map(|_| Vec::new());
        let (asked, leaders) = (BTreeMap::new(), BTreeMap::new());
        Self { net, random, commands: 0, reads: 0, asked, changes, leaders }
    }

    fn step(&mut self) {
        let nodes = self.net.nodes();
        let node = self.random.pick(&nodes);
        match self.random.below(100) {
            0..=49 => self.carry(),
            50..=52 => self.net.sync_vote(node),
            53..=61 => self.net.sync(node),
            62..=76 => self.net.tick(),
            77..=84 => self.propose(node),
            85..=88 => self.read(node),
            89..=90 => self.fault(node),
            91..=93 => self.repair(node),
            94 => self.net.checkpoint(node),
            95..=96 => drop(self.net.install(node)),
            97 if self.changes => self.change(),
            98 if self.random.one_in(4) && self.net.is_up(node) => {
                self.net.engine(node).transfer_leadership();
                self.net.drain(node);
            }
            _ => self.lose_connection(node, &nodes),
        }
        self.check();
    }

    fn carry(&mut self) {
        let count = self.net.packets.len();
        if count == 0 {
            return;
        }
        // Mostly in order, as a connection delivers messages.
        let at = if self.random.one_in(3) { self.random.below(count) } else { 0 };
        let packet = self.net.packets.remove(at).unwrap();
        if self.random.one_in(20) {
            self.net.packets.push_back(packet.clone());
        }
        if !self.random.one_in(20) {
            self.net.carry(packet);
        }
    }

    fn propose(&mut self, node: NodeId) {
        if self.net.is_up(node) {
            self.commands += 1;
            let payload = format!("{} {}", self.net.end(node), self.commands);
            self.net.propose(node, payload);
        }
    }

    fn read(&mut self, node: NodeId) {
        if self.net.is_up(node) {
            self.reads += 1;
            let newest = self.net.decisions.keys().next_back().copied().unwrap_or_default();
            self.asked.insert((node, ReadNumber(self.reads)), newest);
            self.net.read(node, self.reads);
        }
    }

    fn fault(&mut self, node: NodeId) {
        let other = self.random.pick(&self.net.nodes());
        match self.random.below(5) {
            0 | 1 if self.net.is_up(node) => {
                let survivors = self.random.below(4);
                self.net.crash(node, survivors);
            }
            2 => drop(self.net.cut.insert(node)),
            3 => drop(self.net.cut_links.insert((node, other))),
            _ if self.random.one_in(3) => self.damage(node),
            _ => {}
        }
    }

    /// A disk loses the end of its log, and is repaired. One at a time, because a majority must not lose
    /// values.
    fn damage(&mut self, node: NodeId) {
        let is_whole = self.net.machines.values().all(|machine| machine.disk.is_admitted);
        if is_whole && !self.changes && self.net.newest_members().voters().count() >= 3 {
            let lost = self.random.below(6);
            self.net.damage(node, lost);
            self.net.start(node);
        }
    }

    fn repair(&mut self, node: NodeId) {
        if !self.net.is_up(node) {
            self.net.start(node);
        }
        self.net.cut.clear();
        self.net.cut_links.clear();
    }

    fn lose_connection(&mut self, node: NodeId, nodes: &[NodeId]) {
        let peer = self.random.pick(nodes);
        if peer != node {
            self.net.handle(node, Input::Lost(peer));
        }
    }

    /// Proposes a random change that the members allow.
    fn change(&mut self) {
        let Some(leader) = self.net.leader() else { return };
        let members = self.net.engine(leader).members().clone();
        let node = NodeId(1 + self.random.next() % 5);
        let change = match members.get(node).map(|member| (member.part, member.disk)) {
            None => Change::Add { node, address: format!("host{node}:1") },
            Some((Part::Learner, 0)) => Change::Meet { node, disk: u128::from(self.random.next() | 1) },
            Some((Part::Learner, _)) if !self.net.machine(node).disk.is_admitted => return,
            Some((Part::Learner, _)) => Change::Promote(node),
            Some(_) if self.random.one_in(2) => Change::Lead(node),
            Some(_) if members.voters().count() > 2 => Change::Remove(node),
            Some(_) => return,
        };
        if self.net.engine(leader).change(change).is_ok() {
            self.net.drain(leader);
        }
    }

    /// Starts a machine with an empty disk for a node that was added. The machine of a removed node keeps its
    /// old disk.
    fn place(&mut self) {
        let newest = self.net.newest_members();
        for member in &newest.nodes {
            let known = self.net.machines.get(&member.node);
            let since = known.and_then(|it| it.disk.members.get(member.node)).map(|it| it.since);
            let is_there = since == Some(member.since);
            if !is_there && member.since > LogIndex(0) {
                let disk = Disk { members: newest.clone(), ..Disk::default() };
                self.net.add(member.node, disk);
            }
        }
    }

    fn check(&mut self) {
        if self.changes {
            self.place();
        }
        for node in self.net.nodes() {
            let machine = self.net.machine(node);
            if std::mem::take(&mut machine.has_caught_up) {
                machine.disk.is_admitted = true;
                self.net.handle(node, Input::Admit);
            }
            let machine = self.net.machine(node);
            for (read, index) in std::mem::take(&mut machine.readable) {
                let needed = self.asked[&(node, read)];
                assert!(index >= needed, "read {read:?} of {node} covers {index} and must cover {needed}");
            }
            if let Some(engine) = &self.net.machines[&node].engine
                && engine.is_leader()
            {
                let known = *self.leaders.entry(engine.standing().term.0).or_insert(node);
                assert_eq!(known, node, "a round has one leader");
            }
        }
    }

    /// The faults end.
    fn heal(&mut self) {
        self.net.cut.clear();
        self.net.cut_links.clear();
        for node in self.net.nodes() {
            if !self.net.is_up(node) {
                self.net.start(node);
            }
        }
        let mut last = None;
        for _ in 0..600 {
            self.net.tick();
            self.net.settle();
            for node in self.net.nodes() {
                let installs = !self.net.machine(node).installs.is_empty();
                if installs && !self.net.install(node) {
                    let from = self.net.machine(node).installs[0].0;
                    self.net.checkpoint(from);
                    self.net.install(node);
                }
            }
            self.check();
            if last.is_none()
                && let Some(leader) = self.net.leader()
            {
                self.commands += 1;
                let payload = format!("{} {}", self.net.end(leader), self.commands);
                last = self.net.propose(leader, payload);
            }
        }
        let last = last.expect("a node leads again");
        assert!(self.net.decisions.keys().next_back() >= Some(&last), "no value is decided any more");
        let leader = self.net.leader().expect("a leader stays");
        let members = self.net.engine(leader).members().clone();
        assert!(!members.is_changing(), "a change was never completed");
        for member in &members.nodes {
            assert!(self.net.machine(member.node).committed >= last, "{} has not caught up", member.node);
            assert!(self.net.engine(member.node).may_vote(), "{} may not vote", member.node);
            assert_eq!(*self.net.engine(member.node).members(), members, "{}", member.node);
        }
    }

    /// Every command directly follows the value with which its proposer's log ended.
    fn check_order(&self) {
        let mut before = Mark::default();
        for entry in self.net.decisions.values() {
            assert_eq!(entry.index, before.slot.next(), "no gaps");
            if entry.kind == EntryKind::Command {
                let text = String::from_utf8(entry.payload.to_vec()).unwrap();
                assert_eq!(text.split(' ').next(), Some(&*before.to_string()), "{text} at {}", entry.index);
            }
            before = Mark::of(entry);
        }
    }
}

/// Lines of a failed run's trace that are shown; `PAXOS_TRACE=1` records one.
const LINES_SHOWN: usize = 40_000;

fn run(seeds: std::ops::Range<u64>, steps: usize, changes: bool) {
    let mut decided = 0;
    for seed in seeds.clone() {
        let mut run = Run::new(seed, changes);
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..steps {
                run.step();
            }
            run.heal();
            run.check_order();
        }));
        decided += run.net.decisions.len();
        if result.is_err() {
            let trace = run.net.trace.unwrap_or_default();
            let last = trace.get(trace.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
            panic!("{}\nseed {seed}", last.join("\n"));
        }
    }
    let count = usize::try_from(seeds.end - seeds.start).unwrap();
    assert!(decided > 10 * count, "only {decided} values in {count} runs");
}

#[test]
fn decided_values_are_the_same_on_every_node() {
    run(0..150, 3000, false);
}

#[test]
fn decided_values_are_the_same_while_members_change() {
    run(1000..1150, 4000, true);
}

/// Longer runs. `PAXOS_SEEDS=from..to` runs other seeds, for a long search.
#[test]
fn decided_values_are_the_same_in_long_runs() {
    let seeds = match std::env::var("PAXOS_SEEDS") {
        Ok(seeds) => {
            let (from, to) = seeds.split_once("..").expect("PAXOS_SEEDS is from..to");
            from.parse().expect("PAXOS_SEEDS starts with a number")
                ..to.parse().expect("PAXOS_SEEDS ends with a number")
        }
        Err(_) => 2000..2100,
    };
    assert!(!seeds.is_empty(), "PAXOS_SEEDS names no seed");
    run(seeds.clone(), 6000, false);
    run(seeds, 6000, true);
}
