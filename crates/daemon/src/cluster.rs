//! The settings of a node of a cluster: what the program was given, or one file for all nodes.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use bezant_runtime::{ClusterOptions, EngineKind};
use bezant_types::NodeId;
use bezant_types::limits::{ADDRESS_SIZE_MAX, MEMBERS_MAX};

use crate::error::{DaemonError, Listening, SettingsError};
use crate::file::{FileNode, SettingsFile};
use crate::settings::GivenSettings;

/// Minimum length of a token, in bytes. 16 random bytes in base64 are longer.
const TOKEN_LENGTH_MIN: usize = 16;

/// The settings of a node of a cluster, before it listens on its address for the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The number of this node.
    pub node: NodeId,
    /// All nodes with which the cluster begins, and the addresses at which they reach each other.
    pub nodes: Vec<(NodeId, String)>,
    /// The addresses of the nodes of a running cluster; empty for a node that begins with the others.
    pub join: Vec<String>,
    /// The address for the other nodes.
    pub peer_listen: String,
    engine: Option<EngineKind>,
    token: String,
}

impl ClusterSettings {
    /// Checks the settings. `None` for a node that is alone.
    pub(crate) fn new(given: &GivenSettings, file: &SettingsFile) -> Result<Option<Self>, SettingsError> {
        let of_file = |node: &FileNode| (NodeId(node.id), node.peer.clone());
        let nodes = if given.nodes.is_empty() {
            file.nodes.iter().map(of_file).collect()
        } else {
            given.nodes.clone()
        };
        let Some(node) = given.node else {
            let is_alone = nodes.is_empty() && given.join.is_empty();
            let has_engine = given.engine.is_some() || file.engine.is_some();
            return match (is_alone, has_engine, &given.peer_listen) {
                (false, ..) => Err(SettingsError::NodeMissing),
                (true, true, _) => Err(SettingsError::EngineAlone),
                (true, false, Some(_)) => Err(SettingsError::PeerListenAlone),
                (true, false, None) => Ok(None),
            };
        };
        if given.join.is_empty() {
            check(node, &nodes)?;
        } else {
            check_join(node, &given.join)?;
        }
        let node = NodeId(node);
        let own = nodes.iter().find(|(id, _)| *id == node).map(|(_, address)| address.clone());
        let from_file = file.nodes.iter().find(|known| known.id == node.0);
        let peer_listen = given
            .peer_listen
            .clone()
            .or_else(|| from_file.and_then(|known| known.peer_listen.clone()))
            .or(own)
            .ok_or(SettingsError::PeerListenMissing)?;
        let token =
            find_token(given.token_file.as_deref(), given.token.as_deref().or(file.token.as_deref()))?
                .ok_or(SettingsError::TokenMissing)?;
        let parse = |name: &String| {
            name.parse().map_err(|source| SettingsError::Engine { name: name.clone(), source })
        };
        let engine = given.engine.or(file.engine.as_ref().map(parse).transpose()?);
        Ok(Some(Self { node, nodes, join: given.join.clone(), peer_listen, engine, token }))
    }

