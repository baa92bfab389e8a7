//! The fuzzer on the stable compiler: selects targets, runs them for some time, and prints the results.
#![expect(clippy::print_stdout, reason = "a command for the terminal")]

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bezant_fuzz::{Limit, TARGETS, Target, replay, run};
use clap::Parser;

/// Feeds damaged bytes to Bezant's parsers.
#[derive(Debug, Parser)]
struct Args {
    /// The name of a target, or `all`
    #[arg(long, default_value = "all")]
    target: String,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seed of the generator: the same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only runs one target on this input, in hex
    #[arg(long, value_name = "HEX")]
    replay: Option<String>,
    /// Lists the targets
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.list {
        for target in TARGETS {
            println!("{:<12} {}", target.name, target.about);
        }
        return Ok(());
    }
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|target| args.target == "all" || target.name == args.target).collect();
    if let Some(hex) = args.replay {
        let [target] = chosen.as_slice() else { bail!("--replay needs one --target: see --list") };
        replay(target, &hex)?;
        println!("{}: returned", target.name);
        return Ok(());
    }
    if chosen.is_empty() {
        bail!("there is no target {}: see --list", args.target);
    }
    for target in chosen {
        let limit = Limit::Time(Duration::from_secs(args.seconds));
        let report = run(target, args.seed, limit).with_context(|| format!("seed {}", args.seed))?;
        let per_second = u128::from(report.inputs) * 1000 / report.elapsed.as_millis().max(1);
        println!(
            "{:<12} {:>9} inputs {:>8}/s, slowest {:?}",
            target.name, report.inputs, per_second, report.slowest
        );
    }
    Ok(())
}
