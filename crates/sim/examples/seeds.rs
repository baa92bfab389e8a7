//! Runs seeds one after the other: `seeds FIRST COUNT [BUG]`.
use bezant_sim::{Bug, SimOptions, simulate};
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<String> = std::env::args().collect();
    let (first, count): (u64, u64) = (args[1].parse().unwrap(), args[2].parse().unwrap());
    let bug = args.get(3).and_then(|name| Bug::from_name(name));
    let trace = std::env::var("TRACE").is_ok();
    let begin = std::time::Instant::now();
    let (mut failures, mut nanos, mut reports) = (0, 0, Vec::new());
    for seed in first..first + count {
        match simulate(SimOptions { seed, bug, keeps_trace: trace }) {
            Ok(report) => { nanos += report.nanos; reports.push(report); }
            Err(failure) => {
                failures += 1;
                if failures <= 3 || trace { println!("{failure}\n"); } else { println!("seed {}: {}", failure.seed, failure.reason); }
                if bug.is_some() { println!("found at {}", seed - first + 1); return; }
            }
        }
    }
    let secs = begin.elapsed().as_secs_f64();
    let sum = |f: fn(&bezant_sim::SimReport) -> u64| reports.iter().map(f).sum::<u64>() / reports.len().max(1) as u64;
    println!("{count} seeds, {failures} failures, {secs:.1} s, {:.0} simulated s/s, entries {} writes {} reads {} leaders {}", nanos as f64 / 1e9 / secs, sum(|r| r.entries), sum(|r| r.writes), sum(|r| r.reads), sum(|r| r.leaders));
    let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
    for r in &reports { for k in r.faults.keys() { *kinds.entry(k).or_default() += 1; } }
    println!("{kinds:?}");
}