    /// Listens on the address for the other nodes.
    pub(crate) fn listen(self) -> Result<ClusterOptions, DaemonError> {
        let listener = TcpListener::bind(&self.peer_listen).map_err(|source| DaemonError::Listen {
            listening: Listening::Peers,
            address: self.peer_listen.clone(),
            source,
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

/// True for `HOST:PORT`.
pub fn is_address(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(port, Some((host, Ok(_))) if !host.is_empty()) && text.len() <= ADDRESS_SIZE_MAX
}

fn check_join(node: u64, join: &[String]) -> Result<(), SettingsError> {
    if node == 0 {
        return Err(SettingsError::NodeZero);
    }
    match join.iter().find(|address| !is_address(address)) {
        Some(wrong) => Err(SettingsError::Join { address: wrong.clone() }),
        None => Ok(()),
    }
}

fn check(node: u64, nodes: &[(NodeId, String)]) -> Result<(), SettingsError> {
    if node == 0 || nodes.iter().any(|(id, _)| id.0 == 0) {
        return Err(SettingsError::NodeZero);
    }
    if nodes.is_empty() {
        return Err(SettingsError::NodesMissing);
    }
    if nodes.len() > MEMBERS_MAX {
        return Err(SettingsError::TooManyNodes { most: MEMBERS_MAX });
    }
    if !nodes.iter().any(|(id, _)| id.0 == node) {
        return Err(SettingsError::NotAmongNodes { node });
    }
    if let Some((id, address)) = nodes.iter().find(|(_, address)| !is_address(address)) {
        return Err(SettingsError::Address { address: address.clone(), node: *id });
    }
    for (at, (id, address)) in nodes.iter().enumerate() {
        if nodes[..at].iter().any(|(other, same)| other == id || same == address) {
            return Err(SettingsError::Twice { node: *id, address: address.clone() });
        }
    }
    Ok(())
}

/// The token in `file`; without a file, `given`. `None` when there is neither.
pub fn find_token(file: Option<&Path>, given: Option<&str>) -> Result<Option<String>, SettingsError> {
    let text = match (file, given) {
        (Some(path), _) => std::fs::read_to_string(path)
            .map_err(|source| SettingsError::TokenFile { path: path.to_owned(), source })?,
        (None, Some(token)) => token.to_owned(),
        (None, None) => return Ok(None),
    };
    let token = text.trim();
    if token.len() < TOKEN_LENGTH_MIN {
        return Err(SettingsError::TokenShort { least: TOKEN_LENGTH_MIN });
    }
    Ok(Some(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token of some length";

    fn given(node: Option<u64>, nodes: &[(u64, &str)]) -> GivenSettings {
        let nodes = nodes.iter().map(|(node, address)| (NodeId(*node), (*address).to_owned())).collect();
        GivenSettings { node, nodes, token: Some(TOKEN.to_owned()), ..GivenSettings::default() }
    }

    fn settings(given: &GivenSettings) -> Result<Option<ClusterSettings>, SettingsError> {
        ClusterSettings::new(given, &SettingsFile::default())
    }

    #[test]
    fn a_node_finds_its_address_in_the_list() {
        let own = settings(&given(Some(2), &[(1, "a:7"), (2, "b:8")])).unwrap().unwrap();
        assert_eq!((own.node, own.peer_listen.as_str()), (NodeId(2), "b:8"));
        assert_eq!(own.nodes, [(NodeId(1), "a:7".to_owned()), (NodeId(2), "b:8".to_owned())]);
        assert_eq!(settings(&given(None, &[])).unwrap(), None);
    }

    #[test]
    fn a_node_that_joins_needs_its_own_address_but_no_list() {
        let joining = |join: &[&str], listen: Option<&str>| {
            let join = join.iter().map(|text| (*text).to_owned()).collect();
            let peer_listen = listen.map(str::to_owned);
            settings(&GivenSettings { join, peer_listen, ..given(Some(4), &[]) })
        };
        let own = joining(&["a:7", "b:7"], Some("d:7")).unwrap().unwrap();
        assert_eq!((own.peer_listen.as_str(), own.join.len()), ("d:7", 2));
        assert!(matches!(joining(&["a:7"], None), Err(SettingsError::PeerListenMissing)));
        assert!(matches!(joining(&["a"], Some("d:7")), Err(SettingsError::Join { .. })));
    }

    #[test]
    fn a_node_that_is_alone_has_no_setting_of_a_cluster() {
        let alone = || given(None, &[]);
        let with_engine = GivenSettings { engine: Some(EngineKind::Raft), ..alone() };
        assert!(matches!(settings(&with_engine), Err(SettingsError::EngineAlone)));
        let file = SettingsFile { engine: Some("raft".to_owned()), ..SettingsFile::default() };
        assert!(matches!(ClusterSettings::new(&alone(), &file), Err(SettingsError::EngineAlone)));
        assert!(ClusterSettings::new(&given(Some(1), &[(1, "a:7")]), &file).unwrap().is_some());
        let with_address = GivenSettings { peer_listen: Some("a:7".to_owned()), ..alone() };
        assert!(matches!(settings(&with_address), Err(SettingsError::PeerListenAlone)));
    }

    #[test]
    fn errors_name_the_missing_or_wrong_setting() {
        let with_token = |token: Option<&str>| GivenSettings {
            token: token.map(str::to_owned),
            ..given(Some(1), &[(1, "a:7")])
        };
        for (given, word) in [
            (given(None, &[(1, "a:7")]), "the setting node"),
            (given(Some(1), &[]), "the setting nodes"),
            (given(Some(3), &[(1, "a:7")]), "not among"),
            (given(Some(1), &[(1, "a:7"), (1, "b:7")]), "twice"),
            (given(Some(1), &[(1, "a:7"), (2, "a:7")]), "twice"),
            (given(Some(1), &[(1, "a")]), "HOST:PORT"),
            (given(Some(0), &[(0, "a:7")]), "from 1 on"),
            (with_token(Some("short")), "shorter"),
            (with_token(None), "the setting token"),
        ] {
            let error = settings(&given).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("--"), "{error}");
        }
    }
}
