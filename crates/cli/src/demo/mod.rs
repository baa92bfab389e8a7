//! `bezant demo`: starts three nodes and clients that pay without a pause. Meanwhile it makes a node fail, by
//! default the leader. At the end it verifies the result.

mod nodes;
mod payers;
mod ports;
mod proof;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use bezant_daemon::StopSignals;
use bezant_runtime::EngineKind;
use clap::{Args, ValueEnum};
use rustix::process::Signal;

use self::nodes::Nodes;
use self::payers::{Payers, connect, make_accounts};
use crate::exit::Failure;
use crate::output;

const NODES: usize = 3;
/// How long the failed node stays down or paused.
const DOWN_TIME: Duration = Duration::from_secs(2);

/// The fault of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// The leader is killed (kill -9).
    Kill,
    /// The leader is asked to stop (SIGTERM).
    Stop,
    /// The leader is paused (SIGSTOP).
    Pause,
    /// A follower is killed (kill -9).
    KillFollower,
}

/// Arguments of the demo.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant demo                              three nodes, payments, the leader killed once, the proof
  bezant demo --rounds 100 --quiet         the gap that clients see, a hundred times
  bezant demo --engine paxos               the same on the other engine
  bezant demo --how pause --rounds 20 --quiet

The nodes are processes of this program on a folder under the system's folder for temporary files. The folder is \
removed at the end, also after Ctrl-C or when the terminal closes. The nodes ignore BEZANT_ variables.

The gap of a round is the longest time that any single client waited from one answer to the next while it paid \
without a pause. The demo also prints the longest time in which no client had an answer. The clients are ordinary \
clients with their default timeouts.

The proof checks every node separately: each acknowledged payment is found by its id, and is in the history exactly \
once. The state that is printed for a node is a hash over all accounts, with balances and heads of their chains, \
and over every row of the history.")]
pub(crate) struct DemoArgs {
    /// Fault of a node in every round
    #[arg(long, value_enum, default_value_t = How::Kill)]
    how: How,
    /// Consensus engine of the nodes: raft or paxos
    #[arg(long, value_name = "ENGINE", default_value_t = EngineKind::Raft)]
    engine: EngineKind,
    /// Number of rounds
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Clients that pay
    #[arg(long, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// Payments per call
    #[arg(long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=8189))]
    batch: u16,
    /// Print only the figures
    #[arg(long)]
    quiet: bool,
}

/// Runs the demo. In every case, an error or a signal included, it stops the nodes and removes their folder.
pub(crate) async fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let mut stop = StopSignals::new()?;
    let mut nodes = Nodes::start(NODES, args.engine)?;
    let result = tokio::select! {
        result = show(args, &mut nodes) => result.map_err(Failure::from),
        () = stop.next() => Err(Failure::Stopped),
    };
    drop(nodes);
    result?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &DemoArgs, nodes: &mut Nodes) -> Result<()> {
    let print = |text: String| if args.quiet { Ok(()) } else { output::line(&text) };
    let begun = Instant::now();
    let (leader, term) = nodes.leader(None).await?;
    print(format!(
        "{NODES} nodes began; node {leader} leads in term {term}, after {} ms",
        begun.elapsed().as_millis()
    ))?;
    make_accounts(&connect(&nodes.urls()).await?).await?;
    let payers = Payers::start(&nodes.urls(), args.clients.into(), args.batch.into()).await?;
    print(format!("{} clients pay, {} payments a call", args.clients, args.batch))?;
    print_rate(&payers, args.quiet, Duration::from_secs(2)).await?;
    let mut gaps = Gaps::default();
    for round in 1..=args.rounds {
        let (of_one, of_all) = fail_node(args, nodes, &payers).await?;
        if args.rounds > 1 {
            output::note(&format!("round {round} of {}: {} ms", args.rounds, of_one.as_millis()));
        }
        gaps.of_one.push(of_one);
        gaps.of_all.push(of_all);
    }
    let errors = payers.look(|tally| tally.errors);
    let paid = payers.stop().await?;
    let index = nodes.level().await?;
    let proof = proof::prove(nodes, NODES, &paid).await?;
    gaps.print()?;
    output::line(&format!("calls that ended without an answer: {errors}"))?;
    output::line(&format!("all nodes stand at log entry {index}"))?;
    output::line(&format!(
        "{} acknowledged payments: every node has every one, once; {} movements in all, and the books balance",
        proof.acknowledged, proof.movements
    ))?;
    for (at, digest) in proof.digests.iter().enumerate() {
        output::line(&format!(
            "node {} has state {:032x} (accounts and history)",
            at + 1,
            u128::from_be_bytes(first(digest))
        ))?;
    }
    Ok(())
}

