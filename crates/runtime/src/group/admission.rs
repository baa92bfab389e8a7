//! The limits of the commands and reads of a group that wait for an answer, over all its handles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bezant_types::limits;

use crate::error::ReadError;
use crate::group::shared::Shared;

/// The limit of commands without an answer, over all handles; more are refused. The replica's own queue holds
/// fewer, so this limit covers only the commands on their way to it.
const COMMANDS_MAX: usize = 2 * limits::REQUESTS_WAITING_MAX;
/// The limit of the bytes of their bodies.
const COMMAND_BYTES_MAX: usize = 2 * limits::REQUEST_BYTES_WAITING_MAX;
/// The limit of reads without an answer; more are refused.
const READS_WAITING_MAX: usize = 4096;
/// The time after which waiting work is likely to be done.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A command's share of the limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    shared: Arc<Shared>,
    size: usize,
}

impl Admission {
    pub(super) fn new(shared: &Arc<Shared>, size: usize) -> Option<Self> {
        let commands = shared.commands.fetch_add(1, Ordering::Relaxed);
        let bytes = shared.bytes.fetch_add(size, Ordering::Relaxed);
        let admission = Self { shared: Arc::clone(shared), size };
        (commands < COMMANDS_MAX && bytes + size <= COMMAND_BYTES_MAX).then_some(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.commands.fetch_sub(1, Ordering::Relaxed);
        self.shared.bytes.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A read's share of the limit; given back when dropped.
#[derive(Debug)]
pub(super) struct ReadAdmission<'shared>(&'shared Shared);

impl<'shared> ReadAdmission<'shared> {
    pub(super) fn new(shared: &'shared Shared) -> Result<Self, ReadError> {
        let waiting = shared.reads_waiting.fetch_add(1, Ordering::Relaxed);
        let admission = Self(shared);
        if waiting < READS_WAITING_MAX {
            return Ok(admission);
        }
        shared.metrics.overloaded.inc();
        Err(ReadError::Overloaded { retry_after: RETRY_AFTER })
    }
}

impl Drop for ReadAdmission<'_> {
    fn drop(&mut self) {
        self.0.reads_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::metrics::Metrics;
    use bezant_storage::{History, MemoryDisk};
    use bezant_types::HistoryPosition;

    #[test]
    fn reads_beyond_the_limit_are_refused_until_one_has_ended() {
        let history = History::open(Arc::new(MemoryDisk::new()), HistoryPosition::default()).unwrap();
        let shared = Shared::new(Metrics::new(), history.reader());
        let mut waiting: Vec<_> =
            (0..READS_WAITING_MAX).map(|_| ReadAdmission::new(&shared).unwrap()).collect();
        for _ in 0..3 {
            let refused = ReadAdmission::new(&shared).unwrap_err();
            assert_eq!(refused, ReadError::Overloaded { retry_after: RETRY_AFTER });
        }
        waiting.pop();
        ReadAdmission::new(&shared).unwrap();
    }
}
