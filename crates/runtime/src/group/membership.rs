//! A node's part in its cluster: the connections to its peers, what it has learned of them, and whether it
//! may vote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_consensus::{Change, Conflict, Members, Role, Standing};
use bezant_recovery::Machine;
use bezant_replica::{Input, Outcome, PeerMessage, Pull, change_command};
use bezant_rsm::Command;
use bezant_types::{LogIndex, Nanos, NodeId};

use crate::clock::{BACK_MAX, Clock, Reading};
use crate::group::directory::Directory;
use crate::group::growth::{self, Growth};
use crate::group::message::Acquaintance;
use crate::group::metrics::gauge;
use crate::group::shared::{DrivenReplica, Shared};
use crate::group::status::{ClusterStatus, NodeStatus};
use crate::group::work::Supply;
use crate::peer::Peers;
use crate::process::mailbox::Sender;

/// Ticks between two updates of the cluster's status.
const STATUS_TICKS: u64 = 5;
/// Ticks between two messages with this node's clock.
const CLOCK_TICKS: u64 = 1_000;
/// How long a reading of a clock counts while there is no connection to its node. Nodes send readings more
/// often.
const CLOCK_KNOWN: Duration = Duration::from_secs(35);
/// A clock that is farther off than this is logged: timeouts of pending transfers follow the leader's clock.
const CLOCK_OFFSET_MAX_NANOS: u64 = 500_000_000;

/// Ticks that a first start waits for the same nodes before it is logged.
const FIRST_START_TICKS: u64 = 300;

/// The membership of a node of a cluster.
pub(crate) struct Membership {
    peers: Arc<Peers>,
    supply: Sender<Supply>,
    directory: Arc<Directory>,
    clock: Clock,
    /// The last readings of the other nodes' clocks.
    clocks: BTreeMap<NodeId, Reading>,
    /// The other nodes' clocks minus this node's, in ns; only from exact readings.
    offsets: BTreeMap<NodeId, i64>,
    /// Peers whose disks were new at some time since this node started.
    fresh: BTreeSet<NodeId>,
    /// Peers whose disks were not new at any time since this node started: the cluster works already, or has
    /// worked.
    used: BTreeSet<NodeId>,
    /// The tick since which a first start waits for the same nodes.
    waits_since: u64,
    status: ClusterStatus,
    /// The time of the last tick.
    ticked_at: Instant,
    /// The latest time known for certain to be at or before the last contact with the leader; `None` without
    /// one.
    led_at: Option<Instant>,
    /// True after the removal of this node was logged.
    is_removed: bool,
    ticks: u64,
    /// Peers that have stopped, and why.
    stopped_peers: BTreeMap<NodeId, Conflict>,
    /// Nodes that ask for admission; `None` when an operator adds the nodes.
    growth: Option<Growth>,
}

impl Membership {
    pub(crate) fn new(
        peers: Arc<Peers>,
        supply: Sender<Supply>,
        directory: Arc<Directory>,
        status: ClusterStatus,
        clock: Clock,
        grows: bool,
    ) -> Self {
        let (offsets, fresh, growth) = (BTreeMap::new(), BTreeSet::new(), grows.then(Growth::default));
        let mut membership = Self {
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
            led_at: None,
            is_removed: false,
            ticks: 0,
            stopped_peers: BTreeMap::new(),
            growth,
        };
        membership.status.may_vote = membership.directory.is_admitted();
        membership.refresh_nodes();
        membership
    }

    /// This node's view of the cluster.
    pub(crate) fn status(&self) -> ClusterStatus {
        self.status.clone()
    }

    /// False for a message from a disk that does not belong to that node any more.
    pub(crate) fn is_from_member(&self, from: NodeId, disk: u128) -> bool {
        self.directory.is_known(from, disk)
    }

    /// Adopts a list of members; on disk on return.
    pub(crate) fn learn(&mut self, members: &Members) -> Result<(), String> {
        if self.directory.learn(members)? {
            self.peers.follow_directory();
        }
        Ok(())
    }

