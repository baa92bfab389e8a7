//! Threads that run tasks: a fixed number of threads, however many groups the process has.
//!
//! A task is a part of a group that runs when there is work for it, or when its time has come. It never waits
//! for another task of its pool: the thread that waits may be the one that the other task needs. A slot is the
//! place of a task in its pool. [`Slot::wake`] schedules the task. A slot that is scheduled is not scheduled
//! twice, and a slot that is woken while its task runs is scheduled again when the run ends.
//!
//! Always holds: a task is run by at most one thread at a time; every wake is followed by a run that begins
//! after it; a time that a task has asked for is not missed, and an earlier wish is void after each run.
//!
//! Threads begin when they are first needed, and then stay: a process with one group has no more threads than
//! the group has tasks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZero;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use crate::process::thread::{Urgency, spawn};
use crate::start_error::StartError;

/// A part of a group that a pool runs.
pub(crate) trait Task: Send {
    /// Does the work that there is, within limits, and returns what comes next. `now` is the time at which the
    /// run began.
    fn run(&mut self, now: Instant) -> Next;
}

/// When a task runs the next time, if it is not woken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When it is woken.
    Wait,
    /// At that time.
    At(Instant),
    /// After the other tasks that are scheduled.
    Again,
    /// Never: the task is dropped.
    End,
}

/// The pool to which a task belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One thread a processor, each with its own tasks: a replica stays on the thread on which it began.
    Worker,
    /// Logs. They wait for the disk and use little of a processor, so there are more threads than processors.
    Log,
    /// Reads of old rows for which a client's write waits.
    Read,
    /// Work for which a query may wait.
    Soon,
    /// Work for which no client waits.
    Later,
}

/// The most threads of the pools. A checkpoint and an index run may each hold a thread for long, and the next
/// segment of a log must not wait for either of them.
const LOG_THREADS: usize = 8;
const READ_THREADS: usize = 2;
const LATER_THREADS: usize = 3;

/// The pools of a process. Dropped, they end when their last task has ended.
#[derive(Debug)]
pub(crate) struct Pools {
    workers: Vec<Arc<Pool>>,
    log: Arc<Pool>,
    read: Arc<Pool>,
    soon: Arc<Pool>,
    later: Arc<Pool>,
}

impl Pools {
    /// Pools without a thread.
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let worker = |_| Pool::new("worker", Urgency::Request, 1);
        Self {
            workers: (0..processors).map(worker).collect(),
            log: Pool::new("log", Urgency::Request, LOG_THREADS),
            read: Pool::new("read", Urgency::Request, READ_THREADS),
            soon: Pool::new("soon", Urgency::Soon, processors),
            later: Pool::new("later", Urgency::Later, LATER_THREADS),
        }
    }

    /// A slot for a task that has not begun. On the workers it is that of the one with the fewest tasks.
    pub(crate) fn slot(&self, place: Place) -> Arc<Slot> {
        let pool = match place {
            Place::Worker => {
                self.workers.iter().min_by_key(|worker| worker.lock().live).unwrap_or(&self.soon)
            }
            Place::Log => &self.log,
            Place::Read => &self.read,
            Place::Soon => &self.soon,
            Place::Later => &self.later,
        };
        Slot::new(pool)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.workers.iter().chain([&self.log, &self.read, &self.soon, &self.later])
    }

    /// Waits until all tasks have ended, and then all threads.
    pub(crate) fn stop(self) {
        for pool in self.all() {
            pool.close();
            let threads = std::mem::take(&mut pool.lock().threads);
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the node ended by a panic");
                }
            }
        }
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        self.all().for_each(|pool| pool.close());
    }
}

/// Not scheduled, and not running.
const IDLE: u8 = 0;
/// In the queue of its pool; so is a slot whose task has not begun, because then it runs in any case.
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;
/// Running, and woken since the run began.
const AGAIN: u8 = 3;
const ENDED: u8 = 4;

/// No time, as nanoseconds since the pool was made.
const NEVER: u64 = u64::MAX;

