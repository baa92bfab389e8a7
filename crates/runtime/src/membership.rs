//! What a node is to the others: the way to them, what they said of themselves, and whether it may vote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::{Change, Conflict, Members, Role, Standing};
use bezant_recovery::Machine;
use bezant_replica::{Input, Outcome, PeerMessage, Pull, change_command};
use bezant_rsm::Command;
use bezant_types::{LogIndex, Nanos, NodeId};

use crate::clock::{BACK_MAX, Clock, Reading};
use crate::cluster::{Acquaintance, ClusterStatus, NodeStatus};
use crate::directory::Directory;
use crate::growth::{self, Growth};
use crate::handle::Shared;
use crate::metrics::gauge;
use crate::peer::Peers;
use crate::replica_thread::DrivenReplica;
use crate::supply_thread::Supply;

/// Ticks between two looks at where the cluster stands.
const STATUS_TICKS: u64 = 5;
/// Ticks between two words of what this node's clock shows.
const CLOCK_TICKS: u64 = 1_000;
/// How long something is known of the clock of a node that cannot be sent to: it says what it shows more often.
const CLOCK_KNOWN: Duration = Duration::from_secs(35);
/// A clock that is farther off than this is worth a word: timeouts of pending transfers follow the leader's.
const CLOCK_OFFSET_MAX_NANOS: u64 = 500_000_000;

/// Ticks that a first start waits for the same nodes before that is a word in the log.
const FIRST_START_TICKS: u64 = 300;

/// A node among others.
pub(crate) struct Membership {
    peers: Arc<Peers>,
    supply: mpsc::Sender<Supply>,
    directory: Arc<Directory>,
    clock: Clock,
    /// What the others' clocks showed when they were heard of last.
    clocks: BTreeMap<NodeId, Reading>,
    /// These clocks less this node's, in ns, where that was exact.
    offsets: BTreeMap<NodeId, i64>,
    /// Peers whose disks were new at some time since this node began.
    fresh: BTreeSet<NodeId>,
    /// Peers whose disks were never new since this node began: the cluster works already, or has.
    used: BTreeSet<NodeId>,
    /// Since which tick a first start waits for the same nodes.
    waits_since: u64,
    status: ClusterStatus,
    /// When the last tick was.
    ticked_at: Instant,
    /// The last moment of which it is certain that the leader was heard of at it, or later.
    heard_at: Option<Instant>,
    /// It was told that this node was removed.
    is_removed: bool,
    ticks: u64,
    /// Peers that have stopped, and why.
    stopped_peers: BTreeMap<NodeId, Conflict>,
    /// `None` where an operator says who takes part.
    growth: Option<Growth>,
}

impl Membership {
    pub(crate) fn new(
        peers: Arc<Peers>,
        supply: mpsc::Sender<Supply>,
        directory: Arc<Directory>,
        status: ClusterStatus,
        clock: Clock,
        grows: bool,
    ) -> Self {
        let (offsets, fresh, growth) = (BTreeMap::new(), BTreeSet::new(), grows.then(Growth::default));
        let mut member = Self {
            peers,
            supply,
            directory,
            clock,
            clocks: BTreeMap::new(),
            offsets,
            fresh,
            used: BTreeSet::new(),
            waits_since: 0,
            status,
            ticked_at: Instant::now(),
            heard_at: None,
            is_removed: false,
            ticks: 0,
            stopped_peers: BTreeMap::new(),
            growth,
        };
        member.status.may_vote = member.directory.is_admitted();
        member.list();
        member
    }

    /// The cluster, as far as it is known.
    pub(crate) fn status(&self) -> ClusterStatus {
        self.status.clone()
    }

    /// False for what a disk sent that is not that node's any more.
    pub(crate) fn believes(&self, from: NodeId, disk: u128) -> bool {
        self.directory.is_known(from, disk)
    }

    /// These take part from now on; on disk on return.
    pub(crate) fn learn(&mut self, members: &Members) -> Result<(), String> {
        if self.directory.learn(members)? {
            self.peers.follow_directory();
        }
        Ok(())
    }

    /// Brings the list of nodes up to what the directory says.
    fn list(&mut self) {
        let members = self.directory.members();
        if members.index == self.status.members_index && members.nodes.len() == self.status.nodes.len() {
            return;
        }
        if let Some(reason) = self.directory.removal()
            && !std::mem::replace(&mut self.is_removed, true)
        {
            tracing::error!("{reason}");
        }
        self.status.members_index = members.index;
        let status = |member: &bezant_consensus::Member| NodeStatus {
            node: member.node,
            address: self.directory.address(member),
            since: member.since,
            part: member.part,
            is_connected: false,
            matched: None,
            clock_offset_nanos: None,
            refused: None,
        };
        self.status.nodes = members.nodes.iter().map(status).collect();
    }

