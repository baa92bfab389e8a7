//! Words that would come too often: what goes wrong with every connection of a client is said once a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the log hears of one thing.
const INTERVAL: Duration = Duration::from_secs(1);

/// One thing that may go wrong very often.
#[derive(Debug, Default)]
pub(crate) struct LogRate(Mutex<Option<Instant>>);

impl LogRate {
    /// True when it has not been said for a while; then it counts as said.
    pub(crate) fn allows_line(&self) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|said| said.elapsed() >= INTERVAL);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_said_is_not_said_again() {
        let (seldom, other) = (LogRate::default(), LogRate::default());
        assert_eq!([seldom.allows_line(), seldom.allows_line(), other.allows_line()], [true, false, true]);
    }
}
