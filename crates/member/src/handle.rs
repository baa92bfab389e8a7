//! The handle of a member: commands, queries and events, over changes of leaders.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bezant_rsm::{Caller, Command, Event, Freshness, Service};
use bezant_runtime::{Committed, Consistency, ExecuteError, Handle, Health as NodeHealth, ReadError};
use bezant_types::LogIndex;
use bytes::Bytes;
use tokio::sync::watch;

use crate::command::{Verdict, open};
use crate::error::CallError;
use crate::hosted::{AskError, COMMAND_SIZE_MAX, Hosted, HostedAnswer, HostedQuery};
use crate::machine_member::Membership;
use crate::session::{Session, Turn, Wait};

/// The wait before a retry, unless the error has one.
const RETRY_WAIT: Duration = Duration::from_millis(10);
/// Events that are requested at once.
const EVENTS_PAGE: usize = 1;

/// Calls the service of a member. Cheap to clone; all clones share one session with the member itself.
pub struct MemberHandle<S: Service + Default> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: Service + Default> {
    node: Handle<Hosted<S>>,
    membership: Membership,
    session: Session,
    /// The last log entry that an answer reflected.
    seen: AtomicU64,
    timeout: Duration,
}

impl<S: Service + Default> Clone for MemberHandle<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Service + Default> fmt::Debug for MemberHandle<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemberHandle").field("timeout", &self.shared.timeout).finish_non_exhaustive()
    }
}

/// The result of a try.
enum Tried {
    /// The command has an outcome.
    Done(Committed),
    /// The command was not done, or that is not known: retry.
    Again {
        /// True when it may have been done.
        is_uncertain: bool,
        wait: Duration,
    },
}