    /// Sends a message. What is not sent on the way from a client to the leader was not done: then that is the outcome, for
    /// its client should not wait for one that cannot come.
    pub(crate) fn send(&self, to: NodeId, message: PeerMessage) -> Option<PeerMessage> {
        let forwarded = match &message {
            PeerMessage::Forward(number, _) => Some(*number),
            _ => None,
        };
        let is_sent = self.peers.send(to, message.encode());
        let number = forwarded.filter(|_| !is_sent)?;
        // Without a connection there may be another leader soon.
        let is_full = self.peers.is_connected(to);
        Some(PeerMessage::Outcome(number, if is_full { Outcome::Overloaded } else { Outcome::NotDone }))
    }

    pub(crate) fn supply(&self, to: NodeId, pull: Pull) {
        // A thread that has ended has told why before.
        drop(self.supply.send(Supply { to, pull }));
    }

    /// A peer was met. When all disks are new, nothing can have been agreed yet, and all may vote.
    pub(crate) fn meet(
        &mut self,
        node: NodeId,
        acquaintance: Acquaintance,
        replica: &mut DrivenReplica<impl Machine>,
    ) {
        self.note_clock(node, acquaintance.clock);
        if acquaintance.is_fresh {
            self.fresh.insert(node);
            self.used.remove(&node);
        } else if !self.fresh.contains(&node) {
            self.used.insert(node);
        }
        self.admit_if_all_begin(replica);
    }

    fn admit_if_all_begin(&self, replica: &mut DrivenReplica<impl Machine>) {
        let members = self.directory.members();
        if self.is_beginning(replica) && self.fresh.len() + 1 == members.nodes.len() {
            self.admit(replica);
        }
    }

    /// True while nothing was ever agreed, as far as this disk knows, and it may not vote.
    fn is_beginning(&self, replica: &DrivenReplica<impl Machine>) -> bool {
        let is_first = self.directory.members().index == LogIndex(0);
        !replica.may_vote() && is_first && self.directory.is_fresh()
    }

    /// Which nodes a first start waits for, in words; `None` when there is a leader, or the cluster has begun without
    /// this node.
    pub(crate) fn first_start(&self, replica: &DrivenReplica<impl Machine>) -> Option<String> {
        if !self.used.is_empty() || replica.standing().leader.is_some() || !self.is_beginning(replica) {
            return None;
        }
        let members = self.directory.members();
        let is_missing = |node: NodeId| node != self.status.node && !self.fresh.contains(&node);
        let missing: Vec<String> = members
            .nodes
            .iter()
            .filter(|member| is_missing(member.node))
            .map(|member| format!("node {} at {}", member.node, self.directory.address(member)))
            .collect();
        (!missing.is_empty()).then(|| format!("the first start waits for {}", missing.join(", ")))
    }

    /// Notes which nodes a first start waits for, and says so in the log when that stays so.
    fn note_first_start(&mut self, waits: Option<String>) {
        if self.status.first_start != waits {
            self.status.first_start = waits;
            self.waits_since = self.ticks;
        } else if let Some(waits) = &self.status.first_start
            && self.ticks == self.waits_since + FIRST_START_TICKS
        {
            tracing::warn!("{waits}: a new cluster elects no leader before all its nodes have met");
        }
    }

    /// On disk first: after a restart it must not be forgotten that this disk may have voted.
    pub(crate) fn admit(&self, replica: &mut DrivenReplica<impl Machine>) {
        match self.directory.set_admitted() {
            Ok(()) => replica.handle(self.clock.now(), Input::Admit),
            Err(error) => tracing::error!("this node cannot take part in elections: {error}"),
        }
    }

    /// A node wants to join.
    pub(crate) fn note_asking(
        &mut self,
        node: NodeId,
        address: String,
        replica: &DrivenReplica<impl Machine>,
    ) {
        if let Some(growth) = &mut self.growth {
            growth.note(node, address, replica.members());
        }
    }

    /// What is asked for without an operator: that the disk of a node which came is agreed; and in a cluster that grows
    /// by itself, that a node is taken in, and has a vote.
    pub(crate) fn wish(&mut self, replica: &DrivenReplica<impl Machine>) -> Option<Command> {
        if let Some(change) = self.growth.as_mut().and_then(Growth::take_asking) {
            return Some(change_command(&change, LogIndex(0)));
        }
        if !replica.is_leader() || replica.members().is_changing() || !self.ticks.is_multiple_of(STATUS_TICKS)
        {
            return None;
        }
        let Some((node, disk)) = self.directory.not_agreed() else {
            self.growth.as_ref()?;
            let member = growth::next_voter(replica.members(), &self.status)?;
            return Some(change_command(&Change::Promote(member.node), member.since));
        };
        let member = replica.members().get(node).filter(|member| member.disk == 0)?;
        Some(change_command(&Change::Meet { node, disk }, member.since))
    }

