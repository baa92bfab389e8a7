//! The figures of a run.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clients::Outcome;
use crate::queries::QueryFigures;
use crate::settings::{IdOrder, Settings, Target};

/// All figures of one run. Field names carry the units.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of the load generator.
    pub version: &'static str,
    /// The addresses of the servers, separated by commas.
    pub server: String,
    /// `grpc` or `tigerbeetle`.
    pub protocol: &'static str,
    /// The processors of this machine; 0 = not known.
    pub processors: usize,
    /// The accounts that were created.
    pub accounts: u64,
    /// The transfers that were sent.
    pub transfers: u64,
    /// Transfers per request.
    pub batch: u64,
    /// Clients, each with one request in flight.
    pub clients: u64,
    /// Order of the ids of the transfers.
    pub id_order: IdOrder,
    /// Share of the transfers that debit or credit account 0.
    pub hot_percent: u64,
    /// Time from the first request to the last answer.
    pub elapsed_milliseconds: u64,
    /// Rounded down.
    pub transfers_per_second: u64,
    /// How often a request was repeated at another node, because a node had failed or was not the leader.
    pub retries: u64,
    /// Time from a request of transfers to its answer.
    pub request_latency_microseconds: Latency,
    /// The queries after the load, by kind.
    pub queries: Vec<QueryReport>,
    /// `null` when the caller does not know the server's process; so are all fields below.
    pub server_memory_peak_bytes: Option<u64>,
    /// Disk space of the data folder after the run, in whole blocks.
    pub disk_bytes: Option<u64>,
    /// `disk_bytes` per transfer.
    pub disk_bytes_per_transfer: Option<u64>,
    /// Time from the restart of the killed server to its first answer; `null` = it was not killed.
    pub restart_microseconds: Option<u64>,
}

/// The median, the 99th percentile and the maximum, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub p100: u64,
}

/// The figures of the queries of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct QueryReport {
    /// The kind of query.
    pub name: &'static str,
    /// The queries that were sent.
    pub count: u64,
    /// Rows of all answers together.
    pub rows: u64,
    /// Time from a query to its answer.
    pub latency_microseconds: Latency,
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
    /// The figures of the load and of the queries; those of the server's process are the caller's.
    pub(crate) fn new(
        settings: &Settings,
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
            accounts: settings.accounts,
            transfers: settings.transfers,
            batch: settings.batch,
            clients: settings.clients,
            id_order: settings.id_order,
            hot_percent: settings.hot_percent,
            elapsed_milliseconds: u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
            transfers_per_second: per_second(settings.transfers, outcome.elapsed.as_nanos()),
            retries: outcome.retries,
            request_latency_microseconds: Latency::of(&outcome.latencies),
            queries: queries.collect(),
            server_memory_peak_bytes: None,
            disk_bytes: None,
            disk_bytes_per_transfer: None,
            restart_microseconds: None,
        }
    }
}

/// `count` events in so many nanoseconds, as a rate per second, rounded down.
fn per_second(count: u64, nanoseconds: u128) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_rounded_down() {
        assert_eq!(per_second(10, 3_000_000_000), 3);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
    }
}
