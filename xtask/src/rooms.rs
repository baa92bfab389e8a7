//! The rules of the house as data: the order of the rooms, the edges that may never be, and what stays
//! out of the rooms that must be deterministic.

/// The rooms from the ground up: a room may depend only on rooms before it.
pub(crate) const ORDER: &[&str] = &[
    "types",
    "codec",
    "rsm-macros",
    "rsm",
    "ledger",
    "consensus",
    "raft",
    "paxos",
    "engines",
    "storage",
    "replica",
    "recovery",
    "sim",
    "runtime",
    "member",
    "tigerbeetle",
    "api",
    "server",
    "client",
    "cli",
];

/// Edges that the order would allow and the design does not: the room, what it may not see, why.
pub(crate) const NEVER: &[(&str, &[&str], &str)] = &[
    ("consensus", &["codec", "rsm", "ledger"], "the log's payloads are opaque bytes to an engine"),
    ("raft", &["codec", "rsm", "ledger"], "the log's payloads are opaque bytes to an engine"),
    (
        "paxos",
        &["codec", "rsm", "ledger", "raft"],
        "the log's payloads are opaque bytes, and engines do not know each other",
    ),
    ("engines", &["codec", "rsm", "ledger"], "it makes engines, and decides nothing"),
    (
        "storage",
        &["rsm", "ledger", "raft", "paxos", "engines"],
        "rows and entries are stored without knowing the rules behind them",
    ),
    (
        "tigerbeetle",
        &["rsm", "ledger", "consensus", "storage", "replica", "recovery", "runtime"],
        "a protocol is bytes: what a request does is the server's to say",
    ),
    (
        "api",
        &["consensus", "storage", "replica", "recovery", "runtime"],
        "shapes on the wire are the same whatever runs behind",
    ),
    ("replica", &["raft", "paxos", "engines"], "a node knows the seam, and no engine behind it"),
    (
        "recovery",
        &["ledger", "raft", "paxos", "engines"],
        "what a disk holds is kept the same whichever machine and engine wrote it",
    ),
    (
        "runtime",
        &["ledger", "raft", "paxos", "sim"],
        "it drives a node with any machine, and knows nothing of the simulation",
    ),
    (
        "member",
        &["ledger", "consensus", "raft", "replica", "recovery", "sim"],
        "an embedded member reaches its node through the runtime's handle, and hosts any service",
    ),
    (
        "server",
        &["consensus", "raft", "paxos", "engines", "replica", "recovery", "sim"],
        "a server reaches a node through the runtime's handle",
    ),
    (
        "client",
        &[
            "rsm",
            "consensus",
            "raft",
            "paxos",
            "engines",
            "storage",
            "replica",
            "recovery",
            "sim",
            "runtime",
            "server",
        ],
        "a client sees the wire and nothing behind it",
    ),
    (
        "cli",
        &["rsm", "consensus", "raft", "paxos", "engines", "replica", "recovery"],
        "the command line is a client, and starts a runtime",
    ),
];

/// Rooms in which equal input gives equal output: no clock, thread, socket, file or randomness of the system.
pub(crate) const CORE: &[&str] =
    &["types", "codec", "rsm", "ledger", "consensus", "paxos", "replica", "recovery"];

/// Rooms that do without the standard library.
pub(crate) const NO_STD: &[&str] = &["types", "rsm", "ledger", "consensus", "paxos"];

/// Rooms whose arithmetic knows no float; clippy refuses it once the crate asks for it.
pub(crate) const NO_FLOAT: &[&str] =
    &["types", "codec", "rsm", "ledger", "consensus", "paxos", "storage", "replica", "recovery"];

/// What a core room's source never names outside its tests.
pub(crate) const CORE_NEVER_NAMES: &[&str] = &[
    "std::time",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::os",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "RandomState",
];

/// What storage never names outside its tests: it reaches files through its own trait alone.
pub(crate) const STORAGE_NEVER_NAMES: &[&str] =
    &["std::time", "std::thread", "std::net", "std::fs", "std::env", "std::process", "std::os"];

/// Outside crates that bring clocks, threads, sockets, files or randomness: neither a core room nor storage
/// depends on them, nor on anything that does.
pub(crate) const CORE_NEVER_CRATES: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "crossbeam-channel",
    "fastrand",
    "getrandom",
    "hyper",
    "jiff",
    "mio",
    "nix",
    "parking_lot",
    "prost",
    "rand",
    "rand_core",
    "rayon",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tonic",
    "tracing-subscriber",
    "ulid",
    "uuid",
];
