//! The server's metrics: calls, their outcomes and durations, and the results of events.
//!
//! Every counter has a fixed place in memory, so that counting a call takes a few atomic additions and no
//! lookup. Only the status of a refused event, which is no hot path, takes a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bezant_api::{ErrorCode, Failure, Scarce};
use bezant_ledger::Operation;
use bezant_types::limits::RESULT_SIZE;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::calls::with_calls;

/// The protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Grpc,
    Rest,
    TigerBeetle,
    /// gRPC or REST: a connection that was refused before its protocol was known.
    Http,
}

macro_rules! calls {
    ($($method:ident($request:ident) -> $reply:ident = $call:ident $module:ident,)+) => {
        /// The name of a call; the same in all protocols.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Call {
            $($call,)+
            WatchEvents,
            /// A client of TigerBeetle's protocol opens its session.
            Register,
            Other,
        }

        const CALLS: &[&str] = &[$(stringify!($method),)+ "watch_events", "register", "other"];
    };
}

with_calls!(calls);

const APIS: [&str; 4] = ["grpc", "rest", "tigerbeetle", "http"];
const ROWS: usize = APIS.len() * CALLS.len();
/// One for `ok`, and one for each error code.
const OUTCOMES: usize = 1 + ErrorCode::ALL.len();
/// Upper bounds of the histogram's buckets, in microseconds.
const BUCKETS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// The histogram of the durations of one call.
#[derive(Debug, Default)]
struct Durations {
    /// One for each bound, and one for longer durations.
    counts: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// All counters of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    outcomes: Vec<[AtomicU64; OUTCOMES]>,
    /// Calls and connections that were refused as overloaded, by protocol and by what ran out.
    shed: [[AtomicU64; Scarce::ALL.len()]; APIS.len()],
    durations: Vec<Durations>,
    /// Events with the result `created`, by operation.
    created: [AtomicU64; Operation::NUMBERS],
    /// Events with any other result, by operation and status.
    refused: Mutex<BTreeMap<(u16, u32), u64>>,
    pub(crate) requests: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) watchers: AtomicI64,
    /// Frames of TigerBeetle's clients that ended their connection.
    pub(crate) frames_refused: AtomicU64,
    /// Frames of TigerBeetle's clients that were dropped: invalid, or not the next request of their session.
    pub(crate) frames_dropped: AtomicU64,
    /// Evictions of TigerBeetle's clients, by reason.
    evictions: Mutex<BTreeMap<&'static str, u64>>,
    /// Whether expiry was paused at the last query of the ledger. `None` while its state is not known: then the
    /// gauge has no value.
    expiry_is_paused: Mutex<Option<bool>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            outcomes: (0..ROWS).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            shed: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            durations: (0..ROWS).map(|_| Durations::default()).collect(),
            created: std::array::from_fn(|_| AtomicU64::new(0)),
            refused: Mutex::default(),
            requests: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            watchers: AtomicI64::new(0),
            frames_refused: AtomicU64::new(0),
            frames_dropped: AtomicU64::new(0),
            evictions: Mutex::default(),
            expiry_is_paused: Mutex::default(),
        }
    }

    /// Counts one call.
    pub(crate) fn call(&self, api: Api, call: Call, took: Duration, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            self.shed(api, failure);
        }
        let error = failure.map(|failure| failure.code);
        let row = api as usize * CALLS.len() + call as usize;
        let outcome = error.map_or(0, |error| 1 + error as usize);
        if let Some(counter) = self.outcomes.get(row).and_then(|row| row.get(outcome)) {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(durations) = self.durations.get(row) {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let bucket = BUCKETS.partition_point(|bound| *bound < micros);
            durations.counts[bucket].fetch_add(1, Relaxed);
            durations.micros.fetch_add(micros, Relaxed);
        }
    }

    /// Counts a refusal if something ran out.
    pub(crate) fn shed(&self, api: Api, failure: &Failure) {
        if let Some(scarce) = failure.scarce {
            self.shed[api as usize][scarce as usize].fetch_add(1, Relaxed);
        }
    }

    /// Counts the eviction of a TigerBeetle client.
    pub(crate) fn evicted(&self, reason: &'static str) {
        *self.evictions.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// Sets the gauge of paused expiry.
    pub(crate) fn note_expiry(&self, is_paused: Option<bool>) {
        *self.expiry_is_paused.lock().unwrap_or_else(PoisonError::into_inner) = is_paused;
    }

    /// Counts the results of the events of a request.
    pub(crate) fn results(&self, operation: Operation, results: &[u8]) {
        let (results, _) = results.as_chunks::<RESULT_SIZE>();
        let is_created = |result: &&[u8; RESULT_SIZE]| result[8..12] == [0xff; 4];
        let created = results.iter().filter(is_created).count();
        self.created[operation as usize].fetch_add(u64::try_from(created).unwrap_or(0), Relaxed);
        if created == results.len() {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for result in results.iter().filter(|result| !is_created(result)) {
            let status = u32::from_le_bytes([result[8], result[9], result[10], result[11]]);
            *refused.entry((operation as u16, status)).or_default() += 1;
        }
    }

    /// Registers all metrics under their names.
    pub(crate) fn register(self: &Arc<Self>, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, of: Shown| {
            registry.register(name, help, Table { metrics: Arc::clone(self), of });
        };
        add("bezant_requests", "Calls that were answered, by their outcome", Shown::Outcomes);
        let help = "Calls and connections that were refused because too much waits, by what ran out";
        add("bezant_overloaded", help, Shown::Shed);
        add("bezant_request_duration_seconds", "How long calls took", Shown::Durations);
        add("bezant_events", "Events of writes, by what became of them", Shown::Events);
        add("bezant_requests_in_flight", "Calls being answered", Shown::Requests);
        add("bezant_connections_open", "Connections being served", Shown::Connections);
        add(
            "bezant_tigerbeetle_frames_refused",
            "Damaged or foreign frames, each of which ended its connection",
            Shown::FramesRefused,
        );
        add(
            "bezant_tigerbeetle_frames_dropped",
            "Frames that were invalid or did not fit their session",
            Shown::FramesDropped,
        );
        add("bezant_tigerbeetle_evictions", "Clients that were evicted", Shown::Evictions);
        add("bezant_watchers", "Streams of change events being served", Shown::Watchers);
        let help = "1 while imported pending transfers do not expire, since an import is under way";
        add("bezant_expiry_paused", help, Shown::ExpiryPaused);
    }
}

/// Selects one metric.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Outcomes,
    Shed,
    Durations,
    Events,
    Requests,
    Connections,
    Watchers,
    FramesRefused,
    FramesDropped,
    Evictions,
    ExpiryPaused,
}

