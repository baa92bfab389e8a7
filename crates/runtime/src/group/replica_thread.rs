//! The thread that owns the replica: it takes messages, and turns outputs into work for the other threads.
//!
//! It never waits for a client, and it writes nothing but small records to the disk: a list of members, the
//! right to vote, a conflict. All messages that have arrived are handled before entries are made, so that
//! requests that arrive together are merged.

mod clock_guard;

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bezant_consensus::Role;
use bezant_recovery::Machine;
use bezant_replica::{Input, NoState, Output, PeerMessage, Refusal, TICK_NANOS, Ticket};
use bezant_types::{HistoryPosition, MovementNumber};
use tokio::sync::oneshot;

use crate::error::{ExecuteError, ReadError};
use crate::group::admission::{Admission, RETRY_AFTER};
use crate::group::membership::{Membership, is_needed};
use crate::group::message::{Committed, Message, Read};
use crate::group::metrics::gauge;
use crate::group::shared::{DrivenReplica, Health, Shared, observe};
use crate::group::work::{CheckpointWork, Fetch, HistoryWork, LogWork, Workers};

pub(crate) use clock_guard::ClockGuard;

/// The interval of the replica's ticks.
const TICK: Duration = Duration::from_nanos(TICK_NANOS);
/// The most messages that are handled before entries are made.
const MESSAGES_MAX: usize = 4096;
/// The rows by which the history may lag; above it no entry is made until it has caught up. A row takes 336
/// bytes.
const HISTORY_BACKLOG_MAX: i64 = 1 << 18;
/// The rows that may wait in memory for their index; above it no entry is made either. About 270 MB.
const HISTORY_UNINDEXED_MAX: i64 = 3 << 18;
/// How long a stop waits for what is in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Ticks between two removals of readers that no longer wait.
const DROP_READS_TICKS: u64 = 10;

/// A caller that waits for an answer.
#[derive(Debug)]
enum Waiter<Answer> {
    Execute(
        oneshot::Sender<Result<Committed, ExecuteError>>,
        #[expect(dead_code, reason = "given back when dropped")] Admission,
    ),
    Query(oneshot::Sender<Result<Read<Answer>, ReadError>>),
    Barrier(oneshot::Sender<Result<Read<HistoryPosition>, ReadError>>),
}

impl<Answer> Waiter<Answer> {
    /// True for a reader that no longer waits. The outcome of a command is always sent, whether its caller
    /// still waits or not.
    fn is_gone(&self) -> bool {
        match self {
            Self::Execute(..) => false,
            Self::Query(reply) => reply.is_closed(),
            Self::Barrier(reply) => reply.is_closed(),
        }
    }
}

/// Ticks between two checks of the clock, while it is right.
const CLOCK_TICKS: u64 = 10;

/// The replica, and everything that drives it.
pub(crate) struct ReplicaThread<M: Machine> {
    replica: DrivenReplica<M>,
    /// The node's part in its cluster; `None` for a node that is alone.
    membership: Option<Membership>,
    shared: Arc<Shared>,
    workers: Workers,
    waiters: HashMap<Ticket, Waiter<M::Answer>>,
    next_ticket: u64,
    ticks: u64,
    /// True after a list of members could not be written: no checkpoint may become durable after that.
    has_lost_list: bool,
    clock: ClockGuard,
    /// The last published reason why this replica has no state to show yet.
    no_state: Option<NoState>,
    /// The deadline of a stop; `None` before it.
    stop_by: Option<Instant>,
}

impl<M: Machine> ReplicaThread<M> {
    pub(crate) fn new(
        replica: DrivenReplica<M>,
        membership: Option<Membership>,
        shared: Arc<Shared>,
        workers: Workers,
        clock: ClockGuard,
    ) -> Self {
        let (waiters, has_lost_list, no_state) = (HashMap::new(), false, replica.no_state());
        Self {
            replica,
            membership,
            shared,
            workers,
            waiters,
            next_ticket: 0,
            ticks: 0,
            has_lost_list,
            clock,
            no_state,
            stop_by: None,
        }
    }

    /// Runs until a stop, or until every sender of messages is dropped.
    pub(crate) fn run(mut self, messages: &mpsc::Receiver<Message<M>>) {
        self.serve(messages);
        // A handle may outlive the node.
        self.shared.release_disk();
        // The history thread and the index thread hold senders to each other, so one of them must receive a
        // stop.
        send(&self.workers.history, HistoryWork::Stop);
    }