/// The place of a task in its pool.
pub(crate) struct Slot {
    /// One of the constants above. Changed without the pool's lock only by [`wake`](Self::wake).
    state: AtomicU8,
    /// The task, between its beginning and its end.
    task: Mutex<Option<Box<dyn Task>>>,
    /// The time at which the task runs next; changed under the pool's lock.
    due: AtomicU64,
    /// The time of the earliest timer of this slot in the pool's heap; changed under the pool's lock.
    timer: AtomicU64,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slot").field("pool", &self.pool.name).finish_non_exhaustive()
    }
}

impl Slot {
    fn new(pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(SCHEDULED),
            task: Mutex::new(None),
            due: AtomicU64::new(NEVER),
            timer: AtomicU64::new(NEVER),
            pool: Arc::clone(pool),
        })
    }

    /// Begins the task of this slot, which then runs for the first time; returns the slot.
    ///
    /// # Errors When the pool has no thread yet and none can be started; the task is dropped.
    pub(crate) fn begin(self: &Arc<Self>, task: Box<dyn Task>) -> Result<Arc<Self>, StartError> {
        let before = self.task.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        assert!(before.is_none(), "a slot has one task");
        match self.pool.add(self) {
            Ok(()) => Ok(Arc::clone(self)),
            Err(error) => {
                // Dropped without a lock: a task that is dropped may wake others.
                drop(self.take());
                Err(error)
            }
        }
    }

    /// Schedules the task, unless a run that has not begun yet is scheduled already.
    pub(crate) fn wake(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => SCHEDULED,
                RUNNING => AGAIN,
                _ => return,
            };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(found) => state = found,
            }
        }
        if state == IDLE {
            self.pool.push(self);
        }
    }

    /// Waits until the task has ended.
    pub(crate) fn join(&self) {
        let mut state = self.pool.lock();
        while self.state.load(Ordering::Acquire) != ENDED {
            state = self.pool.has_ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self) -> Option<Box<dyn Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs the task once, on a thread of the pool.
    fn run(&self) -> Next {
        let before = self.state.swap(RUNNING, Ordering::AcqRel);
        assert_eq!(before, SCHEDULED, "a task is run by one thread, which found it scheduled");
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let next = task.as_mut().map_or(Next::End, |task| task.run(Instant::now()));
        let ended = if next == Next::End { task.take() } else { None };
        drop(task);
        // Dropped without a lock: a task that is dropped may wake others.
        drop(ended);
        next
    }
}

/// A number of threads and the tasks that they run.
struct Pool {
    name: &'static str,
    urgency: Urgency,
    threads_max: usize,
    begun: Instant,
    state: Mutex<State>,
    /// Notified when there is something to do for a thread that waits.
    has_work: Condvar,
    /// Notified when a task has ended.
    has_ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Slots that are scheduled, the oldest first.
    ready: VecDeque<Arc<Slot>>,
    /// The times for which slots wait, the earliest first. A slot may have more than one; only the earliest,
    /// `Slot::timer`, counts.
    timers: BinaryHeap<Reverse<Timer>>,
    /// Tasks that have begun and not ended.
    live: usize,
    threads: Vec<JoinHandle<()>>,
    /// Threads that wait.
    idle: usize,
    /// Those of them that were notified and have not woken yet.
    notified: usize,
    /// The time until which the thread waits that keeps the timers; `None` when none does. The other threads
    /// wait without a limit.
    kept_until: Option<u64>,
    /// True when the threads end with the last task.
    is_closed: bool,
}

impl State {
    /// The earliest time, when no thread waits for it.
    fn time_to_keep(&self) -> Option<u64> {
        let first = self.timers.peek().map(|Reverse(timer)| timer.0);
        first.filter(|first| self.kept_until.is_none_or(|kept| *first < kept))
    }
}

