//! All that members in one process do on raft they do on paxos: the same tests, see `common::engine`.

#[path = "cluster.rs"]
mod cluster;
