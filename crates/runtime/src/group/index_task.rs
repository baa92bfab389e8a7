//! The task that builds index runs of the history, one at a time.

use std::time::Instant;

use bezant_storage::Job;

use crate::group::work::HistoryWork;
use crate::process::mailbox::{Mailbox, Sender};
use crate::process::pool::{Next, Task};

/// Ends when every sender of jobs is dropped, or when the history's task has ended.
pub(crate) struct IndexTask {
    pub(crate) jobs: Mailbox<Job>,
    pub(crate) history: Sender<HistoryWork>,
}

impl Task for IndexTask {
    /// Builds one run.
    fn run(&mut self, _now: Instant) -> Next {
        let Some(job) = self.jobs.next() else {
            return if self.jobs.has_senders() { Next::Wait } else { Next::End };
        };
        match self.history.send(HistoryWork::Built(job.run())) {
            Ok(()) => Next::Again,
            Err(_) => Next::End,
        }
    }
}
