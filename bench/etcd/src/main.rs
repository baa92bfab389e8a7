//! Loads an etcd with compare-and-swap writes; `bench/etcd/run.sh` runs it.
//!
//! Each client has its own connection and one write in flight, like the clients of `bezant bench`. Figures
//! are printed only when the cluster has counted as many writes as it has acknowledged.
//!
//! It never puts a value without a comparison, so an attempt whose answer was lost is not done a second time.
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

/// The command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Write to a running cluster, and print its speed
    Load(LoadArgs),
    /// Print ports of 127.0.0.1 without a listener, one per line
    Ports {
        /// Number of ports
        #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
        count: u16,
    },
}

/// The size of the load, and its target.
#[derive(Clone, Debug, Args)]
struct LoadArgs {
    /// All members, separated by commas: http://HOST:PORT,...
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true)]
    server: Vec<String>,
    /// Writes that succeed
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    writes: u64,
    /// Clients, each with its own connection and one write in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,
    /// Keys that all clients choose from at random [default: each client has its own key]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: Option<u64>,
    /// Bytes of a value
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(24..))]
    value_bytes: u16,
    /// The members that the clients connect to
    #[arg(long, value_enum, default_value_t = Target::Leader)]
    to: Target,
    /// Seconds after which no further write begins
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds_max: u64,
    /// Prints the figures as one JSON document
    #[arg(long)]
    json: bool,
}

/// The members that the clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    /// All clients to the member that leads when the load begins.
    Leader,
    /// The clients to the members in turn.
    All,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Load(args) => Box::pin(load(&args)).await,
        Command::Ports { count } => print_ports(count),
    }
}

/// Waits for the cluster, writes, checks the acknowledged writes against the cluster's count, and prints.
///
/// The error is the reason why there are no figures.
async fn load(args: &LoadArgs) -> Result<()> {
    let cluster = Cluster::wait(&args.server).await?;
    let mut connection = cluster.connect_to(Target::Leader, 0).await?;
    let keys = Keys::read(&mut connection, args).await?;
    let outcome = clients::write(args, &cluster, &keys).await?;
    keys.check(&mut connection, &outcome).await?;
    Report::new(args, &cluster, &keys, &outcome).print(args.json)
}

/// Prints free ports. It keeps them open until all are found, so that no two are the same.
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
