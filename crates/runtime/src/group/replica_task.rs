//! The task that owns the replica: it takes messages, and turns outputs into work for the other tasks.
//!
//! It never waits for a client, and it writes nothing but small records to the disk: a list of members, the
//! right to vote, a conflict. All messages that have arrived are handled before entries are made, so that
//! requests that arrive together are merged.

mod clock_guard;
mod driven;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_consensus::Role;
use bezant_recovery::Machine;
use bezant_replica::{Input, Output, PeerMessage, Refusal, TICK_NANOS, Ticket};
use bezant_types::{HistoryPosition, MovementNumber};
use tokio::sync::oneshot;

use crate::error::{ExecuteError, ReadError};
use crate::group::admission::{Admission, RETRY_AFTER};
use crate::group::membership::{Membership, is_needed};
use crate::group::message::{Committed, Message, Read};
use crate::group::metrics::gauge;
use crate::group::shared::{DrivenReplica, Shared, observe};
use crate::group::work::{CheckpointWork, Fetch, HistoryWork, LogWork, Workers};
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

pub(crate) use clock_guard::ClockGuard;
use driven::Driven;

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

/// The replica, and everything that drives it. Ends after a stop, or when every sender of messages is dropped.
pub(crate) struct ReplicaTask<M: Machine> {
    driven: Driven<M>,
    messages: Mailbox<Message<M>>,
    workers: Workers,
    waiters: HashMap<Ticket, Waiter<M::Answer>>,
    next_ticket: u64,
    next_tick: Instant,
    ticks: u64,
    /// True after a list of members could not be written: no checkpoint may become durable after that.
    has_lost_list: bool,
}

impl<M: Machine> Task for ReplicaTask<M> {
    fn run(&mut self, _now: Instant) -> Next {
        let mut is_drained = false;
        for _ in 0..MESSAGES_MAX {
            let Some(message) = self.messages.next() else {
                is_drained = true;
                break;
            };
            self.take(message);
        }
        if is_drained && !self.messages.has_senders() {
            return self.end();
        }
        if Instant::now() >= self.next_tick {
            self.tick();
            // Missed ticks are not repeated: a process that slept must not take all peers for unresponsive.
            self.next_tick = Instant::now().max(self.next_tick + TICK);
        }
        let has_queries = self.driven.replica.step_queries();
        self.work();
        if self.driven.stop_by.is_some_and(|by| self.is_at_rest() || Instant::now() >= by) {
            return self.end();
        }
        if has_queries || !is_drained { Next::Again } else { Next::At(self.next_tick) }
    }
}

impl<M: Machine> ReplicaTask<M> {
    pub(crate) fn new(
        replica: DrivenReplica<M>,
        membership: Option<Membership>,
        shared: Arc<Shared>,
        messages: Mailbox<Message<M>>,
        workers: Workers,
        clock: ClockGuard,
    ) -> Self {
        let driven = Driven::new(replica, membership, clock, shared);
        driven.publish_health();
        Self {
            driven,
            messages,
            workers,
            waiters: HashMap::new(),
            next_ticket: 0,
            next_tick: Instant::now() + TICK,
            ticks: 0,
            has_lost_list: false,
        }
    }

    /// Ends the task: the other tasks end with it.
    fn end(&self) -> Next {
        // A handle may outlive the node.
        self.driven.shared.release_disk();
        // The history's task and the index task hold senders to each other, so one of them must receive a stop.
        send(&self.workers.history, HistoryWork::Stop);
        Next::End
    }

