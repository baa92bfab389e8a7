//! What is done about a clock that is wrong: the node gives out no timestamps, and another one leads.
//!
//! While the clock is wrong (see `clock`), a leader makes no entries of its clients' commands: they wait. It was
//! perhaps one look between two words of the others, so the lead is offered only after [`CONFIRM`], to a voter whose clock
//! counts; that goes on, less and less often, until one has taken it. Commands that have waited for [`WAIT_MAX`] are refused as on a full disk, so
//! that clients can turn to another node. A node that follows needs no clock: it hands its clients' commands on.

use std::time::{Duration, Instant};

use bezant_consensus::Role;
use bezant_recovery::Machine;
use bezant_replica::{Input, Now};
use bezant_types::Nanos;

use super::ReplicaThread;
use crate::clock::{
    AHEAD_MAX, BACK_MAX, Clock, Counting, LATEST, OFF_MAX, counting, is_absurd, moment, passed, says_when,
};

/// A clock that went another way than time by so much was set: 1 s.
const SET_MIN: u64 = Nanos::PER_SECOND;
/// How long a clock must be wrong before it is said, and the lead offered.
const CONFIRM: Duration = Duration::from_millis(500);
/// How long a leader's clients wait for another leader, or a clock that is right.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How long after an offer the lead is offered again, while that does not help; then the last one over and over. Losing the
/// lead changes nothing about it: two nodes whose clocks are both wrong must not hand it to each other all the time.
const OFFER_INTERVALS_MS: [u64; 6] = [300, 300, 1_000, 1_000, 5_000, 30_000];
/// After so long without an offer it begins anew.
const OFFERS_FORGOTTEN: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub(crate) struct ClockGuard {
    clock: Clock,
    /// The operator says that the clock is right, though it does not fit the ledger.
    is_accepted: bool,
    /// What the clock showed when the node began, and when it was looked at last.
    begun: (Nanos, Instant),
    last: (Nanos, Instant),
    /// Something was heard of the others' clocks.
    pub(super) has_news: bool,
    wrong: Option<Wrong>,
    /// Since when this node leads, and makes no entries.
    holds_since: Option<Instant>,
    /// The last offer of the lead, and how many were made one after the other.
    offered: Option<(Instant, usize)>,
    /// Nobody is there to compare this clock with.
    is_alone: bool,
    /// This node led when its clock was judged last.
    led: bool,
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
            offered: None,
            is_alone: false,
            led: false,
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

    /// Why the clock of a node that has nobody to compare it with does not count: the last entry of the ledger contradicts it.
    /// A ledger without entries contradicts nothing, nor does one that was stamped before the clock was set. One that was idle for long while the node ran does not count as old.
    fn judge_alone(&self, own: Nanos, ledger: Nanos) -> Option<String> {
        let expected = passed(self.begun, Instant::now()).max(ledger);
        let is_far_ahead = says_when(ledger) && own.0 > expected.0.saturating_add(AHEAD_MAX);
        let is_wrong = !self.is_accepted && (own > LATEST || is_far_ahead);
        is_wrong.then(|| {
            format!(
                "it shows {}, and the last entry of the ledger is of {}: nothing is stamped with it until it is set right; when \
                 it is right now, start the node anew with --accept-clock",
                moment(own),
                moment(ledger)
            )
        })
    }

    /// Why the clock of a node among others does not count. Once off, it must come nearer to count again; but a leader that
    /// nobody with a better clock can follow (`is_replaceable` is false) does without that.
    fn judge(&self, own: Nanos, counts: Counting, ledger: Nanos, is_replaceable: bool) -> Option<String> {
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
                    "its clock shows {}, the last entry of the ledger is of {}, and no voter that is heard of has a clock that \
                     can be right: nothing is stamped until a clock is set right; when they are right, start the nodes anew \
                     with --accept-clock",
                    moment(own),
                    moment(ledger)
                )
            }),
        }
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

    /// Whether the lead is to be offered now to the one that could take it, if there is one.
    fn offers(&mut self, leads: bool, has_successor: bool, now: Instant) -> bool {
        if !leads || self.wrong.is_none() {
            self.holds_since = None;
            return false;
        }
        self.holds_since.get_or_insert(now);
        if self.reason().is_none() || !has_successor {
            return false;
        }
        let since = self.offered.map(|(at, count)| (now.saturating_duration_since(at), count));
        let count = match since {
            Some((since, count)) if since < OFFERS_FORGOTTEN => {
                let at = (count - 1).min(OFFER_INTERVALS_MS.len() - 1);
                if since < Duration::from_millis(OFFER_INTERVALS_MS[at]) {
                    return false;
                }
                count
            }
            _ => 0,
        };
        self.offered = Some((now, count + 1));
        true
    }

    /// What clients are told who have waited long enough.
    fn pressure(&self, now: Instant) -> Option<String> {
        let since = self.holds_since?;
        let has_waited = now.saturating_duration_since(since) >= WAIT_MAX;
        let whose = if self.is_alone { "this machine's" } else { "the leader's" };
        self.reason().filter(|_| has_waited).map(|reason| format!("{whose} clock is wrong: {reason}"))
    }
}