    fn serve(&mut self, messages: &mpsc::Receiver<Message<M>>) {
        let mut next_tick = Instant::now() + TICK;
        let mut has_queries = false;
        loop {
            let until_tick = next_tick.saturating_duration_since(Instant::now());
            let timeout = if has_queries { Duration::ZERO } else { until_tick };
            match messages.recv_timeout(timeout) {
                Ok(message) => {
                    self.take(message);
                    messages.try_iter().take(MESSAGES_MAX).for_each(|message| self.take(message));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_tick {
                self.tick();
                // Missed ticks are not repeated: a process that slept must not take all peers for
                // unresponsive.
                next_tick = Instant::now().max(next_tick + TICK);
            }
            has_queries = self.replica.step_queries();
            self.work();
            if self.stop_by.is_some_and(|by| self.is_at_rest() || Instant::now() >= by) {
                return;
            }
        }
    }

    fn take(&mut self, message: Message<M>) {
        match message {
            Message::Execute { command, admission, reply } => {
                if self.stop_by.is_some() {
                    answer(reply, Err(ExecuteError::Stopping));
                } else if !reply.is_closed() {
                    let ticket = self.wait(Waiter::Execute(reply, admission));
                    self.replica.handle(self.clock.now(), Input::Request { ticket, command });
                }
            }
            // A read whose caller no longer waits is not begun.
            Message::Query { reply, .. } if reply.is_closed() => {}
            Message::Barrier { reply, .. } if reply.is_closed() => {}
            Message::Query { query, consistency, reply } => {
                let ticket = self.wait(Waiter::Query(reply));
                self.replica.handle(self.clock.now(), Input::Query { ticket, query, consistency });
            }
            Message::Barrier { consistency, reply } => {
                let ticket = self.wait(Waiter::Barrier(reply));
                self.replica.handle(self.clock.now(), Input::Barrier { ticket, consistency });
            }
            Message::Event(input) => self.take_event(input),
            Message::FromPeer { from, disk, message } => {
                let Some(membership) =
                    self.membership.as_mut().filter(|membership| membership.is_from_member(from, disk))
                else {
                    return;
                };
                match message {
                    PeerMessage::Clock(wall) => {
                        membership.note_peer_clock(from, wall);
                        self.clock.has_news = true;
                    }
                    message => self.take_event(Input::Message { from, message }),
                }
            }
            Message::Met { node, acquaintance } => {
                if let Some(membership) = &mut self.membership {
                    membership.meet(node, acquaintance, &mut self.replica);
                    self.clock.has_news = true;
                }
            }
            Message::Asks { node, address } => {
                if let Some(membership) = &mut self.membership {
                    membership.note_asking(node, address, &self.replica);
                }
            }
            Message::Stop => {
                self.shared.announce_stop();
                self.stop_by = Some(Instant::now() + STOP_TIMEOUT);
            }
        }
    }

    fn tick(&mut self) {
        if self.clock.is_wrong() || self.ticks.is_multiple_of(CLOCK_TICKS) {
            self.check_clock();
        }
        let now = self.read_clock();
        if self.stop_by.is_some() {
            // Another node should lead when this node ends, so that clients need not wait for an election.
            self.replica.handle(now, Input::TransferLeadership);
        }
        self.replica.handle(now, Input::Tick);
        self.ticks += 1;
        if self.ticks.is_multiple_of(DROP_READS_TICKS) {
            self.drop_reads();
        }
        let Some(membership) = &mut self.membership else { return };
        membership.tick(&mut self.replica, &self.shared);
        if let Some(command) = membership.next_request(&self.replica) {
            // No caller waits for the outcome: while the change is not made, it is requested again.
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.replica.handle(self.clock.now(), Input::Request { ticket, command });
        }
    }

    /// Removes readers that no longer wait. Their answers may come late, or never.
    fn drop_reads(&mut self) {
        let count = self.waiters.len();
        self.waiters.retain(|_, waiter| !waiter.is_gone());
        if self.waiters.len() < count {
            let waiters = &self.waiters;
            self.replica.retain_reads(|ticket| waiters.contains_key(&ticket));
        }
    }

    /// True when no client waits for this node, and no other node needs it as leader. Readers that wait for
    /// newer state can ask other nodes.
    fn is_at_rest(&self) -> bool {
        !self.waiters.values().any(|waiter| matches!(waiter, Waiter::Execute(..)))
            && !is_needed(&self.replica)
    }

    fn take_event(&mut self, input: Input<M>) {
        let changes_health = matches!(input, Input::Failed { .. } | Input::Pressure(_));
        let is_installed = matches!(input, Input::Installed);
        if let Input::Pressure(reason) = &input {
            send(&self.workers.history, HistoryWork::Pressure(reason.is_some()));
        }
        let (applied_before, start) = (self.replica.applied(), Instant::now());
        self.replica.handle(self.clock.now(), input);
        if self.replica.applied() != applied_before {
            observe(&self.shared.metrics.apply_seconds, start);
        }
        if is_installed {
            // Readers that wait for the rows of a peer's checkpoint see them from now on.
            let position = self.shared.reader.position();
            self.shared.visible.send_replace(MovementNumber(position.movements));
        }
        if changes_health {
            self.publish_health();
        }
    }

    pub(crate) fn publish_health(&self) {
        self.shared.metrics.has_state.set(i64::from(self.no_state.is_none()));
        if self.stop_by.is_none() {
            // The state of the replica decides, not the message: space on the disk does not repair a disk
            // that failed.
            let reason = self.replica.read_only_reason().map(str::to_owned);
            self.shared.metrics.read_only.set(i64::from(reason.is_some()));
            let shows = self.no_state.map_or(Health::Serving, |reason| Health::NoState { reason });
            self.shared.health.send_replace(reason.map_or(shows, |reason| Health::ReadOnly { reason }));
        }
    }

    fn wait(&mut self, waiter: Waiter<M::Answer>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.insert(ticket, waiter);
        ticket
    }

    /// Makes entries of waiting requests, and passes on the outputs of the replica.
    fn work(&mut self) {
        let now = self.read_clock();
        let metrics = &self.shared.metrics;
        let keeps_up = metrics.history_backlog.get() < HISTORY_BACKLOG_MAX
            && metrics.history_unindexed.get() < HISTORY_UNINDEXED_MAX;
        // A follower forwards its clients' commands, whatever its clock shows. The engine's role decides, not
        // `is_leader`: that is false for a leader whose disk hangs, but its engine still takes entries.
        let may_stamp = !self.clock.is_wrong() || self.replica.standing().role != Role::Leader;
        if keeps_up && may_stamp {
            self.replica.propose(now);
        }
        while let Some(output) = self.replica.poll() {
            self.pass_on(output);
        }
        if self.no_state.is_some() && self.replica.no_state() != self.no_state {
            self.no_state = self.replica.no_state();
            self.publish_health();
        }
        let applied = self.replica.applied();
        if self.shared.metrics.applied_index.get() != gauge(applied.0) {
            self.shared.metrics.applied_index.set(gauge(applied.0));
            self.shared.applied.send_replace(applied);
        }
        self.shared.metrics.commands_waiting.set(gauge(self.shared.commands_waiting() as u64));
    }

    fn pass_on(&mut self, output: Output<M>) {
        if self.has_lost_list
            && matches!(
                output,
                Output::CheckpointBegin { .. }
                    | Output::CheckpointPiece(_)
                    | Output::CheckpointEnd { .. }
                    | Output::Release(_)
                    | Output::InstallCheckpoint(_)
            )
        {
            return;
        }
        match output {
            Output::Persist(write) => {
                if let Some(membership) = &self.membership {
                    membership.note_write();
                }
                send(&self.workers.log, LogWork::Persist(write));
            }
            Output::Fetch { index, term, prefetch } => {
                self.shared.metrics.fetches.inc();
                self.shared.metrics.fetched_keys.inc_by(prefetch.keys.len() as u64);
                send(&self.workers.fetch, Fetch { index, term, prefetch });
            }
            Output::Rows(rows) => {
                self.shared.metrics.entries.inc();
                let count = rows.movements.len() + rows.refusals.len();
                self.shared.metrics.history_backlog.inc_by(gauge(count as u64));
                send(&self.workers.history, HistoryWork::Rows(rows));
            }
            Output::Terms(terms) => send(&self.workers.checkpoint, CheckpointWork::Terms(terms)),
            Output::CheckpointBegin { index, term } => {
                send(&self.workers.checkpoint, CheckpointWork::Begin { index, term });
            }
            Output::CheckpointPiece(piece) => send(&self.workers.checkpoint, CheckpointWork::Piece(piece)),
            Output::CheckpointEnd { index, time, position } => {
                send(&self.workers.checkpoint, CheckpointWork::End { index, time, position });
            }
            Output::Release(index) => send(&self.workers.log, LogWork::Release(index)),
            Output::InstallRows { from, until, bytes } => {
                send(&self.workers.history, HistoryWork::Install { from, until, bytes });
            }
            Output::InstallCheckpoint(installable) => {
                send(&self.workers.checkpoint, CheckpointWork::Install(installable));
            }
            Output::Send { to, message } => {
                let undelivered =
                    self.membership.as_ref().and_then(|membership| membership.send(to, message));
                if let Some(message) = undelivered {
                    self.take_event(Input::Message { from: to, message });
                }
            }
            Output::Serve { to, pull } => {
                if let Some(membership) = &self.membership {
                    membership.supply(to, pull);
                }
            }
            Output::Members(_) | Output::CaughtUp | Output::Stopped(_) | Output::PeerStopped { .. } => {
                self.take_part(output);
            }
            Output::Unreadable { .. } | Output::Differs { .. } | Output::Diverged { .. } => {
                self.report_difference(output);
            }
            Output::Answer { .. }
            | Output::Refuse { .. }
            | Output::QueryAnswer { .. }
            | Output::BarrierPassed { .. } => self.reply(output),
        }
    }

    /// Handles outputs that change this node's part in the cluster.
    fn take_part(&mut self, output: Output<M>) {
        match output {
            Output::Members(members) => self.learn(&members),
            Output::CaughtUp => {
                if let Some(membership) = &self.membership {
                    membership.admit(&mut self.replica);
                }
            }
            Output::Stopped(conflict) => {
                if let Some(membership) = &self.membership {
                    membership.note_conflict(&conflict);
                }
                tracing::error!("{}", self.replica.read_only_reason().unwrap_or_default());
                self.publish_health();
            }
            Output::PeerStopped { from, conflict } => {
                if let Some(membership) = &mut self.membership {
                    membership.note_stopped_peer(from, conflict);
                }
            }
            _ => unreachable!("invariant: `pass_on` sends only outputs that change this node's part"),
        }
    }

    /// Reports a state that cannot be read, or that differs from that of others.
    fn report_difference(&self, output: Output<M>) {
        match output {
            Output::Unreadable { from, index, reason } => tracing::error!(
                from = from.0,
                index = index.0,
                "the state that node {from} sent cannot be read: {reason}. It is requested again. If this message repeats, this program \
                 has an earlier version than that of node {from}: start the later version here"
            ),
            Output::Differs { index, others } => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                self.shared.metrics.differences.inc();
                tracing::error!(
                    index = index.0,
                    "the state after entry {index} differs on node {}: a replica is wrong",
                    others.join(", ")
                );
            }
            Output::Diverged { index, is_outvoted, reason } => {
                self.shared.metrics.differences.inc();
                tracing::error!(index = index.0, "{reason}");
                if is_outvoted {
                    self.shared.note_divergence(index);
                }
                self.publish_health();
            }
            _ => {}
        }
    }

    /// Adopts a list of members. The list is on disk before any later output: such a write is rare and small,
    /// so this thread waits for it.
    fn learn(&mut self, members: &bezant_consensus::Members) {
        let Some(membership) = &mut self.membership else { return };
        if let Err(reason) = membership.learn(members) {
            let reason = format!("the list of members cannot be written: {reason}");
            tracing::error!("{reason}");
            self.has_lost_list = true;
            self.take_event(Input::Failed { reason });
        }
    }

    /// Sends an outcome or an answer to the caller that waits for it.
    fn reply(&mut self, output: Output<M>) {
        match output {
            Output::Answer { ticket, index, time, events, results } => {
                self.shared.metrics.commands.inc();
                self.shared.metrics.events.inc_by(u64::from(events));
                if let Some(Waiter::Execute(reply, _)) = self.waiters.remove(&ticket) {
                    answer(reply, Ok(Committed { index, time, results }));
                }
            }
            Output::Refuse { ticket, refusal } => match self.waiters.remove(&ticket) {
                Some(Waiter::Execute(reply, _)) => answer(reply, Err(self.error(refusal))),
                Some(Waiter::Query(reply)) => answer(reply, Err(self.read_error(&refusal))),
                Some(Waiter::Barrier(reply)) => answer(reply, Err(self.read_error(&refusal))),
                None => {}
            },
            Output::QueryAnswer { ticket, index, answer: found } => {
                if let Some(Waiter::Query(reply)) = self.waiters.remove(&ticket) {
                    answer(reply, Ok(Read { index, answer: found }));
                }
            }
            Output::BarrierPassed { ticket, index, position } => {
                if let Some(Waiter::Barrier(reply)) = self.waiters.remove(&ticket) {
                    answer(reply, Ok(Read { index, answer: position }));
                }
            }
            _ => {}
        }
    }

    fn error(&self, refusal: Refusal) -> ExecuteError {
        match refusal {
            Refusal::Overloaded => {
                self.shared.metrics.overloaded.inc();
                ExecuteError::Overloaded { retry_after: RETRY_AFTER }
            }
            Refusal::ReadOnly(reason) => ExecuteError::ReadOnly { reason },
            Refusal::NotTaken(reason) => ExecuteError::NotTaken { reason },
            Refusal::NoLeader | Refusal::NoState(_) => {
                self.first_start().map_or(ExecuteError::NoLeader, ExecuteError::FirstStart)
            }
            Refusal::Interrupted => ExecuteError::Interrupted,
        }
    }

    fn read_error(&self, refusal: &Refusal) -> ReadError {
        match refusal {
            Refusal::NoState(reason) => ReadError::NoState { reason: *reason },
            _ => self.first_start().map_or(ReadError::NoLeader, ReadError::FirstStart),
        }
    }

    /// The nodes that the first start waits for, as text.
    fn first_start(&self) -> Option<String> {
        self.membership.as_ref().and_then(|membership| membership.first_start(&self.replica))
    }
}

/// Sends an answer; drops it if the caller no longer waits.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

/// Sends work to a thread. A thread that has ended has reported why ([`Input::Failed`]); work for it is
/// dropped.
fn send<T>(worker: &mpsc::Sender<T>, work: T) {
    drop(worker.send(work));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::group::metrics::Metrics;
    use bezant_consensus::{Engine, Solo, WriteNumber};
    use bezant_ledger::{Event, Ledger, Operation, ToCommand};
    use bezant_replica::{Replica, ReplicaOptions, Restored};
    use bezant_storage::{History, MemoryDisk};
    use bezant_types::{LogIndex, NodeId};

    /// A replica whose other threads have all ended.
    pub(super) fn alone(options: ReplicaOptions, clock: Clock) -> ReplicaThread<Ledger> {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let zero = LogIndex(0);
        let engine: Box<dyn Engine + Send> = Box::new(Solo::new(NodeId(1), zero));
        let replica = Replica::new(Restored::new(Ledger::new(), zero, zero, 0), engine, options);
        let workers = Workers {
            log: mpsc::channel().0,
            fetch: mpsc::channel().0,
            history: mpsc::channel().0,
            checkpoint: mpsc::channel().0,
        };
        ReplicaThread::new(replica, None, shared, workers, ClockGuard::new(clock, false))
    }

    #[test]
    fn space_does_not_repair_a_failed_disk() {
        let mut thread = alone(ReplicaOptions::default(), Clock::system());
        let shared = Arc::clone(&thread.shared);
        let read_only = |reason: &str| Health::ReadOnly { reason: reason.to_owned() };
        let health = || shared.health.borrow().clone();
        thread.take_event(Input::Pressure(Some("full".to_owned())));
        assert_eq!(health(), read_only("full"));
        thread.take_event(Input::Pressure(None));
        assert_eq!(health(), Health::Serving);
        thread.take_event(Input::Failed { reason: "broken".to_owned() });
        thread.take_event(Input::Pressure(Some("full".to_owned())));
        thread.take_event(Input::Pressure(None));
        assert_eq!(health(), read_only("broken"));
    }

    #[test]
    fn the_time_to_apply_is_measured() {
        let mut thread = alone(ReplicaOptions::default(), Clock::system());
        let asset = bezant_types::Asset {
            ledger: bezant_types::LedgerNumber(100_000),
            code: "POINTS".parse().unwrap(),
            scale: 0,
        };
        let command = Operation::RegisterAssets.command(bezant_types::Asset::write_all(&[asset])).unwrap();
        thread.replica.handle(Clock::system().now(), Input::Request { ticket: Ticket(1), command });
        thread.work();
        thread.take_event(Input::Persisted(WriteNumber(1)));
        let mut registry = prometheus_client::registry::Registry::default();
        thread.shared.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.lines().any(|line| line == "bezant_apply_seconds_count 1"), "{text}");
    }
}