    /// This replica has stopped: on disk before anything else is done.
    pub(crate) fn note_conflict(&self, conflict: &Conflict) {
        if let Err(error) = self.directory.note_conflict(conflict) {
            tracing::error!("that cannot be noted on disk: {error}. Do not start this node again");
        }
    }

    /// A peer says that it has stopped: told once.
    pub(crate) fn hear_stopped(&mut self, from: NodeId, conflict: Conflict) {
        if self.stopped_peers.insert(from, conflict) != Some(conflict) {
            tracing::error!(
                node = from.0,
                "node {from} has stopped: {conflict}. Look at it before anything else is done to it: what it has may \
                 have been acknowledged, and is nowhere else"
            );
        }
    }

    /// Something is about to be written to this disk.
    pub(crate) fn note_write(&self) {
        self.directory.set_used();
    }

    fn measure(&self, shared: &Shared, is_new_leader: bool) {
        let (metrics, status) = (&shared.metrics, &self.status);
        metrics.term.set(gauge(status.term.0));
        metrics.may_vote.set(i64::from(status.may_vote));
        metrics.stopped.set(i64::from(status.stopped.is_some()));
        metrics.leads.set(i64::from(status.role == Role::Leader));
        metrics.committed_index.set(gauge(status.committed.0));
        if is_new_leader && status.leader.is_some() {
            metrics.leader_changes.inc();
        }
        let others = || status.nodes.iter().filter(|node| node.node != status.node);
        metrics.peers_connected.set(gauge(others().filter(|node| node.is_connected).count() as u64));
        metrics.peers_refused.set(gauge(others().filter(|node| node.refused.is_some()).count() as u64));
        let (messages, bytes) = self.peers.sent();
        metrics.peer_messages_sent.set(gauge(messages));
        metrics.peer_sent_bytes.set(gauge(bytes));
        metrics.peer_messages_dropped.set(gauge(self.peers.dropped()));
        let offsets = others().filter_map(|node| node.clock_offset_nanos).map(i64::unsigned_abs);
        metrics.clock_offset_max.set(gauge(offsets.max().unwrap_or(0)));
    }

    /// Notes when the state was that of the whole cluster. A process that slept finds the leader's words of before: so the tick
    /// before counts, and not the moment at which they were read.
    fn note_heard(&mut self, standing: &Standing, applied: LogIndex) {
        let is_led = standing.leader.is_some() && standing.silent_ticks <= 1;
        if is_led || standing.role == Role::Leader {
            self.heard_at = Some(self.ticked_at);
        }
        if applied >= standing.announced {
            self.status.current_at = self.heard_at;
        }
        self.ticked_at = Instant::now();
    }

    fn tell_clock(&self) {
        let wall = self.clock.now().wall;
        for node in self.status.nodes.iter().filter(|node| node.node != self.status.node) {
            self.send(node.node, PeerMessage::Clock(wall));
        }
    }

    /// A peer says what its clock shows: it may have been set since the two have met. What the message took on its way
    /// is in the difference.
    pub(crate) fn hear_clock(&mut self, from: NodeId, wall: Nanos) {
        self.note_clock(from, Reading { wall, at: Instant::now(), is_exact: true });
    }

    fn note_clock(&mut self, node: NodeId, reading: Reading) {
        let keeps = |known: &Reading| known.is_exact && known.age(reading.at) < CLOCK_KNOWN;
        if !reading.is_exact && self.clocks.get(&node).is_some_and(keeps) {
            return;
        }
        self.clocks.insert(node, reading);
        if reading.is_exact {
            self.compare_clock(node, reading);
        }
    }

    /// The machine's clock was set. It says so to the others at once, and finds out anew how far theirs are from it.
    pub(crate) fn handle_clock_set(&mut self) {
        self.tell_clock();
        for (node, reading) in self.clocks.clone() {
            if reading.is_exact {
                self.compare_clock(node, reading);
            }
        }
    }