/// The gaps of all rounds: each list has one value per round.
#[derive(Debug, Default)]
struct Gaps {
    /// The longest gap of any single client.
    of_one: Vec<Duration>,
    /// The longest time in which no client had an answer.
    of_all: Vec<Duration>,
}

impl Gaps {
    fn print(mut self) -> Result<(), Failure> {
        let names = [
            ("longest gap of a single client", &mut self.of_one),
            ("longest time without an answer to any client", &mut self.of_all),
        ];
        for (name, gaps) in names {
            gaps.sort_unstable();
            let millis = |at: usize| gaps.get(at).map_or(0, Duration::as_millis);
            output::line(&format!(
                "{name}, {} times: p50 {} ms, max {} ms",
                gaps.len(),
                millis(gaps.len() / 2),
                millis(gaps.len() - 1)
            ))?;
        }
        Ok(())
    }
}

/// The first half of a digest, which a person can compare on the screen. The proof compares whole digests.
fn first(digest: &[u8; 32]) -> [u8; 16] {
    digest.first_chunk().copied().unwrap_or_default()
}

/// One round: makes a node fail, waits, and starts or resumes the node again. Returns the longest gap of any
/// single client, and the longest time in which no client had an answer, both until the node is started
/// again.
async fn fail_node(args: &DemoArgs, nodes: &mut Nodes, payers: &Payers) -> Result<(Duration, Duration)> {
    let print = |text: String| if args.quiet { Ok(()) } else { output::line(&text) };
    nodes.healthy().await?;
    let (leader, _) = nodes.leader(None).await?;
    let victim = if args.how == How::KillFollower { leader % NODES + 1 } else { leader };
    let (signal, word) = match args.how {
        How::Kill | How::KillFollower => (Signal::KILL, "killed"),
        How::Stop => (Signal::TERM, "asked to stop"),
        How::Pause => (Signal::STOP, "paused"),
    };
    payers.reset_gaps();
    let begun = Instant::now();
    nodes.signal(victim, signal)?;
    let role = if victim == leader { "leads" } else { "follows" };
    print(format!("node {victim}, which {role}, was {word}"))?;
    if victim == leader {
        let (next, term) = nodes.leader(Some(victim)).await?;
        print(format!("node {next} leads in term {term}, seen after {} ms", begun.elapsed().as_millis()))?;
    }
    print_rate(payers, args.quiet, DOWN_TIME.saturating_sub(begun.elapsed())).await?;
    let (of_one, of_all) = payers.look(|tally| (tally.gap_of_one, tally.gap_of_all));
    print(format!(
        "the longest gap of a single client: {} ms; no client at all had an answer for {} ms",
        of_one.as_millis(),
        of_all.as_millis()
    ))?;
    match args.how {
        How::Pause => nodes.signal(victim, Signal::CONT)?,
        How::Stop => {
            nodes.wait_for_end(victim).await?;
            nodes.start_one(victim)?;
        }
        How::Kill | How::KillFollower => nodes.start_one(victim)?,
    }
    print(format!("node {victim} is back"))?;
    print_rate(payers, args.quiet, Duration::from_secs(1)).await?;
    Ok((of_one, of_all))
}

/// Lets the clients pay for `time`, and prints their rate and latencies.
async fn print_rate(payers: &Payers, is_quiet: bool, time: Duration) -> Result<()> {
    let before = payers.look(|tally| tally.paid.len());
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    let (after, p50, p99) = payers.look(|tally| {
        (tally.paid.len(), tally.latency.value_at_quantile(0.5), tally.latency.value_at_quantile(0.99))
    });
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(1).max(1);
    let rate = (after - before) as u64 * 1000 / millis;
    if !is_quiet {
        output::line(&format!(
            "  {rate} payments a second; a call takes {}.{} ms, one of a hundred {}.{} ms",
            p50 / 1000,
            p50 % 1000 / 100,
            p99 / 1000,
            p99 % 1000 / 100
        ))?;
    }
    Ok(())
}