impl<S: Service + Default> MemberHandle<S> {
    pub(crate) fn new(node: Handle<Hosted<S>>, membership: Membership, timeout: Duration) -> Self {
        let (session, seen) = (Session::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { node, membership, session, seen, timeout }) }
    }

    /// The deadline of a call that begins now.
    fn deadline(&self) -> Instant {
        deadline_in(self.shared.timeout)
    }

    /// Puts a command in the log, and returns the service's answer once the command is on disk on a majority
    /// and applied here or at the leader. It is done once, however often the leader changes meanwhile.
    ///
    /// # Errors
    /// The error tells whether the command was done, unless it reports that this is not known.
    pub async fn invoke(&self, command: &[u8]) -> Result<Bytes, CallError> {
        if command.len() > COMMAND_SIZE_MAX {
            return Err(CallError::CommandTooLarge { size: command.len() });
        }
        let deadline = self.deadline();
        loop {
            let turn = self.begin(deadline).await?;
            let session = turn.head.session;
            let (reply, is_uncertain) = self.put(turn.head.command(command), deadline).await?;
            drop(turn);
            let (verdict, answer) = Verdict::read(&reply).ok_or(CallError::OutcomeUnknown)?;
            return match verdict {
                Verdict::Done => Ok(answer),
                Verdict::Unknown => Err(bezant_rsm::UnknownCall.into()),
                Verdict::TooLarge => {
                    let size = answer.first_chunk().map_or(0, |size| u64::from_le_bytes(*size));
                    Err(CallError::AnswerTooLarge { size })
                }
                Verdict::Dropped => Err(CallError::OutcomeUnknown),
                Verdict::NoSession => {
                    self.shared.session.lose(session);
                    if is_uncertain {
                        return Err(CallError::OutcomeUnknown);
                    }
                    continue;
                }
            };
        }
    }

    /// Takes a number for a command, in an open session.
    async fn begin(&self, deadline: Instant) -> Result<Turn<'_>, CallError> {
        loop {
            match self.shared.session.begin() {
                Ok(turn) => return Ok(turn),
                Err(Wait::Session) => self.open(deadline).await?,
                Err(Wait::WindowFull) => pause(RETRY_WAIT, deadline).await?,
            }
        }
    }

    /// Opens a session. A try without an outcome may have opened another session, which is never used.
    async fn open(&self, deadline: Instant) -> Result<(), CallError> {
        let _opening = self.shared.session.opening.lock().await;
        if self.shared.session.is_open() {
            return Ok(());
        }
        let (reply, _) = self.put(open(), deadline).await?;
        let Some((Verdict::Done, number)) = Verdict::read(&reply) else {
            return Err(bezant_rsm::UnknownCall.into());
        };
        let number = number.first_chunk().ok_or(CallError::OutcomeUnknown)?;
        self.shared.session.set(u64::from_le_bytes(*number));
        Ok(())
    }

    /// Puts a command in the log, with retries; returns its reply, and whether an earlier try may have been
    /// done.
    async fn put(&self, command: Command, deadline: Instant) -> Result<(Bytes, bool), CallError> {
        let mut may_be_done = false;
        loop {
            let outcome = tokio::select! {
                biased;
                outcome = self.shared.node.execute(command.clone(), Some(deadline)) => outcome,
                () = self.removed() => return Err(CallError::Removed),
            };
            let is_own_disk =
                matches!(self.shared.node.health(), NodeHealth::ReadOnly { .. } | NodeHealth::Stopping);
            match tried(outcome, is_own_disk)? {
                Tried::Done(committed) => {
                    self.note_index(committed.index);
                    return Ok((committed.results, may_be_done));
                }
                Tried::Again { is_uncertain, wait } => {
                    may_be_done |= is_uncertain;
                    pause(wait, deadline).await?;
                }
            }
        }
    }

    async fn removed(&self) {
        self.shared.membership.removed(&self.shared.node).await;
    }

    fn note_index(&self, index: LogIndex) {
        self.shared.seen.fetch_max(index.0, Ordering::Relaxed);
    }

    /// Queries the state of this node with the given freshness.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn query(&self, query: &[u8], freshness: Freshness) -> Result<Bytes, CallError> {
        let question = HostedQuery::Ask(Bytes::copy_from_slice(query));
        match self.ask(question, freshness).await? {
            HostedAnswer::Asked(Ok(answer)) => Ok(answer),
            HostedAnswer::Asked(Err(AskError::Unknown(unknown))) => Err(unknown.into()),
            HostedAnswer::Asked(Err(AskError::Panicked)) => Err(CallError::Panicked),
            HostedAnswer::Events(_) | HostedAnswer::LastEvent(_) => Err(bezant_rsm::UnknownCall.into()),
        }
    }

    async fn ask(&self, question: HostedQuery, freshness: Freshness) -> Result<HostedAnswer, CallError> {
        let deadline = self.deadline();
        let consistency = match freshness {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Session => Consistency::AtLeast(LogIndex(self.shared.seen.load(Ordering::Relaxed))),
            Freshness::Stale => Consistency::Stale,
        };
        loop {
            let read = self.shared.node.query_at(question.clone(), consistency, Some(deadline));
            let read = tokio::select! {
                biased;
                read = read => read,
                // A removed node can still answer from its state.
                () = self.removed(), if freshness != Freshness::Stale => return Err(CallError::Removed),
            };
            let wait = match read {
                Ok(read) => {
                    self.note_index(read.index);
                    return Ok(read.answer);
                }
                Err(ReadError::Overloaded { retry_after }) => retry_after,
                Err(ReadError::NoLeader | ReadError::FirstStart(_) | ReadError::NoState { .. }) => RETRY_WAIT,
                Err(ReadError::Stopping) => return Err(CallError::ShutDown),
                Err(ReadError::DeadlineExceeded) => return Err(CallError::DeadlineExceeded),
                // A service has no history to read, and this version has no other error.
                Err(error) => return Err(CallError::ReadOnly { reason: error.to_string() }),
            };
            pause(wait, deadline).await?;
        }
    }

    /// Refuses a number that no event has yet: a caller that waits for events after it would miss earlier
    /// ones.
    ///
    /// This node may lag the node that returned the number, so its own state decides only after it has
    /// applied what is committed.
    async fn check_number(&self, after: u64) -> Result<(), CallError> {
        for freshness in [Freshness::Stale, Freshness::Linearizable] {
            match self.ask(HostedQuery::LastEvent, freshness).await? {
                HostedAnswer::LastEvent(last) if after <= last => return Ok(()),
                HostedAnswer::LastEvent(last) if freshness == Freshness::Linearizable => {
                    return Err(CallError::EventNotYet { after, last });
                }
                HostedAnswer::LastEvent(_) => {}
                HostedAnswer::Asked(_) | HostedAnswer::Events(_) => {
                    return Err(bezant_rsm::UnknownCall.into());
                }
            }
        }
        Ok(())
    }

    /// Waits until this node has a state. Before that, only other members have the events.
    async fn state(&self, health: &mut watch::Receiver<NodeHealth>) -> Result<(), CallError> {
        let has_state = health.wait_for(|health| !matches!(health, NodeHealth::NoState { .. }));
        tokio::select! {
            () = self.removed() => Err(CallError::Removed),
            has_state = has_state => has_state.map(drop).map_err(|_| CallError::ShutDown),
        }
    }

    /// The next event of a stream with a number greater than `after`, from this node's state; waits until
    /// there is one. Begin with 0, and continue after the number of the last event.
    ///
    /// # Errors
    /// Also [`CallError::EventsDropped`]: about 65,000 events, or 16 MiB of them, are kept. And
    /// [`CallError::EventNotYet`] when no member has an event of the number `after`.
    pub async fn next_event(&self, stream: u32, after: u64) -> Result<Event, CallError> {
        let mut applied = self.shared.node.watch_applied();
        let mut health = self.shared.node.watch_health();
        let mut is_checked = false;
        loop {
            self.state(&mut health).await?;
            applied.mark_unchanged();
            health.mark_unchanged();
            let question = HostedQuery::Events { stream, after, limit: EVENTS_PAGE };
            match self.ask(question, Freshness::Stale).await? {
                HostedAnswer::Events(Ok(events)) => {
                    if let Some(event) = events.into_iter().next() {
                        return Ok(event);
                    }
                }
                HostedAnswer::Events(Err(last)) => return Err(CallError::EventsDropped { last }),
                HostedAnswer::Asked(_) | HostedAnswer::LastEvent(_) => {
                    return Err(bezant_rsm::UnknownCall.into());
                }
            }
            if !is_checked {
                self.check_number(after).await?;
                is_checked = true;
            }
            // A stopped node applies nothing any more; neither does a node whose disk failed.
            match self.shared.node.health() {
                NodeHealth::Serving | NodeHealth::NoState { .. } => {}
                NodeHealth::ReadOnly { reason } => return Err(CallError::ReadOnly { reason }),
                NodeHealth::Stopping => return Err(CallError::ShutDown),
            }
            let changed = tokio::select! {
                () = self.removed() => return Err(CallError::Removed),
                changed = applied.changed() => changed,
                changed = health.changed() => changed,
            };
            changed.map_err(|_| CallError::ShutDown)?;
        }
    }
}

