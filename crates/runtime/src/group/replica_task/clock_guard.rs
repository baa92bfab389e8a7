//! Handles a wrong clock of this node: the node stamps no entries, and leadership is transferred.
//!
//! While the clock is wrong (see `clock`), a leader makes no entries of its clients' commands: they wait. One
//! check may run after this node's clock was set and before the clocks of the others are known to be set. So
//! a transfer is attempted only when the clock was wrong for [`CONFIRM`], to a voter whose clock is right.
//! Attempts are repeated at growing intervals until that voter leads. Commands that have waited for
//! [`WAIT_MAX`] are refused as on a full disk, so that clients can turn to another node. A follower needs no
//! clock: it forwards its clients' commands.

use std::time::{Duration, Instant};

use bezant_replica::Now;
use bezant_types::Nanos;

use crate::clock::{
    AHEAD_MAX, BACK_MAX, Clock, Counting, LATEST, OFF_MAX, has_valid_time, is_absurd, moment, passed,
};

/// A clock was set when it differs from elapsed time by this much: 1 s.
const SET_MIN: u64 = Nanos::PER_SECOND;
/// How long a clock must be wrong before that is logged and leadership is transferred.
const CONFIRM: Duration = Duration::from_millis(500);
/// How long a leader's clients wait for another leader, or for a right clock.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The intervals between attempts to transfer leadership while they do not help; the last one repeats. Losing
/// leadership does not reset them: two nodes with wrong clocks must not transfer it to each other all the
/// time.
const TRANSFER_INTERVALS_MS: [u64; 6] = [300, 300, 1_000, 1_000, 5_000, 30_000];
/// After this time without an attempt, the intervals begin again.
const TRANSFERS_RESET: Duration = Duration::from_mins(1);

/// The state of the checks of this node's clock; see the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact, and none excludes another")]
pub(crate) struct ClockGuard {
    clock: Clock,
    /// True when the operator has accepted the clock, though it does not fit the ledger.
    is_accepted: bool,
    /// The clock's readings at the start of the node, and at the last check.
    start: (Nanos, Instant),
    last: (Nanos, Instant),
    /// True when a reading of another node's clock came since the last check.
    pub(super) has_news: bool,
    wrong: Option<Wrong>,
    /// When this node began to lead without making entries; `None` when it does not.
    holds_since: Option<Instant>,
    /// The time of the last attempt to transfer leadership, and the number of attempts in a row.
    transferred: Option<(Instant, usize)>,
    /// True when there is no other clock to compare with.
    pub(super) is_alone: bool,
    /// True when this node led at the last check.
    pub(super) led: bool,
    /// True while clients' commands are refused because of the clock.
    pub(super) is_pressed: bool,
}

#[derive(Debug)]
struct Wrong {
    since: Instant,
    reason: String,
    is_confirmed: bool,
}

impl ClockGuard {
    pub(crate) fn new(clock: Clock, is_accepted: bool) -> Self {
        let start = (clock.now().wall, Instant::now());
        Self {
            clock,
            is_accepted,
            start,
            last: start,
            has_news: false,
            wrong: None,
            holds_since: None,
            transferred: None,
            is_alone: false,
            led: false,
            is_pressed: false,
        }
    }

    /// What the clock shows.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// What the clock shows, and whether it was set since the last call.
    pub(super) fn look(&mut self) -> (Now, bool) {
        let (now, at) = (self.clock.now(), Instant::now());
        let expected = passed(self.last, at);
        self.last = (now.wall, at);
        (now, now.wall.0.abs_diff(expected.0) > SET_MIN)
    }

    /// True while this node must stamp nothing.
    pub(super) const fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    /// Why this node does not lead; `None` when its clock is right or not confirmed wrong.
    pub(super) fn reason(&self) -> Option<&str> {
        self.wrong.as_ref().filter(|wrong| wrong.is_confirmed).map(|wrong| &*wrong.reason)
    }

    /// Why the clock of a node that is alone is wrong: the last entry of the ledger contradicts it. A ledger
    /// without entries contradicts nothing, nor does one whose last entry was stamped before the clock was
    /// set. The clock is compared with the last entry, or with its reading at the start plus the time since
    /// then, if that is later: a ledger may be idle for long while the node runs.
    pub(super) fn judge_alone(&self, own: Nanos, ledger: Nanos) -> Option<String> {
        let expected = passed(self.start, Instant::now()).max(ledger);
        let is_far_ahead = has_valid_time(ledger) && own.0 > expected.0.saturating_add(AHEAD_MAX);
        let is_wrong = !self.is_accepted && (own > LATEST || is_far_ahead);
        is_wrong.then(|| {
            format!(
                "it shows {}, and the last entry of the ledger is of {}: no entry is stamped until the clock is set right; if \
                 it is right now, start the node once with its clock accepted; see \"The clock\" in docs/operations.md",
                moment(own),
                moment(ledger)
            )
        })
    }

