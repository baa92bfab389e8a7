//! The rules as data: the order of the crates, the edges that may never be, and what stays
//! out of the crates that must be deterministic.

/// The crates from the ground up: a crate may depend only on crates before it.
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

/// Crates that a crate may not reach, directly or through others: the crate, what it may not reach, why.
pub(crate) const NEVER_REACHES: &[(&str, &[&str], &str)] = &[
    ("consensus", &["codec", "rsm", "ledger"], "the log's payloads are opaque bytes to an engine"),
    ("raft", &["codec", "rsm", "ledger"], "the log's payloads are opaque bytes to an engine"),
    (
        "paxos",
        &["codec", "rsm", "ledger", "raft"],
        "the log's payloads are opaque bytes, and engines are independent of each other",
    ),
    ("engines", &["codec", "rsm", "ledger"], "it makes engines, and decides nothing"),
    (
        "storage",
        &["rsm", "ledger", "raft", "paxos", "engines"],
        "rows and entries are stored without the rules that made them",
    ),
    (
        "tigerbeetle",
        &["rsm", "ledger", "consensus", "storage", "replica", "recovery", "runtime"],
        "a protocol is bytes: the server decides what a request does",
    ),
    (
        "api",
        &["rsm", "ledger", "consensus", "storage", "replica", "recovery", "runtime"],
        "shapes on the wire are independent of the process that serves them, and of the rules of money",
    ),
    (
        "replica",
        &["ledger", "raft", "paxos", "engines"],
        "a replica knows the interface of an engine, and any machine",
    ),
    (
        "recovery",
        &["ledger", "raft", "paxos", "engines"],
        "the files of a replica are the same for every machine and engine",
    ),
    ("runtime", &["ledger", "sim"], "it drives a replica of any machine"),
    ("member", &["ledger", "sim"], "it hosts any service"),
    ("server", &["sim"], "a server runs real nodes"),
    (
        "client",
        &[
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
            "server",
        ],
        "a client knows the wire: records and their bytes",
    ),
];

/// Crates that a crate may not name itself, though it reaches them through others: the crate, those, why.
pub(crate) const NEVER_NAMES: &[(&str, &[&str], &str)] = &[
    ("runtime", &["raft", "paxos"], "engines are made by `engines`"),
    (
        "member",
        &["consensus", "raft", "replica", "recovery"],
        "an embedded member reaches its replica through the runtime's handle",
    ),
    (
        "server",
        &["consensus", "raft", "paxos", "engines", "replica", "recovery"],
        "a server reaches a replica through the runtime's handle",
    ),
    (
        "cli",
        &["rsm", "consensus", "raft", "paxos", "engines", "replica", "recovery"],
        "the command line is a client, and starts a runtime",
    ),
];

/// Crates in which equal input gives equal output: no clock, thread, socket, file or randomness of the system.
pub(crate) const CORE: &[&str] =
    &["types", "codec", "rsm", "ledger", "consensus", "paxos", "replica", "recovery"];

/// Crates that do without the standard library.
pub(crate) const NO_STD: &[&str] = &["types", "rsm", "ledger", "consensus", "paxos"];

/// Crates whose arithmetic knows no float; clippy refuses it once the crate asks for it.
pub(crate) const NO_FLOAT: &[&str] =
    &["types", "codec", "rsm", "ledger", "consensus", "paxos", "storage", "replica", "recovery"];

/// What a core crate's source never names outside its tests.
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

/// Outside crates that bring clocks, threads, sockets, files or randomness: neither a core crate nor storage
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
