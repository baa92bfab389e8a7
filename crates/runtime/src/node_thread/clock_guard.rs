//! What is done about a clock that is wrong: the node gives out no timestamps, and another one leads.
//!
//! While the clock is wrong (see `clock`), a leader makes no entries of its clients' commands: they wait. It was
//! perhaps one look between two words of the others, so the lead is offered only after [`CONFIRM`], to a voter whose clock
//! counts; that goes on until one has taken it. Commands that have waited for [`WAIT_MAX`] are refused as on a full disk, so
//! that clients can turn to another node. A node that follows needs no clock: it hands its clients' commands on.

use std::time::{Duration, Instant};

use bezant_consensus::Role;
use bezant_node::{Input, Now};
use bezant_replica::Machine;
use bezant_types::Nanos;

use super::NodeThread;
use crate::clock::{AHEAD_MAX, BACK_MAX, Clock, OFF_MAX, counting, moment, passed};

/// A clock that went another way than time by so much was set: 1 s.
const SET_MIN: u64 = Nanos::PER_SECOND;
/// How long a clock must be wrong before it is said, and the lead offered.
const CONFIRM: Duration = Duration::from_millis(500);
/// How long a leader's clients wait for another leader, or a clock that is right.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How often the lead is offered.
const OFFER_INTERVAL: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    clock: Clock,
    /// The operator says that the clock of a node that is alone is right.
    is_accepted: bool,
    /// What the clock showed when the node began, and when it was looked at last.
    begun: (Nanos, Instant),
    last: (Nanos, Instant),
    /// Something was heard of the others' clocks.
    pub(super) has_news: bool,
    wrong: Option<Wrong>,
    /// Since when this node leads, and makes no entries.
    holds_since: Option<Instant>,
    offered_at: Option<Instant>,
    /// Clients were told.
    is_pressed: bool,
}

#[derive(Debug)]
struct Wrong {
    since: Instant,
    reason: String,
    is_told: bool,
}

impl ClockGuard {
    pub(crate) fn new(clock: Clock, is_accepted: bool) -> Self {
        let begun = (clock.now().wall, Instant::now());
        Self {
            clock,
            is_accepted,
            begun,
            last: begun,
            has_news: false,
            wrong: None,
            holds_since: None,
            offered_at: None,
            is_pressed: false,
        }
    }

    /// What the clock shows.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// The same; and whether it was set since this was asked last.
    fn look(&mut self) -> (Now, bool) {
        let (now, at) = (self.clock.now(), Instant::now());
        let expected = passed(self.last, at);
        self.last = (now.wall, at);
        (now, now.wall.0.abs_diff(expected.0) > SET_MIN)
    }

    /// True while this node must stamp nothing.
    pub(super) const fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    /// Why this node does not lead; `None` when its clock counts.
    fn reason(&self) -> Option<&str> {
        self.wrong.as_ref().filter(|wrong| wrong.is_told).map(|wrong| &*wrong.reason)
    }

    /// Why the clock of a node that has nobody to compare it with does not count: it was set far ahead while the node ran.
    fn judge_alone(&self, own: Nanos) -> Option<String> {
        let expected = passed(self.begun, Instant::now());
        let is_wrong = !self.is_accepted && own.0 > expected.0.saturating_add(AHEAD_MAX);
        is_wrong.then(|| {
            format!(
                "this machine's clock was set to {}, and it should be about {}: nothing is stamped with it until it is set \
                 right; when it is right now, start the node anew with --accept-clock",
                moment(own),
                moment(expected)
            )
        })
    }

    /// Why the clock of a node among others does not count; `counts` is one that does, if any is known to.
    fn judge(&self, own: Nanos, counts: Option<Nanos>) -> Option<String> {
        let off_max = if self.is_wrong() { BACK_MAX } else { OFF_MAX };
        let counts = counts.filter(|counts| own.0.abs_diff(counts.0) > off_max)?;
        Some(format!(
            "its clock shows {}, and those of the others {}: it stamps no entries, and does not stay the leader, until its clock \
             is set right",
            moment(own),
            moment(counts)
        ))
    }

    /// Takes what was found now.
    fn note(&mut self, reason: Option<String>, now: Instant) {
        match (reason, &mut self.wrong) {
            (None, None) => {}
            (None, wrong) => {
                if wrong.take().is_some_and(|wrong| wrong.is_told) {
                    tracing::warn!("this node's clock is right again");
                }
            }
            (Some(reason), None) => self.wrong = Some(Wrong { since: now, reason, is_told: false }),
            (Some(reason), Some(wrong)) => {
                if !wrong.is_told && now.saturating_duration_since(wrong.since) >= CONFIRM {
                    wrong.is_told = true;
                    wrong.reason = reason;
                    tracing::error!("this node's clock is wrong: {}", wrong.reason);
                }
            }
        }
    }

    /// Whether the lead is to be offered now.
    fn offers(&mut self, leads: bool, now: Instant) -> bool {
        if !leads || self.wrong.is_none() {
            (self.holds_since, self.offered_at) = (None, None);
            return false;
        }
        self.holds_since.get_or_insert(now);
        let is_due = |at: Instant| now.saturating_duration_since(at) >= OFFER_INTERVAL;
        let offers = self.reason().is_some() && self.offered_at.is_none_or(is_due);
        if offers {
            self.offered_at = Some(now);
        }
        offers
    }

