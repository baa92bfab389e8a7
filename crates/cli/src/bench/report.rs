//! The figures of a run, as a table or as JSON.

use std::io::{self, Write};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::clients::Outcome;
use super::queries::QueryFigures;
use super::{BenchArgs, IdOrder, Target};

/// All figures of one run. Field names carry the units.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    server: String,
    protocol: &'static str,
    processors: usize,
    accounts: u64,
    transfers: u64,
    batch: u64,
    clients: u64,
    id_order: IdOrder,
    hot_percent: u64,
    elapsed_milliseconds: u64,
    transfers_per_second: u64,
    /// How often a request was repeated at another node, because a node had failed or was not the leader.
    retries: u64,
    request_latency_microseconds: Latency,
    queries: Vec<QueryReport>,
    /// `null` when the server is not the benchmark's own; so are all fields below.
    pub(super) server_memory_peak_bytes: Option<u64>,
    /// Disk space of the data folder after the run, in whole blocks.
    pub(super) disk_bytes: Option<u64>,
    /// `disk_bytes` per transfer.
    pub(super) disk_bytes_per_transfer: Option<u64>,
    /// Time from the restart of the killed server to its first answer; `null` without `--restart`.
    pub(super) restart_microseconds: Option<u64>,
}

/// The median, the 99th percentile and the maximum, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p100: u64,
}

#[derive(Clone, Debug, Serialize)]
struct QueryReport {
    name: &'static str,
    count: u64,
    /// Rows of all answers together.
    rows: u64,
    latency_microseconds: Latency,
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        Self {
            p50: latencies.value_at_quantile(0.5),
            p99: latencies.value_at_quantile(0.99),
            p100: latencies.max(),
        }
    }
}

impl Report {
    /// The figures of the load and of the queries.
    pub(super) fn new(
        args: &BenchArgs,
        target: &Target,
        outcome: &Outcome,
        queries: Vec<QueryFigures>,
    ) -> Self {
        let queries = queries.into_iter().map(|figures| QueryReport {
            name: figures.name,
            count: figures.latencies.len(),
            rows: figures.rows,
            latency_microseconds: Latency::of(&figures.latencies),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            server: target.name(),
            protocol: if target.frames.is_some() { "tigerbeetle" } else { "grpc" },
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            accounts: args.accounts,
            transfers: args.transfers,
            batch: args.batch,
            clients: args.clients,
            id_order: args.id_order,
            hot_percent: args.hot,
            elapsed_milliseconds: u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
            transfers_per_second: per_second(args.transfers, outcome.elapsed.as_nanos()),
            retries: outcome.retries,
            request_latency_microseconds: Latency::of(&outcome.latencies),
            queries: queries.collect(),
            server_memory_peak_bytes: None,
            disk_bytes: None,
            disk_bytes_per_transfer: None,
            restart_microseconds: None,
        }
    }

    /// Writes the figures to standard output.
    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            self.write_table(&mut out)?;
        }
        Ok(())
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let order = match self.id_order {
            IdOrder::Sequential => "growing",
            IdOrder::Random => "random",
        };
        writeln!(
            out,
            "{} transfers, {} a request, {} client(s), {order} ids, {} accounts, {} processors, {}",
            thousands(self.transfers),
            thousands(self.batch),
            self.clients,
            thousands(self.accounts),
            self.processors,
            if self.protocol == "grpc" { "gRPC" } else { "TigerBeetle's protocol" }
        )?;
        writeln!(out)?;
        writeln!(out, "{:<36} {:>12}", "transfers a second", thousands(self.transfers_per_second))?;
        writeln!(out, "{:<36} {:>12}", "seconds", decimal(self.elapsed_milliseconds, 3))?;
        if self.retries > 0 {
            writeln!(out, "{:<36} {:>12}", "requests tried again", thousands(self.retries))?;
        }
        if let Some(bytes) = self.server_memory_peak_bytes {
            writeln!(out, "{:<36} {:>12}", "peak memory of the server, MiB", thousands(bytes >> 20))?;
        }
        if let Some(bytes) = self.disk_bytes_per_transfer {
            writeln!(out, "{:<36} {:>12}", "bytes on disk a transfer", thousands(bytes))?;
        }
        if let Some(microseconds) = self.restart_microseconds {
            writeln!(
                out,
                "{:<36} {:>12}",
                "seconds to restart after kill -9",
                decimal(microseconds / 1000, 3)
            )?;
        }
        writeln!(out)?;
        writeln!(out, "{:<36} {:>12} {:>12} {:>12}", "milliseconds", "p50", "p99", "p100")?;
        write_latency(out, "request of transfers", self.request_latency_microseconds)?;
        for query in &self.queries {
            write_latency(out, query.name, query.latency_microseconds)?;
        }
        writeln!(out)?;
        writeln!(out, "every transfer was accepted, and the books balance")
    }
}

fn write_latency(out: &mut impl Write, name: &str, latency: Latency) -> io::Result<()> {
    let [p50, p99, p100] = [latency.p50, latency.p99, latency.p100].map(|value| decimal(value, 3));
    writeln!(out, "{name:<36} {p50:>12} {p99:>12} {p100:>12}")
}

/// `count` events in so many nanoseconds, as a rate per second, rounded down.
fn per_second(count: u64, nanoseconds: u128) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds.max(1)).unwrap_or(u64::MAX)
}

/// A number with its last `places` digits after a decimal point: 1234 with 3 is `1.234`.
fn decimal(number: u64, places: usize) -> String {
    let digits = format!("{number:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{whole}.{fraction}")
}

/// A number with commas between thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_separators() {
        assert_eq!(thousands(2_000_000), "2,000,000");
        assert_eq!(thousands(819), "819");
        assert_eq!(decimal(12_345, 3), "12.345");
        assert_eq!(decimal(7, 3), "0.007");
    }

    #[test]
    fn rates_are_rounded_down() {
        assert_eq!(per_second(10, 3_000_000_000), 3);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
    }
}
