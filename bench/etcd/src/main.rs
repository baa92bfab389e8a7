//! Loads an etcd with compare-and-swap writes: the half of `bench/etcd/run.sh` that is not a shell's work.
//!
//! Each client has a connection of its own and one write in flight, as `bezant bench` has. A figure is printed
//! only when the cluster has counted as many writes as it has acknowledged.
//!
//! Never: a value put without a comparison, so an attempt whose answer was lost is not done a second time.
#![deny(clippy::float_arithmetic)]

mod clients;
mod cluster;
mod keys;
mod report;

/// Types and services of the protobuf package `etcdserverpb`, made from `proto/` when this crate is built.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    clippy::use_self,
    clippy::or_fun_call,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "made from the .proto file"
)]
pub(crate) mod etcd {
    tonic::include_proto!("etcdserverpb");
}

use std::io::{self, Write};
use std::net::TcpListener;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use cluster::Cluster;
use keys::Keys;
use report::Report;

/// Compare-and-swap writes to an etcd.
#[derive(Debug, Parser)]
#[command(name = "bezant-bench-etcd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Write to a cluster that runs, and print how fast it was
    Load(LoadArgs),
    /// Print ports of 127.0.0.1 that nobody listens on, one a line
    Ports {
        /// How many
        #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
        count: u16,
    },
}

/// How large the load is, and where it goes.
#[derive(Clone, Debug, Args)]
struct LoadArgs {
    /// All members, separated by commas: http://HOST:PORT,...
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true)]
    server: Vec<String>,
    /// Writes that succeed
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    writes: u64,
    /// Clients, each with a connection of its own and one write in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,
    /// Keys that all clients choose from at random [default: a key of its own for each client]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: Option<u64>,
    /// Bytes of a value
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(24..))]
    value_bytes: u16,
    /// Which members the clients talk to
    #[arg(long, value_enum, default_value_t = Target::Leader)]
    to: Target,
    /// Seconds after which no further write is begun
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds_max: u64,
    /// Prints the figures as one JSON document
    #[arg(long)]
    json: bool,
}

/// Which members the clients talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    /// All to the one that leads when the load begins.
    Leader,
    /// To one after the other.
    All,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Load(args) => Box::pin(load(&args)).await,
        Command::Ports { count } => print_ports(count),
    }
}

/// Waits for the cluster, writes, compares what the cluster counts with what it acknowledged, prints.
///
/// An error says why there are no figures.
async fn load(args: &LoadArgs) -> Result<()> {
    let cluster = Cluster::wait(&args.server).await?;
    let mut connection = cluster.connect_to(Target::Leader, 0).await?;
    let keys = Keys::read(&mut connection, args).await?;
    let outcome = clients::write(args, &cluster, &keys).await?;
    keys.check(&mut connection, &outcome).await?;
    Report::new(args, &cluster, &keys, &outcome).print(args.json)
}

/// Prints free ports. They are held until all are found, so that no two are the same.
fn print_ports(count: u16) -> Result<()> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<io::Result<Vec<_>>>()
        .context("no free port")?;
    let mut out = io::stdout().lock();
    for listener in &listeners {
        writeln!(out, "{}", listener.local_addr()?.port())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
