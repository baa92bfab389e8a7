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
            "a node that is alone has no consensus engine: --engine requires --nodes or --join".to_owned()
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
            of_start(&source, format!("{}: {}", data_dir.display(), with_flags(&source)))
        }
        error => Failure::Other(error.into()),
    }
}

/// The failure for an address that is not valid, or one that is not available now.
fn of_address(listening: Listening, address: &str, error: &io::Error) -> Failure {
    let flag = match listening {
        Listening::Http => "--listen",
        Listening::TigerBeetle => "--tigerbeetle-listen",
        Listening::Peers => {
            return Failure::Unavailable(format!(
                "cannot listen on {address} for the other nodes: {error}; --peer-listen takes another address"
            ));
        }
    };
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::Usage(format!(
            "{address:?} is no address to listen on: {error}; write {flag} HOST:PORT, such as 127.0.0.1:7070"
        ));
    }
    Failure::Unavailable(format!("cannot listen on {address}: {error}; {flag} takes another address"))
}

/// The message of a start that failed, with the flags and commands that help.
fn with_flags(error: &StartError) -> String {
    if let StartError::Clock { clock, ledger, problem } = error {
        return format!(
            "this machine's clock shows {clock}, and the last entry of the ledger is of {ledger}: {problem}. Set the clock; \
             if it is right, start the node with --accept-clock"
        );
    }
    match flags(error) {
        Some(flags) => format!("{error} ({flags})"),
        None => error.to_string(),
    }
}

/// The flags or commands that do what the message of the error says; `None` when it names none.
fn flags(error: &StartError) -> Option<String> {
    let replace = |node: &dyn std::fmt::Display| {
        format!("`bezant cluster replace {node}` at another node, and start this one with --join")
    };
    match error {
        StartError::OfCluster { node } => return Some(format!("--node {node}, --nodes and --token-file")),
        StartError::OfLostNode { .. } => return Some("--node, --nodes and --token-file".to_owned()),
        StartError::OtherNode { found, .. } => return Some(format!("--node {found}")),
        StartError::OtherCluster { .. } => return Some("--token-file".to_owned()),
        StartError::OtherEngine { .. } => return Some("--engine".to_owned()),
        StartError::Removed(Removal::Removed { node }) => {
            return Some(format!("`bezant cluster add {node}=HOST:PORT`, and start this one with --join"));
        }
        StartError::Removed(removal) => return Some(replace(&removal.node())),
        StartError::NotEmpty { .. } => return Some("`bezant export`, `bezant import`".to_owned()),
        StartError::NoIdentity { node } => return Some(replace(node)),
        _ => {}
    }
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let record = error.downcast_ref().or_else(|| match error.downcast_ref() {
            Some(LogError::Record(record)) => Some(record),
            _ => None,
        });
        if let Some(RecordError::Damaged { advice: RecordAdvice::Replace, .. }) = record {
            return Some(replace(&"N"));
        }
        let is_of_log =
            matches!(error.downcast_ref(), Some(LogError::Damaged { .. } | LogError::Missing { .. }));
        if is_of_log || matches!(error.downcast_ref(), Some(CheckpointError::Damaged { .. })) {
            return Some("`bezant inspect` shows them".to_owned());
        }
        cause = error.source();
    }
    None
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
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<DiskError>() || error.is::<io::Error>() {
            return Failure::Unavailable(text);
        }
        cause = error.source();
    }
    Failure::Damaged(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_flags_and_commands_that_help() {
        let node = bezant_types::NodeId(3);
        let record = |advice| RecordError::Damaged { file: "vote.bzv".to_owned(), reason: "rot", advice };
        let log = LogError::Missing {
            expected_index: bezant_types::LogIndex(1),
            reason: "a later file exists".to_owned(),
            advice: "",
        };
        let engine = bezant_runtime::EngineKind::Raft;
        for (error, words) in [
            (StartError::OfCluster { node }, "(--node 3, --nodes and --token-file)"),
            (StartError::OfLostNode { file: "vote.bzv".to_owned() }, "(--node, --nodes and --token-file)"),
            (StartError::OtherNode { found: node, wanted: node }, "(--node 3)"),
            (StartError::OtherCluster { node }, "(--token-file)"),
            (StartError::OtherEngine { node, found: engine, wanted: engine }, "(--engine)"),
            (StartError::Removed(Removal::Removed { node }), "`bezant cluster add 3=HOST:PORT`"),
            (StartError::Removed(Removal::OtherDisk { node }), "`bezant cluster replace 3`"),
            (StartError::NotEmpty { node }, "(`bezant export`, `bezant import`)"),
            (StartError::NoIdentity { node }, "`bezant cluster replace 3` at another node"),
            (StartError::Identity(record(RecordAdvice::Replace)), "`bezant cluster replace N`"),
            (StartError::Recover(record(RecordAdvice::Replace).into()), "start this one with --join"),
            (StartError::Recover(log.into()), "(`bezant inspect` shows them)"),
            (
                StartError::Clock { clock: "1970".to_owned(), ledger: "2026".to_owned(), problem: "earlier" },
                "start the node with --accept-clock",
            ),
        ] {
            let text = with_flags(&error);
            assert!(text.contains(words), "{words}: {text}");
            assert!(!error.to_string().contains("--"), "the library names no flag: {error}");
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
