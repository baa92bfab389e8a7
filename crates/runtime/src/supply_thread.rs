//! The thread that answers replicas which are far behind: it reads the checkpoint and the history for them.
//! Nobody's payment waits for it.

use std::sync::{Arc, mpsc};

use bezant_recovery::{Supplier, SupplyError};
use bezant_replica::{PeerMessage, Pull};
use bezant_types::NodeId;

use crate::handle::Shared;
use crate::peer::Peers;

/// A request of a replica.
#[derive(Debug)]
pub(crate) struct Supply {
    pub(crate) to: NodeId,
    pub(crate) pull: Pull,
}

/// Runs until nobody can send work any more.
pub(crate) fn run(
    mut supplier: Supplier,
    shared: &Shared,
    peers: &Arc<Peers>,
    work: &mpsc::Receiver<Supply>,
) {
    for Supply { to, pull } in work {
        match supplier.supply(to, pull) {
            Ok(Some(chunk)) => {
                // One that is lost is asked for again.
                peers.send(to, PeerMessage::Chunk(chunk).encode());
            }
            // Who gets no answer asks again.
            Ok(None) => {}
            Err(error) => {
                if let SupplyError::History(error) = &error {
                    shared.note_damage(error);
                }
                tracing::warn!(node = to.0, "a node that is behind cannot be supplied: {error}");
                supplier.close(to);
            }
        }
    }
}
