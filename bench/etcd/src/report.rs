//! The figures of a run, as a table or as JSON.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::clients::Outcome;
use crate::cluster::Cluster;
use crate::keys::Keys;
use crate::{LoadArgs, Target};

/// Everything that one run measured. Field names carry the units.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    etcd_version: String,
    leader: String,
    to: Target,
    clients: u64,
    keys: usize,
    value_bytes: u16,
    /// Writes that were acknowledged.
    writes: u64,
    elapsed_milliseconds: u64,
    writes_per_second: u64,
    /// Comparisons that failed; another attempt followed each.
    refused_comparisons: u64,
    /// Calls that ended without an answer; a read of the outcome followed each.
    calls_without_answer: u64,
    write_latency_microseconds: Latency,
}

/// Percentiles of the latency, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p100: u64,
}

impl Report {
    /// The figures of a load.
    pub(crate) fn new(args: &LoadArgs, cluster: &Cluster, keys: &Keys, outcome: &Outcome) -> Self {
        let writes = outcome.latencies.len();
        Self {
            etcd_version: cluster.version.clone(),
            leader: cluster.leader().to_owned(),
            to: args.to,
            clients: args.clients,
            keys: keys.count(),
            value_bytes: args.value_bytes,
            writes,
            elapsed_milliseconds: u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
            writes_per_second: per_second(writes, outcome.elapsed.as_nanos()),
            refused_comparisons: outcome.refused,
            calls_without_answer: outcome.errors,
            write_latency_microseconds: Latency {
                p50: outcome.latencies.value_at_quantile(0.5),
                p99: outcome.latencies.value_at_quantile(0.99),
                p100: outcome.latencies.max(),
            },
        }
    }

    /// Writes the figures to standard output.
    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
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
        let Self { etcd_version, writes, clients, keys, value_bytes, .. } = self;
        writeln!(
            out,
            "etcd {etcd_version}: {writes} writes of {value_bytes} bytes, {clients} client(s), {keys} keys"
        )?;
        writeln!(out)?;
        writeln!(out, "{:<36} {:>12}", "writes a second", self.writes_per_second)?;
        writeln!(out, "{:<36} {:>12}", "seconds", milli(self.elapsed_milliseconds))?;
        writeln!(out, "{:<36} {:>12}", "comparisons refused", self.refused_comparisons)?;
        writeln!(out, "{:<36} {:>12}", "calls without an answer", self.calls_without_answer)?;
        writeln!(out)?;
        let Latency { p50, p99, p100 } = self.write_latency_microseconds;
        writeln!(out, "{:<36} {:>12} {:>12} {:>12}", "milliseconds", "p50", "p99", "p100")?;
        writeln!(out, "{:<36} {:>12} {:>12} {:>12}", "write", milli(p50), milli(p99), milli(p100))
    }
}

/// The rate per second of `count` events in `nanoseconds`, rounded down.
fn per_second(count: u64, nanoseconds: u128) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds.max(1)).unwrap_or(u64::MAX)
}

/// A thousandth of a number: 1234 is `1.234`.
fn milli(number: u64) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_readable_forms() {
        assert_eq!(milli(12_345), "12.345");
        assert_eq!(milli(7), "0.007");
        assert_eq!(per_second(10, 3_000_000_000), 3);
        assert_eq!(per_second(1, 0), 1_000_000_000);
    }
}
