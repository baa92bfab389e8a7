//! The simulator: whole nodes, the same that run in production, over a network, disks and clocks that fail.
//!
//! One run is one thread and one seed: equal seed, equal run, to the last bit. Clients pay, read, retry and
//! repeat themselves while messages are lost, doubled and late, machines lose power in the middle of a write,
//! disks fail and hang, clocks jump and processes sleep; then the faults end, and it is checked what must
//! hold (`check`): agreement, one outcome an id, conservation, answers that follow the log, reads that never
//! show the past, equal states, time that only grows, one leader a term, and that everybody goes on.
//!
//! Never: a clock, a thread, the system's randomness. That the checkers can fail is shown by [`Bug`]:
//! mistakes made on purpose around the real code.

mod bug;
mod check;
mod client;
mod faults;
mod host;
mod keyed;
mod net;
mod operator;
mod random;
mod record;
mod rot;
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
    /// Determines everything.
    pub seed: u64,
    /// How the nodes agree.
    pub engine: EngineKind,
    /// A mistake to be found.
    pub bug: Option<Bug>,
    /// Disks go back in time: what was acknowledged may be lost then, but not in silence. Such a run has faults and checkers
    /// of its own.
    pub rewinds: bool,
}

/// What a run without a failure did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimReport {
    /// Simulated time, ns.
    pub nanos: u64,
    /// Events that happened.
    pub events: u64,
    /// Entries that were agreed.
    pub entries: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Changes of leader.
    pub leaders: u64,
    /// Damage that a start found and repaired.
    pub repairs: u64,
    /// Steps that an operator made: a node added, promoted or removed, a disk lost, the lead moved.
    pub operator_steps: u64,
    /// Replicas that stopped, for they knew more than those who went on.
    pub stops: u64,
    /// Acknowledged writes that are not in the log at the end.
    pub lost: u64,
    /// How often each kind of fault had an effect, 0 times too; a cut has one with every message that it stops.
    pub faults: BTreeMap<&'static str, u64>,
    /// Checksum of events and last state: equal for equal seeds.
    pub fingerprint: u64,
}

/// A run that broke what must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFailure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub reason: String,
    /// What happened before: the last faults, starts and changes of leader.
    pub trace: Trace,
}

impl fmt::Display for SimFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.trace.drawing())?;
        write!(formatter, "seed {}: {}", self.seed, self.reason)
    }
}

impl std::error::Error for SimFailure {}

/// A run that was recorded.
#[derive(Clone, Debug)]
pub struct TracedRun {
    /// What it did, or what broke.
    pub result: Result<SimReport, String>,
    /// What happened in it.
    pub trace: Trace,
}

/// Runs one seed.
pub fn simulate(options: SimOptions) -> Result<SimReport, Box<SimFailure>> {
    let TracedRun { result, trace } = run(options, None);
    result.map_err(|reason| Box::new(SimFailure { seed: options.seed, reason, trace }))
}

/// Runs one seed, and records what happens in a part of it. It is the same run as without.
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
