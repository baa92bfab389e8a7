//! The flags of a node of a cluster.

use std::path::{Path, PathBuf};

use bezant_daemon::{GivenSettings, is_address};
use bezant_runtime::EngineKind;
use bezant_types::NodeId;
use clap::Args;

use super::advice;
use crate::exit::Failure;

/// The flags of a node of a cluster.
#[derive(Debug, Default, Args)]
pub(super) struct ClusterArgs {
    /// Number of this node in its cluster, from 1 on [default: alone]
    #[arg(long, env = "BEZANT_NODE", value_name = "NUMBER", help_heading = "Cluster")]
    node: Option<u64>,
    /// All nodes and where they reach each other: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT
    #[arg(long, env = "BEZANT_NODES", value_name = "LIST", value_delimiter = ',', help_heading = "Cluster")]
    nodes: Vec<String>,
    /// Joins a running cluster: the addresses at which its nodes reach each other, HOST:PORT,HOST:PORT. Only
    /// needed with an empty folder: the folder of a member contains the addresses
    #[arg(long, env = "BEZANT_JOIN", value_name = "LIST", value_delimiter = ',', help_heading = "Cluster")]
    join: Vec<String>,
    /// Consensus engine of a new cluster, for good and on all its nodes: raft or paxos [default: raft; of a
    /// node that joins: the engine of the others]
    #[arg(long, env = "BEZANT_ENGINE", value_name = "ENGINE", help_heading = "Cluster")]
    engine: Option<EngineKind>,
    /// File with the cluster's token; or set `BEZANT_TOKEN` to the token itself
    #[arg(long, env = "BEZANT_TOKEN_FILE", value_name = "FILE", help_heading = "Cluster")]
    token_file: Option<PathBuf>,
    /// Address to listen on for the other nodes [default: this node's of --nodes]
    #[arg(long, env = "BEZANT_PEER_LISTEN", value_name = "ADDRESS", help_heading = "Cluster")]
    peer_listen: Option<String>,
}

impl ClusterArgs {
    /// Adds the flags to the settings that the command was given.
    pub(super) fn add_to(self, given: GivenSettings) -> Result<GivenSettings, Failure> {
        let Self { node, nodes, join, engine, token_file, peer_listen } = self;
        let nodes = nodes.iter().map(|text| parse_node(text)).collect::<Result<_, _>>()?;
        Ok(GivenSettings {
            node,
            nodes,
            join,
            engine,
            token_file,
            peer_listen,
            token: token_of_environment(),
            ..given
        })
    }
}

/// Reads `1=HOST:PORT`.
fn parse_node(text: &str) -> Result<(NodeId, String), Failure> {
    let wrong =
        || Failure::Usage(format!("{text:?} is no node: write --nodes 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT"));
    let (number, address) = text.trim().split_once('=').ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    if !is_address(address) {
        return Err(wrong());
    }
    Ok((NodeId(number), address.to_owned()))
}

fn token_of_environment() -> Option<String> {
    std::env::var("BEZANT_TOKEN").ok()
}

/// The cluster's token from `file` or the environment, for a command that changes the cluster.
pub(crate) fn find_token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    bezant_daemon::find_token(file, token_of_environment().as_deref())
        .map_err(|error| Failure::Usage(advice::of_settings(&error)))
}

#[cfg(test)]
mod tests {
    use bezant_daemon::{Settings, SettingsFile};

    use super::*;

    const TOKEN: Option<&str> = Some("a token of some length");

    fn error_of(node: Option<u64>, nodes: &[&str], join: &[&str], token: Option<&str>) -> String {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let args = ClusterArgs { node, nodes: owned(nodes), join: owned(join), ..ClusterArgs::default() };
        let given = match args.add_to(GivenSettings::default()) {
            Ok(given) => GivenSettings { token: token.map(str::to_owned), ..given },
            Err(failure) => return failure.to_string(),
        };
        advice::of_settings(&Settings::new(given, SettingsFile::default()).unwrap_err())
    }

    #[test]
    fn errors_name_the_missing_or_wrong_flag() {
        for (error, word) in [
            (error_of(None, &["1=a:7"], &[], TOKEN), "add --node NUMBER"),
            (error_of(Some(1), &[], &[], TOKEN), "add --nodes 1=HOST:PORT"),
            (error_of(Some(3), &["1=a:7"], &[], TOKEN), "not among the nodes: add it to --nodes"),
            (error_of(Some(1), &["1=a:7", "1=b:7"], &[], TOKEN), "twice"),
            (error_of(Some(1), &["1=a"], &[], TOKEN), "write --nodes 1=HOST:PORT"),
            (error_of(Some(0), &["0=a:7"], &[], TOKEN), "from 1 on"),
            (error_of(Some(1), &["1=a:7"], &[], Some("short")), "shorter"),
            (error_of(Some(1), &["1=a:7"], &[], None), "a file for --token-file, or into BEZANT_TOKEN"),
            (error_of(Some(4), &[], &["a:7"], TOKEN), "add --peer-listen HOST:PORT"),
            (error_of(Some(4), &[], &["a"], TOKEN), "write --join HOST:PORT"),
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