    fn compare_clock(&mut self, node: NodeId, reading: Reading) {
        let ahead = i128::from(reading.shows(Instant::now()).0) - i128::from(self.clock.now().wall.0);
        let offset = i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX });
        let is_off = |offset: i64| offset.unsigned_abs() > CLOCK_OFFSET_MAX_NANOS;
        let before = self.offsets.insert(node, offset);
        if is_off(offset) && !before.is_some_and(is_off) {
            tracing::warn!(
                node = node.0,
                "the clock of node {node} is {} ms off this node's: check both",
                ahead / 1_000_000
            );
        }
    }

    /// What is known of the voters' clocks.
    pub(crate) fn clocks(&self, replica: &DrivenReplica<impl Machine>, now: Instant) -> Clocks {
        let voters: BTreeSet<NodeId> = replica.members().voters().collect();
        let votes = voters.contains(&self.status.node);
        let is_known = |node: NodeId, reading: &Reading| {
            voters.contains(&node) && (reading.age(now) < CLOCK_KNOWN || self.peers.is_connected(node))
        };
        let known = self.clocks.iter().filter(|(node, reading)| is_known(**node, reading));
        Clocks {
            votes,
            is_only_voter: votes && voters.len() == 1,
            voters: voters.len(),
            known: known.map(|(node, reading)| (*node, reading.shows(now))).collect(),
        }
    }

    /// Why this node's clock does not count.
    pub(crate) fn set_clock(&mut self, reason: Option<&str>) {
        if self.status.clock.as_deref() != reason {
            self.status.clock = reason.map(str::to_owned);
        }
    }

    /// Time went on: tells the world where the cluster stands, now and then.
    pub(crate) fn tick(&mut self, replica: &mut DrivenReplica<impl Machine>, shared: &Shared) {
        if self.ticks == 0 {
            // One with whom nobody else begins meets nobody.
            self.admit_if_all_begin(replica);
        }
        self.ticks += 1;
        let standing = replica.standing();
        self.note_heard(&standing, replica.applied());
        if self.ticks.is_multiple_of(CLOCK_TICKS) {
            self.tell_clock();
        }
        if !self.ticks.is_multiple_of(STATUS_TICKS) {
            return;
        }
        self.list();
        let leader_before = self.status.leader;
        self.status.take(&standing, replica.applied());
        self.status.agreed = replica.agreed();
        self.status.install = replica.install_progress();
        self.status.may_vote = replica.may_vote();
        self.status.removed = self.directory.removal();
        self.status.stopped = stopped(replica);
        self.status.no_state = replica.no_state();
        self.note_first_start(self.first_start(replica));
        let refusals = self.peers.refusals();
        for node in &mut self.status.nodes {
            node.refused = refusals.get(&node.node).cloned();
            node.is_connected = node.node == self.status.node || self.peers.is_connected(node.node);
            node.clock_offset_nanos = self.offsets.get(&node.node).copied();
        }
        if self.status.leader != leader_before {
            let term = standing.term.0;
            let who = standing.leader.map_or_else(|| "no node".to_owned(), |leader| format!("node {leader}"));
            tracing::info!(term, "{who} leads");
        }
        self.measure(shared, self.status.leader != leader_before);
        if *shared.cluster.borrow() != self.status {
            shared.cluster.send_replace(self.status.clone());
        }
    }
}

/// The clocks of the voters.
#[derive(Debug)]
pub(crate) struct Clocks {
    /// This node is one of them.
    pub(crate) votes: bool,
    pub(crate) is_only_voter: bool,
    pub(crate) voters: usize,
    /// What those of the others show now, where that is known.
    pub(crate) known: Vec<(NodeId, Nanos)>,
}

impl Clocks {
    /// Who is to lead in this node's place: the one with most of the log of those that are heard of, and whose clock is so
    /// near the one that counts that it would count there, whatever it was before.
    pub(crate) fn successor(&self, standing: &Standing, counts: Nanos) -> Option<NodeId> {
        let is_right = |node| {
            self.known.iter().any(|(known, wall)| *known == node && wall.0.abs_diff(counts.0) <= BACK_MAX)
        };
        let able = standing.peers.iter().filter(|peer| peer.is_active && is_right(peer.node));
        able.max_by_key(|peer| (peer.matched, std::cmp::Reverse(peer.node))).map(|peer| peer.node)
    }
}

/// Why this node has stopped; `None` when it has not.
pub(crate) fn stopped(replica: &DrivenReplica<impl Machine>) -> Option<String> {
    replica.conflict().and_then(|_| replica.read_only_reason()).map(str::to_owned)
}

/// True while the others need this node to lead, and one of them could in its place.
pub(crate) fn is_needed(replica: &DrivenReplica<impl Machine>) -> bool {
    let standing = replica.standing();
    let votes = |node: NodeId| replica.members().voters().any(|voter| voter == node);
    standing.role == Role::Leader && standing.peers.iter().any(|peer| peer.is_active && votes(peer.node))
}