    fn take(&mut self, message: Message<M>) {
        match message {
            Message::Execute { command, admission, reply } => {
                if self.driven.stop_by.is_some() {
                    answer(reply, Err(ExecuteError::Stopping));
                } else if !reply.is_closed() {
                    let ticket = self.wait(Waiter::Execute(reply, admission));
                    self.driven.handle(Input::Request { ticket, command });
                }
            }
            // A read whose caller no longer waits is not begun.
            Message::Query { reply, .. } if reply.is_closed() => {}
            Message::Barrier { reply, .. } if reply.is_closed() => {}
            Message::Query { query, consistency, reply } => {
                let ticket = self.wait(Waiter::Query(reply));
                self.driven.handle(Input::Query { ticket, query, consistency });
            }
            Message::Barrier { consistency, reply } => {
                let ticket = self.wait(Waiter::Barrier(reply));
                self.driven.handle(Input::Barrier { ticket, consistency });
            }
            Message::Event(input) => self.take_event(input),
            Message::FromPeer { from, disk, message } => {
                let Some(membership) = self
                    .driven
                    .membership
                    .as_mut()
                    .filter(|membership| membership.is_from_member(from, disk))
                else {
                    return;
                };
                match message {
                    PeerMessage::Clock(wall) => {
                        membership.note_peer_clock(from, wall);
                        self.driven.clock.has_news = true;
                    }
                    message => self.take_event(Input::Message { from, message }),
                }
            }
            Message::Met { node, acquaintance } => {
                if let Some(membership) = &mut self.driven.membership {
                    membership.meet(node, acquaintance, &mut self.driven.replica);
                    self.driven.clock.has_news = true;
                }
            }
            Message::Asks { node, address } => {
                if let Some(membership) = &mut self.driven.membership {
                    membership.note_asking(node, address, &self.driven.replica);
                }
            }
            Message::Stop => {
                self.driven.shared.announce_stop();
                self.driven.stop_by = Some(Instant::now() + STOP_TIMEOUT);
            }
        }
    }

    fn tick(&mut self) {
        if self.driven.clock.is_wrong() || self.ticks.is_multiple_of(CLOCK_TICKS) {
            self.driven.check_clock();
        }
        let now = self.driven.read_clock();
        if self.driven.stop_by.is_some() {
            // Another node should lead when this node ends, so that clients need not wait for an election.
            self.driven.replica.handle(now, Input::TransferLeadership);
        }
        self.driven.replica.handle(now, Input::Tick);
        self.ticks += 1;
        if self.ticks.is_multiple_of(DROP_READS_TICKS) {
            self.drop_reads();
        }
        let Some(membership) = &mut self.driven.membership else { return };
        membership.tick(&mut self.driven.replica, &self.driven.shared);
        if let Some(command) = membership.next_request(&self.driven.replica) {
            // No caller waits for the outcome: while the change is not made, it is requested again.
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.driven.handle(Input::Request { ticket, command });
        }
    }

    /// Removes readers that no longer wait. Their answers may come late, or never.
    fn drop_reads(&mut self) {
        let count = self.waiters.len();
        self.waiters.retain(|_, waiter| !waiter.is_gone());
        if self.waiters.len() < count {
            let waiters = &self.waiters;
            self.driven.replica.retain_reads(|ticket| waiters.contains_key(&ticket));
        }
    }

    /// True when no client waits for this node, and no other node needs it as leader. Readers that wait for
    /// newer state can ask other nodes.
    fn is_at_rest(&self) -> bool {
        !self.waiters.values().any(|waiter| matches!(waiter, Waiter::Execute(..)))
            && !is_needed(&self.driven.replica)
    }