    /// Why the clock of a node of a cluster is wrong. A clock that was off counts as right again only within
    /// [`BACK_MAX`]; for a leader that no node with a better clock can replace (`is_replaceable` is false),
    /// within [`OFF_MAX`].
    pub(super) fn judge(
        &self,
        own: Nanos,
        counts: Counting,
        ledger: Nanos,
        is_replaceable: bool,
    ) -> Option<String> {
        match counts {
            Counting::Clock(counts) => {
                let off_max = if self.is_wrong() && is_replaceable { BACK_MAX } else { OFF_MAX };
                (own.0.abs_diff(counts.0) > off_max).then(|| {
                    format!(
                        "its clock shows {}, and those of the others {}: it stamps no entries, and does not stay the leader, \
                         until its clock is set right",
                        moment(own),
                        moment(counts)
                    )
                })
            }
            Counting::Unknown if !is_absurd(own, ledger) => None,
            Counting::Unknown | Counting::AllAbsurd => (!self.is_accepted).then(|| {
                format!(
                    "its clock shows {}, the last entry of the ledger is of {}, and no voter in contact has a clock that \
                     can be right: no entry is stamped until a clock is set right; if the clocks are right, start the nodes once \
                     with their clocks accepted; see \"The clock\" in docs/operations.md",
                    moment(own),
                    moment(ledger)
                )
            }),
        }
    }

    /// Notes the result of a check.
    pub(super) fn note(&mut self, reason: Option<String>, now: Instant) {
        match (reason, &mut self.wrong) {
            (None, None) => {}
            (None, wrong) => {
                if wrong.take().is_some_and(|wrong| wrong.is_confirmed) {
                    tracing::warn!("this node's clock is right again");
                }
            }
            (Some(reason), None) => self.wrong = Some(Wrong { since: now, reason, is_confirmed: false }),
            (Some(reason), Some(wrong)) => {
                if !wrong.is_confirmed && now.saturating_duration_since(wrong.since) >= CONFIRM {
                    wrong.is_confirmed = true;
                    wrong.reason = reason;
                    tracing::error!("this node's clock is wrong: {}", wrong.reason);
                }
            }
        }
    }

    /// True when leadership is to be transferred now to the node that could take it, if there is one.
    pub(super) fn should_transfer(&mut self, leads: bool, has_successor: bool, now: Instant) -> bool {
        if !leads || self.wrong.is_none() {
            self.holds_since = None;
            return false;
        }
        self.holds_since.get_or_insert(now);
        if self.reason().is_none() || !has_successor {
            return false;
        }
        let since = self.transferred.map(|(at, count)| (now.saturating_duration_since(at), count));
        let count = match since {
            Some((since, count)) if since < TRANSFERS_RESET => {
                let at = (count - 1).min(TRANSFER_INTERVALS_MS.len() - 1);
                if since < Duration::from_millis(TRANSFER_INTERVALS_MS[at]) {
                    return false;
                }
                count
            }
            _ => 0,
        };
        self.transferred = Some((now, count + 1));
        true
    }

