//! The settings of a node of a cluster: from flags, from the environment, or from one file for all nodes.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bezant_runtime::{ClusterOptions, EngineKind};
use bezant_types::NodeId;
use bezant_types::limits::ADDRESS_SIZE_MAX;
use clap::Args;
use serde::Deserialize;

use crate::exit::Failure;

/// Minimum length of a token, in bytes. 16 random bytes in base64 are longer.
const TOKEN_LENGTH_MIN: usize = 16;
/// Maximum number of nodes of a cluster.
const NODES_MAX: usize = bezant_types::limits::MEMBERS_MAX;

/// The flags of a node of a cluster.
#[derive(Debug, Default, Args)]
pub(super) struct ClusterArgs {
    /// Number of this node in its cluster, from 1 on [default: alone]
    #[arg(long, env = "BEZANT_NODE", value_name = "NUMBER", help_heading = "Cluster")]
    pub(super) node: Option<u64>,
    /// All nodes and where they reach each other: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT
    #[arg(long, env = "BEZANT_NODES", value_name = "LIST", value_delimiter = ',', help_heading = "Cluster")]
    pub(super) nodes: Vec<String>,
    /// Joins a running cluster: the addresses at which its nodes reach each other, HOST:PORT,HOST:PORT. Only
    /// needed with an empty folder: the folder of a member contains the addresses
    #[arg(long, env = "BEZANT_JOIN", value_name = "LIST", value_delimiter = ',', help_heading = "Cluster")]
    pub(super) join: Vec<String>,
    /// Consensus engine of a new cluster, for good and on all its nodes: raft or paxos [default: raft; of a
    /// node that joins: the engine of the others]
    #[arg(long, env = "BEZANT_ENGINE", value_name = "ENGINE", help_heading = "Cluster")]
    pub(super) engine: Option<EngineKind>,
    /// File with the cluster's token; or set `BEZANT_TOKEN` to the token itself
    #[arg(long, env = "BEZANT_TOKEN_FILE", value_name = "FILE", help_heading = "Cluster")]
    pub(super) token_file: Option<PathBuf>,
    /// Address to listen on for the other nodes [default: this node's of --nodes]
    #[arg(long, env = "BEZANT_PEER_LISTEN", value_name = "ADDRESS", help_heading = "Cluster")]
    pub(super) peer_listen: Option<String>,
}

/// A node in the file that all nodes share. A missing setting is taken from the top level of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNode {
    pub(super) id: u64,
    /// The address at which the other nodes reach it.
    pub(super) peer: String,
    pub(super) peer_listen: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) tigerbeetle_listen: Option<String>,
}

/// A node and its cluster, before it listens on its address for the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) nodes: Vec<(NodeId, String)>,
    pub(super) join: Vec<String>,
    pub(super) peer_listen: String,
    engine: Option<EngineKind>,
    token: String,
}

impl Place {
    /// Checks the settings. `None` for a node that is alone.
    pub(super) fn new(
        args: &ClusterArgs,
        file_nodes: &[FileNode],
        file_token: Option<&str>,
        file_engine: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        let nodes = if args.nodes.is_empty() {
            file_nodes.iter().map(|node| (NodeId(node.id), node.peer.clone())).collect()
        } else {
            args.nodes.iter().map(|text| parse_node(text)).collect::<Result<Vec<_>, _>>()?
        };
        let Some(node) = args.node else {
            if args.engine.is_some() && nodes.is_empty() && args.join.is_empty() {
                return Err(usage(
                    "a node that is alone has no consensus engine: --engine requires --nodes or --join",
                ));
            }
            if nodes.is_empty() && args.join.is_empty() {
                return Ok(None);
            }
            return Err(usage("the number of this node is missing: add --node NUMBER"));
        };
        if args.join.is_empty() {
            check(node, &nodes)?;
        } else {
            check_join(node, &args.join)?;
        }
        let node = NodeId(node);
        let own = nodes.iter().find(|(id, _)| *id == node).map(|(_, address)| address.clone());
        let from_file = file_nodes.iter().find(|known| known.id == node.0);
        let peer_listen = args
            .peer_listen
            .clone()
            .or_else(|| from_file.and_then(|known| known.peer_listen.clone()))
            .or(own)
            .ok_or_else(|| {
                usage("the address for the other nodes is missing: add --peer-listen HOST:PORT")
            })?;
        let token = token(args.token_file.as_deref(), file_token)?;
        let from_file = file_engine
            .map(|name| name.parse().map_err(|error| usage(&format!("engine {name:?} of the file: {error}"))))
            .transpose()?;
        let engine = args.engine.or(from_file);
        Ok(Some(Self { node, nodes, join: args.join.clone(), peer_listen, engine, token }))
    }

    /// Listens on the address for the other nodes.
    pub(super) fn listen(self) -> Result<ClusterOptions, Failure> {
        let listener = TcpListener::bind(&self.peer_listen).map_err(|error| {
            Failure::Unavailable(format!(
                "cannot listen on {} for the other nodes: {error}; --peer-listen takes another address",
                self.peer_listen
            ))
        })?;
        let Self { node, nodes, join, engine, token, .. } = self;
        Ok(ClusterOptions {
            node,
            token,
            engine,
            nodes,
            join,
            give_up: Arc::default(),
            listener,
            growth: None,
        })
    }
}

/// Reads `1=HOST:PORT`.
fn parse_node(text: &str) -> Result<(NodeId, String), Failure> {
    let wrong = || usage(&format!("{text:?} is no node: write --nodes 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT"));
    let (number, address) = text.trim().split_once('=').ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    if !is_address(address) {
        return Err(wrong());
    }
    Ok((NodeId(number), address.to_owned()))
}

