//! `bezant sim`: runs whole nodes over a simulated network, disks and clocks, and checks the invariants
//! afterwards.

mod trace;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bezant_sim::{Bug, EngineKind, SimFailure, SimOptions, SimReport, simulate};
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{self, Format};
use trace::TraceArgs;

/// The number of seeds from which on every kind of fault must have happened often enough.
const FAULTS_COUNT_FROM: u64 = 200;
/// The least percentage of runs in which each kind of fault must have an effect.
const FAULT_SHARE_MIN: u64 = 5;

/// The arguments of `bezant sim`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant sim --seed 42              one run; the same again, to the last bit, with the same version
  bezant sim --seed 42 --trace --from 2000 --until 3000      with a drawing of that second
  bezant sim --seed 42 --html run.html      with a page of everything that happens in it
  bezant sim --seeds 5000           many, on all processors
  bezant sim --engine paxos --seeds 5000        the same with the other engine
  bezant sim --rewinds --seeds 5000      disks go back in time: every loss must be detected
  bezant sim --bug forget-vote --seeds 300      with a deliberate bug: how many runs until it is found?

A run that breaks an invariant ends with its last marks, its seed, and exit code 1.")]
pub(crate) struct SimArgs {
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    seed: u64,
    /// Number of seeds, counted up from the first
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    seeds: u64,
    /// Runs at the same time [default: processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Consensus engine: raft or paxos
    #[arg(long, default_value_t = EngineKind::Raft, value_name = "ENGINE")]
    engine: EngineKind,
    #[command(flatten)]
    trace: TraceArgs,
    /// A deliberate bug, to check that the simulator finds it
    #[arg(long, value_name = "NAME", value_parser = parse_bug)]
    bug: Option<Bug>,
    /// Disks go back in time, and every loss must be detected
    #[arg(long)]
    rewinds: bool,
}

impl SimArgs {
    const fn options(&self, seed: u64) -> SimOptions {
        SimOptions { seed, engine: self.engine, bug: self.bug, rewinds: self.rewinds }
    }
}

fn parse_bug(name: &str) -> Result<Bug, String> {
    Bug::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!("the bugs are {}", names.join(", "))
    })
}

/// The totals of all runs; also the JSON answer.
#[derive(Debug, Default, Serialize)]
struct Totals {
    seeds: u64,
    failures: u64,
    seconds: f64,
    simulated_seconds: u64,
    entries: u64,
    writes: u64,
    reads: u64,
    leaders: u64,
    repairs: u64,
    /// The count of simulated operators' steps.
    operator_steps: u64,
    /// Times that a leader let its group rest.
    rests: u64,
    /// Replicas that stopped, because they had committed entries that the others had lost.
    stops: u64,
    /// Acknowledged writes that were lost with a disk that went back in time.
    lost: u64,
    /// By kind of fault: the count of runs in which it had an effect.
    faults: BTreeMap<&'static str, u64>,
    /// The fingerprint of a single run, equal for equal seeds; `None` for several runs.
    fingerprint: Option<String>,
}

impl Totals {
    fn add(&mut self, report: &SimReport) {
        self.simulated_seconds += report.nanos / 1_000_000_000;
        self.entries += report.entries;
        self.writes += report.writes;
        self.reads += report.reads;
        self.leaders += report.leaders;
        self.repairs += report.repairs;
        self.operator_steps += report.operator_steps;
        self.rests += report.rests;
        self.stops += report.stops;
        self.lost += report.lost;
        for (kind, times) in &report.faults {
            *self.faults.entry(kind).or_default() += u64::from(*times > 0);
        }
        self.fingerprint = Some(format!("{:016x}", report.fingerprint));
    }

    fn report(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json { output::json(self) } else { print_table(self) }
    }
}

/// Runs the seeds.
pub(crate) fn run(args: &SimArgs, format: Format) -> Result<ExitCode, Failure> {
    // A broken invariant is reported with the run's trace, not with a backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    args.trace.check()?;
    if args.trace.is_asked() {
        return args.trace.run(args.options(args.seed), format);
    }
    let begun = Instant::now();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = args.threads.unwrap_or(processors).max(1);
    let totals = Mutex::new(Totals::default());
    let failures = Mutex::new(Vec::new());
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let bar = output::progress(args.seeds, "seeds");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.seeds || is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = simulate(args.options(args.seed + number));
                    bar.inc(1);
                    let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    totals.seeds += 1;
                    match result {
                        Ok(report) => totals.add(&report),
                        Err(failure) => {
                            totals.failures += 1;
                            failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
                            is_over.fetch_or(args.bug.is_some(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    totals.seconds = begun.elapsed().as_secs_f64();
    if totals.seeds != 1 {
        totals.fingerprint = None;
    }
    report(args, format, &totals, &failures)
}

fn report(
    args: &SimArgs,
    format: Format,
    totals: &Totals,
    failures: &[Box<SimFailure>],
) -> Result<ExitCode, Failure> {
    for failure in failures {
        let bug = args.bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.name()));
        let rewinds = if args.rewinds { " --rewinds" } else { "" };
        output::note(&format!(
            "{failure}\nreplay it: bezant sim --engine {} --seed {}{bug}{rewinds} --trace\n",
            args.engine, failure.seed
        ));
    }
    totals.report(format)?;
    if let Some(bug) = args.bug {
        let found = !failures.is_empty();
        let text = if found { "found" } else { "not found" };
        output::line(&format!("{text}: {} within {} seeds", bug.name(), totals.seeds))?;
        return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let rare: Vec<_> = totals
        .faults
        .iter()
        // With `--rewinds` the share of the other faults is not checked: they happen by chance.
        .filter(|(kind, runs)| {
            let is_sure = !args.rewinds || bezant_sim::REWIND_NAMES.contains(kind);
            is_sure && *runs * 100 < totals.seeds * FAULT_SHARE_MIN
        })
        .map(|(kind, _)| *kind)
        .collect();
    let is_rare = totals.seeds >= FAULTS_COUNT_FROM && !rare.is_empty();
    if is_rare {
        output::note(&format!("these faults had an effect in too few runs: {}", rare.join(", ")));
    }
    Ok(if failures.is_empty() && !is_rare { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_table(totals: &Totals) -> Result<(), Failure> {
    let seeds = totals.seeds;
    output::line(&format!(
        "{seeds} seeds, {} failures, in {:.1} s: {} simulated seconds, {} entries, {} writes, {} reads, \
         {} leaderships, {} repairs, {} steps of operators, {} rests",
        totals.failures,
        totals.seconds,
        totals.simulated_seconds,
        totals.entries,
        totals.writes,
        totals.reads,
        totals.leaders,
        totals.repairs,
        totals.operator_steps,
        totals.rests
    ))?;
    if let Some(fingerprint) = &totals.fingerprint {
        output::line(&format!("fingerprint {fingerprint}"))?;
    }
    if totals.stops + totals.lost > 0 {
        output::line(&format!(
            "{} replicas stopped, {} acknowledged writes lost",
            totals.stops, totals.lost
        ))?;
    }
    let faults: Vec<String> =
        totals.faults.iter().map(|(kind, runs)| format!("{kind} {}%", runs * 100 / seeds.max(1))).collect();
    if seeds > 1 {
        output::line(&format!("runs that met each fault: {}", faults.join(", ")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name() {
        for bug in Bug::ALL {
            assert_eq!(parse_bug(bug.name()), Ok(bug));
        }
        assert!(parse_bug("none").unwrap_err().contains("forget-vote"));
    }
}
