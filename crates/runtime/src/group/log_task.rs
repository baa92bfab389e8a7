//! The task that owns the write-ahead log: all waiting work is written and fsync'd together.
//!
//! Work without enough space is not written at all: the step that lacks space is tried again until there is
//! some, and meanwhile the task holds no thread. Votes have their own space and do not wait, and the log is
//! released meanwhile. The task reports a full disk to the replica, which does not hang: it takes part in
//! everything that needs no entry on its disk.
//!
//! Always holds: after a step that lacked space, the log is asked for nothing else before the same step has
//! succeeded, but to release what a checkpoint covers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_consensus::{Write, WriteNumber};
use bezant_recovery::Machine;
use bezant_replica::Input;
use bezant_storage::disk::Disk;
use bezant_storage::log::{Log, LogError};
use bezant_storage::record::{RecordError, VoteStore};
use bezant_types::LogIndex;
use thiserror::Error;

use crate::group::message::Message;
use crate::group::metrics::gauge;
use crate::group::shared::{Health, SPACE_RETRY, Shared, observe};
use crate::group::work::LogWork;
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// After this time without work, the log records that all of it was acknowledged.
const IDLE: Duration = Duration::from_millis(50);
/// The interval of the check of the disk's space.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);

/// Why the log is closed.
#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Vote(#[from] RecordError),
}

impl WriteError {
    /// True when nothing was written, and the write can be retried when there is space.
    const fn lacks_space(&self) -> bool {
        matches!(self, Self::Log(LogError::NoSpace(_)) | Self::Vote(RecordError::NoSpace(_)))
    }
}

/// Ends when every sender of work is dropped, or when the disk fails.
pub(crate) struct LogTask<M: Machine> {
    pub(crate) log: Log,
    pub(crate) votes: VoteStore,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) replica: Sender<Message<M>>,
    /// Wakes the task that prepares the next segment.
    pub(crate) prepare: Sender<()>,
    /// See [`Options`](crate::Options).
    pub(crate) space_kept: u64,
    /// True for one of several nodes: it votes, and keeps space for votes.
    pub(crate) is_member: bool,
    pub(crate) work: Mailbox<LogWork>,
    pub(crate) taken: Taken,
    pub(crate) course: Course,
}

/// Work that was received and is not done yet.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The oldest first.
    work: VecDeque<LogWork>,
    /// The number of votes in it that are not on disk yet.
    votes: usize,
    /// Everything up to this index is in a checkpoint and can be released from the log; `None` when nothing
    /// is left to release.
    releasable: Option<LogIndex>,
    /// The pass over the work, while it waits for space.
    pass: Option<Pass>,
}

/// One pass over the work that was taken; it ends when all of it is durable.
#[derive(Debug)]
struct Pass {
    begun: Instant,
    /// The last write whose entries are staged and not durable.
    written: Option<WriteNumber>,
    entries: usize,
    bytes: usize,
    /// True when all work is done but the flush of what is staged.
    is_flushing: bool,
    /// True when the flush has begun: what it records as committed is decided.
    is_noted: bool,
}

impl Pass {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            written: None,
            entries: 0,
            bytes: 0,
            is_flushing: false,
            is_noted: false,
        }
    }
}

/// What the task does next, and when.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact, and none excludes another")]
pub(crate) struct Course {
    /// The time of the next retry, while a step waits for space.
    retry_at: Option<Instant>,
    /// True after a step has waited for space, until it has succeeded.
    has_waited: bool,
    /// True after a nearly full disk was reported to the replica.
    is_pressed: bool,
    /// True when the mark is the step that waits for space.
    is_marking: bool,
    /// True when the disk records that everything in the log was acknowledged.
    is_marked: bool,
    /// When the log is marked, if no work comes before.
    idle_at: Instant,
    /// When the disk is looked at next.
    look_at: Instant,
}

impl Course {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self {
            retry_at: None,
            has_waited: false,
            is_pressed: false,
            is_marking: false,
            is_marked: true,
            idle_at: now + IDLE,
            look_at: now,
        }
    }
}

impl<M: Machine> Task for LogTask<M> {
    fn run(&mut self, now: Instant) -> Next {
        match self.serve(now) {
            Ok(next) => next,
            Err(error) => {
                self.report_end(&error);
                Next::End
            }
        }
    }
}

impl<M: Machine> LogTask<M> {
    fn report_end(&self, error: &WriteError) {
        if error.lacks_space() && self.is_stopping() {
            // The log is whole. The report makes the replica refuse the waiting requests.
            let reason = format!("the node stops while its disk is full: {error}");
            tracing::warn!("what waited for space was not written: {reason}");
            self.report(Input::Failed { reason });
            return;
        }
        let reason =
            format!("{error}. Reads still work; stop the node, repair the disk, and start the node again");
        tracing::error!("the log failed: {reason}");
        self.report(Input::Failed { reason });
    }

