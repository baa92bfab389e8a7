//! The rules as data: the order of the crates, forbidden dependencies, and names that deterministic crates
//! must not use.

/// The crates in order: a crate may depend only on crates before it.
pub(crate) const ORDER: &[&str] = &[
    "types",
    "codec",
    "archive",
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
    "daemon",
    "client",
    "load",
    "cli",
];

/// Crates that a crate must not reach, directly or through others: the crate, the forbidden crates, the
/// reason.
pub(crate) const NEVER_REACHES: &[(&str, &[&str], &str)] = &[
    (
        "archive",
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
            "member",
            "tigerbeetle",
            "api",
            "server",
            "client",
        ],
        "an auditor verifies with the records and their bytes alone, and runs no code of the server",
    ),
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
    ("daemon", &["sim", "client", "load"], "it runs one real node"),
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
    (
        "load",
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
            "daemon",
        ],
        "it measures a server from outside, as a client",
    ),
];

/// Crates that must not be direct dependencies of a crate, though it may reach them through others: the
/// crate, the forbidden crates, the reason.
pub(crate) const NEVER_NAMES: &[(&str, &[&str], &str)] = &[
    ("runtime", &["raft", "paxos"], "engines are made by `engines`"),
    (
        "daemon",
        &["rsm", "consensus", "raft", "paxos", "engines", "storage", "replica", "recovery"],
        "a program starts a runtime and a server, and reaches the rest through them",
    ),
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

/// Crates whose files do not use each other in a circle.
pub(crate) const WITHOUT_CIRCLES: &[&str] = &["runtime"];

/// Core crates: equal input gives equal output, so they use no clock, thread, socket, file or system
/// randomness.
pub(crate) const CORE: &[&str] =
    &["types", "codec", "rsm", "ledger", "consensus", "paxos", "replica", "recovery"];

/// Crates that do not use the standard library.
pub(crate) const NO_STD: &[&str] = &["types", "rsm", "ledger", "consensus", "paxos"];

/// Crates without float arithmetic. Each must contain the attribute that makes clippy refuse it.
pub(crate) const NO_FLOAT: &[&str] = &[
    "types",
    "codec",
    "archive",
    "rsm",
    "ledger",
    "consensus",
    "paxos",
    "engines",
    "storage",
    "replica",
    "recovery",
    "runtime",
    "api",
    "client",
    "load",
];

/// Names that the source of a core crate must not contain outside of its tests.
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

/// Names that the source of `storage` must not contain outside of its tests: it reaches files only through
/// its trait `Disk`.
pub(crate) const STORAGE_NEVER_NAMES: &[&str] =
    &["std::time", "std::thread", "std::net", "std::fs", "std::env", "std::process", "std::os"];

/// What the server never names outside its tests: a request's context is an argument, never a part of the task
/// or thread that does the work.
pub(crate) const SERVER_NEVER_NAMES: &[&str] = &["task_local!", "thread_local!", "TaskLocal"];

/// Outside crates with clocks, threads, sockets, files or randomness. Neither a core crate nor `storage` may
/// depend on them, directly or through others.
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