impl<M: Machine> ReplicaThread<M> {
    /// What the clock shows, once it is known whether it counts.
    pub(super) fn look_at_clock(&mut self) -> Now {
        let (now, was_set) = self.clock.look();
        if was_set && let Some(member) = &mut self.member {
            // All machines may have slept together, and what is known of the others with them.
            member.handle_clock_set();
        }
        // One that comes to lead must not stamp anything before it has looked.
        if was_set || self.clock.has_news || self.clock.led != self.node.is_leader() {
            self.judge_clock();
        }
        now
    }

    /// Decides whether this node's clock counts, and does what follows.
    pub(super) fn judge_clock(&mut self) {
        let (own, now, ledger) = (self.clock.now().wall, Instant::now(), self.node.time());
        let standing = self.node.standing();
        let leads = standing.role == Role::Leader;
        self.clock.has_news = false;
        self.clock.led = self.node.is_leader();
        let others = self.member.as_ref().map(|member| member.clocks(&self.node, now));
        let others = others.filter(|others| !others.is_only_voter);
        self.clock.is_alone = others.is_none();
        let mut successor = None;
        let reason = match others {
            None => self.clock.judge_alone(own, ledger),
            Some(others) if !others.votes => None,
            Some(others) => {
                let known: Vec<Nanos> = others.known.iter().map(|(_, wall)| *wall).chain([own]).collect();
                let counts = counting(&known, others.voters, ledger);
                if let Counting::Clock(counts) = counts {
                    successor = others.successor(&standing, counts);
                }
                self.clock.judge(own, counts, ledger, !leads || successor.is_some())
            }
        };
        self.clock.note(reason, now);
        if self.clock.offers(leads, successor.is_some(), now)
            && let Some(successor) = successor
        {
            self.node.handle(self.clock.now(), Input::TransferLeadershipTo(successor));
        }
        let pressure = self.clock.pressure(now);
        if pressure.is_some() != self.clock.is_pressed {
            self.clock.is_pressed = pressure.is_some();
            self.node.handle(self.clock.now(), Input::Hold(pressure));
            self.tell_health();
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
        let judge = |guard: &ClockGuard, own| guard.judge(own, Counting::Clock(TODAY), TODAY, true);
        assert_eq!(judge(&guard, at(5)), None);
        let begun = Instant::now();
        let reason = judge(&guard, at(6));
        guard.note(reason.clone(), begun);
        assert!(guard.is_wrong() && guard.reason().is_none(), "it is not said yet");
        guard.note(reason.clone(), begun + CONFIRM);
        assert_eq!(guard.reason(), reason.as_deref());
        assert!(judge(&guard, at(5)).is_some());
        assert!(judge(&guard, Nanos(TODAY.0 - 5 * MINUTE)).is_some());
        assert_eq!(judge(&guard, at(4)), None);
        assert_eq!(guard.judge(at(500), Counting::Unknown, TODAY, true), None, "nobody knows better");
        let leads_for_want_of_a_better = |own| guard.judge(own, Counting::Clock(TODAY), TODAY, false);
        assert_eq!(leads_for_want_of_a_better(at(5)), None);
        assert!(leads_for_want_of_a_better(at(6)).is_some());
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
        assert!(!guard.offers(true, true, begun), "it may be one look between two words of the others");
        guard.note(wrong(), after(500));
        assert!(!guard.offers(true, false, after(500)), "nobody could take it");
        assert!(guard.offers(true, true, after(500)) && guard.pressure(after(500)).is_none());
        assert!(!guard.offers(true, true, after(600)) && guard.offers(true, true, after(800)));
        assert!(
            guard.pressure(after(1_000)).is_some_and(|text| text == "the leader's clock is wrong: wrong")
        );
        guard.is_alone = true;
        assert!(
            guard.pressure(after(1_000)).is_some_and(|text| text == "this machine's clock is wrong: wrong")
        );
        assert!(!guard.offers(false, true, after(1_050)), "it follows");
        assert_eq!(guard.pressure(after(9_000)), None, "a node that follows needs no clock");
        assert!(!guard.offers(true, true, after(1_099)), "it leads again, and has offered just now");
        assert!(guard.offers(true, true, after(1_100)));
    }

    #[test]
    fn what_does_not_help_is_offered_less_and_less_often() {
        let mut guard = guard();
        let begun = Instant::now();
        guard.note(Some("wrong".to_owned()), begun);
        guard.note(Some("wrong".to_owned()), begun + CONFIRM);
        let count = (500..300_000).step_by(50).filter(|millis| {
            // Each offer is taken, and the lead comes back.
            guard.offers(false, false, begun + Duration::from_millis(*millis - 25));
            guard.offers(true, true, begun + Duration::from_millis(*millis))
        });
        assert_eq!(count.count(), 6 + 9);
        assert!(guard.offers(true, true, begun + Duration::from_mins(10)));
        assert!(guard.offers(true, true, begun + Duration::from_millis(600_300)), "that was long ago");
    }

    #[test]
    fn nothing_is_stamped_while_all_clocks_are_absurd() {
        let at = |years: u64| Nanos(TODAY.0 + years * AHEAD_MAX);
        let guard = guard();
        // A third one was right, and is not heard of any more.
        let counts = counting(&[at(300), at(300)], 3, TODAY);
        let text = guard.judge(at(300), counts, TODAY, false).unwrap();
        assert!(text.contains("--accept-clock") && text.contains(&moment(TODAY)), "{text}");
        assert!(guard.judge(at(300), Counting::Unknown, TODAY, false).is_some());
        assert_eq!(guard.judge(TODAY, Counting::Unknown, TODAY, false), None);
        let accepting = ClockGuard::new(Clock::new(|| TODAY), true);
        assert_eq!(accepting.judge(at(300), counts, TODAY, false), None, "the operator knows");
        let counts = counting(&[at(300), at(300), TODAY], 3, TODAY);
        assert!(accepting.judge(at(300), counts, TODAY, true).is_some(), "there is one that fits");
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
    fn a_leader_whose_disk_hangs_stamps_nothing_with_a_wrong_clock() {
        let shown = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(TODAY.0));
        let shows = std::sync::Arc::clone(&shown);
        let clock = Clock::new(move || Nanos(shows.load(std::sync::atomic::Ordering::Relaxed)));
        let options =
            bezant_replica::ReplicaOptions { is_alone: false, ..bezant_replica::ReplicaOptions::default() };
        let mut thread = crate::replica_thread::tests::alone(options, clock);
        let ask = |thread: &mut ReplicaThread<bezant_ledger::Ledger>, number| {
            let account = bezant_types::Account::default();
            let body = bezant_ledger::Event::write_all(&[account]);
            let command = bezant_ledger::Operation::CreateAccounts.command(body).unwrap();
            let ticket = bezant_replica::Ticket(number);
            thread.node.handle(thread.clock.now(), Input::Request { ticket, command });
            thread.work();
        };
        ask(&mut thread, 1);
        let stamped = thread.node.time();
        assert_eq!(stamped.0 / MINUTE, TODAY.0 / MINUTE);
        // Nobody says that the write is done.
        (0..200).for_each(|_| thread.node.handle(thread.clock.now(), Input::Tick));
        assert!(!thread.node.is_leader(), "not for its clients");
        shown.store(TODAY.0 + 300 * AHEAD_MAX, std::sync::atomic::Ordering::Relaxed);
        ask(&mut thread, 2);
        assert!(thread.clock.is_wrong());
        assert_eq!(thread.node.time(), stamped);
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
                reason.is_some_and(|text| text.contains("--accept-clock")),
                is_wrong,
                "{clock} {ledger}"
            );
        }
        let accepting = ClockGuard::new(Clock::new(|| TODAY), true);
        assert_eq!(accepting.judge_alone(year_2326, TODAY), None, "the operator knows");
    }
}