    fn serve(&mut self, now: Instant) -> Result<Next, WriteError> {
        let has_received = self.receive();
        if let Some(until) = self.course.retry_at.filter(|until| now < *until) {
            self.work_without_space()?;
            return Ok(Next::At(until));
        }
        self.course.retry_at = None;
        match self.proceed(has_received) {
            Err(error) if error.lacks_space() && !self.is_stopping() && self.work.has_senders() => {
                self.course.has_waited = true;
                self.wait(format!("the disk is full: {error}; free some space, and writes continue"))
            }
            done => done,
        }
    }

    /// Takes all available work; true when there was some.
    fn receive(&mut self) -> bool {
        let mut has_received = false;
        while let Some(work) = self.work.next() {
            self.take(work);
            has_received = true;
        }
        has_received
    }

    /// Goes on with the step that waited for space, then does the work that was taken, then what is due.
    fn proceed(&mut self, has_received: bool) -> Result<Next, WriteError> {
        if self.course.is_marking {
            self.mark()?;
        }
        if has_received || !self.taken.work.is_empty() || self.taken.pass.is_some() {
            let begins = self.taken.pass.is_none();
            if begins && self.shared.lacks_row_space() && !self.is_stopping() {
                // More entries would only fill the memory with rows.
                return self.wait(
                    "the disk is full: the history has no space; free some, and writes continue".to_owned(),
                );
            }
            self.write()?;
            self.course.idle_at = Instant::now() + IDLE;
        }
        let now = Instant::now();
        if now >= self.course.look_at {
            self.log.check_place()?;
            self.check_space();
            self.course.look_at = now + SPACE_INTERVAL;
        }
        if !self.work.has_senders() {
            self.note_committed();
            self.log.mark()?;
            return Ok(Next::End);
        }
        if now >= self.course.idle_at {
            self.note_committed();
            if !self.course.is_marked || self.log.needs_note() {
                self.mark()?;
            }
            self.course.idle_at = now + IDLE;
        }
        // What is applied later is recorded too.
        let is_settled = self.course.is_marked && *self.shared.applied.borrow() >= self.log.last_index();
        let is_done = is_settled && !self.log.needs_note();
        let look_at = self.course.look_at;
        Ok(Next::At(if is_done { look_at } else { look_at.min(self.course.idle_at) }))
    }

    /// Records that everything in the log was acknowledged.
    fn mark(&mut self) -> Result<(), WriteError> {
        self.course.is_marking = true;
        self.log.mark()?;
        self.course.is_marking = false;
        self.course.is_marked = true;
        self.note_space();
        Ok(())
    }

    /// Notes that a step has succeeded: if it had waited for space, there is some again.
    fn note_space(&mut self) {
        if std::mem::take(&mut self.course.has_waited) {
            self.check_space();
        }
    }

    fn take(&mut self, work: LogWork) {
        match work {
            LogWork::Release(index) => self.taken.releasable = self.taken.releasable.max(Some(index)),
            LogWork::Persist(Write { vote: Some(_), .. }) => {
                self.taken.votes += 1;
                self.taken.work.push_back(work);
            }
            work => self.taken.work.push_back(work),
        }
    }

    /// Tells the log what was applied, and therefore committed: its next write records that.
    fn note_committed(&mut self) {
        let applied = *self.shared.applied.borrow();
        self.log.note_committed(applied);
    }

    fn report(&self, input: Input<M>) {
        // A replica that has ended needs no report.
        drop(self.replica.send(Message::Event(input)));
    }

    fn is_stopping(&self) -> bool {
        *self.shared.health.borrow() == Health::Stopping
    }

    /// Waits for space for a while, for that reason.
    fn wait(&mut self, reason: String) -> Result<Next, WriteError> {
        self.press(Some(reason));
        self.report(Input::SpaceAwaited);
        let until = Instant::now() + SPACE_RETRY;
        self.course.retry_at = Some(until);
        self.work_without_space()?;
        Ok(Next::At(until))
    }

    /// Does what needs no space. Votes have their own and are saved: entries that wait must not prevent an
    /// election. The part of the log that a checkpoint covers is released, which may free enough space.
    fn work_without_space(&mut self) -> Result<(), WriteError> {
        match self.keep_votes() {
            Err(error) if error.lacks_space() => {}
            kept => kept?,
        }
        self.release()
    }

    /// Saves the votes of all the work that was taken, in their order and before any entry of that work. A
    /// vote may be on disk earlier than the writes before it.
    fn keep_votes(&mut self) -> Result<(), WriteError> {
        if self.taken.votes == 0 {
            return Ok(());
        }
        for work in &mut self.taken.work {
            if let LogWork::Persist(write) = work
                && let Some(vote) = write.vote
            {
                self.votes.save(vote)?;
                write.vote = None;
                self.taken.votes -= 1;
                drop(self.replica.send(Message::Event(Input::VoteKept(write.number))));
            }
        }
        assert_eq!(self.taken.votes, 0, "every vote that was taken is saved once");
        Ok(())
    }

