//! `bezant bench`: how fast a node is on this machine, with every transfer checked.
//!
//! It starts a server of its own on a fresh folder (or takes one that runs), creates accounts, sends transfers
//! in batches between accounts chosen at random, asks for histories, and prints what it measured. A
//! figure is printed only when every transfer was accepted and the books agree with what was sent: their
//! totals, their count, and debits equal to credits.
//!
//! Never: the load is not prepared ahead of the run, so memory does not grow with its length.

mod books;
mod caller;
mod clients;
mod grpc;
mod load;
mod queries;
mod report;
mod server;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bezant_types::limits::EVENTS_MAX;
use clap::{Args, ValueEnum};

use books::BooksBefore;
use clients::Connection;
use load::Load;
use report::Report;
use server::OwnServer;

use crate::exit::Failure;
use crate::session::addresses;
use crate::stop::StopSignals;
use wire::Wire;

/// How large the benchmark is, and where it runs.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:\n  \
    bezant bench                                    2,000,000 transfers in batches of 8,189\n  \
    bezant bench --id-order random --json           random ids, figures as JSON\n  \
    bezant bench --batch 1 --clients 64 --transfers 500000   single payments\n  \
    bezant bench --transfers 5000000 --restart      and the time of a restart after kill -9\n  \
    bezant bench --server http://127.0.0.1:7070     a server that runs already\n  \
    bezant bench --server a:7070,b:7070,c:7070      the nodes of a cluster; when one fails, the load goes on at the others\n  \
    bezant bench --tigerbeetle                      through the door for TigerBeetle's clients\n  \
    bezant bench --tigerbeetle=127.0.0.1:3000       a TigerBeetle, or a Bezant, that runs already (cluster 0)\n\n\
    Without --server, and without an address beside --tigerbeetle, it starts a node of its own, on a folder under \
    --data-dir that is gone at the end. BEZANT_SERVER does not count here: a benchmark leaves its accounts and \
    transfers behind for good, so a server that runs already has to be named.")]
pub(crate) struct BenchArgs {
    /// Accounts to create
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..))]
    accounts: u64,
    /// Transfers to send
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    transfers: u64,
    /// Transfers in a request, 1 to 8189
    #[arg(long, default_value_t = 8189, value_parser = clap::value_parser!(u64).range(1..=8189))]
    batch: u64,
    /// Clients, each with a connection of its own and one request in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,
    /// How the ids of the transfers follow each other
    #[arg(long, value_enum, default_value_t = IdOrder::Sequential)]
    id_order: IdOrder,
    /// Share of the transfers that debit or credit one account, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    hot: u64,
    /// Gives the accounts the flag history
    #[arg(long)]
    history: bool,
    /// Questions of each kind after the load
    #[arg(long, default_value_t = 200)]
    queries: u64,
    /// Kills the server at the end and measures how long it takes to answer again
    #[arg(long)]
    restart: bool,
    /// Speaks TigerBeetle's protocol; with an address, to the server there, whichever it is
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    tigerbeetle: Option<String>,
    /// Folder in which the server's data folder is made: chooses the disk
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
    /// Leaves the server's data folder behind
    #[arg(long)]
    keep: bool,
    /// Seed of the generator: the same seed makes the same load
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Prints the figures as one JSON document, as -o json does
    #[arg(long)]
    json: bool,
}

/// How the ids of the transfers follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdOrder {
    /// Each one greater than the one before, as ids that begin with the time are.
    Sequential,
    /// Without any order.
    Random,
}

const _: () = assert!(EVENTS_MAX == 8189, "the largest batch is what the help says");

