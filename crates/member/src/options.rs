//! The options of a member.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bezant_runtime::{EngineKind, FileDisk, ReplicaOptions, StartError};
use bezant_storage::record::Identity;
use bezant_types::NodeId;
use bezant_types::limits::ADDRESS_SIZE_MAX;
use sha2::{Digest, Sha256};

use crate::error::OpenError;

/// The least number of characters of a token: as many as 12 random bytes have in base64.
pub(crate) const TOKEN_LENGTH_MIN: usize = 16;
/// The default timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The default timeout of admission.
const JOIN_TIMEOUT: Duration = Duration::from_mins(1);

/// The folder of a member, its addresses, and its settings.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) token: String,
    pub(crate) node: Option<u64>,
    pub(crate) advertise: Option<String>,
    pub(crate) engine: Option<EngineKind>,
    pub(crate) timeout: Duration,
    pub(crate) join_timeout: Duration,
    pub(crate) checkpoint_interval_bytes: usize,
    pub(crate) is_clock_accepted: bool,
}

impl MemberOptions {
    /// A member that keeps everything in the folder `data_dir`, which is created if it does not exist.
    /// `listen` is the address, `HOST:PORT`, at which the other members connect. `token` is the secret that
    /// the members of the cluster share: 16 characters or more.
    pub fn new(data_dir: impl Into<PathBuf>, listen: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: listen.into(),
            token: token.into(),
            node: None,
            advertise: None,
            engine: None,
            timeout: TIMEOUT,
            join_timeout: JOIN_TIMEOUT,
            checkpoint_interval_bytes: ReplicaOptions::default().checkpoint_interval_bytes,
            is_clock_accepted: false,
        }
    }

    /// The node's number in its cluster, from 1 on. The default is the number in the folder. With an empty
    /// folder it is 1 for a member that begins a cluster, and a number derived from the address for a member
    /// that joins.
    #[must_use]
    pub const fn node(mut self, node: u64) -> Self {
        self.node = Some(node);
        self
    }

    /// The address at which the others reach this node, `HOST:PORT`, if it differs from the one on which it
    /// listens.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The engine of a new cluster, by default Raft. Leave it out for a member that joins: it gets the engine
    /// of the cluster. A member with another engine is refused.
    #[must_use]
    pub const fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = Some(engine);
        self
    }

    /// The timeout of a call: 10 seconds by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The timeout of admission: a minute by default.
    #[must_use]
    pub const fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// The bytes of log after which the state is written out as a checkpoint: 64 MiB by default.
    #[must_use]
    pub const fn checkpoint_interval(mut self, bytes: usize) -> Self {
        self.checkpoint_interval_bytes = bytes;
        self
    }

    /// Accepts the clock of this machine although it does not fit the ledger. By default, a member that is
    /// alone refuses a clock that is more than a day before the last entry, more than a year after it, or
    /// later than 2199. The members of a cluster refuse writes while every known clock is more than ten years
    /// after the last entry, or later than 2199.
    #[must_use]
    pub const fn accept_clock(mut self) -> Self {
        self.is_clock_accepted = true;
        self
    }

    /// Checks the addresses and binds the listener.
    pub(crate) fn place(&self) -> Result<Place, OpenError> {
        if self.token.trim().len() < TOKEN_LENGTH_MIN {
            return Err(OpenError::Token);
        }
        check_address(&self.listen)?;
        if let Some(address) = &self.advertise {
            check_address(address)?;
        }
        let listener = TcpListener::bind(&self.listen)
            .map_err(|source| OpenError::Listen { address: self.listen.clone(), source })?;
        let bound = listener
            .local_addr()
            .map_err(|source| OpenError::Listen { address: self.listen.clone(), source })?;
        let address = match &self.advertise {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => {
                return Err(OpenError::Unspecified { address: bound.to_string() });
            }
            None => reached_at(&self.listen, bound),
        };
        Ok(Place { listener, address })
    }

    /// The number of this node: from the options, else from the folder, else `otherwise`.
    pub(crate) fn identify(&self, otherwise: NodeId) -> Result<NodeId, OpenError> {
        match self.node {
            Some(0) => Err(OpenError::Node),
            Some(node) => Ok(NodeId(node)),
            None => Ok(node_of_folder(&self.data_dir)?.unwrap_or(otherwise)),
        }
    }
}

/// The listener of a member, and the address at which it is reached.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) listener: TcpListener,
    pub(crate) address: String,
}

/// The address with a host name as given, and with the port that the system chose in place of port 0.
fn reached_at(listen: &str, bound: SocketAddr) -> String {
    match listen.rsplit_once(':') {
        Some((host, "0")) => format!("{host}:{}", bound.port()),
        _ => listen.to_owned(),
    }
}

/// The node to which the folder belongs; `None` for an empty folder.
fn node_of_folder(data_dir: &Path) -> Result<Option<NodeId>, OpenError> {
    let disk = FileDisk::open(data_dir).map_err(StartError::from)?;
    let identity = Identity::load(&disk).map_err(StartError::from)?;
    Ok(identity.map(|identity| identity.node))
}

/// A number for the node, derived from its address. Two addresses are unlikely to give the same number.
pub(crate) fn node_at(address: &str) -> NodeId {
    let digest: [u8; 32] = Sha256::digest(address.as_bytes()).into();
    let [first, second, third, fourth, ..] = digest;
    // Never a number that an operator would choose.
    NodeId(u64::from(u32::from_le_bytes([first, second, third, fourth])) | 1 << 32)
}

pub(crate) fn check_address(address: &str) -> Result<(), OpenError> {
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    let is_address =
        matches!(port, Some((host, Ok(_))) if !host.is_empty()) && address.len() <= ADDRESS_SIZE_MAX;
    if is_address { Ok(()) } else { Err(OpenError::Address { address: address.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: &str) -> MemberOptions {
        MemberOptions::new("unused", listen, "a token of some length")
    }

    #[test]
    fn a_wrong_option_is_named() {
        let cases = [
            (MemberOptions::new("unused", "127.0.0.1:0", "short"), "shorter than 16"),
            (options("127.0.0.1"), "HOST:PORT"),
            (options("127.0.0.1:0").advertise(":1"), "HOST:PORT"),
            (options("0.0.0.0:0"), "advertise"),
        ];
        for (options, word) in cases {
            let error = options.place().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let taken = options("127.0.0.1:0").place().unwrap();
        let error = options(&taken.address).place().unwrap_err().to_string();
        assert!(error.contains(&taken.address), "{error}");
    }

    #[test]
    fn the_address_is_the_listening_or_the_advertised_one() {
        let place = options("localhost:0").place().unwrap();
        assert_eq!(place.address, format!("localhost:{}", place.listener.local_addr().unwrap().port()));
        assert_eq!(options("0.0.0.0:0").advertise("here:7").place().unwrap().address, "here:7");
    }

    #[test]
    fn numbers_come_from_the_option_or_from_the_address() {
        assert!(node_at("a:1").0 > u64::from(u32::MAX) && node_at("a:1") != node_at("a:2"));
        assert_eq!(options("a:1").node(7).identify(NodeId(1)).unwrap(), NodeId(7));
        assert!(options("a:1").node(0).identify(NodeId(1)).is_err());
        let folder = tempfile::tempdir().unwrap();
        let empty = MemberOptions::new(folder.path(), "a:1", "unused");
        assert_eq!(empty.identify(NodeId(5)).unwrap(), NodeId(5));
    }
}
