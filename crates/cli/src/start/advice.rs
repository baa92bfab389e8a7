//! Why a node does not start, in the words of the command line: the libraries name settings, and here each
//! gets its flag.

use std::error::Error;
use std::io;

use bezant_daemon::{DaemonError, Listening, SettingsError};
use bezant_runtime::{Removal, StartError};
use bezant_storage::checkpoint::CheckpointError;
use bezant_storage::disk::DiskError;
use bezant_storage::log::LogError;
use bezant_storage::record::{RecordAdvice, RecordError};

use crate::exit::Failure;

/// The message about settings that are refused.
pub(super) fn of_settings(error: &SettingsError) -> String {
    match error {
        SettingsError::EngineAlone => {
            "a node that is alone has no consensus engine: --engine (in the file, engine) requires the other nodes, \
             with --nodes or --join"
                .to_owned()
        }
        SettingsError::PeerListenAlone => {
            "a node that is alone has no other nodes: --peer-listen requires --nodes or --join".to_owned()
        }
        SettingsError::NodeMissing => "the number of this node is missing: add --node NUMBER".to_owned(),
        SettingsError::PeerListenMissing => {
            "the address for the other nodes is missing: add --peer-listen HOST:PORT".to_owned()
        }
        SettingsError::Join { address } => {
            format!("{address:?} is no address: write --join HOST:PORT,HOST:PORT")
        }
        SettingsError::NodesMissing => {
            "the list of nodes is missing: add --nodes 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT".to_owned()
        }
        SettingsError::NotAmongNodes { node } => {
            format!("node {node} is not among the nodes: add it to --nodes")
        }
        SettingsError::TokenMissing => {
            "a cluster needs a token, the same at all nodes: put it into a file for --token-file, or into \
             BEZANT_TOKEN; `head -c 24 /dev/urandom | base64` generates one"
                .to_owned()
        }
        error => error.to_string(),
    }
}

/// The failure of a node that does not run.
pub(super) fn of_daemon(error: DaemonError) -> Failure {
    match error {
        DaemonError::NoFolder { path } => {
            Failure::Usage(format!("{} is no folder: --data-dir takes the folder of a node", path.display()))
        }
        DaemonError::Listen { listening, address, source } => of_address(listening, &address, &source),
        DaemonError::Start { data_dir, source } => {
            let (folder, text) = (data_dir.display().to_string(), with_flags(&source));
            of_start(&source, if names_folder(&source, &folder) { text } else { format!("{folder}: {text}") })
        }
        error => Failure::Other(error.into()),
    }
}

/// The failure for an address that is not valid, or one that is not available now.
fn of_address(listening: Listening, address: &str, error: &io::Error) -> Failure {
    let (flag, example, clients) = match listening {
        Listening::Http => ("--listen", "127.0.0.1:7070", ""),
        Listening::TigerBeetle => ("--tigerbeetle-listen", "127.0.0.1:3001", ""),
        Listening::Peers => ("--peer-listen", "0.0.0.0:7071", " for the other nodes"),
    };
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::Usage(format!(
            "{address:?} is no address to listen on{clients}: {error}; write {flag} HOST:PORT, such as {example}"
        ));
    }
    Failure::Unavailable(format!(
        "cannot listen on {address}{clients}: {error}; {flag} takes another address"
    ))
}

/// True when the error is of the folder itself, so that its message names the folder.
fn names_folder(error: &StartError, folder: &str) -> bool {
    causes(error).any(|cause| match cause.downcast_ref() {
        Some(
            DiskError::NotFound { file }
            | DiskError::Full { file }
            | DiskError::Moved { file }
            | DiskError::Io { file, .. }
            | DiskError::Locked { folder: file, .. },
        ) => file == folder,
        _ => false,
    })
}

/// The error and its causes, the outermost first.
fn causes<'error>(error: &'error StartError) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |error| (*error).source())
}

