//! The caller's side of a session: numbers for commands, and which of them still wait.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::command::Head;
use crate::replies::WINDOW_MAX;

/// Numbers the commands; shared by all handles of a member.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// Held while a session is opened, so that only one is opened.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the session; 0 before it is opened.
    session: u64,
    last: u64,
    /// The numbers of commands without an answer.
    waiting: BTreeSet<u64>,
}

/// Why a command gets no number yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// No session is open.
    Session,
    /// Too many commands were numbered since the oldest that waits.
    WindowFull,
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number for a command; it counts as waiting until the turn is dropped.
    pub(crate) fn begin(&self) -> Result<Turn<'_>, Wait> {
        let mut state = self.lock();
        if state.session == 0 {
            return Err(Wait::Session);
        }
        let number = state.last + 1;
        let oldest = state.waiting.first().copied().unwrap_or(number);
        if number - oldest >= WINDOW_MAX {
            return Err(Wait::WindowFull);
        }
        state.last = number;
        state.waiting.insert(number);
        let head = Head { session: state.session, number, oldest };
        Ok(Turn { session: self, head })
    }

    /// Sets the opened session.
    pub(crate) fn set(&self, session: u64) {
        *self.lock() = State { session, ..State::default() };
    }

    /// Drops the session, unless another one was opened since.
    pub(crate) fn lose(&self, session: u64) {
        let mut state = self.lock();
        if state.session == session {
            *state = State::default();
        }
    }

    /// True when a session is open.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().session != 0
    }
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Turn<'session> {
    session: &'session Session,
    pub(crate) head: Head,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if state.session == self.head.session {
            state.waiting.remove(&self.head.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_carries_the_oldest_waiting_number() {
        let session = Session::default();
        assert_eq!(session.begin().unwrap_err(), Wait::Session);
        session.set(9);
        let first = session.begin().unwrap();
        let second = session.begin().unwrap();
        assert_eq!(second.head, Head { session: 9, number: 2, oldest: 1 });
        drop(first);
        let third = session.begin().unwrap();
        assert_eq!(third.head, Head { session: 9, number: 3, oldest: 2 });
        drop((second, third));
        assert_eq!(session.begin().unwrap().head.oldest, 4);
    }

    #[test]
    fn a_lost_session_leaves_no_waiting_numbers() {
        let session = Session::default();
        session.set(9);
        let old = session.begin().unwrap();
        session.lose(8);
        assert!(session.is_open());
        session.lose(9);
        session.set(10);
        let new = session.begin().unwrap();
        drop(old);
        assert_eq!((new.head.number, session.begin().unwrap().head.oldest), (1, 1));
    }

    #[test]
    fn the_oldest_command_limits_the_window() {
        let session = Session::default();
        session.set(9);
        let first = session.begin().unwrap();
        for _ in 1..WINDOW_MAX {
            drop(session.begin().unwrap());
        }
        assert_eq!(session.begin().unwrap_err(), Wait::WindowFull);
        drop(first);
        assert!(session.begin().is_ok());
    }
}
