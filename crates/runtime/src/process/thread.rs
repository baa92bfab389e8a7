//! The threads of the process: their priorities, and what a panic in one of them does.

use std::thread::JoinHandle;

use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::start_error::StartError;

/// The priority of a thread. When there is more work than processors, threads that serve requests run first.
/// The other threads get the rest of the processor time. If they lag too far, no entries are made until they
/// have caught up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Urgency {
    /// A client's write waits for it.
    Request,
    /// A query may wait for it.
    Soon,
    /// No client waits for it.
    Later,
}

impl Urgency {
    /// Sets the thread's priority. If the system refuses, the node is slower, but works.
    fn set_priority(self) {
        let nice = match self {
            Self::Request => return,
            Self::Soon => 5,
            Self::Later => 10,
        };
        if let Err(error) = setpriority_process(Some(gettid()), nice) {
            tracing::debug!(%error, "a thread keeps its priority");
        }
    }
}

/// The size of a thread's stack in bytes. It is large because the parts of a command may be nested; the
/// system provides memory only for the part that is used.
const STACK_SIZE: usize = 64 << 20;

/// Starts a thread. A panic in it means that an invariant is broken: the process ends, and the next start
/// continues from the log.
pub(crate) fn spawn(
    name: &str,
    urgency: Urgency,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let body = move || {
        urgency.set_priority();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!("an invariant is broken: the process ends");
            std::process::abort();
        }
    };
    let thread = std::thread::Builder::new().name(format!("bezant-{name}")).stack_size(STACK_SIZE);
    thread.spawn(body).map_err(StartError::Thread)
}
