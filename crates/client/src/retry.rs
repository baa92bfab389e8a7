//! When a call is retried, and how long the client waits before.
//!
//! Every event carries an id that exists at most once, so a retry is always safe: the server answers with the
//! first outcome. A refusal that asks for a changed request is never retried. The wait doubles from try to
//! try and is drawn between half and all of it, so that many clients do not return at the same time. A wait
//! that the server asks for takes precedence.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How long to wait between tries, and how often to try. The deadline of the call always limits both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure.
    pub wait_initial: Duration,
    /// The longest wait, unless the server asks for a longer one.
    pub wait_max: Duration,
    /// Tries of one call, the first included; 0 = as many as the deadline allows.
    pub attempts_max: u32,
}

impl RetryPolicy {
    /// A single try.
    pub const NEVER: Self = Self { wait_initial: Duration::ZERO, wait_max: Duration::ZERO, attempts_max: 1 };

    /// True when the call may be tried once more after `attempts` tries.
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

    /// The wait after try number `attempt`: the one that the server asks for, or else a drawn one.
    pub(crate) fn wait_after(&self, attempt: u32, status: &Status) -> Duration {
        server_wait(status).unwrap_or_else(|| self.wait(attempt, draw()))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { wait_initial: Duration::from_millis(20), wait_max: Duration::from_secs(2), attempts_max: 0 }
    }
}

/// Counts of the tries of a call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// Tries begun; 1 = the first one.
    pub(crate) count: u32,
    /// Tries that ended without an answer in time.
    pub(crate) timeouts: u32,
    /// Tries that a server refused, since the last one without an answer.
    pub(crate) refusals: u32,
}

impl Tries {
    /// Counts the end of a try; true when the next try should go to another server.
    ///
    /// The client stays with an overloaded server. A server that answers "unavailable" is at least alive,
    /// while the next one may be the unresponsive node; so the client tries it once more before it turns to
    /// the next.
    pub(crate) fn turn_after(&mut self, status: &Status, is_timeout: bool) -> bool {
        if is_timeout {
            self.timeouts = self.timeouts.saturating_add(1);
        }
        if is_timeout || std::error::Error::source(status).is_some() {
            self.refusals = 0;
            return true;
        }
        self.refusals = self.refusals.saturating_add(1);
        status.code() != Code::ResourceExhausted && self.refusals > 1
    }
}

/// True when the same call may succeed later.
pub(crate) fn is_worth_another_try(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted => true,
        // A connection that breaks in the middle of a call shows as one of these, with its cause attached.
        Code::Unknown | Code::Cancelled | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

/// The wait that the server asks for.
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
    fn waits_double_to_the_limit_and_are_drawn_from_the_upper_half() {
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
    fn the_wait_that_the_server_asks_for_is_used() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "overloaded", details);
        assert_eq!(RetryPolicy::default().wait_after(1, &status), Duration::from_millis(7));
    }

    #[test]
    fn a_timeout_changes_the_server_and_a_second_refusal_too() {
        let mut tries = Tries::default();
        let (timed_out, refused) = (Status::deadline_exceeded(""), Status::unavailable("no leader"));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(tries.turn_after(&timed_out, true));
        assert!(!tries.turn_after(&refused, false));
        assert!(tries.turn_after(&refused, false));
        assert!(tries.turn_after(&broken, false));
        assert!(!tries.turn_after(&refused, false), "the count begins anew with another server");
        assert!(!tries.turn_after(&Status::resource_exhausted(""), false));
        assert_eq!(tries.timeouts, 1);
    }

    #[test]
    fn a_refusal_of_the_request_is_not_retried() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::Unimplemented, Code::OutOfRange] {
            assert!(!is_worth_another_try(&Status::new(code, "")), "{code:?}");
        }
        assert!(!is_worth_another_try(&Status::internal("a bug")), "the server itself answered");
        assert!(is_worth_another_try(&Status::unavailable("")));
        assert!(is_worth_another_try(&Status::from_error(Box::new(std::io::Error::other("reset")))));
    }
}