/// True for `HOST:PORT`.
pub(crate) fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(port, Some((host, Ok(_))) if !host.is_empty()) && text.len() <= ADDRESS_SIZE_MAX
}

fn check_join(node: u64, join: &[String]) -> Result<(), Failure> {
    if node == 0 {
        return Err(usage("nodes are numbered from 1 on"));
    }
    match join.iter().find(|address| !is_address(address)) {
        Some(wrong) => Err(usage(&format!("{wrong:?} is no address: write --join HOST:PORT,HOST:PORT"))),
        None => Ok(()),
    }
}

fn check(node: u64, nodes: &[(NodeId, String)]) -> Result<(), Failure> {
    if node == 0 || nodes.iter().any(|(id, _)| id.0 == 0) {
        return Err(usage("nodes are numbered from 1 on"));
    }
    if nodes.is_empty() {
        return Err(usage("the list of nodes is missing: add --nodes 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT"));
    }
    if nodes.len() > NODES_MAX {
        return Err(usage(&format!("a cluster has at most {NODES_MAX} nodes")));
    }
    if !nodes.iter().any(|(id, _)| id.0 == node) {
        return Err(usage(&format!("node {node} is not among the nodes: add it to --nodes")));
    }
    if let Some((id, address)) = nodes.iter().find(|(_, address)| !is_address(address)) {
        return Err(usage(&format!(
            "{address:?} of node {id} is no address: write HOST:PORT, at most 200 bytes"
        )));
    }
    for (at, (id, address)) in nodes.iter().enumerate() {
        if nodes[..at].iter().any(|(other, same)| other == id || same == address) {
            return Err(usage(&format!("node {id} or its address {address} is twice in the list")));
        }
    }
    Ok(())
}

fn token(file: Option<&Path>, from_config: Option<&str>) -> Result<String, Failure> {
    find_token(file, from_config)?.ok_or_else(|| {
        usage(
            "a cluster needs a token, the same at all nodes: put it into a file for --token-file, or into \
             BEZANT_TOKEN; `head -c 24 /dev/urandom | base64` generates one",
        )
    })
}

/// The cluster's token from `file`, the environment or the settings; the first that exists counts.
pub(crate) fn find_token(file: Option<&Path>, from_config: Option<&str>) -> Result<Option<String>, Failure> {
    let text = match (file, std::env::var("BEZANT_TOKEN"), from_config) {
        (Some(path), ..) => std::fs::read_to_string(path)
            .map_err(|error| usage(&format!("the token's file {}: {error}", path.display())))?,
        (None, Ok(token), _) => token,
        (None, Err(_), Some(token)) => token.to_owned(),
        (None, Err(_), None) => return Ok(None),
    };
    let token = text.trim();
    if token.len() < TOKEN_LENGTH_MIN {
        return Err(usage(&format!("the cluster's token is shorter than {TOKEN_LENGTH_MIN} characters")));
    }
    Ok(Some(token.to_owned()))
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node, nodes, token, and a word of the expected error.
    type Case = (Option<u64>, &'static [&'static str], Option<&'static str>, &'static str);

    const TOKEN: Option<&str> = Some("a token of some length");

    fn args(node: Option<u64>, nodes: &[&str]) -> ClusterArgs {
        let nodes = nodes.iter().map(|text| (*text).to_owned()).collect();
        ClusterArgs { node, nodes, ..ClusterArgs::default() }
    }

    #[test]
    fn a_node_finds_its_address_in_the_list() {
        let place = Place::new(&args(Some(2), &["1=a:7", "2=b:8"]), &[], TOKEN, None).unwrap().unwrap();
        assert_eq!((place.node, place.peer_listen.as_str()), (NodeId(2), "b:8"));
        assert_eq!(place.nodes, [(NodeId(1), "a:7".to_owned()), (NodeId(2), "b:8".to_owned())]);
        assert_eq!(Place::new(&args(None, &[]), &[], None, None).unwrap(), None);
    }

    #[test]
    fn a_node_that_joins_needs_its_own_address_but_no_list() {
        let joining = |join: &[&str], listen: Option<&str>| {
            let join = join.iter().map(|text| (*text).to_owned()).collect();
            let args = ClusterArgs { join, peer_listen: listen.map(str::to_owned), ..args(Some(4), &[]) };
            Place::new(&args, &[], TOKEN, None)
        };
        let place = joining(&["a:7", "b:7"], Some("d:7")).unwrap().unwrap();
        assert_eq!((place.peer_listen.as_str(), place.join.len()), ("d:7", 2));
        assert!(joining(&["a:7"], None).unwrap_err().to_string().contains("--peer-listen"));
        assert!(joining(&["a"], Some("d:7")).unwrap_err().to_string().contains("--join"));
    }

    #[test]
    fn errors_name_the_missing_or_wrong_setting() {
        let cases: [Case; 8] = [
            (None, &["1=a:7"], TOKEN, "--node"),
            (Some(1), &[], TOKEN, "--nodes"),
            (Some(3), &["1=a:7"], TOKEN, "not among"),
            (Some(1), &["1=a:7", "1=b:7"], TOKEN, "twice"),
            (Some(1), &["1=a:7", "2=a:7"], TOKEN, "twice"),
            (Some(1), &["1=a"], TOKEN, "1=HOST:PORT"),
            (Some(0), &["0=a:7"], TOKEN, "from 1 on"),
            (Some(1), &["1=a:7"], Some("short"), "shorter"),
        ];
        for (node, nodes, token, word) in cases {
            let error = Place::new(&args(node, nodes), &[], token, None).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
