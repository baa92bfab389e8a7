//! The task that prepares the next segment of the log before the log needs it.

use std::time::Instant;

use bezant_storage::log::Preparer;

use crate::process::mailbox::Mailbox;
use crate::process::pool::{Next, Task};

/// Ends when every sender of requests is dropped.
pub(crate) struct PrepareTask {
    pub(crate) preparer: Preparer,
    /// Requests; those that wait together need one segment.
    pub(crate) requests: Mailbox<()>,
}

impl Task for PrepareTask {
    fn run(&mut self, _now: Instant) -> Next {
        let mut is_asked = false;
        while self.requests.next().is_some() {
            is_asked = true;
        }
        // This is not fatal: the log prepares the segment itself when it needs it, and reports a failure then.
        if is_asked && let Err(error) = self.preparer.prepare() {
            tracing::warn!("the next log segment could not be prepared: {error}");
        }
        if self.requests.has_senders() { Next::Wait } else { Next::End }
    }
}
