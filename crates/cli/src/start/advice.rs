//! Why a node does not start, in the words of the command line: the libraries name settings, and here each
//! gets its flag.

use std::error::Error;
use std::io;

use bezant_daemon::{DaemonError, Listening, SettingsError};
use bezant_runtime::StartError;
use bezant_storage::disk::DiskError;

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
            of_start(&source, format!("{}: {source}", data_dir.display()))
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