    /// What clients are told who have waited long enough.
    fn pressure(&self, now: Instant) -> Option<String> {
        let since = self.holds_since?;
        let has_waited = now.saturating_duration_since(since) >= WAIT_MAX;
        self.reason().filter(|_| has_waited).map(|reason| format!("the leader's clock is wrong: {reason}"))
    }
}

impl<M: Machine> NodeThread<M> {
    /// What the clock shows, once it is known whether it counts.
    pub(super) fn look_at_clock(&mut self) -> Now {
        let (now, was_set) = self.clock.look();
        if was_set && let Some(member) = &mut self.member {
            // All machines may have slept together, and what is known of the others with them.
            member.handle_clock_set();
        }
        if was_set || self.clock.has_news {
            self.judge_clock();
        }
        now
    }

    /// Decides whether this node's clock counts, and does what follows.
    pub(super) fn judge_clock(&mut self) {
        let (own, now) = (self.clock.now().wall, Instant::now());
        self.clock.has_news = false;
        let others = self.member.as_ref().map(|member| member.clocks(&self.node, now));
        let mut counts = None;
        let reason = match &others {
            // Alone, or the only one with a vote.
            None => self.clock.judge_alone(own),
            Some(others) if others.is_only_voter => self.clock.judge_alone(own),
            Some(others) if !others.votes => None,
            Some(others) => {
                let known: Vec<Nanos> = others.known.iter().map(|(_, wall)| *wall).chain([own]).collect();
                counts = counting(&known, others.voters, self.node.time());
                self.clock.judge(own, counts)
            }
        };
        self.clock.note(reason, now);
        let standing = self.node.standing();
        if self.clock.offers(standing.role == Role::Leader, now)
            && let (Some(others), Some(counts)) = (others, counts)
            && let Some(successor) = others.successor(&standing, counts)
        {
            self.node.handle(self.clock.now(), Input::HandOverTo(successor));
        }
        let pressure = self.clock.pressure(now);
        if pressure.is_some() != self.clock.is_pressed {
            self.clock.is_pressed = pressure.is_some();
            self.press_clock(pressure);
        }
        self.tell_clock();
    }

    fn tell_clock(&mut self) {
        let reason = self.clock.reason();
        self.shared.metrics.clock_wrong.set(i64::from(reason.is_some()));
        if let Some(member) = &mut self.member {
            member.set_clock(reason);
        } else if self.shared.cluster.borrow().clock.as_deref() != reason {
            let reason = reason.map(str::to_owned);
            self.shared.cluster.send_modify(|status| status.clock = reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Nanos = Nanos(1_793_491_200 * Nanos::PER_SECOND);
    const MINUTE: u64 = 60 * Nanos::PER_SECOND;

    fn guard() -> ClockGuard {
        ClockGuard::new(Clock::new(|| TODAY), false)
    }

    #[test]
    fn a_clock_that_was_off_must_come_nearer_to_count_again() {
        let mut guard = guard();
        let at = |minutes: u64| Nanos(TODAY.0 + minutes * MINUTE);
        assert_eq!(guard.judge(at(5), Some(TODAY)), None);
        let begun = Instant::now();
        let reason = guard.judge(at(6), Some(TODAY));
        guard.note(reason.clone(), begun);
        assert!(guard.is_wrong() && guard.reason().is_none(), "it is not said yet");
        guard.note(reason.clone(), begun + CONFIRM);
        assert_eq!(guard.reason(), reason.as_deref());
        assert!(guard.judge(at(5), Some(TODAY)).is_some());
        assert!(guard.judge(Nanos(TODAY.0 - 5 * MINUTE), Some(TODAY)).is_some());
        assert_eq!(guard.judge(at(4), Some(TODAY)), None);
        assert_eq!(guard.judge(at(500), None), None, "nobody knows better");
        guard.note(None, begun + CONFIRM);
        assert!(!guard.is_wrong());
    }

    #[test]
    fn the_lead_is_offered_before_clients_are_refused() {
        let mut guard = guard();
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let wrong = || Some("wrong".to_owned());
        guard.note(wrong(), begun);
        assert!(!guard.offers(true, begun), "it may be one look between two words of the others");
        guard.note(wrong(), after(500));
        assert!(guard.offers(true, after(500)) && guard.pressure(after(500)).is_none());
        assert!(!guard.offers(true, after(600)) && guard.offers(true, after(800)));
        assert!(guard.pressure(after(1_000)).is_some_and(|text| text.contains("wrong")));
        assert!(!guard.offers(false, after(1_100)), "it follows");
        assert_eq!(guard.pressure(after(9_000)), None, "a node that follows needs no clock");
        assert!(guard.offers(true, after(9_100)), "it leads again, and is known to be wrong");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let shown = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(TODAY.0));
        let shows = std::sync::Arc::clone(&shown);
        let clock = Clock::new(move || Nanos(shows.load(std::sync::atomic::Ordering::Relaxed)));
        let mut guard = ClockGuard::new(clock.clone(), false);
        assert!(!guard.look().1);
        let year_2326 = TODAY.0 + 300 * AHEAD_MAX;
        shown.store(year_2326, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(guard.look(), (Now { wall: Nanos(year_2326) }, true));
        assert!(!guard.look().1, "it was not set again");
        assert!(guard.judge_alone(Nanos(year_2326)).is_some_and(|text| text.contains("--accept-clock")));
        assert_eq!(guard.judge_alone(Nanos(TODAY.0 + MINUTE)), None);
        shown.store(TODAY.0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(ClockGuard::new(clock, true).judge_alone(Nanos(year_2326)), None, "the operator knows");
    }
}
