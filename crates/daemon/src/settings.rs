//! The settings of a node: what the program was given comes before the file, and the file before the
//! defaults.

use std::path::PathBuf;

use bezant_runtime::EngineKind;
use bezant_server::HostName;
use bezant_types::NodeId;

use crate::cluster::ClusterSettings;
use crate::error::SettingsError;
use crate::file::SettingsFile;

/// The default address of a node.
const LISTEN_DEFAULT: &str = "127.0.0.1:7070";
/// The default data folder of a node.
const DATA_DIR_DEFAULT: &str = "./bezant-data";

/// The settings that a program was given, such as by flags or its environment. Whatever it was not given is
/// `None` or empty: then the file decides, or the default.
#[derive(Clone, Debug, Default)]
pub struct GivenSettings {
    /// Folder with all data of the node; the default is `./bezant-data`.
    pub data_dir: Option<PathBuf>,
    /// Address for gRPC and REST; the default is `127.0.0.1:7070`.
    pub listen: Option<String>,
    /// Hosts that requests may name, in addition to those of loopback.
    pub allowed_hosts: Vec<HostName>,
    /// Address for TigerBeetle's clients; by default there is none.
    pub tigerbeetle_listen: Option<String>,
    /// Cluster that those clients must name; the default is 0.
    pub tigerbeetle_cluster: Option<u128>,
    /// True when the operator has accepted this machine's clock, though it does not fit the ledger.
    pub accept_clock: bool,
    /// Number of this node in its cluster, from 1 on. `None` for a node that is alone.
    pub node: Option<u64>,
    /// All nodes with which the cluster begins, and the addresses at which they reach each other.
    pub nodes: Vec<(NodeId, String)>,
    /// The addresses at which the nodes of a running cluster reach each other: this node joins them.
    pub join: Vec<String>,
    /// Consensus engine of a new cluster. The default is Raft, and for a node that joins the engine of the
    /// others.
    pub engine: Option<EngineKind>,
    /// File with the cluster's token; it comes before `token`.
    pub token_file: Option<PathBuf>,
    /// The cluster's token.
    pub token: Option<String>,
    /// Address for the other nodes; the default is the address of this node in `nodes`.
    pub peer_listen: Option<String>,
}

/// The checked settings of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder with all data of the node.
    pub data_dir: PathBuf,
    /// Address for gRPC and REST.
    pub listen: String,
    /// Hosts that requests may name, in addition to those of loopback.
    pub allowed_hosts: Vec<HostName>,
    /// Address for TigerBeetle's clients; `None` = none.
    pub tigerbeetle_listen: Option<String>,
    /// Cluster that those clients must name.
    pub tigerbeetle_cluster: u128,
    /// True when the operator has accepted this machine's clock, though it does not fit the ledger.
    pub accept_clock: bool,
    /// `None` for a node that is alone.
    pub cluster: Option<ClusterSettings>,
}

impl Settings {
    /// Merges and checks the settings.
    pub fn new(given: GivenSettings, file: SettingsFile) -> Result<Self, SettingsError> {
        let cluster = ClusterSettings::new(&given, &file)?;
        let own = cluster.as_ref().and_then(|own| file.nodes.iter().find(|node| node.id == own.node.0));
        let data_dir =
            given.data_dir.or_else(|| own.and_then(|node| node.data_dir.clone())).or(file.data_dir);
        let listen = given.listen.or_else(|| own.and_then(|node| node.listen.clone())).or(file.listen);
        let tigerbeetle_listen = given
            .tigerbeetle_listen
            .or_else(|| own.and_then(|node| node.tigerbeetle_listen.clone()))
            .or(file.tigerbeetle_listen);
        Ok(Self {
            data_dir: data_dir.unwrap_or_else(|| DATA_DIR_DEFAULT.into()),
            listen: listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned()),
            allowed_hosts: allowed_hosts(given.allowed_hosts, file.allowed_hosts)?,
            tigerbeetle_listen,
            tigerbeetle_cluster: given
                .tigerbeetle_cluster
                .or_else(|| file.tigerbeetle_cluster.map(|cluster| cluster.0))
                .unwrap_or(0),
            accept_clock: given.accept_clock,
            cluster,
        })
    }
}

/// The hosts that were given; if there are none, those of the file.
fn allowed_hosts(given: Vec<HostName>, of_file: Vec<String>) -> Result<Vec<HostName>, SettingsError> {
    if !given.is_empty() {
        return Ok(given);
    }
    of_file.into_iter().map(HostName::try_from).collect::<Result<_, _>>().map_err(SettingsError::AllowedHosts)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::file::ClusterNumber;

    #[test]
    fn given_settings_precede_the_file_and_the_file_precedes_defaults() {
        let file = || SettingsFile {
            data_dir: Some("from-file".into()),
            tigerbeetle_cluster: Some(ClusterNumber(7)),
            ..SettingsFile::default()
        };
        let given = GivenSettings {
            data_dir: Some("given".into()),
            tigerbeetle_cluster: Some(8),
            ..GivenSettings::default()
        };
        let settings = Settings::new(given, file()).unwrap();
        assert_eq!((settings.data_dir.as_path(), settings.tigerbeetle_cluster), (Path::new("given"), 8));
        let settings = Settings::new(GivenSettings::default(), file()).unwrap();
        assert_eq!(settings.tigerbeetle_cluster, 7);
        assert_eq!(
            (settings.data_dir.as_path(), settings.listen.as_str()),
            (Path::new("from-file"), LISTEN_DEFAULT)
        );
        let settings = Settings::new(GivenSettings::default(), SettingsFile::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new(DATA_DIR_DEFAULT));
    }
}
