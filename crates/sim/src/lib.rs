//! The simulator: the code of whole nodes, over a simulated network, disks and clocks that fail.
//!
//! A run has one thread and one seed; runs with equal seeds are equal to the last bit. Clients pay, read,
//! retry and repeat requests. Meanwhile messages are lost, duplicated and delayed, machines lose power in the
//! middle of a write, disks fail and hang, clocks jump and processes pause. Then the faults end, and the
//! checkers (`check`) run: agreement, one outcome for each id, conservation, answers that follow the log,
//! linearizable reads, equal states, time that only grows, one leader in a term, and progress of every
//! client.
//!
//! It never uses a clock, a thread or the system's randomness. [`Bug`] lists intended mistakes around the
//! real code, which show that the checkers can fail.

mod bug;
mod check;
mod client;
mod faults;
mod keyed;
mod machine;
mod net;
mod operator;
mod random;
mod record;
mod rot;
mod time;
mod trace;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use bezant_consensus::EngineKind;
pub use bug::Bug;
pub use faults::REWIND_NAMES;
pub use trace::{Drawing, LaneState, Trace, TraceWindow};
use world::World;

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Determines the whole run.
    pub seed: u64,
    /// The consensus protocol of the nodes.
    pub engine: EngineKind,
    /// An intended mistake, which a checker must find; `None` for the real code.
    pub bug: Option<Bug>,
    /// True for a run in which old copies replace disks. Acknowledged entries may be lost then, but some node
    /// must stop and report it. Such a run has its own faults and checkers.
    pub rewinds: bool,
}

/// The totals of a run without a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimReport {
    /// Simulated time, ns.
    pub nanos: u64,
    /// Events that the world has processed.
    pub events: u64,
    /// Entries that were committed.
    pub entries: u64,
    /// Acknowledged writes.
    pub writes: u64,
    /// Answered reads.
    pub reads: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Damage that a start found and repaired.
    pub repairs: u64,
    /// Steps of the operator: a node added, promoted or removed, a disk lost, leadership transferred.
    pub operator_steps: u64,
    /// Times that a leader had nothing to do and let its group rest.
    pub rests: u64,
    /// Replicas that stopped because other replicas contradict an entry that they know to be committed.
    pub stops: u64,
    /// Acknowledged writes that are not in the log at the end.
    pub lost: u64,
    /// For each kind of fault, how often it had an effect, 0 included. A cut counts once for every message
    /// that it stops.
    pub faults: BTreeMap<&'static str, u64>,
    /// Checksum of the events and the last state: equal for equal seeds.
    pub fingerprint: u64,
}

/// A run in which a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFailure {
    /// The seed.
    pub seed: u64,
    /// The check that failed.
    pub reason: String,
    /// The last faults, starts and changes of leader before the failure.
    pub trace: Trace,
}

impl fmt::Display for SimFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.trace.drawing())?;
        write!(formatter, "seed {}: {}", self.seed, self.reason)
    }
}

impl std::error::Error for SimFailure {}

/// A recorded run.
#[derive(Clone, Debug)]
pub struct TracedRun {
    /// Its totals, or the check that failed.
    pub result: Result<SimReport, String>,
    /// The recorded events.
    pub trace: Trace,
}

/// Runs one seed.
pub fn simulate(options: SimOptions) -> Result<SimReport, Box<SimFailure>> {
    let TracedRun { result, trace } = run(options, None);
    result.map_err(|reason| Box::new(SimFailure { seed: options.seed, reason, trace }))
}

/// Runs one seed, and records a part of it. The run is the same as without recording.
pub fn simulate_traced(options: SimOptions, window: TraceWindow) -> TracedRun {
    run(options, Some(window))
}

fn run(options: SimOptions, window: Option<TraceWindow>) -> TracedRun {
    bug::set(options.bug);
    let mut world = World::new(options, window);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    bug::set(None);
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("an invariant is broken: {}", text.unwrap_or_else(|| "a panic".to_owned())))
    });
    if let Err(reason) = &result {
        world.note_broken(reason);
    }
    TracedRun { result, trace: world.take_trace() }
}

#[cfg(test)]
mod tests;