    fn take_event(&mut self, input: Input<M>) {
        let changes_health = matches!(input, Input::Failed { .. } | Input::Pressure(_));
        let is_installed = matches!(input, Input::Installed);
        if let Input::Pressure(reason) = &input {
            send(&self.workers.history, HistoryWork::Pressure(reason.is_some()));
        }
        let (applied_before, start) = (self.driven.replica.applied(), Instant::now());
        self.driven.handle(input);
        if self.driven.replica.applied() != applied_before {
            observe(&self.driven.shared.metrics.apply_seconds, start);
        }
        if is_installed {
            // Readers that wait for the rows of a peer's checkpoint see them from now on.
            let position = self.driven.shared.reader.position();
            self.driven.shared.show_rows(MovementNumber(position.movements));
        }
        if changes_health {
            self.driven.publish_health();
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
        let now = self.driven.read_clock();
        let metrics = &self.driven.shared.metrics;
        let keeps_up = metrics.history_backlog.get() < HISTORY_BACKLOG_MAX
            && metrics.history_unindexed.get() < HISTORY_UNINDEXED_MAX;
        // A follower forwards its clients' commands, whatever its clock shows. The engine's role decides, not
        // `is_leader`: that is false for a leader whose disk hangs, but its engine still takes entries.
        let may_stamp = !self.driven.clock.is_wrong() || self.driven.replica.standing().role != Role::Leader;
        if keeps_up && may_stamp {
            self.driven.replica.propose(now);
        }
        while let Some(output) = self.driven.replica.poll() {
            self.pass_on(output);
        }
        self.driven.publish_state();
        let applied = self.driven.replica.applied();
        if self.driven.shared.metrics.applied_index.get() != gauge(applied.0) {
            self.driven.shared.metrics.applied_index.set(gauge(applied.0));
            self.driven.shared.applied.send_replace(applied);
        }
        self.driven.shared.metrics.commands_waiting.set(gauge(self.driven.shared.commands_waiting() as u64));
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
                if let Some(membership) = &self.driven.membership {
                    membership.note_write();
                }
                send(&self.workers.log, LogWork::Persist(write));
            }
            Output::Fetch { index, term, prefetch } => {
                self.driven.shared.metrics.fetches.inc();
                self.driven.shared.metrics.fetched_keys.inc_by(prefetch.keys.len() as u64);
                send(&self.workers.fetch, Fetch { index, term, prefetch });
            }
            Output::Rows(rows) => {
                self.driven.shared.metrics.entries.inc();
                let count = rows.movements.len() + rows.refusals.len();
                self.driven.shared.metrics.history_backlog.inc_by(gauge(count as u64));
                send(&self.workers.history, HistoryWork::Rows(rows));
            }
            Output::Terms(terms) => send(&self.workers.checkpoint, CheckpointWork::Terms(terms)),
            Output::CheckpointBegin { index, term } => {
                send(&self.workers.checkpoint, CheckpointWork::Begin { index, term });
            }
            Output::CheckpointPiece(piece) => {
                send(&self.workers.checkpoint, CheckpointWork::Piece(piece));
            }
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
                    self.driven.membership.as_ref().and_then(|membership| membership.send(to, message));
                if let Some(message) = undelivered {
                    self.take_event(Input::Message { from: to, message });
                }
            }
            Output::Serve { to, pull } => {
                if let Some(membership) = &self.driven.membership {
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
                if let Some(membership) = &self.driven.membership {
                    membership.admit(&mut self.driven.replica);
                }
            }
            Output::Stopped(conflict) => {
                if let Some(membership) = &self.driven.membership {
                    membership.note_conflict(&conflict);
                }
                tracing::error!("{}", self.driven.replica.read_only_reason().unwrap_or_default());
                self.driven.publish_health();
            }
            Output::PeerStopped { from, conflict } => {
                if let Some(membership) = &mut self.driven.membership {
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
                self.driven.shared.metrics.differences.inc();
                tracing::error!(
                    index = index.0,
                    "the state after entry {index} differs on node {}: a replica is wrong",
                    others.join(", ")
                );
            }
            Output::Diverged { index, is_outvoted, reason } => {
                self.driven.shared.metrics.differences.inc();
                tracing::error!(index = index.0, "{reason}");
                if is_outvoted {
                    self.driven.shared.note_divergence(index);
                }
                self.driven.publish_health();
            }
            _ => {}
        }
    }

    /// Adopts a list of members. The list is on disk before any later output: such a write is rare and small,
    /// so this task waits for it.
    fn learn(&mut self, members: &bezant_consensus::Members) {
        let Some(membership) = &mut self.driven.membership else { return };
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
                self.driven.shared.metrics.commands.inc();
                self.driven.shared.metrics.events.inc_by(u64::from(events));
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
                self.driven.shared.metrics.overloaded.inc();
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
        self.driven.membership.as_ref().and_then(|membership| membership.first_start(&self.driven.replica))
    }
}

/// Sends an answer; drops it if the caller no longer waits.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