    /// Releases the part of the log that the newest checkpoint covers.
    fn release(&mut self) -> Result<(), WriteError> {
        let durable = self.log.durable_index();
        // A log that is about to be reset keeps nothing anyway.
        if !self.log.is_reset_planned()
            && let Some(index) = self.taken.releasable.take_if(|index| *index <= durable)
        {
            self.log.release(index)?;
            self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        }
        Ok(())
    }

    /// Does the work that was taken. After an error for lack of space, the next call goes on with the same
    /// step.
    fn write(&mut self) -> Result<(), WriteError> {
        let mut pass = self.taken.pass.take().unwrap_or_else(Pass::begin);
        if let Err(error) = self.do_all(&mut pass) {
            self.taken.pass = Some(pass);
            return Err(error);
        }
        self.note_space();
        self.course.is_marked &= pass.entries == 0;
        self.shared.metrics.log_bytes_written.inc_by(pass.bytes as u64);
        self.release()?;
        if self.log.needs_prepare() {
            // A task that has ended is not needed: the log prepares the segment itself.
            self.prepare.send(()).unwrap_or_default();
        }
        self.shared.metrics.log_bytes.set(gauge(self.log.size_bytes()));
        Ok(())
    }

    fn do_all(&mut self, pass: &mut Pass) -> Result<(), WriteError> {
        while !pass.is_flushing {
            self.keep_votes()?;
            let Some(mut work) = self.taken.work.pop_front() else {
                pass.is_flushing = true;
                break;
            };
            if let Err(error) = self.work_on(&mut work, pass) {
                self.taken.work.push_front(work);
                return Err(error);
            }
        }
        self.flush(pass)
    }

    /// Does one piece of work; its vote is saved already.
    fn work_on(&mut self, work: &mut LogWork, pass: &mut Pass) -> Result<(), WriteError> {
        match work {
            LogWork::Persist(write) => {
                self.stage(write)?;
                pass.entries += write.entries.len();
                pass.bytes += write.entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
                pass.written = Some(write.number);
            }
            LogWork::Release(index) => self.taken.releasable = self.taken.releasable.max(Some(*index)),
            LogWork::PlanReset(index, term, reply) => {
                self.flush(pass)?;
                self.log.plan_reset(*index, *term)?;
                reply.send(());
            }
            LogWork::CancelReset => self.log.cancel_reset()?,
            LogWork::Reset(index, term, reply) => {
                self.flush(pass)?;
                self.log.reset(*index, *term)?;
                reply.send(());
            }
        }
        Ok(())
    }

    /// Stages the entries for the next flush.
    fn stage(&mut self, write: &Write) -> Result<(), WriteError> {
        assert!(write.vote.is_none(), "a vote is durable before the entries that come with it");
        if let Some(first) = write.entries.first()
            && first.index <= self.log.last_index()
        {
            self.log.truncate(LogIndex(first.index.0 - 1))?;
        }
        for entry in &write.entries {
            // Staging takes memory only, so it is never repeated for lack of space.
            self.log.append(entry)?;
        }
        Ok(())
    }

    /// Makes the staged entries durable, and reports it to the replica.
    fn flush(&mut self, pass: &mut Pass) -> Result<(), WriteError> {
        if let Some(number) = pass.written {
            if !std::mem::replace(&mut pass.is_noted, true) {
                self.note_committed();
            }
            self.log.flush()?;
            // A file that cannot be found by its name is not durable.
            self.log.check_place()?;
            self.report(Input::Persisted(number));
            observe(&self.shared.metrics.fsync_seconds, pass.begun);
            pass.written = None;
            pass.is_noted = false;
        }
        Ok(())
    }

    /// Reports to the replica when the disk is nearly full, and when it has space again.
    fn check_space(&mut self) {
        let Ok(available) = self.disk.available_bytes() else { return };
        self.shared.metrics.disk_available.set(gauge(available));
        let kept = self.space_kept;
        self.press((available < kept).then(|| {
            format!(
                "the disk is nearly full: {} MiB are left and {} MiB are kept free; free some space, and writes continue",
                available >> 20,
                kept >> 20
            )
        }));
    }

    fn press(&mut self, reason: Option<String>) {
        if reason.is_some() == self.course.is_pressed {
            return;
        }
        self.course.is_pressed = reason.is_some();
        tracing::warn!("space on the disk: {}", reason.as_deref().unwrap_or("enough again"));
        if reason.is_none() && self.is_member {
            // The space that was kept may be used up, or was missing when the node started.
            match self.votes.reserve_space() {
                Ok(true) => {}
                Ok(false) => tracing::warn!("no space can be kept for the next vote"),
                // Writing the vote itself reports whether the disk failed.
                Err(error) => tracing::warn!("no space can be kept for the next vote: {error}"),
            }
        }
        self.report(Input::Pressure(reason));
    }
}

#[cfg(test)]
mod tests;
