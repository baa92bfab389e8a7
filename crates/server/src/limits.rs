//! The limits on everything of the server that a client could make grow or wait.
//!
//! At a limit the client gets `overloaded` or another stable code. A client that sends nothing, reads nothing
//! or sends a byte a minute loses its connection. The defaults are meant for production; tests use shorter
//! ones. Peer addresses share what is counted over all connections, as `share` describes: one address gets at
//! most half.

use std::time::{Duration, Instant};

use bezant_types::limits::{REQUEST_BYTES_WAITING_MAX, REQUEST_SIZE_MAX, REQUESTS_WAITING_MAX};

use crate::context::Deadline;

/// The limits of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body: 1 MiB of records, and the framing of the protocols.
    pub body_size_max: usize,
    /// Bytes of all bodies that are being received or processed, over all connections: as many as may wait in
    /// the node's queue. So a single address cannot fill that queue.
    pub body_bytes_max: usize,
    /// Bytes of the rows of all answers that are being made or wait for their peer to read them, over all
    /// connections: a memory budget. It fits 32 of the largest reads at once; further reads are refused and
    /// may be retried. The fixed costs of the answers have a second budget of the same size.
    pub answer_bytes_max: usize,
    /// Requests in flight over all connections: as many as may wait in the node's queue.
    pub requests_max: usize,
    /// Reads that the node has not answered, over all connections.
    pub reads_max: usize,
    /// Open connections for gRPC and REST. Each takes some tens of KiB. Beyond this number, and beyond the
    /// share of an address, the longest idle connection is closed for the new one.
    pub connections_max: usize,
    /// Open connections of TigerBeetle's clients. Each takes up to 256 KiB while it receives a frame, and a
    /// few KiB while it is idle.
    pub frame_connections_max: usize,
    /// Bytes of frames above 256 KiB that are being received or processed, counted as one mebibyte each: a
    /// memory budget. Beyond it a frame is read only once another one is done.
    pub frame_bytes_max: usize,
    /// A connection of TigerBeetle's clients that receives nothing for this time is closed; these clients
    /// ping every 30 seconds.
    pub frame_idle_timeout: Duration,
    /// Requests in flight on one HTTP/2 connection; beyond it the client waits. Twice the 64 callers of a
    /// busy client.
    pub streams_max: u32,
    /// Streams of change events, each of which reads the history separately, and of health, over all
    /// connections.
    pub watchers_max: usize,
    /// The time for the first request, for the head of each request, and for the first frame to arrive.
    pub head_timeout: Duration,
    /// The time for a body to arrive: 1 MiB at 100 KiB a second.
    pub body_timeout: Duration,
    /// A connection without a request is closed after this time.
    pub idle_timeout: Duration,
    /// A connection on which no byte moves while answers wait to be sent is closed after this time: the peer
    /// does not read. Longer than the latest deadline of a call. Does not apply to streams of change events
    /// that have nothing to send.
    pub stall_timeout: Duration,
    /// How often a connection checks its timeouts. A connection that was used within the last such interval
    /// is not idle and keeps its place.
    pub check_interval: Duration,
    /// The kernel sends a probe to an idle peer after this time, and closes the connection when three probes,
    /// each after a quarter of this time, stay unanswered. Costs the calls nothing.
    pub keep_alive: Duration,
    /// The deadline of calls that set none, from their arrival.
    pub deadline_default: Duration,
    /// The latest deadline that a call may set, from its arrival.
    pub deadline_max: Duration,
    /// The time for the requests in flight to end when the server stops.
    pub drain_timeout: Duration,
    /// For how long the bytes that a client sends after its answer are read and dropped, so that the client
    /// can read the answer.
    pub linger_timeout: Duration,
    /// The delay before a retry that the server suggests when it is overloaded.
    pub retry_after: Duration,
}

/// Bytes of the framing of gRPC and HTTP around 1 MiB of records.
const BODY_SLACK: usize = 4096;
/// Bytes of the body of a request, unless the limits say otherwise.
pub(crate) const BODY_SIZE_MAX: usize = REQUEST_SIZE_MAX + BODY_SLACK;
/// HTTP/2: bytes that a peer may send on one stream and on one connection before it must wait. Four full
/// requests, so that flow control never stops a batch half-way.
pub(crate) const WINDOW_SIZE: u32 = 4 << 20;
/// HTTP/2: bytes of one frame; a full request takes one or two.
pub(crate) const FRAME_SIZE_MAX: u32 = 1 << 20;
/// HTTP/2: bytes of answers that wait on one stream for the peer to read them.
pub(crate) const SEND_BUFFER_SIZE: usize = 1 << 20;
/// Bytes of a request's head.
pub(crate) const HEAD_SIZE_MAX: u32 = 16 << 10;
/// HTTP/1: headers of a request.
pub(crate) const HEADERS_MAX: usize = 64;
/// Connections of both listeners that wait for a place; further ones are refused.
pub(crate) const WAITING_MAX: usize = 256;
/// Cached names of accounts with their ids, which never change: about 10 MiB.
pub(crate) const NAMES_MAX: usize = 65_536;
/// Change events in a page, which is read from the history at once. Reading and encoding a page takes about a
/// millisecond.
pub(crate) const WATCH_ROWS: u32 = 128;
/// Change events that wait for a client to take them: one page, and the reason why the stream ends.
pub(crate) const WATCH_BUFFER: usize = WATCH_ROWS as usize + 1;

impl Limits {
    /// The deadline of a call that arrives now and sets none.
    pub(crate) fn default_deadline(&self) -> Deadline {
        Instant::now().checked_add(self.deadline_default)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_size_max: BODY_SIZE_MAX,
            body_bytes_max: REQUEST_BYTES_WAITING_MAX,
            answer_bytes_max: 256 << 20,
            requests_max: REQUESTS_WAITING_MAX,
            reads_max: 4096,
            connections_max: 4096,
            frame_connections_max: 2048,
            frame_bytes_max: 512 << 20,
            frame_idle_timeout: Duration::from_mins(5),
            streams_max: 128,
            watchers_max: 256,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_secs(90),
            check_interval: Duration::from_secs(2),
            keep_alive: Duration::from_secs(20),
            deadline_default: Duration::from_secs(30),
            deadline_max: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(5),
            retry_after: Duration::from_millis(100),
        }
    }
}

const _: () = assert!(WINDOW_SIZE as usize > BODY_SIZE_MAX, "a full request fits in the window");
