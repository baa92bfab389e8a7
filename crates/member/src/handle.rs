//! The door to a member: commands, queries and events, over changes of leaders.

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
use crate::machine_member::Seat;
use crate::session::{Session, Turn, Wait};

/// The wait before another try, where nothing says how long it takes.
const RETRY_WAIT: Duration = Duration::from_millis(10);
/// Events that are asked for at once.
const EVENTS_PAGE: usize = 1;

/// Calls the service of a member. Cheap to clone; all clones are one session, and so is the member's own.
pub struct MemberHandle<S: Service + Default> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: Service + Default> {
    node: Handle<Hosted<S>>,
    seat: Seat,
    session: Session,
    /// The last entry that was seen.
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

/// What a try came to.
enum Tried {
    /// It has an outcome.
    Done(Committed),
    /// It was not done, or it is not known.
    Again {
        /// Whether it may have been done.
        is_uncertain: bool,
        wait: Duration,
    },
}

impl<S: Service + Default> MemberHandle<S> {
    pub(crate) fn new(node: Handle<Hosted<S>>, seat: Seat, timeout: Duration) -> Self {
        let (session, seen) = (Session::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { node, seat, session, seen, timeout }) }
    }

    /// When a call that begins now gives up.
    fn deadline(&self) -> Instant {
        deadline_in(self.shared.timeout)
    }

    /// Puts a command in the log; the service's answer, once the command is on disk on a majority and applied here or at
    /// the leader. It is done once, however often the leader changes meanwhile.
    ///
    /// # Errors
    /// Whether the command was done is known unless the error says otherwise.
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
                Verdict::Forgotten => Err(CallError::OutcomeUnknown),
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

    /// A number for a command, in a session that is open.
    async fn begin(&self, deadline: Instant) -> Result<Turn<'_>, CallError> {
        loop {
            match self.shared.session.begin() {
                Ok(turn) => return Ok(turn),
                Err(Wait::Session) => self.open(deadline).await?,
                Err(Wait::Room) => pause(RETRY_WAIT, deadline).await?,
            }
        }
    }

    /// Opens a session. A try of which nothing is known may have opened another one, which nobody uses.
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

    /// Puts a command in the log, again and again; its reply, and whether a try before may have been done.
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
                    self.see(committed.index);
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
        self.shared.seat.removed(&self.shared.node).await;
    }

    fn see(&self, index: LogIndex) {
        self.shared.seen.fetch_max(index.0, Ordering::Relaxed);
    }

    /// Asks the state that this node has, as fresh as is asked for.
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
                // What it has it can still show.
                () = self.removed(), if freshness != Freshness::Stale => return Err(CallError::Removed),
            };
            let wait = match read {
                Ok(read) => {
                    self.see(read.index);
                    return Ok(read.answer);
                }
                Err(ReadError::Overloaded { retry_after }) => retry_after,
                Err(ReadError::NoLeader | ReadError::FirstStart(_) | ReadError::NoState { .. }) => RETRY_WAIT,
                Err(ReadError::Stopping) => return Err(CallError::ShutDown),
                Err(ReadError::DeadlineExceeded) => return Err(CallError::DeadlineExceeded),
                // There is no history to be read, nor another error in this version.
                Err(error) => return Err(CallError::ReadOnly { reason: error.to_string() }),
            };
            pause(wait, deadline).await?;
        }
    }

    /// Refuses a number that no event has yet: whoever waits after it would miss what comes before.
    ///
    /// This node may lag behind the one that told the number: its own state says nothing before it has what was agreed.
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

    /// Waits until this node has a state to show: while it has none, others have the events.
    async fn state(&self, health: &mut watch::Receiver<NodeHealth>) -> Result<(), CallError> {
        let has_state = health.wait_for(|health| !matches!(health, NodeHealth::NoState { .. }));
        tokio::select! {
            () = self.removed() => Err(CallError::Removed),
            has_state = has_state => has_state.map(drop).map_err(|_| CallError::ShutDown),
        }
    }

    /// The next event of a stream with a number greater than `after`, from this node's state; waits until there is
    /// one. Begin with 0, and go on behind the number of the last.
    ///
    /// # Errors
    /// Also [`CallError::EventsForgotten`]: about 65,000 events, or 16 MiB of them, are kept. [`CallError::EventNotYet`]
    /// when no member has an event of the number `after`.
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
                HostedAnswer::Events(Err(last)) => return Err(CallError::EventsForgotten { last }),
                HostedAnswer::Asked(_) | HostedAnswer::LastEvent(_) => {
                    return Err(bezant_rsm::UnknownCall.into());
                }
            }
            if !is_checked {
                self.check_number(after).await?;
                is_checked = true;
            }
            // A node that is stopped applies nothing any more; one whose disk failed neither.
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

/// What the node said, for whoever may try again. A leader whose disk is full lets another one lead.
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
        // Of a later version: nothing is known of it.
        Err(_) => Err(CallError::OutcomeUnknown),
    }
}

/// Longer than anybody waits: 30 years. The clock has no moment that is `Duration::MAX` away.
const FOREVER: Duration = Duration::from_hours(30 * 365 * 24);

/// The end of so long a wait that begins now.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOREVER)
}

/// Waits, if there is time for it.
pub(crate) async fn pause(wait: Duration, deadline: Instant) -> Result<(), CallError> {
    if Instant::now() + wait > deadline {
        return Err(CallError::DeadlineExceeded);
    }
    tokio::time::sleep(wait).await;
    Ok(())
}