    /// Updates the status' nodes from the directory.
    fn refresh_nodes(&mut self) {
        let members = self.directory.members();
        if members.index == self.status.members_index && members.nodes.len() == self.status.nodes.len() {
            return;
        }
        if let Some(removal) = self.directory.removal()
            && !std::mem::replace(&mut self.is_removed, true)
        {
            tracing::error!("{removal}");
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

    /// Sends a message. If a command cannot be forwarded to the leader, it was not done. Then this outcome is
    /// returned, so that its client does not wait for an answer that cannot come.
    pub(crate) fn send(&self, to: NodeId, message: PeerMessage) -> Option<PeerMessage> {
        let forwarded = match &message {
            PeerMessage::Forward(number, _) => Some(*number),
            _ => None,
        };
        let is_sent = self.peers.send(to, message.encode());
        let number = forwarded.filter(|_| !is_sent)?;
        // With a connection, the queue was full. Without one, another node may lead soon.
        let is_full = self.peers.is_connected(to);
        Some(PeerMessage::Outcome(number, if is_full { Outcome::Overloaded } else { Outcome::NotDone }))
    }

    pub(crate) fn supply(&self, to: NodeId, pull: Pull) {
        // A task that has ended is not needed any more.
        drop(self.supply.send(Supply { to, pull }));
    }

    /// Notes a handshake's result. When all disks are new, nothing can have been committed yet, and all nodes
    /// may vote.
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

    /// True while nothing was ever committed, according to this disk, and it may not vote.
    fn is_beginning(&self, replica: &DrivenReplica<impl Machine>) -> bool {
        let is_first = self.directory.members().index == LogIndex(0);
        !replica.may_vote() && is_first && self.directory.is_fresh()
    }

    /// The nodes that a first start waits for, as text; `None` when there is a leader, or when the cluster
    /// has begun without this node.
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

    /// Records the nodes that a first start waits for, and logs them when they stay the same.
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

    /// Lets this replica vote, after its right to vote is recorded on disk: a restart must not lose that it
    /// may have voted.
    pub(crate) fn admit(&self, replica: &mut DrivenReplica<impl Machine>) {
        match self.directory.set_admitted() {
            Ok(()) => replica.handle(self.clock.now(), Input::Admit),
            Err(error) => tracing::error!("this node cannot take part in elections: {error}"),
        }
    }

    /// Notes a node that asks for admission.
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

    /// The next change that this node requests without an operator. It records the disk of a member; in a
    /// cluster that grows by itself, it may also add a node or give it a vote.
    pub(crate) fn next_request(&mut self, replica: &DrivenReplica<impl Machine>) -> Option<Command> {
        if let Some(change) = self.growth.as_mut().and_then(Growth::take_asking) {
            return Some(change_command(&change, LogIndex(0)));
        }
        if !replica.is_leader() || replica.members().is_changing() || !self.ticks.is_multiple_of(STATUS_TICKS)
        {
            return None;
        }
        let Some((node, disk)) = self.directory.uncommitted_disk() else {
            self.growth.as_ref()?;
            let member = growth::next_voter(replica.members(), &self.status)?;
            return Some(change_command(&Change::Promote(member.node), member.since));
        };
        let member = replica.members().get(node).filter(|member| member.disk == 0)?;
        Some(change_command(&Change::Meet { node, disk }, member.since))
    }

    /// Records that this replica has stopped, before anything else is done.
    pub(crate) fn note_conflict(&self, conflict: &Conflict) {
        if let Err(error) = self.directory.note_conflict(conflict) {
            tracing::error!("the conflict cannot be recorded on disk: {error}. Do not start this node again");
        }
    }

    /// Notes a peer's report that it has stopped, and logs it once.
    pub(crate) fn note_stopped_peer(&mut self, from: NodeId, conflict: Conflict) {
        if self.stopped_peers.insert(from, conflict) != Some(conflict) {
            tracing::error!(
                node = from.0,
                "node {from} has stopped: {conflict}. Examine it before anything else is done to it: its entries may \
                 have been acknowledged, and no other node has them"
            );
        }
    }

    /// Notes that something is about to be written to this disk.
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

    /// Notes the last time at which the state was current. A process that was suspended reads messages that
    /// the leader sent before that. So the time of the previous tick counts, not the time at which a message
    /// is read.
    fn note_current(&mut self, standing: &Standing, applied: LogIndex) {
        let is_led = standing.leader.is_some() && standing.ticks_since_leader <= 1;
        if is_led || standing.role == Role::Leader {
            self.led_at = Some(self.ticked_at);
        }
        if applied >= standing.announced {
            self.status.current_at = self.led_at;
        }
        self.ticked_at = Instant::now();
    }

    fn send_clock(&self) {
        let wall = self.clock.now().wall;
        for node in self.status.nodes.iter().filter(|node| node.node != self.status.node) {
            self.send(node.node, PeerMessage::Clock(wall));
        }
    }

    /// Notes a peer's clock reading: its clock may have been set since the handshake. The difference includes
    /// the time that the message took.
    pub(crate) fn note_peer_clock(&mut self, from: NodeId, wall: Nanos) {
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

    /// Sends the new time to the others at once after the machine's clock was set, and measures the
    /// differences again.
    pub(crate) fn handle_clock_set(&mut self) {
        self.send_clock();
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

    /// The known readings of the voters' clocks.
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

    /// Sets the reason why this node's clock is wrong; `None` when it is not.
    pub(crate) fn set_clock(&mut self, reason: Option<&str>) {
        if self.status.clock.as_deref() != reason {
            self.status.clock = reason.map(str::to_owned);
        }
    }

    /// Handles a tick: updates and publishes the status at intervals.
    pub(crate) fn tick(&mut self, replica: &mut DrivenReplica<impl Machine>, shared: &Shared) {
        if self.ticks == 0 {
            // A cluster that begins with one node has no handshakes.
            self.admit_if_all_begin(replica);
        }
        self.ticks += 1;
        let standing = replica.standing();
        self.note_current(&standing, replica.applied());
        if self.ticks.is_multiple_of(CLOCK_TICKS) {
            self.send_clock();
        }
        if !self.ticks.is_multiple_of(STATUS_TICKS) {
            return;
        }
        self.refresh_nodes();
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
    /// This node is a voter.
    pub(crate) votes: bool,
    pub(crate) is_only_voter: bool,
    pub(crate) voters: usize,
    /// What the other voters' clocks show now, where that is known.
    pub(crate) known: Vec<(NodeId, Nanos)>,
}

impl Clocks {
    /// The node to which to transfer leadership: of the active voters with a clock near the reference clock,
    /// the one with most of the log. Its clock must be so near that it would be accepted even after it was
    /// off.
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

/// True while this node leads and another active voter could lead in its place.
pub(crate) fn is_needed(replica: &DrivenReplica<impl Machine>) -> bool {
    let standing = replica.standing();
    let votes = |node: NodeId| replica.members().voters().any(|voter| voter == node);
    standing.role == Role::Leader && standing.peers.iter().any(|peer| peer.is_active && votes(peer.node))
}