impl<S: Service + Default> Caller for MemberHandle<S> {
    type Error = CallError;

    async fn invoke(&self, command: Bytes) -> Result<Bytes, CallError> {
        Self::invoke(self, &command).await
    }

    async fn query(&self, query: Bytes, freshness: Freshness) -> Result<Bytes, CallError> {
        Self::query(self, &query, freshness).await
    }

    async fn next_event(&self, stream: u32, after: u64) -> Result<Event, CallError> {
        Self::next_event(self, stream, after).await
    }
}

/// Translates the node's outcome into a result or a retry. A command that the leader refuses because its disk
/// is full is retried: another node leads soon.
fn tried(outcome: Result<Committed, ExecuteError>, is_own_disk: bool) -> Result<Tried, CallError> {
    let again = |is_uncertain, wait| Ok(Tried::Again { is_uncertain, wait });
    match outcome {
        Ok(committed) => Ok(Tried::Done(committed)),
        Err(ExecuteError::Overloaded { retry_after }) => again(false, retry_after),
        Err(ExecuteError::ReadOnly { reason } | ExecuteError::NotTaken { reason }) if is_own_disk => {
            Err(CallError::ReadOnly { reason })
        }
        Err(ExecuteError::NoLeader | ExecuteError::FirstStart(_) | ExecuteError::NotTaken { .. }) => {
            again(false, RETRY_WAIT)
        }
        Err(ExecuteError::Interrupted | ExecuteError::ReadOnly { .. }) => again(true, RETRY_WAIT),
        Err(ExecuteError::DeadlineExceeded) => Err(CallError::DeadlineExceeded),
        Err(ExecuteError::Stopping) => Err(CallError::ShutDown),
        // An error of a later version: its meaning is not known.
        Err(_) => Err(CallError::OutcomeUnknown),
    }
}

/// Longer than any wait: 30 years. `Instant` cannot represent a time `Duration::MAX` from now.
const FOREVER: Duration = Duration::from_hours(30 * 365 * 24);

/// The deadline of a wait that begins now.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOREVER)
}

/// Waits, unless the deadline comes first.
pub(crate) async fn pause(wait: Duration, deadline: Instant) -> Result<(), CallError> {
    if Instant::now() + wait > deadline {
        return Err(CallError::DeadlineExceeded);
    }
    tokio::time::sleep(wait).await;
    Ok(())
}