    /// The reason for clients that have waited for [`WAIT_MAX`].
    pub(super) fn pressure(&self, now: Instant) -> Option<String> {
        let since = self.holds_since?;
        let has_waited = now.saturating_duration_since(since) >= WAIT_MAX;
        let whose = if self.is_alone { "this machine's" } else { "the leader's" };
        self.reason().filter(|_| has_waited).map(|reason| format!("{whose} clock is wrong: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::counting;

    const TODAY: Nanos = Nanos(1_793_491_200 * Nanos::PER_SECOND);
    const MINUTE: u64 = 60 * Nanos::PER_SECOND;

    fn guard() -> ClockGuard {
        ClockGuard::new(Clock::new(|| TODAY), false)
    }

    #[test]
    fn a_clock_that_was_off_must_come_nearer() {
        let mut guard = guard();
        let at = |minutes: u64| Nanos(TODAY.0 + minutes * MINUTE);
        let judge = |guard: &ClockGuard, own| guard.judge(own, Counting::Clock(TODAY), TODAY, true);
        assert_eq!(judge(&guard, at(5)), None);
        let start = Instant::now();
        let reason = judge(&guard, at(6));
        guard.note(reason.clone(), start);
        assert!(guard.is_wrong() && guard.reason().is_none(), "it is not confirmed yet");
        guard.note(reason.clone(), start + CONFIRM);
        assert_eq!(guard.reason(), reason.as_deref());
        assert!(judge(&guard, at(5)).is_some());
        assert!(judge(&guard, Nanos(TODAY.0 - 5 * MINUTE)).is_some());
        assert_eq!(judge(&guard, at(4)), None);
        assert_eq!(
            guard.judge(at(500), Counting::Unknown, TODAY, true),
            None,
            "the other clocks are unknown"
        );
        let judge_irreplaceable = |own| guard.judge(own, Counting::Clock(TODAY), TODAY, false);
        assert_eq!(judge_irreplaceable(at(5)), None);
        assert!(judge_irreplaceable(at(6)).is_some());
        guard.note(None, start + CONFIRM);
        assert!(!guard.is_wrong());
    }

    #[test]
    fn leadership_is_transferred_before_clients_are_refused() {
        let mut guard = guard();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let wrong = || Some("wrong".to_owned());
        guard.note(wrong(), start);
        assert!(!guard.should_transfer(true, true, start), "it may be one check between two clock messages");
        guard.note(wrong(), after(500));
        assert!(!guard.should_transfer(true, false, after(500)), "no node could take it");
        assert!(guard.should_transfer(true, true, after(500)) && guard.pressure(after(500)).is_none());
        assert!(
            !guard.should_transfer(true, true, after(600)) && guard.should_transfer(true, true, after(800))
        );
        assert!(
            guard.pressure(after(1_000)).is_some_and(|text| text == "the leader's clock is wrong: wrong")
        );
        guard.is_alone = true;
        assert!(
            guard.pressure(after(1_000)).is_some_and(|text| text == "this machine's clock is wrong: wrong")
        );
        assert!(!guard.should_transfer(false, true, after(1_050)), "it follows");
        assert_eq!(guard.pressure(after(9_000)), None, "a node that follows needs no clock");
        assert!(
            !guard.should_transfer(true, true, after(1_099)),
            "it leads again, and has attempted just now"
        );
        assert!(guard.should_transfer(true, true, after(1_100)));
    }

    #[test]
    fn transfers_that_do_not_help_become_rare() {
        let mut guard = guard();
        let start = Instant::now();
        guard.note(Some("wrong".to_owned()), start);
        guard.note(Some("wrong".to_owned()), start + CONFIRM);
        let count = (500..300_000).step_by(50).filter(|millis| {
            // Each transfer succeeds, and leadership comes back.
            guard.should_transfer(false, false, start + Duration::from_millis(*millis - 25));
            guard.should_transfer(true, true, start + Duration::from_millis(*millis))
        });
        assert_eq!(count.count(), 6 + 9);
        assert!(guard.should_transfer(true, true, start + Duration::from_mins(10)));
        assert!(
            guard.should_transfer(true, true, start + Duration::from_millis(600_300)),
            "that was long ago"
        );
    }

    #[test]
    fn nothing_is_stamped_while_all_clocks_are_absurd() {
        let at = |years: u64| Nanos(TODAY.0 + years * AHEAD_MAX);
        let guard = guard();
        // A third one was right, and is not in contact any more.
        let counts = counting(&[at(300), at(300)], 3, TODAY);
        let text = guard.judge(at(300), counts, TODAY, false).unwrap();
        assert!(
            text.contains("start the nodes once with their clocks accepted; see \"The clock\"")
                && text.contains(&moment(TODAY)),
            "{text}"
        );
        assert!(guard.judge(at(300), Counting::Unknown, TODAY, false).is_some());
        assert_eq!(guard.judge(TODAY, Counting::Unknown, TODAY, false), None);
        let accepting = ClockGuard::new(Clock::new(|| TODAY), true);
        assert_eq!(accepting.judge(at(300), counts, TODAY, false), None, "the operator has accepted it");
        let counts = counting(&[at(300), at(300), TODAY], 3, TODAY);
        assert!(accepting.judge(at(300), counts, TODAY, true).is_some(), "one clock fits");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed() {
        let shown = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(TODAY.0));
        let shows = std::sync::Arc::clone(&shown);
        let clock = Clock::new(move || Nanos(shows.load(std::sync::atomic::Ordering::Relaxed)));
        let mut guard = ClockGuard::new(clock, false);
        assert!(!guard.look().1);
        let year_2326 = TODAY.0 + 300 * AHEAD_MAX;
        shown.store(year_2326, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(guard.look(), (Now { wall: Nanos(year_2326) }, true));
        assert!(!guard.look().1, "it was not set again");
    }

    #[test]
    fn a_clock_alone_is_compared_with_the_ledger() {
        let (guard, year_2326) = (guard(), Nanos(TODAY.0 + 300 * AHEAD_MAX));
        let year_2028 = Nanos(TODAY.0 + 2 * AHEAD_MAX);
        for (clock, ledger, is_wrong) in [
            (year_2326, TODAY, true),
            (year_2326, Nanos(0), true),
            (year_2028, TODAY, true),
            (year_2028, Nanos(0), false),
            (year_2028, Nanos(MINUTE), false),
            (year_2028, year_2028, false),
            (Nanos(TODAY.0 + MINUTE), TODAY, false),
        ] {
            let reason = guard.judge_alone(clock, ledger);
            assert_eq!(
                reason
                    .is_some_and(|text| text
                        .contains("start the node once with its clock accepted; see \"The clock\"")),
                is_wrong,
                "{clock} {ledger}"
            );
        }
        let accepting = ClockGuard::new(Clock::new(|| TODAY), true);
        assert_eq!(accepting.judge_alone(year_2326, TODAY), None, "the operator has accepted it");
    }
}