/// Runs the benchmark against the server at `server`, or against one of its own; prints the figures. A benchmark leaves
/// accounts and transfers behind for good, so `server` is what the command line names: `BEZANT_SERVER` alone does not
/// choose a server here.
///
/// Of several nodes one may fail, and another lead: the load goes on, and the figures say how often it was tried again.
/// An error says why there are no figures: the server cannot be started or reached, a transfer was refused,
/// or the books do not agree with what was sent.
pub(crate) async fn run(args: BenchArgs, server: Option<String>, as_json: bool) -> Result<ExitCode> {
    let servers = server.map_or_else(Vec::new, |list| addresses(&list));
    anyhow::ensure!(
        servers.is_empty() || args.tigerbeetle.is_none(),
        "--server speaks gRPC: write --tigerbeetle=ADDRESS for a server that speaks TigerBeetle's protocol"
    );
    let mut stop = StopSignals::new()?;
    let foreign = args.tigerbeetle.clone().filter(|address| !address.is_empty());
    let own = if servers.is_empty() && foreign.is_none() {
        let speaks_frames = args.tigerbeetle.is_some();
        let own = OwnServer::start(&args.data_dir, args.keep, speaks_frames);
        Some(own.context("the server cannot be started")?)
    } else {
        anyhow::ensure!(!args.restart, "--restart kills the server: it works with the benchmark's own only");
        None
    };
    let urls = own.as_ref().map_or(servers, |own| vec![own.url().to_owned()]);
    let frames = own.as_ref().and_then(|own| own.frames().map(str::to_owned)).or(foreign);
    // Interrupted, its own server and folder go with it.
    let target = Target { urls, frames };
    let is_own = own.is_some();
    let report = tokio::select! {
        report = measure(&args, &target, own) => report?,
        () = stop.next() => {
            anyhow::ensure!(is_own, "stopped by a signal: what was sent by then stays at the server");
            return Err(Failure::Stopped.into());
        }
    };
    report.print(args.json || as_json)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the load goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// For gRPC: the clients are spread over them, and questions go to the first. Empty for a server that is known by
    /// its frames alone.
    urls: Vec<String>,
    /// For TigerBeetle's protocol: then the load goes there.
    frames: Option<String>,
}

impl Target {
    /// True for several nodes: what one cannot do, another may.
    fn is_cluster(&self) -> bool {
        self.urls.len() > 1
    }

    /// All that it names.
    fn name(&self) -> String {
        self.frames.clone().unwrap_or_else(|| self.urls.join(","))
    }

    /// Where client `number` sends its load.
    fn of(&self, number: u64) -> &str {
        let count = self.urls.len().max(1) as u64;
        let url = usize::try_from(number % count).ok().and_then(|at| self.urls.get(at));
        self.frames.as_deref().or_else(|| url.map(String::as_str)).unwrap_or_default()
    }
}

/// The benchmark, step by step.
async fn measure(args: &BenchArgs, target: &Target, mut own: Option<OwnServer>) -> Result<Report> {
    let load = Load::new(args, run_number(own.is_some()), target.frames.is_some());
    let mut connection = Connection::open_any(&target.urls).await?;
    let before = match &mut connection {
        Some(connection) => Some(BooksBefore::read(connection).await?),
        None => None,
    };
    let mut wire = Wire::open(target, load.clients).await?;
    clients::create_accounts(&load, &mut wire).await?;

    let outcome = clients::send_transfers(&load, target).await?;
    if outcome.retries > 0 {
        // The node that was asked before may be gone.
        connection = Connection::open_any(&target.urls).await?;
    }
    if let Wire::Frames(frames) = &mut wire {
        books::check_accounts(frames, &load, &outcome).await?;
    }
    let mut queries = Vec::new();
    if let (Some(connection), Some(before)) = (&mut connection, before) {
        before.check(connection, &load, &outcome).await?;
        queries = queries::ask(&load, args, connection, &outcome.sample).await?;
    }
    let mut report = Report::new(args, target, &outcome, queries);
    if let Some(own) = &mut own {
        report.server_memory_peak_bytes = own.memory_peak_bytes();
        let disk = own.disk_bytes_settled();
        report.disk_bytes = Some(disk);
        report.disk_bytes_per_transfer = Some(disk / args.transfers);
        if args.restart
            && let Some(before) = before
        {
            report.restart_microseconds = Some(restart(own, &load, before, &outcome).await?);
        }
    }
    if let Some(own) = own {
        own.stop()?;
    }
    Ok(report)
}

/// Kills the server and starts it again: microseconds until its first answer, which must be the same books.
async fn restart(
    own: &mut OwnServer,
    load: &Load,
    before: BooksBefore,
    outcome: &clients::Outcome,
) -> Result<u64> {
    own.kill()?;
    let start = Instant::now();
    own.start_again()?;
    let mut connection = Connection::open_retrying(own.url(), Duration::from_mins(2)).await?;
    let elapsed = start.elapsed();
    before.check(&mut connection, load, outcome).await.context("after the restart")?;
    Ok(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}

/// Where the ids of this run begin. A fresh server always sees the same ones; a server that runs may hold
/// those of an earlier run, so there the time tells them apart.
fn run_number(is_fresh: bool) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if is_fresh { 1 } else { u64::try_from(since.as_millis()).unwrap_or(1) }
}
