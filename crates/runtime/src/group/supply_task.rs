//! The task that answers replicas that lag far: it reads the checkpoint and the history for them. No client
//! request waits for it.

use std::sync::Arc;
use std::time::Instant;

use bezant_recovery::{Supplier, SupplyError};
use bezant_replica::PeerMessage;

use crate::group::shared::Shared;
use crate::group::work::Supply;
use crate::peer::Peers;
use crate::process::mailbox::Mailbox;
use crate::process::pool::{Next, Task};

/// Ends when every sender of work is dropped.
pub(crate) struct SupplyTask {
    pub(crate) supplier: Supplier,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) work: Mailbox<Supply>,
}

impl Task for SupplyTask {
    /// Answers one request.
    fn run(&mut self, _now: Instant) -> Next {
        let Some(Supply { to, pull }) = self.work.next() else {
            return if self.work.has_senders() { Next::Wait } else { Next::End };
        };
        match self.supplier.supply(to, pull) {
            Ok(Some(chunk)) => {
                // The replica asks again for a chunk that is lost.
                self.peers.send(to, PeerMessage::Chunk(chunk).encode());
            }
            // A replica that gets no answer asks again.
            Ok(None) => {}
            Err(error) => {
                if let SupplyError::History(error) = &error {
                    self.shared.note_damage(error);
                }
                tracing::warn!(node = to.0, "a lagging node cannot be supplied: {error}");
                self.supplier.close(to);
            }
        }
        Next::Again
    }
}