/// A slot and the time at which its task may have to run, in nanoseconds since the pool was made.
struct Timer(u64, Arc<Slot>);

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pool {
    fn new(name: &'static str, urgency: Urgency, threads_max: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            urgency,
            threads_max,
            begun: Instant::now(),
            state: Mutex::default(),
            has_work: Condvar::new(),
            has_ended: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot whose task begins, and a thread if there are fewer than the tasks can use.
    fn add(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), StartError> {
        let mut state = self.lock();
        if state.threads.len() < self.threads_max.min(state.live + 1) {
            let pool = Arc::clone(self);
            match spawn(self.name, self.urgency, move || pool.work()) {
                Ok(thread) => state.threads.push(thread),
                Err(error) if state.threads.is_empty() => return Err(error),
                Err(error) => tracing::warn!("the tasks share the threads that there are: {error}"),
            }
        }
        state.live += 1;
        state.ready.push_back(Arc::clone(slot));
        self.notify(state);
        Ok(())
    }

    fn push(&self, slot: &Arc<Slot>) {
        let mut state = self.lock();
        state.ready.push_back(Arc::clone(slot));
        self.notify(state);
    }

    /// Wakes a thread that waits, if there is one that was not notified yet.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        if state.idle > state.notified {
            state.notified += 1;
            drop(state);
            self.has_work.notify_one();
        }
    }

    /// The threads end with the last task.
    fn close(&self) {
        self.lock().is_closed = true;
        self.has_work.notify_all();
    }

    /// The body of a thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            self.fire(&mut state);
            if let Some(slot) = state.ready.pop_front() {
                slot.due.store(NEVER, Ordering::Relaxed);
                if !state.ready.is_empty() || state.time_to_keep().is_some() {
                    // Another thread runs what else is ready, or keeps the timers.
                    self.notify(state);
                } else {
                    drop(state);
                }
                let next = slot.run();
                state = self.lock();
                self.finish(&mut state, slot, next);
                continue;
            }
            if state.is_closed && state.live == 0 {
                // The timers hold slots, which hold the pool.
                state.timers.clear();
                drop(state);
                self.has_work.notify_all();
                return;
            }
            state = self.wait(state);
        }
    }

    /// Waits until there may be something to do.
    fn wait<'state>(&self, mut state: MutexGuard<'state, State>) -> MutexGuard<'state, State> {
        state.idle += 1;
        let keeps = state.time_to_keep();
        let mut state = match keeps {
            None => self.has_work.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                state.kept_until = keeps;
                let left = Duration::from_nanos(at).saturating_sub(self.begun.elapsed());
                self.has_work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if keeps.is_some() && state.kept_until == keeps {
            state.kept_until = None;
        }
        state.idle -= 1;
        state.notified = state.notified.saturating_sub(1);
        state
    }

    /// Schedules the slots whose time has come.
    fn fire(&self, state: &mut State) {
        if state.timers.is_empty() {
            return;
        }
        let now = nanos(self.begun.elapsed());
        while state.timers.peek().is_some_and(|Reverse(timer)| timer.0 <= now) {
            let Some(Reverse(Timer(at, slot))) = state.timers.pop() else { return };
            if slot.timer.load(Ordering::Relaxed) != at {
                continue;
            }
            slot.timer.store(NEVER, Ordering::Relaxed);
            let due = slot.due.load(Ordering::Relaxed);
            if due > now {
                set_timer(state, &slot, due);
            } else if slot
                .state
                .compare_exchange(IDLE, SCHEDULED, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                state.ready.push_back(slot);
            }
        }
    }

    /// Handles the end of a run.
    fn finish(&self, state: &mut State, slot: Arc<Slot>, next: Next) {
        match next {
            Next::End => {
                slot.state.store(ENDED, Ordering::Release);
                state.live -= 1;
                self.has_ended.notify_all();
                return;
            }
            Next::At(time) => {
                let due = nanos(time.saturating_duration_since(self.begun));
                slot.due.store(due, Ordering::Relaxed);
                set_timer(state, &slot, due);
            }
            Next::Wait | Next::Again => {}
        }
        let is_idle = next != Next::Again
            && slot.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !is_idle {
            slot.state.store(SCHEDULED, Ordering::Release);
            state.ready.push_back(slot);
        }
    }
}

/// Adds a timer, unless the slot has one that is not later. That one, when it fires, is set again.
fn set_timer(state: &mut State, slot: &Arc<Slot>, at: u64) {
    if at == NEVER || at >= slot.timer.load(Ordering::Relaxed) {
        return;
    }
    slot.timer.store(at, Ordering::Relaxed);
    state.timers.push(Reverse(Timer(at, Arc::clone(slot))));
}

/// The time since the pool was made in nanoseconds.
fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
pub(crate) mod tests;
