//! `bezant bench`: measures how fast a node is on this machine, and checks every transfer.
//!
//! It starts its own server on a new folder, or uses a running one, and prints the figures of a run of
//! `bezant_load`.

mod report;
mod server;

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bezant_daemon::StopSignals;
use bezant_load::{Progress, Report, Run, Settings, Target, run_number_now};
use bezant_types::limits::EVENTS_MAX;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use server::OwnServer;

use crate::exit::Failure;
use crate::session::addresses;

/// How large the benchmark is, and where it runs.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:\n  \
    bezant bench                                    2,000,000 transfers in batches of 8,189\n  \
    bezant bench --id-order random --json           random ids, figures as JSON\n  \
    bezant bench --batch 1 --clients 64 --transfers 500000   single payments\n  \
    bezant bench --transfers 5000000 --restart      and the time of a restart after kill -9\n  \
    bezant bench --server http://127.0.0.1:7070     a running server\n  \
    bezant bench --server a:7070,b:7070,c:7070      the nodes of a cluster; when one fails, the load goes on at the others\n  \
    bezant bench --tigerbeetle                      through the listener for TigerBeetle's clients\n  \
    bezant bench --tigerbeetle=127.0.0.1:3000       a running TigerBeetle or Bezant (cluster 0)\n\n\
    Without --server, and without an address for --tigerbeetle, it starts its own node, on a folder under \
    --data-dir that it removes at the end. It ignores BEZANT_SERVER: the accounts and transfers of a benchmark \
    stay on the server for good, so a running server has to be named explicitly.")]
pub(crate) struct BenchArgs {
    /// Accounts to create
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..))]
    accounts: u64,
    /// Transfers to send
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    transfers: u64,
    /// Transfers per request, 1 to 8189
    #[arg(long, default_value_t = 8189, value_parser = clap::value_parser!(u64).range(1..=8189))]
    batch: u64,
    /// Clients, each with its own connection and one request in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,
    /// Order of the ids of the transfers
    #[arg(long, value_enum, default_value_t = IdOrder::Sequential)]
    id_order: IdOrder,
    /// Share of the transfers that debit or credit one account, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    hot: u64,
    /// Gives the accounts the flag history
    #[arg(long)]
    history: bool,
    /// Queries of each kind after the load
    #[arg(long, default_value_t = 200)]
    queries: u64,
    /// Kills the server at the end and measures how long it takes to answer again
    #[arg(long)]
    restart: bool,
    /// Uses TigerBeetle's protocol; with an address: to the server there, a TigerBeetle or a Bezant
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    tigerbeetle: Option<String>,
    /// Folder in which the server's data folder is created: it decides which disk is used
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Keeps the server's data folder
    #[arg(long)]
    keep: bool,
    /// Seed of the generator: the same seed makes the same load
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Prints the figures as one JSON document, as -o json does
    #[arg(long)]
    json: bool,
}

/// The order of the ids of the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdOrder {
    /// Each id is greater than the previous one, as with ids that begin with the time.
    Sequential,
    /// Random ids.
    Random,
}

impl From<&BenchArgs> for Settings {
    fn from(args: &BenchArgs) -> Self {
        Self {
            accounts: args.accounts,
            transfers: args.transfers,
            batch: args.batch,
            clients: args.clients,
            id_order: match args.id_order {
                IdOrder::Sequential => bezant_load::IdOrder::Sequential,
                IdOrder::Random => bezant_load::IdOrder::Random,
            },
            hot_percent: args.hot,
            has_history: args.history,
            queries: args.queries,
            seed: args.seed,
        }
    }
}

const _: () = assert!(EVENTS_MAX == 8189, "the help names the largest batch");

/// Runs the benchmark against the server at `server`, or against its own; prints the figures. Accounts and
/// transfers of a benchmark stay on the server for good. So `server` is the flag of the command line only:
/// `BEZANT_SERVER` never chooses a server here.
///
/// In a cluster a node may fail and another may become the leader: the load goes on, and the figures contain
/// the number of retries. An error says why there are no figures: the server cannot be started or reached, a
/// transfer was refused, or the books do not match what was sent.
pub(crate) async fn run(args: BenchArgs, server: Option<String>, as_json: bool) -> Result<ExitCode> {
    let servers = server.map_or_else(Vec::new, |list| addresses(&list));
    anyhow::ensure!(
        servers.is_empty() || args.tigerbeetle.is_none(),
        "--server uses gRPC: write --tigerbeetle=ADDRESS for a server with TigerBeetle's protocol"
    );
    let mut stop = StopSignals::new()?;
    let foreign = args.tigerbeetle.clone().filter(|address| !address.is_empty());
    let own = if servers.is_empty() && foreign.is_none() {
        let has_frames = args.tigerbeetle.is_some();
        let own = OwnServer::start(&args.data_dir, args.keep, has_frames);
        Some(own.context("the server cannot be started")?)
    } else {
        anyhow::ensure!(
            !args.restart,
            "--restart kills the server: it works only with the benchmark's own server"
        );
        None
    };
    let urls = own.as_ref().map_or(servers, |own| vec![own.url().to_owned()]);
    let frames = own.as_ref().and_then(|own| own.frames().map(str::to_owned)).or(foreign);
    // On a signal, dropping `own` kills the benchmark's server and removes its folder.
    let target = Target { urls, frames };
    let is_own = own.is_some();
    let report = tokio::select! {
        report = measure(&args, &target, own) => report?,
        () = stop.next() => {
            anyhow::ensure!(is_own, "stopped by a signal: what was sent by then stays at the server");
            return Err(Failure::Stopped.into());
        }
    };
    report::print(&report, args.json || as_json)?;
    Ok(ExitCode::SUCCESS)
}

/// The benchmark, step by step.
async fn measure(args: &BenchArgs, target: &Target, mut own: Option<OwnServer>) -> Result<Report> {
    // A new server gets the same ids in every run. A running one may hold the ids of an earlier run.
    let number = if own.is_some() { 1 } else { run_number_now() };
    let mut run = Run::open(&Settings::from(args), target, number).await?;
    let progress = Progress::default();
    let mut report = tokio::select! {
        report = run.measure(&progress) => report?,
        never = draw(&progress, args.transfers) => match never {},
    };
    if let Some(own) = &mut own {
        report.server_memory_peak_bytes = own.memory_peak_bytes();
        let disk = own.disk_bytes_settled();
        report.disk_bytes = Some(disk);
        report.disk_bytes_per_transfer = Some(disk / args.transfers);
        if args.restart {
            report.restart_microseconds = restart(own, &run).await?;
        }
    }
    if let Some(own) = own {
        own.stop()?;
    }
    Ok(report)
}

/// Kills the server and starts it again. Returns the microseconds until its first answer; an error if its
/// books differ.
async fn restart(own: &mut OwnServer, run: &Run) -> Result<Option<u64>> {
    own.kill()?;
    let start = Instant::now();
    own.start_again()?;
    let elapsed = run.check_restarted(own.url(), start).await.context("after the restart")?;
    Ok(elapsed.map(|elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)))
}

/// Draws the progress of the load on a terminal, until all transfers are answered. Never returns.
async fn draw(progress: &Progress, transfers: u64) -> Infallible {
    let bar = ProgressBar::new(transfers);
    let style = ProgressStyle::with_template(
        "{bar:30} {percent:>3} % {human_pos} of {human_len} transfers {per_sec} {eta}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while progress.answered() < transfers {
        ticks.tick().await;
        bar.set_position(progress.answered());
    }
    drop(bar);
    std::future::pending().await
}
