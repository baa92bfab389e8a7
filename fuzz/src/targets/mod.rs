//! The parsers of bytes from outside, a target each.

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

/// A parser under fire.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Valid inputs to begin from; at least one.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads the bytes; panics when something does not hold.
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
