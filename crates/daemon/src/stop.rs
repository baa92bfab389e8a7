//! The signals that ask a program to stop, so that it can clean up first.
//!
//! A terminal that closes sends SIGHUP, to some programs twice: that counts once, and never as the second
//! signal that ends a node at once. A process that was started with SIGHUP ignored, as `nohup` does, goes on
//! ignoring it.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM and the first SIGHUP.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// SIGHUP; `None` after it came, and where it is ignored.
    hang_up: Option<Signal>,
}

impl StopSignals {
    /// Installs the handlers: the signals no longer end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hang_up = if ignores_hang_up(&status) { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits until one of the signals comes.
    pub async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        let is_hang_up = tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => false,
            _ = hang_up => true,
        };
        if is_hang_up {
            self.hang_up = None;
        }
    }
}

/// True when `/proc/self/status` shows that the process ignores SIGHUP; false where the system has no such
/// file.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // The lowest bit is signal 1, SIGHUP.
    mask & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignores_hang_up("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_up("SigIgn:\t0000000000001000\n"), "another signal");
        assert!(!ignores_hang_up(""), "no such file");
    }

    #[tokio::test]
    async fn a_terminal_that_closes_counts_once() {
        let mut stop = StopSignals::new().unwrap();
        if stop.hang_up.is_none() {
            return;
        }
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        stop.next().await;
        rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
        stop.next().await;
        assert!(stop.hang_up.is_none());
    }
}
