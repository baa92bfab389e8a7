//! The parsers of bytes from outside, one target each.

mod archive;
mod checkpoint;
mod codec;
mod damage;
mod engine;
mod entry;
mod json;
mod ledger;
mod log;
mod service;
mod tigerbeetle;

/// A parser with its seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name on the command line.
    pub name: &'static str,
    /// A description for `--list`.
    pub about: &'static str,
    /// Valid inputs to start from; at least one.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Parses the bytes; panics when an invariant is violated.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    entry::TARGET,
    codec::TARGET,
    ledger::TARGET,
    log::TARGET,
    checkpoint::TARGET,
    checkpoint::STATE,
    json::BODIES,
    json::QUERIES,
    json::CURSORS,
    json::TOKENS,
    archive::FILES,
    archive::LINES,
    tigerbeetle::FRAMES,
    tigerbeetle::BODIES,
    engine::RAFT,
    engine::PAXOS,
    service::COMMANDS,
    service::STATE,
];

/// The target with that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
