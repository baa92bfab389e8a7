//! When a call is tried again, and how long to wait before.
//!
//! Every event carries an id that exists at most once, so trying again is always safe: the server answers
//! with the first outcome. A refusal that says what to change is never tried again. The wait doubles from
//! try to try and is drawn between half and all of it, so that many clients do not come back at once; a
//! server that says when it is worth another try is taken at its word.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How long to wait between tries, and how often to try. The deadline of the call ends it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure.
    pub wait_initial: Duration,
    /// No wait is longer, unless the server asks for it.
    pub wait_max: Duration,
    /// Tries of one call, the first included; 0 = as many as the deadline allows.
    pub attempts_max: u32,
}

impl RetryPolicy {
    /// One try, no other.
    pub const NEVER: Self = Self { wait_initial: Duration::ZERO, wait_max: Duration::ZERO, attempts_max: 1 };

    /// True when the call may be tried once more after so many tries.
    pub(crate) const fn allows_another(&self, attempts: u32) -> bool {
        self.attempts_max == 0 || attempts < self.attempts_max
    }

    /// The wait after try number `attempt`, counted from 1. `draw` is random, uniform over all of `u64`.
    fn wait(&self, attempt: u32, draw: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.wait_initial.saturating_mul(1 << doublings).min(self.wait_max);
        let share = u32::try_from(draw >> 44).unwrap_or(0);
        whole / 2 + whole / 2 * share / (1 << 20)
    }

    /// The wait after try number `attempt`: what the server asks for, or else a drawn one.
    pub(crate) fn wait_after(&self, attempt: u32, status: &Status) -> Duration {
        server_wait(status).unwrap_or_else(|| self.wait(attempt, draw()))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { wait_initial: Duration::from_millis(20), wait_max: Duration::from_secs(2), attempts_max: 0 }
    }
}

/// What the tries of a call have come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// Begun. 1 = the first one.
    pub(crate) count: u32,
    /// Those that ended because nobody answered in time.
    pub(crate) silences: u32,
    /// Those that a server has turned down by itself, since the last one that had no answer.
    pub(crate) refusals: u32,
}

impl Tries {
    /// Takes the end of a try; true when the next one should turn to another server.
    ///
    /// Who is overloaded is waited for. Who says that it cannot just now is there, while the next one may be the very
    /// node that fell silent: it is asked once more before the client turns away.
    pub(crate) fn turn_after(&mut self, status: &Status, is_silence: bool) -> bool {
        if is_silence {
            self.silences = self.silences.saturating_add(1);
        }
        if is_silence || std::error::Error::source(status).is_some() {
            self.refusals = 0;
            return true;
        }
        self.refusals = self.refusals.saturating_add(1);
        status.code() != Code::ResourceExhausted && self.refusals > 1
    }
}

/// True when the same call may fare better later.
pub(crate) fn is_worth_another_try(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted => true,
        // A connection that breaks in the middle of a call shows as one of these, with its cause attached.
        Code::Unknown | Code::Cancelled | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// When the server thinks that another try is worth it.
fn server_wait(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// A random number, from the seeds that the standard library draws for its hash tables.
fn draw() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn waits_double_up_to_the_greatest_and_are_drawn_from_the_upper_half() {
        let policy = RetryPolicy {
            wait_initial: Duration::from_millis(100),
            wait_max: Duration::from_millis(350),
            attempts_max: 0,
        };
        assert_eq!(policy.wait(1, 0), Duration::from_millis(50));
        assert_eq!(policy.wait(2, 0), Duration::from_millis(100));
        assert_eq!(policy.wait(9, 0), Duration::from_millis(175), "held at the greatest");
        assert_eq!(policy.wait(1, 1 << 63), Duration::from_millis(75));
        assert!(policy.wait(u32::MAX, u64::MAX) <= policy.wait_max);
    }

    #[test]
    fn attempts_are_counted() {
        assert!(!RetryPolicy::NEVER.allows_another(1));
        assert!(RetryPolicy::default().allows_another(u32::MAX));
        let twice = RetryPolicy { attempts_max: 2, ..RetryPolicy::default() };
        assert!(twice.allows_another(1));
        assert!(!twice.allows_another(2));
    }

    #[test]
    fn the_servers_word_on_waiting_counts() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "overloaded", details);
        assert_eq!(RetryPolicy::default().wait_after(1, &status), Duration::from_millis(7));
    }

    #[test]
    fn who_is_silent_is_left_and_who_answers_is_asked_once_more() {
        let mut tries = Tries::default();
        let (silent, refused) = (Status::deadline_exceeded(""), Status::unavailable("no leader"));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(tries.turn_after(&silent, true));
        assert!(!tries.turn_after(&refused, false));
        assert!(tries.turn_after(&refused, false));
        assert!(tries.turn_after(&broken, false));
        assert!(!tries.turn_after(&refused, false), "another server: counted anew");
        assert!(!tries.turn_after(&Status::resource_exhausted(""), false));
        assert_eq!(tries.silences, 1);
    }

    #[test]
    fn what_says_what_to_change_is_not_tried_again() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::Unimplemented, Code::OutOfRange] {
            assert!(!is_worth_another_try(&Status::new(code, "")), "{code:?}");
        }
        assert!(!is_worth_another_try(&Status::internal("a bug")), "an answer of the server itself");
        assert!(is_worth_another_try(&Status::unavailable("")));
        assert!(is_worth_another_try(&Status::from_error(Box::new(std::io::Error::other("reset")))));
    }
}
