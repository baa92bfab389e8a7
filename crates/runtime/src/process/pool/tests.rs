//! Tasks on several threads: what is sent arrives once, a task runs on one thread at a time, times are kept.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc;

use super::*;
use crate::process::mailbox::{Mailbox, Sender, mailbox};

/// The timeout of each step.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A slot whose task never begins, for a test that runs the task itself.
pub(crate) fn detached() -> Arc<Slot> {
    Slot::new(&Pool::new("test", Urgency::Request, 1))
}

/// A task that passes on what it gets.
struct Forward<W>(Mailbox<W>, mpsc::Sender<W>);

impl<W: Send> Task for Forward<W> {
    fn run(&mut self, _now: Instant) -> Next {
        while let Some(work) = self.0.next() {
            drop(self.1.send(work));
        }
        if self.0.has_senders() { Next::Wait } else { Next::End }
    }
}

/// A mailbox whose work a test receives.
pub(crate) fn received<W: Send + 'static>(pools: &Pools) -> (Sender<W>, mpsc::Receiver<W>) {
    let slot = pools.slot(Place::Read);
    let (sender, mailbox) = mailbox(&slot);
    let (pass_on, receiver) = mpsc::channel();
    slot.begin(Box::new(Forward(mailbox, pass_on))).unwrap();
    (sender, receiver)
}

/// A small generator of numbers that look random.
struct Numbers(u64);

impl Numbers {
    /// A number below the limit.
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(limit)).unwrap()
    }

    /// One of these.
    fn of<'all, T>(&mut self, all: &'all [T]) -> &'all T {
        &all[self.below(u32::try_from(all.len()).unwrap()) as usize]
    }
}

/// A number that travels over some tasks before it is reported.
struct Ball {
    number: usize,
    hops: u32,
}

struct Player {
    mailbox: Mailbox<Ball>,
    others: Vec<Sender<Ball>>,
    random: Numbers,
    is_running: Arc<AtomicBool>,
    landed: mpsc::Sender<usize>,
}

impl Task for Player {
    fn run(&mut self, now: Instant) -> Next {
        assert!(!self.is_running.swap(true, Ordering::SeqCst), "two threads run one task");
        for _ in 0..self.random.below(5) {
            let Some(ball) = self.mailbox.next() else { break };
            if ball.hops == 0 {
                self.landed.send(ball.number).unwrap();
            } else {
                drop(self.random.of(&self.others).send(Ball { hops: ball.hops - 1, ..ball }));
            }
        }
        let next = match self.random.below(3) {
            0 => Next::Again,
            1 => Next::At(now + Duration::from_micros(self.random.below(300).into())),
            // Only a mailbox that was found empty wakes the task again.
            _ => match self.mailbox.next() {
                None => Next::Wait,
                Some(ball) => {
                    self.landed.send(ball.number).unwrap();
                    Next::Again
                }
            },
        };
        assert!(self.is_running.swap(false, Ordering::SeqCst), "two threads run one task");
        next
    }
}

#[test]
fn random_sends_arrive_once_on_one_thread_at_a_time() {
    const SENT: usize = 10_000;
    let pool = Pool::new("test", Urgency::Request, 4);
    let slots: Vec<_> = (0..7).map(|_| Slot::new(&pool)).collect();
    let (senders, mailboxes): (Vec<_>, Vec<_>) = slots.iter().map(mailbox).unzip();
    let (landed, landings) = mpsc::channel();
    for (number, (slot, mailbox)) in (1..).zip(slots.iter().zip(mailboxes)) {
        let (others, is_running) = (senders.clone(), Arc::default());
        let player = Player { mailbox, others, random: Numbers(number), is_running, landed: landed.clone() };
        slot.begin(Box::new(player)).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let senders = &senders;
            scope.spawn(move || {
                let mut random = Numbers(100 + thread as u64);
                for number in (thread..SENT).step_by(4) {
                    let hops = random.below(4);
                    assert!(random.of(senders).send(Ball { number, hops }).is_ok());
                }
            });
        }
    });
    let mut seen = vec![false; SENT];
    for _ in 0..SENT {
        let number = landings.recv_timeout(TIMEOUT).expect("nothing is lost");
        assert!(!std::mem::replace(&mut seen[number], true), "{number} arrived twice");
    }
    assert!(landings.try_recv().is_err(), "nothing arrives twice");
}

