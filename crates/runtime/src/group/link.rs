//! The connections to the other nodes, as a group begins with them.

use std::sync::Arc;

use bezant_consensus::Role;
use bezant_recovery::Machine;
use bezant_replica::{Input, NoState, PeerMessage};
use bezant_types::Term;

use crate::clock::Clock;
use crate::group::directory::Directory;
use crate::group::membership::Membership;
use crate::group::message::{Acquaintance, Message};
use crate::group::status::ClusterStatus;
use crate::group::work::Supply;
use crate::peer::{PeerEvent, Peers};
use crate::process::mailbox::Sender;
use crate::process::options::ClusterOptions;
use crate::start_error::StartError;

/// The connections to the other nodes.
pub(super) struct Link {
    pub(super) peers: Arc<Peers>,
    pub(super) directory: Arc<Directory>,
    pub(super) cluster: ClusterOptions,
}

impl Link {
    /// The membership with which a node starts.
    pub(super) fn into_membership(
        self,
        to_supply: Sender<Supply>,
        no_state: Option<NoState>,
        clock: &Clock,
    ) -> Membership {
        let (role, term, engine) = (Role::Follower, Term(0), Some(self.directory.engine()));
        let node = self.cluster.node;
        let leader = None;
        let status = ClusterStatus { node, engine, no_state, role, term, leader, ..ClusterStatus::alone() };
        let grows = self.cluster.growth.is_some();
        Membership::new(self.peers, to_supply, self.directory, status, clock.clone(), grows)
    }
}

/// Begins to dial the other nodes.
pub(super) fn connect<M: Machine>(
    cluster: ClusterOptions,
    directory: Arc<Directory>,
    clock: &Clock,
    replica: &Sender<Message<M>>,
) -> Result<Link, StartError> {
    let listener = cluster.listener.try_clone().map_err(StartError::Thread)?;
    let replica = replica.clone();
    let events = move |event| {
        let message = match event {
            PeerEvent::Message { from, disk, bytes } => {
                let Some(message) = PeerMessage::decode(bytes) else {
                    tracing::warn!(
                        node = from.0,
                        "a message of a peer cannot be read: does it run another version?"
                    );
                    return;
                };
                Message::FromPeer { from, disk, message }
            }
            PeerEvent::Met { node, is_fresh, clock } => {
                Message::Met { node, acquaintance: Acquaintance { is_fresh, clock } }
            }
            PeerEvent::Lost { node } => Message::Event(Input::Lost(node)),
            PeerEvent::Asks { node, address } => Message::Asks { node, address },
        };
        // A replica that has ended needs no messages.
        drop(replica.send(message));
    };
    let grows = cluster.growth.is_some();
    let peers = Peers::start(Arc::clone(&directory), listener, grows, clock.clone(), events);
    let peers = peers.map_err(StartError::Thread)?;
    Ok(Link { peers: Arc::new(peers), directory, cluster })
}