/// One metric, as the registry encodes it.
#[derive(Debug)]
struct Table {
    metrics: Arc<Metrics>,
    of: Shown,
}

impl EncodeMetric for Table {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.of {
            Shown::Outcomes => self.encode_outcomes(&mut encoder),
            Shown::Shed => self.encode_shed(&mut encoder),
            Shown::Durations => self.encode_durations(&mut encoder),
            Shown::Events => self.encode_events(&mut encoder),
            Shown::Requests => encoder.encode_gauge(&self.metrics.requests.load(Relaxed)),
            Shown::Connections => encoder.encode_gauge(&self.metrics.connections.load(Relaxed)),
            Shown::Watchers => encoder.encode_gauge(&self.metrics.watchers.load(Relaxed)),
            Shown::FramesRefused => encode_counter(&mut encoder, &self.metrics.frames_refused),
            Shown::FramesDropped => encode_counter(&mut encoder, &self.metrics.frames_dropped),
            Shown::Evictions => self.encode_evictions(&mut encoder),
            Shown::ExpiryPaused => self.encode_expiry(&mut encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.of {
            Shown::Outcomes
            | Shown::Shed
            | Shown::Events
            | Shown::FramesRefused
            | Shown::FramesDropped
            | Shown::Evictions => MetricType::Counter,
            Shown::Durations => MetricType::Histogram,
            Shown::Requests | Shown::Connections | Shown::Watchers | Shown::ExpiryPaused => MetricType::Gauge,
        }
    }
}

fn encode_counter(encoder: &mut MetricEncoder<'_>, counter: &AtomicU64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&counter.load(Relaxed), None)
}

/// The labels of a row: protocol and call.
fn row_names(row: usize) -> [(&'static str, &'static str); 2] {
    [("api", APIS[row / CALLS.len()]), ("call", CALLS[row % CALLS.len()])]
}

impl Table {
    fn encode_outcomes(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        for (row, outcomes) in self.metrics.outcomes.iter().enumerate() {
            let [api, call] = row_names(row);
            for (at, counter) in outcomes.iter().enumerate() {
                let count = counter.load(Relaxed);
                if count > 0 {
                    let error = at.checked_sub(1).and_then(|at| ErrorCode::ALL.get(at));
                    let labels = [api, call, ("outcome", error.map_or("ok", |error| error.name()))];
                    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    fn encode_shed(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        for (api, shed) in APIS.iter().zip(&self.metrics.shed) {
            for (scarce, count) in Scarce::ALL.iter().zip(shed) {
                let labels = [("api", *api), ("cause", scarce.name())];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        for (row, durations) in self.metrics.durations.iter().enumerate() {
            let counts: Vec<u64> = durations.counts.iter().map(|count| count.load(Relaxed)).collect();
            let count = counts.iter().sum();
            if count == 0 {
                continue;
            }
            let bounds = BUCKETS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts).collect();
            let sum = seconds(durations.micros.load(Relaxed));
            encoder
                .encode_family(&row_names(row))?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_evictions(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let evictions = self.metrics.evictions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (reason, count) in evictions {
            let labels = [("reason", reason)];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn encode_expiry(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let is_paused = *self.metrics.expiry_is_paused.lock().unwrap_or_else(PoisonError::into_inner);
        is_paused.map_or(Ok(()), |is_paused| encoder.encode_gauge(&u32::from(is_paused)))
    }

    fn encode_events(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let mut encode = |operation: &str, status: &str, count: u64| {
            let labels = [("operation", operation), ("status", status)];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
        };
        let name = |number: u16| Operation::from_number(number).map_or("unknown", Operation::name);
        for (number, counter) in (0_u16..).zip(&self.metrics.created) {
            let count = counter.load(Relaxed);
            if count > 0 {
                encode(name(number), "created", count)?;
            }
        }
        let refused = self.metrics.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((number, status), count) in refused {
            let operation = Operation::from_number(number);
            let status = operation.map_or("unknown", |operation| bezant_api::status_name(operation, status));
            encode(name(number), status, count)?;
        }
        Ok(())
    }
}

/// Microseconds as seconds, the unit of Prometheus.
fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn counted_calls_and_events_appear_in_the_metrics() {
        let metrics = Arc::new(Metrics::new());
        metrics.call(Api::Grpc, Call::Submit, Duration::from_micros(70), None);
        metrics.call(Api::Grpc, Call::WatchEvents, Duration::ZERO, None);
        let lost = Failure::new(ErrorCode::RouteNotFound, "");
        metrics.call(Api::Rest, Call::Other, Duration::from_mins(1), Some(&lost));
        let shed = Failure::overloaded(Scarce::Requests, "", Duration::ZERO);
        metrics.call(Api::Grpc, Call::Other, Duration::ZERO, Some(&shed));
        let mut results = [0; 32];
        results[8..12].fill(0xff);
        results[24] = 54;
        metrics.results(Operation::CreateTransfers, &results);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        for line in [
            r#"bezant_requests_total{api="grpc",call="submit",outcome="ok"} 1"#,
            r#"bezant_requests_total{api="grpc",call="watch_events",outcome="ok"} 1"#,
            r#"bezant_requests_total{api="rest",call="other",outcome="route_not_found"} 1"#,
            r#"bezant_overloaded_total{api="grpc",cause="requests"} 1"#,
            r#"bezant_overloaded_total{api="tigerbeetle",cause="node"} 0"#,
            r#"bezant_request_duration_seconds_bucket{le="0.00005",api="grpc",call="submit"} 0"#,
            r#"bezant_request_duration_seconds_bucket{le="0.0001",api="grpc",call="submit"} 1"#,
            r#"bezant_request_duration_seconds_bucket{le="+Inf",api="rest",call="other"} 1"#,
            r#"bezant_events_total{operation="create_transfers",status="created"} 1"#,
            r#"bezant_events_total{operation="create_transfers",status="exceeds_credits"} 1"#,
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
    }
}
