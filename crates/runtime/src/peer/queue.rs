//! Messages that wait for one peer. Above the limits a message is dropped and counted: the engine sends
//! again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// The limit of bytes that wait for one peer.
const BYTES_MAX: usize = 64 << 20;
/// The limit of messages that wait for one peer.
const MESSAGES_MAX: usize = 1 << 16;
/// About as many bytes are taken at once.
const TAKE_BYTES: usize = 1 << 20;
/// The most messages that are taken at once.
const TAKE_MESSAGES: usize = 256;

/// A bounded queue of messages to one peer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// True while a connection takes messages; without one they are dropped.
    is_open: bool,
    is_stopping: bool,
}

/// The result of taking from a queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Messages(Vec<Bytes>),
    /// No message came in time.
    Nothing,
    Stopping,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the message was dropped.
    #[must_use]
    pub(super) fn push(&self, message: Bytes) -> bool {
        let mut state = self.lock();
        if !state.is_open || state.messages.len() >= MESSAGES_MAX || state.bytes + message.len() > BYTES_MAX {
            return false;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
        self.changed.notify_one();
        true
    }

    /// Waits for messages, at most for the timeout.
    pub(super) fn take(&self, timeout: Duration) -> Taken {
        let state = self.lock();
        let is_idle = |state: &mut State| state.messages.is_empty() && !state.is_stopping;
        let waited = self.changed.wait_timeout_while(state, timeout, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_stopping {
            return Taken::Stopping;
        }
        let mut messages = Vec::new();
        let mut size = 0;
        while messages.len() < TAKE_MESSAGES
            && size < TAKE_BYTES
            && let Some(message) = state.messages.pop_front()
        {
            size += message.len();
            messages.push(message);
        }
        state.bytes -= size;
        if messages.is_empty() { Taken::Nothing } else { Taken::Messages(messages) }
    }

    /// Notes that a connection was opened or has ended. Messages that waited for the old one are dropped.
    pub(super) fn set_open(&self, is_open: bool) {
        let mut state = self.lock();
        state.is_open = is_open;
        state.messages.clear();
        state.bytes = 0;
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Waits until the timeout or the stop; true at the stop.
    pub(super) fn wait_for_stop(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |state| !state.is_stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }
}
