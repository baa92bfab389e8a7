//! The caller's end of a session: numbers for commands, and which of them still wait.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::command::Head;
use crate::replies::WINDOW_MAX;

/// Numbers commands; shared by all handles of a member.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// Held while a session is opened: one is enough.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// 0 before it was opened.
    session: u64,
    last: u64,
    /// Numbers without an answer.
    waiting: BTreeSet<u64>,
}

/// Why there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// No session is open.
    Session,
    /// Too many commands were numbered since the oldest that waits.
    Room,
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a command, which waits until it is dropped.
    pub(crate) fn begin(&self) -> Result<Turn<'_>, Wait> {
        let mut state = self.lock();
        if state.session == 0 {
            return Err(Wait::Session);
        }
        let number = state.last + 1;
        let oldest = state.waiting.first().copied().unwrap_or(number);
        if number - oldest >= WINDOW_MAX {
            return Err(Wait::Room);
        }
        state.last = number;
        state.waiting.insert(number);
        let head = Head { session: state.session, number, oldest };
        Ok(Turn { session: self, head })
    }

    /// Begins a session that was opened.
    pub(crate) fn set(&self, session: u64) {
        *self.lock() = State { session, ..State::default() };
    }

    /// Forgets the session, unless another one was begun since.
    pub(crate) fn lose(&self, session: u64) {
        let mut state = self.lock();
        if state.session == session {
            *state = State::default();
        }
    }

    /// True when there is one.
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
    fn each_command_says_which_answers_are_waited_for() {
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
    fn numbers_of_a_session_that_was_lost_wait_for_nothing() {
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
    fn the_oldest_holds_up_those_far_behind_it() {
        let session = Session::default();
        session.set(9);
        let first = session.begin().unwrap();
        for _ in 1..WINDOW_MAX {
            drop(session.begin().unwrap());
        }
        assert_eq!(session.begin().unwrap_err(), Wait::Room);
        drop(first);
        assert!(session.begin().is_ok());
    }
}