/// The message of a start that failed, with the flags and commands that help.
fn with_flags(error: &StartError) -> String {
    match error {
        StartError::Clock { clock, ledger, problem } => {
            return format!(
                "this machine's clock shows {clock}, and the last entry of the ledger is of {ledger}: {problem}. Set the clock; \
                 if it is right, start the node with --accept-clock"
            );
        }
        StartError::OfLostNode { file } => {
            return format!(
                "the folder holds {file}, so it belongs to a node of a cluster, but node.bzi is missing: start it as that node \
                 (--node, --nodes and --token-file), which restores node.bzi from its copy or reports what to do; \
                 see \"A damaged disk\" in docs/operations.md"
            );
        }
        StartError::OtherEngine { node, found, .. } => {
            return format!(
                "the folder belongs to node {node} of a cluster that uses the engine {found}: leave --engine out (in the file, \
                 engine), or begin a new cluster with empty folders"
            );
        }
        _ => {}
    }
    let text = error.to_string();
    let Some(flags) = flags(error) else { return text };
    // What helps comes right after the sentence that it belongs to, so before the documentation.
    match text.rfind("; see \"") {
        Some(end) => format!("{} ({flags}){}", &text[..end], &text[end..]),
        None => format!("{text} ({flags})"),
    }
}

/// The flags or commands that do what the message of the error says; `None` when it names none.
fn flags(error: &StartError) -> Option<String> {
    let replace = |node: &dyn std::fmt::Display| {
        Some(format!("`bezant cluster replace {node}` at another node; then --join"))
    };
    match error {
        StartError::OfCluster { node } => return Some(format!("--node {node}, --nodes and --token-file")),
        StartError::OtherNode { found, .. } => return Some(format!("--node {found}")),
        StartError::OtherCluster { .. } => return Some("--token-file".to_owned()),
        StartError::Removed(Removal::Removed { node }) => {
            return Some(format!(
                "`bezant cluster add {node}=HOST:PORT` at another node, then --join with an empty folder"
            ));
        }
        StartError::Removed(Removal::OtherDisk { node }) | StartError::NoIdentity { node } => {
            return replace(node);
        }
        StartError::NotEmpty { .. } => return Some("`bezant export`, `bezant import`".to_owned()),
        _ => {}
    }
    causes(error).find_map(|cause| {
        let record = cause.downcast_ref().or_else(|| match cause.downcast_ref() {
            Some(LogError::Record(record)) => Some(record),
            _ => None,
        });
        match record {
            Some(RecordError::Damaged { advice: RecordAdvice::Replace, .. }) => return replace(&"N"),
            Some(RecordError::Damaged {
                advice: RecordAdvice::RestoreFolder | RecordAdvice::Examine,
                ..
            }) => return Some("`bezant inspect` shows them".to_owned()),
            _ => {}
        }
        let is_of_log =
            matches!(cause.downcast_ref(), Some(LogError::Damaged { .. } | LogError::Missing { .. }));
        let is_of_checkpoint = matches!(cause.downcast_ref(), Some(CheckpointError::Damaged { .. }));
        (is_of_log || is_of_checkpoint).then(|| "`bezant inspect` shows them".to_owned())
    })
}

