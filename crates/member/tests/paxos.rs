//! The tests of members in one process on Paxos: the same as on Raft, see `common::engine`.

#[path = "cluster.rs"]
mod cluster;
