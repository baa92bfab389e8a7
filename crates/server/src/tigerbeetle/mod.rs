//! The listener for TigerBeetle's clients: the same ledger, spoken to in their protocol.
//!
//! The way of a request: `inbound` reads a frame into memory that is used again, `connection` answers pings and
//! lets `clients` say whether the request is a retry of one that is being answered, `request` decides in the order
//! of the protocol whether it is taken, and either `create` puts its records, in place, in the log, or `read`
//! asks what every other listener asks and puts the reply in the log. `outbound` makes the reply's bytes from what the
//! log keeps of it, so that a retry gets the same.
//!
//! Always holds: a session is part of the replicated state; what this room remembers of clients saves work and
//! may be lost. Never: a decision about money, or an answer before it is durable.

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

use tokio::net::TcpStream;

use crate::log_rate::LogRate;
use crate::place::Place;
use crate::service::Service;

use self::buffers::Buffers;
use self::clients::Clients;

/// The view that clients are told: the term of the leader times the number of replicas, plus the leader's index.
/// A group of one has term 1 for ever.
const VIEW: u32 = 1;

/// What all connections of this listener share.
#[derive(Debug)]
pub(crate) struct Listener {
    service: Arc<Service>,
    /// The cluster that clients must mean.
    cluster: u128,
    buffers: Arc<Buffers>,
    clients: Clients,
    connections: AtomicU64,
    words: Words,
}

/// What is said of clients, seldom.
#[derive(Debug, Default)]
struct Words {
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
            words: Words::default(),
            service,
        }
    }

    /// Serves a connection until it ends.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, place: Place) {
        tokio::select! {
            () = connection::serve(stream, &self, &place) => {}
            () = place.lost() => {}
        }
    }
}