/// The failure for a folder of another node or cluster, one that cannot be used now, or one that is damaged.
fn of_start(error: &StartError, text: String) -> Failure {
    match error {
        StartError::Clock { .. } => return Failure::Unavailable(text),
        StartError::OfCluster { .. }
        | StartError::OtherNode { .. }
        | StartError::OtherCluster { .. }
        | StartError::OtherEngine { .. }
        | StartError::OtherAddress { .. }
        | StartError::NotEmpty { .. }
        | StartError::Foreign { .. } => return Failure::Usage(text),
        _ => {}
    }
    if causes(error).any(|cause| cause.is::<DiskError>() || cause.is::<io::Error>()) {
        return Failure::Unavailable(text);
    }
    Failure::Damaged(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One error of each kind.
    fn errors() -> Vec<StartError> {
        let node = bezant_types::NodeId(3);
        let record =
            |file: &str, advice| RecordError::Damaged { file: file.to_owned(), reason: "rot", advice };
        let log = LogError::Missing {
            expected_index: bezant_types::LogIndex(1),
            reason: "a later file exists".to_owned(),
            advice: "examine the files",
        };
        let checkpoint = CheckpointError::Damaged {
            file: "checkpoint-1.bzc".to_owned(),
            offset: 8,
            reason: "rot",
            advice: "examine the files",
        };
        let rewrite = LogError::Record(record("log-rewrite.bzr", RecordAdvice::RestoreFolder));
        let full = || DiskError::Full { file: "vote.bzv".to_owned() };
        let (found, wanted) = (bezant_runtime::EngineKind::Raft, bezant_runtime::EngineKind::Paxos);
        let text = str::to_owned;
        vec![
            StartError::Disk(full()),
            StartError::Recover(full().into()),
            StartError::Recover(record("vote.bzv", RecordAdvice::Replace).into()),
            StartError::Recover(record("terms.bzr", RecordAdvice::Examine).into()),
            StartError::Recover(rewrite.into()),
            StartError::Recover(log.into()),
            StartError::Recover(checkpoint.into()),
            StartError::Identity(record("node.bzi", RecordAdvice::Replace)),
            StartError::OfCluster { node },
            StartError::OfLostNode { file: text("vote.bzv") },
            StartError::OtherNode { found: node, wanted: bezant_types::NodeId(4) },
            StartError::OtherCluster { node },
            StartError::OtherEngine { node, found, wanted },
            StartError::Removed(Removal::AddedAgain { node }),
            StartError::Removed(Removal::OtherDisk { node }),
            StartError::Removed(Removal::Removed { node }),
            StartError::NoMembers { node, damage: text("members.bzm is missing") },
            StartError::GaveUp { reason: text("a:7071 does not answer") },
            StartError::NotEmpty { node },
            StartError::NoIdentity { node },
            StartError::Foreign { file: text("README") },
            StartError::OtherAddress { node, known: text("a:1"), own: text("b:1") },
            StartError::Clock { clock: text("1970"), ledger: text("2026"), problem: "earlier" },
            StartError::Entries,
            StartError::Thread(io::ErrorKind::OutOfMemory.into()),
        ]
    }

    /// The messages of [`errors`].
    const MESSAGES: [&str; 25] = [
        "the data folder cannot be used: no space left on the disk while writing vote.bzv",
        "the data folder cannot be used: no space left on the disk while writing vote.bzv",
        "the vote or another record cannot be read or written: vote.bzv is damaged: rot; nothing was changed: a \
         node without its vote or identity must not take part again. Treat it as lost: replace it in the cluster, \
         and let it join with an empty folder (`bezant cluster replace N` at another node; then --join); \
         see \"A damaged disk\" in docs/operations.md",
        "the vote or another record cannot be read or written: terms.bzr is damaged: rot; nothing was changed: the \
         other nodes of the cluster continue without this one: keep the folder and examine its files (`bezant \
         inspect` shows them)",
        "the log cannot be read: log-rewrite.bzr is damaged: rot; nothing was changed: restore the whole folder \
         from a copy or a replica, or examine its files (`bezant inspect` shows them)",
        "the log cannot be read: the log has no file with entry 1: a later file exists; nothing was changed: \
         examine the files (`bezant inspect` shows them)",
        "the checkpoint cannot be read: checkpoint-1.bzc is damaged at offset 8: rot; nothing was changed: examine \
         the files (`bezant inspect` shows them)",
        "the node's identity cannot be read: node.bzi is damaged: rot; nothing was changed: a node without its vote \
         or identity must not take part again. Treat it as lost: replace it in the cluster, and let it join with \
         an empty folder (`bezant cluster replace N` at another node; then --join); see \"A damaged disk\" in \
         docs/operations.md",
        "the folder belongs to node 3 of a cluster: start it as that node, with the cluster's nodes and token \
         (--node 3, --nodes and --token-file)",
        "the folder holds vote.bzv, so it belongs to a node of a cluster, but node.bzi is missing: start it as that \
         node (--node, --nodes and --token-file), which restores node.bzi from its copy or reports what to do; \
         see \"A damaged disk\" in docs/operations.md",
        "the folder belongs to node 3, not to node 4: choose another folder, or start node 3 (--node 3)",
        "the folder belongs to node 3 of a cluster with another token: check the token (--token-file)",
        "the folder belongs to node 3 of a cluster that uses the engine raft: leave --engine out (in the file, \
         engine), or begin a new cluster with empty folders",
        "node 3 was removed from the cluster and added again: this folder is an old one and takes part in nothing. \
         Stop this node; the cluster's node 3 runs on the other folder; see \"Why a node is refused\" in \
         docs/operations.md",
        "the cluster knows node 3 with another disk: the node on this folder takes part in nothing. If the other \
         disk is lost, replace the node in the cluster, and let it join with an empty folder (`bezant cluster \
         replace 3` at another node; then --join); see \"Why a node is refused\" in docs/operations.md",
        "node 3 was removed from the cluster, and receives nothing new: to bring it back, let it join with an empty \
         folder. If an operator adds the nodes, add it to the cluster first (`bezant cluster add 3=HOST:PORT` at \
         another node, then --join with an empty folder); see \"Why a node is refused\" in docs/operations.md",
        "the folder holds the data of node 3, but members.bzm is missing. Nothing was changed. Copy members.bzm into \
         it from the folder of another node, which has the same list, and start again; see \"A damaged disk\" in \
         docs/operations.md",
        "stopped before this node was a member of the cluster: a:7071 does not answer. Where an operator adds nodes, \
         add it to the cluster",
        "the folder holds the data of a node that was alone: a cluster begins with empty folders; start node 3 on \
         an empty one, and bring the data over with an export and an import (`bezant export`, `bezant import`)",
        "the folder holds the data of a node of a cluster, but not its identity (node.bzi is missing): restore the \
         whole folder, or treat the node as lost: replace it in the cluster, and let it join with an empty folder \
         (`bezant cluster replace 3` at another node; then --join)",
        "the folder holds README, which is not a file of a node: choose an empty folder, or one that does not exist \
         yet",
        "the other nodes have a:1 as the address of node 3, but it was started at b:1: start it at a:1, or remove it \
         and let it join with an empty folder",
        "this machine's clock shows 1970, and the last entry of the ledger is of 2026: earlier. Set the clock; if it \
         is right, start the node with --accept-clock",
        "the log after the checkpoint cannot be read by this version",
        "a thread cannot be started: out of memory",
    ];

    #[test]
    fn messages_name_the_flags_and_commands_that_help() {
        let errors = errors();
        assert_eq!(errors.len(), MESSAGES.len());
        for (error, message) in errors.iter().zip(MESSAGES) {
            assert_eq!(with_flags(error), message);
            assert!(!error.to_string().contains("--"), "the library names no flag: {error}");
        }
    }

    #[test]
    fn the_folder_is_named_once() {
        let failure = |source: DiskError| {
            let source = StartError::Disk(source);
            of_daemon(DaemonError::Start { data_dir: "/proc/x".into(), source }).to_string()
        };
        let reason = "No such file".to_owned();
        assert_eq!(
            failure(DiskError::Io { operation: "create", file: "/proc/x".to_owned(), reason }),
            "the data folder cannot be used: create of /proc/x failed: No such file"
        );
        assert_eq!(
            failure(DiskError::Full { file: "vote.bzv".to_owned() }),
            "/proc/x: the data folder cannot be used: no space left on the disk while writing vote.bzv"
        );
    }

    #[test]
    fn an_address_that_is_none_is_wrong_use() {
        let invalid = io::Error::from(io::ErrorKind::InvalidInput);
        for (listening, example) in [
            (Listening::Http, "write --listen HOST:PORT, such as 127.0.0.1:7070"),
            (Listening::TigerBeetle, "write --tigerbeetle-listen HOST:PORT, such as 127.0.0.1:3001"),
            (Listening::Peers, "write --peer-listen HOST:PORT, such as 0.0.0.0:7071"),
        ] {
            let failure = of_address(listening, "nowhere", &invalid);
            assert_eq!(failure.number(), 2, "{failure}");
            assert!(failure.to_string().ends_with(example), "{failure}");
            let failure = of_address(listening, "a:1", &io::ErrorKind::AddrInUse.into());
            assert_eq!(failure.number(), 3, "{failure}");
        }
    }

    #[test]
    fn a_folder_of_another_node_is_wrong_use_not_damage() {
        let node = bezant_types::NodeId(1);
        let code = |error: &StartError| of_start(error, String::new()).number();
        let engine = bezant_runtime::EngineKind::Raft;
        for error in [
            StartError::OfCluster { node },
            StartError::OtherNode { found: node, wanted: node },
            StartError::OtherCluster { node },
            StartError::OtherEngine { node, found: engine, wanted: engine },
            StartError::NotEmpty { node },
            StartError::Foreign { file: "README".to_owned() },
        ] {
            assert_eq!(code(&error), 2, "{error}");
        }
        assert_eq!(code(&StartError::Entries), 5);
    }
}
