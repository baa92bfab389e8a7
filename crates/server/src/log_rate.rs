//! A limit on log lines: an error that every connection of a client can cause is logged at most once a
//! second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line is logged in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time of the last line about one kind of error.
#[derive(Debug, Default)]
pub(crate) struct LogRate(Mutex<Option<Instant>>);

impl LogRate {
    /// True when the last line is old enough; the caller then logs a line.
    pub(crate) fn allows_line(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_line_within_the_interval_is_not_allowed() {
        let (first, second) = (LogRate::default(), LogRate::default());
        assert_eq!([first.allows_line(), first.allows_line(), second.allows_line()], [true, false, true]);
    }
}
