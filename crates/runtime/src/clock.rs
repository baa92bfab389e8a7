//! This machine's clock, the readings of the other nodes' clocks, and the rule that selects the reference
//! clock.
//!
//! Cluster time follows the clock of the leader and never goes back: one entry that is stamped in 2326 keeps
//! it there for good. So a node whose clock is more than [`OFF_MAX`] off the reference clock, which
//! [`counting`] selects, stamps nothing and does not stay the leader. The rule compares clocks with each
//! other, so it does not stop a cluster whose clocks are all equally wrong; but a clock that [cannot be
//! right](is_absurd) is never selected. The rule is in this crate and not in `replica`, because core crates
//! have no clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bezant_replica::Now;
use bezant_types::Nanos;
use jiff::Timestamp;

use crate::start_error::StartError;

/// A node whose clock is farther off the reference clock does not lead: 5 minutes.
pub(crate) const OFF_MAX: u64 = 300 * Nanos::PER_SECOND;
/// A node whose clock was off does not lead again before it is this near: 4 minutes.
pub(crate) const BACK_MAX: u64 = 240 * Nanos::PER_SECOND;
const DAY: u64 = 86_400 * Nanos::PER_SECOND;
/// A clock that is farther ahead of the last entry is absurd: 10 years.
const ABSURD_AHEAD_MAX: u64 = 3_653 * DAY;
/// A node that is alone does not accept a clock that is farther ahead of the last entry. Such a clock is
/// right only when the ledger was idle for that long.
pub(crate) const AHEAD_MAX: u64 = 366 * DAY;
/// A node that is alone does not start when its clock is earlier than the last entry by more: cluster time
/// would not advance.
const LATE_MAX: u64 = DAY;
/// From this difference on a warning is logged: timeouts are late until the clock has caught up.
const LATE_WARN: u64 = 60 * Nanos::PER_SECOND;
/// A clock that shows a later time is wrong: the beginning of 2200.
pub(crate) const LATEST: Nanos = Nanos(7_258_118_400 * Nanos::PER_SECOND);

/// The beginning of 2025. This program is younger, so an entry with an earlier time was stamped with a clock
/// that was not set yet.
const EARLIEST: Nanos = Nanos(1_735_689_600 * Nanos::PER_SECOND);

/// The source of a node's wall-clock time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Nanos + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(0))
        })
    }

    /// A clock for tests: the function returns nanoseconds since 1970 at each call.
    pub fn new(shows: impl Fn() -> Nanos + Send + Sync + 'static) -> Self {
        Self(Arc::new(shows))
    }

    /// The current time; 0 before 1970.
    pub(crate) fn now(&self) -> Now {
        Now { wall: (self.0)() }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Clock").field(&self.now().wall).finish()
    }
}

/// What another node's clock showed at a moment of this process (`Instant`). This node's wall clock is not
/// used, so setting it leaves the readings valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) wall: Nanos,
    pub(crate) at: Instant,
    /// True when the exchange was as fast as between machines near each other; otherwise the reading may be
    /// off by some seconds.
    pub(crate) is_exact: bool,
}

