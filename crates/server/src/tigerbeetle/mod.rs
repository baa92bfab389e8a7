//! The door for TigerBeetle's clients: the same ledger, spoken to in their protocol.
//!
//! The way of a request: `inbound` reads a frame into memory that is used again, `connection` answers pings and
//! lets `clients` say whether the request is a retry of one that is being answered, `request` decides in the order
//! of the protocol whether it is taken, and either `create` puts its records, in place, in the log, or `read`
//! asks what every other door asks and puts the reply in the log. `outbound` makes the reply's bytes from what the
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

use bezant_tigerbeetle::MESSAGE_SIZE_MAX;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::answer;
use crate::desk::Desk;
use crate::seldom::Seldom;

use self::buffers::Buffers;
use self::clients::Clients;

/// The view that clients are told: the term of the leader times the number of replicas, plus the leader's index.
/// A group of one has term 1 for ever.
const VIEW: u32 = 1;

/// What all connections of this door share.
#[derive(Debug)]
pub(crate) struct Door {
    desk: Arc<Desk>,
    /// The cluster that clients must mean.
    cluster: u128,
    buffers: Arc<Buffers>,
    clients: Clients,
    /// Places for large frames, each with the memory of the largest.
    frames: Arc<Semaphore>,
    /// Memory for answers, shared with the other doors.
    answers: Arc<answer::Budget>,
    connections: AtomicU64,
    words: Words,
}

/// What is said of clients, seldom.
#[derive(Debug, Default)]
struct Words {
    closed: Seldom,
    eviction: Seldom,
    ignored: Seldom,
    failure: Seldom,
}

impl Door {
    pub(crate) fn new(desk: Arc<Desk>, cluster: u128, answers: Arc<answer::Budget>) -> Self {
        Self {
            cluster,
            buffers: Arc::default(),
            clients: Clients::default(),
            frames: Arc::new(Semaphore::new((desk.limits.frame_bytes_max / MESSAGE_SIZE_MAX).max(1))),
            answers,
            connections: AtomicU64::new(0),
            words: Words::default(),
            desk,
        }
    }

    /// Serves a connection until it ends.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream) {
        connection::serve(stream, &self).await;
    }
}
