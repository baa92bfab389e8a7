//! The listener for TigerBeetle's clients: the same ledger over their protocol.
//!
//! The way of a request: `inbound` reads a frame into reused memory. `connection` answers pings, and checks
//! with `clients` whether the request is a retry of one that is being answered. `request` checks the request
//! in the order that the protocol defines. Then `create` puts its records, in place, in the log, or `read`
//! reads as every other listener does and puts the reply in the log. `outbound` makes the bytes of the reply
//! from what the log keeps of it, so that a retry gets the same bytes.
//!
//! Always holds: a session is part of the replicated state; what this module caches of clients saves work and
//! may be lost. Never: a decision about money, or an answer before the request is durable.

mod buffers;
mod clients;
mod connection;
mod create;
mod inbound;
mod outbound;
mod read;
mod request;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::log_rate::LogRate;
use crate::place::Place;
use crate::service::Service;
use crate::transport::Transport;

use self::buffers::Buffers;
use self::clients::Clients;

/// The view in every reply. In TigerBeetle's protocol it tells a client which replica is the primary. Here any
/// node answers any client, so it is always that of a single replica: term 1, times one replica, plus index 0.
const VIEW: u32 = 1;

/// The listener: what all of its connections share.
#[derive(Debug)]
pub(crate) struct Listener {
    service: Arc<Service>,
    /// The cluster number that clients must send.
    cluster: u128,
    buffers: Arc<Buffers>,
    clients: Clients,
    connections: AtomicU64,
    log_rates: LogRates,
}

/// The limits of log lines about clients, one for each kind.
#[derive(Debug, Default)]
struct LogRates {
    closed: LogRate,
    eviction: LogRate,
    ignored: LogRate,
    failure: LogRate,
}

impl Listener {
    pub(crate) fn new(service: Arc<Service>, cluster: u128) -> Self {
        Self {
            cluster,
            buffers: Arc::default(),
            clients: Clients::default(),
            connections: AtomicU64::new(0),
            log_rates: LogRates::default(),
            service,
        }
    }

    /// Serves a connection until it ends.
    pub(crate) async fn serve(self: Arc<Self>, stream: impl Transport, place: Place) {
        tokio::select! {
            () = connection::serve(stream, &self, &place) => {}
            () = place.lost() => {}
        }
    }
}