impl Reading {
    /// What that clock shows at another moment.
    pub(crate) fn shows(&self, now: Instant) -> Nanos {
        passed((self.wall, self.at), now)
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// What a clock with this reading shows at a later moment, if it is not set meanwhile.
pub(crate) fn passed((wall, at): (Nanos, Instant), now: Instant) -> Nanos {
    let since = now.saturating_duration_since(at).as_nanos();
    Nanos(wall.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
}

/// The reference clock, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// The clocks of too few voters are known. Then no node leads for long.
    Unknown,
    /// Every known clock is absurd: no node may stamp anything.
    AllAbsurd,
    /// What the reference clock shows now.
    Clock(Nanos),
}

/// False when the time of the last entry is no evidence against a clock. Then there is no entry (time 0), or
/// the last entry was stamped by a machine whose clock was not set yet, for example one that had started in
/// 1970.
pub(crate) fn has_valid_time(ledger: Nanos) -> bool {
    ledger >= EARLIEST
}

/// True for a clock that cannot be right, however many others show the same. `ledger` is the time of the last
/// entry.
pub(crate) fn is_absurd(clock: Nanos, ledger: Nanos) -> bool {
    clock > LATEST || (has_valid_time(ledger) && clock.0 > ledger.0.saturating_add(ABSURD_AHEAD_MAX))
}

/// Selects the reference clock among the known clocks of voters, this node included. The clocks of a majority
/// must be known, absurd clocks included. `ledger` is the time of the last entry; 0 = there is none.
///
/// It is the median of the clocks that are not absurd, so neither a minority of wrong clocks nor any number
/// of absurd ones can move it. An even number of clocks has two in the middle, and the earlier one is
/// selected: cluster time that is too early catches up later, but cluster time that is too late stays too
/// late. When the earlier one is before the ledger's time and the later one is not, the ledger shows that the
/// earlier one is wrong, and the later one is selected.
pub(crate) fn counting(known: &[Nanos], voters: usize, ledger: Nanos) -> Counting {
    if known.len() <= voters / 2 {
        return Counting::Unknown;
    }
    let mut clocks: Vec<Nanos> = known.iter().copied().filter(|clock| !is_absurd(*clock, ledger)).collect();
    clocks.sort_unstable();
    let Some((early, late)) = middle(&clocks) else { return Counting::AllAbsurd };
    let is_late = |clock: Nanos| clock.0.saturating_add(OFF_MAX) < ledger.0;
    Counting::Clock(if is_late(early) && !is_late(late) { late } else { early })
}

/// The two middle elements; equal when the number is odd. `None` of an empty slice.
fn middle(sorted: &[Nanos]) -> Option<(Nanos, Nanos)> {
    let early = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((*early, *sorted.get(sorted.len() / 2)?))
}

/// A node that is alone compares its clock with the last entry of its ledger.
pub(crate) fn check_alone(clock: Nanos, ledger: Nanos) -> Result<(), StartError> {
    let problem = if clock > LATEST {
        "no correct clock shows that. Entries would keep such timestamps, and no later entry could have an earlier one"
    } else if !has_valid_time(ledger) {
        return Ok(());
    } else if clock.0.saturating_add(LATE_MAX) < ledger.0 {
        "the clock is more than a day earlier: cluster time would not advance, and no hold would expire, until the clock has caught up"
    } else if clock.0 > ledger.0.saturating_add(AHEAD_MAX) {
        "the clock is more than a year later: if it is wrong, entries would keep its timestamps, and no later entry could have \
         an earlier one"
    } else {
        return Ok(());
    };
    Err(StartError::Clock { clock: moment(clock), ledger: moment(ledger), problem })
}

/// Logs a warning: cluster time hardly advances until the clock has caught up, and timeouts are late.
pub(crate) fn warn_if_late(clock: Nanos, ledger: Nanos) {
    let late = ledger.0.saturating_sub(clock.0);
    if late > LATE_WARN {
        tracing::warn!(
            "this machine's clock is {} s earlier than cluster time: check it; until it has caught up, pending transfers \
             expire late",
            late / Nanos::PER_SECOND
        );
    }
}

/// The time in readable form, to the second.
pub(crate) fn moment(time: Nanos) -> String {
    if time == Nanos(0) {
        return "none".to_owned();
    }
    let seconds = i64::try_from(time.0 / Nanos::PER_SECOND).ok();
    let moment = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| format!("{time} ns after 1970"), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * DAY;
    /// 2026, in years after 1970.
    const TODAY: u64 = 56;
    /// The result when all known clocks are absurd.
    const ABSURD: u64 = u64::MAX;

    fn year(after: u64) -> Nanos {
        Nanos(after * YEAR)
    }

    /// The reference clock among these, in years after 1970; the ledger's last entry is of today.
    fn among(known: &[u64], voters: usize) -> Option<u64> {
        let known: Vec<Nanos> = known.iter().map(|after| year(*after)).collect();
        match counting(&known, voters, year(TODAY)) {
            Counting::Unknown => None,
            Counting::AllAbsurd => Some(ABSURD),
            Counting::Clock(found) => Some(found.0 / YEAR),
        }
    }

    #[test]
    fn a_minority_of_wrong_clocks_is_ignored() {
        assert_eq!(among(&[TODAY, TODAY, 356], 3), Some(TODAY));
        assert_eq!(among(&[0, TODAY, TODAY], 3), Some(TODAY));
        assert_eq!(among(&[0, TODAY, TODAY, TODAY, 356], 5), Some(TODAY));
        assert_eq!(among(&[0, 0, TODAY, TODAY, TODAY], 5), Some(TODAY));
    }

    #[test]
    fn without_a_majority_nothing_is_known() {
        assert_eq!(among(&[], 3), None);
        assert_eq!(among(&[TODAY], 3), None);
        assert_eq!(among(&[TODAY, TODAY], 4), None);
        assert_eq!(among(&[TODAY, TODAY], 3), Some(TODAY));
        assert_eq!(among(&[TODAY], 1), Some(TODAY));
    }

    #[test]
    fn of_two_clocks_the_less_harmful_is_selected() {
        assert_eq!(among(&[TODAY, 356], 3), Some(TODAY));
        assert_eq!(among(&[0, TODAY], 3), Some(TODAY), "the ledger is later than 1970");
        assert_eq!(among(&[0, 356], 3), Some(0), "time does not advance, and does not go to 2326");
        let new = counting(&[year(0), year(TODAY)], 3, Nanos(0));
        assert_eq!(new, Counting::Clock(year(0)), "a ledger without entries is no evidence");
    }

    #[test]
    fn an_absurd_clock_is_never_selected() {
        assert_eq!(among(&[TODAY, 356, 356], 3), Some(TODAY));
        assert_eq!(among(&[0, TODAY, 356, 356, 356], 5), Some(TODAY));
        assert_eq!(among(&[0, 356, 356], 3), Some(0), "time does not advance");
        assert_eq!(among(&[356, 356], 3), Some(ABSURD), "the third may answer later, or never");
        assert_eq!(among(&[356; 3], 3), Some(ABSURD));
        assert_eq!(among(&[TODAY + 11; 3], 3), Some(ABSURD));
        assert_eq!(among(&[TODAY + 9; 3], 3), Some(TODAY + 9));
        assert_eq!(counting(&[year(356); 3], 3, Nanos(0)), Counting::AllAbsurd, "a ledger without entries");
        assert_eq!(counting(&[year(100); 3], 3, Nanos(0)), Counting::Clock(year(100)));
        assert_eq!(counting(&[year(TODAY); 3], 3, year(356)), Counting::Clock(year(TODAY)));
        assert_eq!(counting(&[year(TODAY); 3], 3, year(1)), Counting::Clock(year(TODAY)), "NTP came late");
        assert_eq!(counting(&[year(356); 3], 3, year(1)), Counting::AllAbsurd);
    }

    #[test]
    fn correct_clocks_are_selected_after_an_idle_ledger() {
        let ledger = year(TODAY);
        let after = |days: u64| Nanos(ledger.0 + days * DAY);
        let found = counting(&[after(430), after(430), after(30)], 3, ledger);
        assert_eq!(found, Counting::Clock(after(430)));
        assert_eq!(among(&[TODAY + 3, TODAY + 3, TODAY + 3], 3), Some(TODAY + 3));
    }

    #[test]
    fn the_selected_clock_can_be_right() {
        let clocks = [0, TODAY, TODAY + 2, 356];
        for mask in 0..clocks.len().pow(5) {
            let known: Vec<u64> =
                (0..5).map(|at| clocks[mask / clocks.len().pow(at) % clocks.len()]).collect();
            for count in 3..=5 {
                let known = &known[..count];
                let found = among(known, 5).expect("a majority is known");
                let are_all_absurd = known.iter().all(|clock| *clock == 356);
                assert_eq!(found == ABSURD, are_all_absurd, "{known:?}");
                assert!(are_all_absurd || (found != 356 && known.contains(&found)), "{known:?}");
            }
        }
    }

    #[test]
    fn a_node_alone_compares_its_clock_with_its_ledger() {
        let today = year(TODAY);
        let ok = |clock: Nanos, ledger: Nanos| check_alone(clock, ledger).is_ok();
        assert!(ok(today, Nanos(0)) && ok(Nanos(1), Nanos(0)), "a new ledger");
        assert!(ok(today, year(1)) && ok(Nanos(1), year(1)), "stamped before the clock was set");
        assert!(check_alone(year(356), year(1)).is_err());
        assert!(
            ok(today, today) && ok(Nanos(today.0 + 300 * DAY), today) && ok(Nanos(today.0 - DAY / 2), today)
        );
        for (clock, word) in [
            (Nanos(today.0 - 2 * DAY), "earlier"),
            (Nanos(1), "earlier"),
            (Nanos(today.0 + 2 * YEAR), "later"),
            (year(356), "no correct clock"),
        ] {
            let error = check_alone(clock, today).unwrap_err().to_string();
            let is_named = [word, "with its clock accepted", &moment(clock), &moment(today)]
                .map(|part| error.contains(part));
            assert_eq!(is_named, [true; 4], "{error}");
        }
        assert!(check_alone(year(356), Nanos(0)).is_err());
        assert_eq!(moment(Nanos(1_793_491_200_000_000_000)), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn a_reading_advances_with_the_time_of_this_process() {
        let at = Instant::now();
        let reading = Reading { wall: year(1), at, is_exact: true };
        assert_eq!(reading.shows(at + Duration::from_secs(5)), Nanos(YEAR + 5 * Nanos::PER_SECOND));
    }
}