/// Sends work to a task. A task that has ended has reported why ([`Input::Failed`]); work for it is dropped.
fn send<T>(worker: &Sender<T>, work: T) {
    drop(worker.send(work));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{AHEAD_MAX, Clock};
    use crate::group::metrics::Metrics;
    use crate::group::shared::Health;
    use crate::process::mailbox::mailbox;
    use crate::process::pool::tests::detached;
    use bezant_consensus::{Engine, Solo, WriteNumber};
    use bezant_ledger::{Event, Ledger, Operation, ToCommand};
    use bezant_replica::{Replica, ReplicaOptions, Restored};
    use bezant_storage::{History, MemoryDisk};
    use bezant_types::{LogIndex, Nanos, NodeId};
    use std::sync::atomic::{AtomicU64, Ordering};

    const TODAY: Nanos = Nanos(1_793_491_200 * Nanos::PER_SECOND);
    const MINUTE: u64 = 60 * Nanos::PER_SECOND;

    /// A replica whose other tasks have all ended.
    fn alone(options: ReplicaOptions, clock: Clock) -> ReplicaTask<Ledger> {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Arc::new(Shared::new(Metrics::new(), history.reader()));
        let zero = LogIndex(0);
        let engine: Box<dyn Engine + Send> = Box::new(Solo::new(NodeId(1), zero));
        let replica = Replica::new(Restored::new(Ledger::new(), zero, zero, 0), engine, options);
        let workers = Workers {
            log: mailbox(&detached()).0,
            fetch: mailbox(&detached()).0,
            history: mailbox(&detached()).0,
            checkpoint: mailbox(&detached()).0,
        };
        let messages = mailbox(&detached()).1;
        ReplicaTask::new(replica, None, shared, messages, workers, ClockGuard::new(clock, false))
    }

    #[test]
    fn space_does_not_repair_a_failed_disk() {
        let mut task = alone(ReplicaOptions::default(), Clock::system());
        let shared = Arc::clone(&task.driven.shared);
        let read_only = |reason: &str| Health::ReadOnly { reason: reason.to_owned() };
        let health = || shared.health.borrow().clone();
        task.take_event(Input::Pressure(Some("full".to_owned())));
        assert_eq!(health(), read_only("full"));
        task.take_event(Input::Pressure(None));
        assert_eq!(health(), Health::Serving);
        task.take_event(Input::Failed { reason: "broken".to_owned() });
        task.take_event(Input::Pressure(Some("full".to_owned())));
        task.take_event(Input::Pressure(None));
        assert_eq!(health(), read_only("broken"));
    }

    #[test]
    fn the_time_to_apply_is_measured() {
        let mut task = alone(ReplicaOptions::default(), Clock::system());
        let asset = bezant_types::Asset {
            ledger: bezant_types::LedgerNumber(100_000),
            code: "POINTS".parse().unwrap(),
            scale: 0,
        };
        let command = Operation::RegisterAssets.command(bezant_types::Asset::write_all(&[asset])).unwrap();
        task.driven.replica.handle(Clock::system().now(), Input::Request { ticket: Ticket(1), command });
        task.work();
        task.take_event(Input::Persisted(WriteNumber(1)));
        let mut registry = prometheus_client::registry::Registry::default();
        task.driven.shared.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.lines().any(|line| line == "bezant_apply_seconds_count 1"), "{text}");
    }

    #[test]
    fn a_stalled_leader_with_a_wrong_clock_stamps_nothing() {
        let shown = Arc::new(AtomicU64::new(TODAY.0));
        let shows = Arc::clone(&shown);
        let clock = Clock::new(move || Nanos(shows.load(Ordering::Relaxed)));
        let options = ReplicaOptions { is_alone: false, ..ReplicaOptions::default() };
        let mut task = alone(options, clock);
        let ask = |task: &mut ReplicaTask<Ledger>, number| {
            let account = bezant_types::Account::default();
            let body = Event::write_all(&[account]);
            let command = Operation::CreateAccounts.command(body).unwrap();
            let ticket = Ticket(number);
            task.driven.handle(Input::Request { ticket, command });
            task.work();
        };
        ask(&mut task, 1);
        let stamped = task.driven.replica.time();
        assert_eq!(stamped.0 / MINUTE, TODAY.0 / MINUTE);
        // The write is never reported as done.
        (0..200).for_each(|_| task.driven.handle(Input::Tick));
        assert!(!task.driven.replica.is_leader(), "it does not lead for its clients");
        shown.store(TODAY.0 + 300 * AHEAD_MAX, Ordering::Relaxed);
        ask(&mut task, 2);
        assert!(task.driven.clock.is_wrong());
        assert_eq!(task.driven.replica.time(), stamped);
    }
}