/// Finds its mailbox empty, and ends its run when the test lets it; ends with the first work.
struct Late {
    mailbox: Mailbox<u8>,
    looked: mpsc::Sender<()>,
    goes_on: mpsc::Receiver<()>,
    taken: mpsc::Sender<u8>,
}

impl Task for Late {
    fn run(&mut self, _now: Instant) -> Next {
        if let Some(work) = self.mailbox.next() {
            self.taken.send(work).unwrap();
            return Next::End;
        }
        self.looked.send(()).unwrap();
        self.goes_on.recv().unwrap();
        Next::Wait
    }
}

#[test]
fn work_that_comes_after_the_last_look_is_not_missed() {
    let pools = Pools::new();
    let slot = pools.slot(Place::Soon);
    let (sender, mailbox) = mailbox(&slot);
    let ((looked, looks), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
    let (taken, takes) = mpsc::channel();
    slot.begin(Box::new(Late { mailbox, looked, goes_on, taken })).unwrap();
    looks.recv_timeout(TIMEOUT).unwrap();
    sender.send(1).unwrap();
    go_on.send(()).unwrap();
    assert_eq!(takes.recv_timeout(TIMEOUT), Ok(1));
    slot.join();
}

/// A task that is sent a time, and reports when it has come.
struct Timed {
    mailbox: Mailbox<Instant>,
    at: Option<Instant>,
    reports: mpsc::Sender<Instant>,
    runs: Arc<AtomicUsize>,
}

impl Task for Timed {
    fn run(&mut self, now: Instant) -> Next {
        self.runs.fetch_add(1, Ordering::SeqCst);
        while let Some(at) = self.mailbox.next() {
            self.at = Some(at);
        }
        match self.at {
            None if !self.mailbox.has_senders() => Next::End,
            None => Next::Wait,
            Some(at) if now < at => Next::At(at),
            Some(_) => {
                self.at = None;
                self.reports.send(now).unwrap_or_default();
                Next::Wait
            }
        }
    }
}

/// A timed task, and what a test has of it.
struct Clockwork {
    slot: Arc<Slot>,
    sender: Sender<Instant>,
    reported: mpsc::Receiver<Instant>,
    runs: Arc<AtomicUsize>,
}

impl Clockwork {
    fn begin(pools: &Pools) -> Self {
        let (slot, runs) = (pools.slot(Place::Later), Arc::new(AtomicUsize::new(0)));
        let (sender, mailbox) = mailbox(&slot);
        let (reports, reported) = mpsc::channel();
        slot.begin(Box::new(Timed { mailbox, at: None, reports, runs: Arc::clone(&runs) })).unwrap();
        let clockwork = Self { slot, sender, reported, runs };
        clockwork.settle();
        clockwork
    }

    /// Waits until the task waits.
    fn settle(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.slot.state.load(Ordering::Acquire) != IDLE {
            assert!(Instant::now() < deadline, "the task waits for its time");
            std::thread::yield_now();
        }
    }

    /// Sends a time, and returns when the task waits for it.
    fn set(&self, at: Instant) {
        self.sender.send(at).unwrap();
        self.settle();
    }

    fn report(&self) -> Instant {
        let reported = self.reported.recv_timeout(TIMEOUT).expect("the time comes");
        self.settle();
        reported
    }
}

fn after(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

#[test]
fn a_task_runs_when_its_time_has_come() {
    let pools = Pools::new();
    let timed = Clockwork::begin(&pools);
    for at in [after(30), after(10), after(60), after(0)] {
        timed.set(at);
        assert!(timed.report() >= at);
    }
}

#[test]
fn an_earlier_time_replaces_a_later_one() {
    let pools = Pools::new();
    let timed = Clockwork::begin(&pools);
    for _ in 0..3 {
        timed.set(after(3_600_000));
        let at = after(10);
        timed.set(at);
        assert!(timed.report() >= at);
    }
}

#[test]
fn a_later_time_replaces_an_earlier_one() {
    let pools = Pools::new();
    let timed = Clockwork::begin(&pools);
    let (early, late) = (after(400), after(500));
    timed.set(early);
    timed.set(late);
    if Instant::now() >= early {
        // This machine stood still for so long that the earlier time came first.
        return;
    }
    assert!(timed.report() >= late);
    assert_eq!(timed.runs.load(Ordering::SeqCst), 4, "it did not run at the earlier time");
}

/// Reports that it runs, and then holds its thread until the other end is dropped.
struct Holds(mpsc::Receiver<()>, mpsc::Sender<()>);

impl Task for Holds {
    fn run(&mut self, _now: Instant) -> Next {
        self.1.send(()).unwrap();
        self.0.recv().unwrap_or_default();
        Next::End
    }
}

#[test]
fn a_time_is_kept_while_another_task_holds_its_thread() {
    let pools = Pools::new();
    let timed = Clockwork::begin(&pools);
    // The pool's other thread is idle already when the time is set.
    let other = Clockwork::begin(&pools);
    for _ in 0..20 {
        let slot = pools.slot(Place::Later);
        let ((ends, wait), (begun, begins)) = (mpsc::channel(), mpsc::channel());
        timed.sender.send(after(5)).unwrap();
        slot.begin(Box::new(Holds(wait, begun))).unwrap();
        begins.recv_timeout(TIMEOUT).unwrap();
        assert!(timed.reported.recv_timeout(TIMEOUT).is_ok(), "another thread keeps the time");
        drop(ends);
        slot.join();
    }
    drop(other);
}

#[test]
fn a_task_ends_after_its_last_sender() {
    let pools = Pools::new();
    let (sender, received) = received::<u8>(&pools);
    let other = sender.clone();
    drop(sender);
    other.send(1).unwrap();
    drop(other);
    assert_eq!(received.recv_timeout(TIMEOUT), Ok(1));
    assert_eq!(received.recv_timeout(TIMEOUT), Err(mpsc::RecvTimeoutError::Disconnected));
    pools.stop();
}

/// Runs that many times.
struct Runs(u32, #[expect(dead_code, reason = "dropped with the task")] Mailbox<u8>);

impl Task for Runs {
    fn run(&mut self, _now: Instant) -> Next {
        self.0 -= 1;
        if self.0 == 0 { Next::End } else { Next::Again }
    }
}

#[test]
fn work_for_a_task_that_has_ended_comes_back() {
    let pools = Pools::new();
    let slot = pools.slot(Place::Soon);
    let (sender, mailbox) = mailbox(&slot);
    slot.begin(Box::new(Runs(3, mailbox))).unwrap();
    slot.join();
    assert_eq!(sender.send(7), Err(7));
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn work_that_is_not_taken_is_dropped_with_the_mailbox() {
    let count = Arc::new(AtomicUsize::new(0));
    let (sender, mut mailbox) = mailbox(&detached());
    for _ in 0..3 {
        assert!(sender.send(Counted(Arc::clone(&count))).is_ok());
    }
    drop(mailbox.next());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    drop(mailbox);
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn pools_that_are_dropped_end_with_their_last_task() {
    let pools = Pools::new();
    let (sender, received) = received::<u8>(&pools);
    let pool = Arc::downgrade(&pools.read);
    drop(pools);
    sender.send(1).unwrap();
    assert_eq!(received.recv_timeout(TIMEOUT), Ok(1));
    drop(sender);
    assert_eq!(received.recv_timeout(TIMEOUT), Err(mpsc::RecvTimeoutError::Disconnected));
    let deadline = Instant::now() + TIMEOUT;
    while pool.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the threads end");
        std::thread::yield_now();
    }
}
