//! The thread that answers replicas that lag far: it reads the checkpoint and the history for them. No client
//! request waits for it.

use std::sync::{Arc, mpsc};

use bezant_recovery::{Supplier, SupplyError};
use bezant_replica::PeerMessage;

use crate::group::shared::Shared;
use crate::group::work::Supply;
use crate::peer::Peers;

/// Runs until every sender of work is dropped.
pub(crate) fn run(
    mut supplier: Supplier,
    shared: &Shared,
    peers: &Arc<Peers>,
    work: &mpsc::Receiver<Supply>,
) {
    for Supply { to, pull } in work {
        match supplier.supply(to, pull) {
            Ok(Some(chunk)) => {
                // The replica asks again for a chunk that is lost.
                peers.send(to, PeerMessage::Chunk(chunk).encode());
            }
            // A replica that gets no answer asks again.
            Ok(None) => {}
            Err(error) => {
                if let SupplyError::History(error) = &error {
                    shared.note_damage(error);
                }
                tracing::warn!(node = to.0, "a lagging node cannot be supplied: {error}");
                supplier.close(to);
            }
        }
    }
}
