//! The metrics of a node: counters that only grow, gauges, and histograms in seconds.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of one node; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) entries: Counter,
    pub(crate) events: Counter,
    pub(crate) commands: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) commands_waiting: Gauge,
    pub(crate) applied_index: Gauge,
    pub(crate) apply_seconds: Histogram,
    pub(crate) log_bytes_written: Counter,
    pub(crate) log_bytes: Gauge,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoint_index: Gauge,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) history_movements: Gauge,
    pub(crate) history_backlog: Gauge,
    pub(crate) history_unindexed: Gauge,
    pub(crate) fetches: Counter,
    pub(crate) fetched_keys: Counter,
    pub(crate) index_jobs_waiting: Gauge,
    pub(crate) index_jobs: Counter,
    pub(crate) disk_available: Gauge,
    pub(crate) read_only: Gauge,
    pub(crate) has_state: Gauge,
    pub(crate) term: Gauge,
    pub(crate) may_vote: Gauge,
    pub(crate) stopped: Gauge,
    pub(crate) leads: Gauge,
    pub(crate) committed_index: Gauge,
    pub(crate) leader_changes: Counter,
    pub(crate) peers_connected: Gauge,
    pub(crate) peers_refused: Gauge,
    pub(crate) peer_messages_sent: Gauge,
    pub(crate) peer_sent_bytes: Gauge,
    pub(crate) peer_messages_dropped: Gauge,
    pub(crate) clock_offset_max: Gauge,
    pub(crate) clock_wrong: Gauge,
    pub(crate) differences: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // A node that is alone may vote and has its state.
        let one = || {
            let gauge = Gauge::default();
            gauge.set(1);
            gauge
        };
        let seconds = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        Self {
            entries: Counter::default(),
            events: Counter::default(),
            commands: Counter::default(),
            overloaded: Counter::default(),
            commands_waiting: Gauge::default(),
            applied_index: Gauge::default(),
            apply_seconds: seconds(),
            log_bytes_written: Counter::default(),
            log_bytes: Gauge::default(),
            fsync_seconds: seconds(),
            checkpoints: Counter::default(),
            checkpoint_index: Gauge::default(),
            checkpoint_seconds: seconds(),
            history_movements: Gauge::default(),
            history_backlog: Gauge::default(),
            history_unindexed: Gauge::default(),
            fetches: Counter::default(),
            fetched_keys: Counter::default(),
            index_jobs_waiting: Gauge::default(),
            index_jobs: Counter::default(),
            disk_available: Gauge::default(),
            read_only: Gauge::default(),
            has_state: one(),
            term: Gauge::default(),
            may_vote: one(),
            stopped: Gauge::default(),
            leads: Gauge::default(),
            committed_index: Gauge::default(),
            leader_changes: Counter::default(),
            peers_connected: Gauge::default(),
            peers_refused: Gauge::default(),
            peer_messages_sent: Gauge::default(),
            peer_sent_bytes: Gauge::default(),
            peer_messages_dropped: Gauge::default(),
            clock_offset_max: Gauge::default(),
            clock_wrong: Gauge::default(),
            differences: Counter::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bezant");
        registry.register("log_entries", "Log entries applied", self.entries.clone());
        registry.register("events", "Events applied: accounts, transfers, changes", self.events.clone());
        registry.register("commands", "Commands applied", self.commands.clone());
        registry.register(
            "node_overloaded",
            "Commands and reads that the node refused because too much waited, here or at the leader",
            self.overloaded.clone(),
        );
        registry.register(
            "commands_waiting",
            "Commands without an answer yet",
            self.commands_waiting.clone(),
        );
        registry.register("applied_index", "Index of the last log entry applied", self.applied_index.clone());
        registry.register_with_unit(
            "apply",
            "Time to apply an entry",
            Unit::Seconds,
            self.apply_seconds.clone(),
        );
        registry.register("log_written_bytes", "Bytes written to the log", self.log_bytes_written.clone());
        registry.register_with_unit("log", "Size of the log on disk", Unit::Bytes, self.log_bytes.clone());
        registry.register_with_unit(
            "log_fsync",
            "Time to write and fsync what waited for the log",
            Unit::Seconds,
            self.fsync_seconds.clone(),
        );
        registry.register("checkpoints", "Checkpoints written", self.checkpoints.clone());
        registry.register("checkpoint_index", "Index of the last checkpoint", self.checkpoint_index.clone());
        registry.register_with_unit(
            "checkpoint",
            "Time from the beginning of a checkpoint until it is durable",
            Unit::Seconds,
            self.checkpoint_seconds.clone(),
        );
        self.register_history(registry);
        registry.register_with_unit(
            "disk_available",
            "Bytes that are free for the data folder",
            Unit::Bytes,
            self.disk_available.clone(),
        );
        registry.register(
            "has_state",
            "1 while the node has a state to show; 0 while it is filled or repaired from the others",
            self.has_state.clone(),
        );
        registry.register("read_only", "1 while the node takes no writes", self.read_only.clone());
        self.register_cluster(registry);
    }

    fn register_history(&self, registry: &mut Registry) {
        registry.register("history_movements", "Movements that can be read", self.history_movements.clone());
        registry.register(
            "history_backlog",
            "Rows that the history has not written",
            self.history_backlog.clone(),
        );
        registry.register(
            "history_unindexed",
            "Rows in memory that wait for their index",
            self.history_unindexed.clone(),
        );
        registry.register("fetches", "Entries that needed rows of the history", self.fetches.clone());
        registry.register(
            "fetched_keys",
            "Keys looked up in the history for entries",
            self.fetched_keys.clone(),
        );
        registry.register(
            "index_jobs_waiting",
            "Index runs that wait to be built",
            self.index_jobs_waiting.clone(),
        );
        registry.register("index_jobs", "Index runs built", self.index_jobs.clone());
    }

    /// The metrics of a node in a cluster; a node that is alone shows zeros.
    fn register_cluster(&self, registry: &mut Registry) {
        registry.register("term", "The current term of this node", self.term.clone());
        registry.register("may_vote", "1 while this node may vote", self.may_vote.clone());
        registry.register(
            "stopped",
            "1 for a node that has stopped because it holds committed entries that the others lack",
            self.stopped.clone(),
        );
        registry.register("leads", "1 while this node leads", self.leads.clone());
        registry.register(
            "committed_index",
            "Index of the last log entry committed",
            self.committed_index.clone(),
        );
        registry.register(
            "leader_changes",
            "Changes of the leader in this node's view",
            self.leader_changes.clone(),
        );
        registry.register("peers_connected", "Other nodes that can be sent to", self.peers_connected.clone());
        registry.register(
            "peers_refused",
            "Other nodes that refuse this one or are refused, and those whose number two processes use",
            self.peers_refused.clone(),
        );
        registry.register(
            "peer_messages_sent",
            "Messages sent to other nodes",
            self.peer_messages_sent.clone(),
        );
        registry.register("peer_sent_bytes", "The bytes of these messages", self.peer_sent_bytes.clone());
        registry.register(
            "peer_messages_dropped",
            "Messages to other nodes that were dropped: no connection, or a full queue",
            self.peer_messages_dropped.clone(),
        );
        registry.register(
            "state_differences",
            "Entries after which this node's state was found to differ from another node's",
            self.differences.clone(),
        );
        registry.register(
            "clock_offset_max_nanoseconds",
            "The largest difference between another node's clock and this one's, at the last exchange",
            self.clock_offset_max.clone(),
        );
        registry.register(
            "clock_wrong",
            "1 while this node's clock is so far off that it stamps no entries, and lets another node lead",
            self.clock_wrong.clone(),
        );
    }
}

/// For histograms, which count in seconds.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// For gauges, which are signed.
pub(crate) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
