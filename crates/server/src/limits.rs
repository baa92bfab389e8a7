//! Everything of the server that a client could make grow or wait, and where it ends.
//!
//! At a limit the client hears `overloaded` or another stable code; a client that says nothing, reads nothing
//! or sends a byte a minute loses its connection. The defaults are meant for production; tests shorten them.
//! What is counted over all connections is shared by peer addresses, as `share` says: one address gets half at most.

use std::time::Duration;

use bezant_types::limits::{REQUEST_BYTES_WAITING_MAX, REQUEST_SIZE_MAX, REQUESTS_WAITING_MAX};

/// The limits of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body: 1 MiB of records and what the protocols put around them.
    pub body_size_max: usize,
    /// Bytes of all bodies that are being received or worked on, over all connections: as many as may wait in the
    /// node's queue, which one address can therefore not fill.
    pub body_bytes_max: usize,
    /// Bytes of the rows of all answers that are being made or wait for their peer to read them, over all
    /// connections: a memory budget. 32 of the largest reads fit at once; a read past it is told to come back. What
    /// an answer costs whatever its size may fill as much again.
    pub answer_bytes_max: usize,
    /// Requests in flight over all connections: as many as wait in the node's queue.
    pub requests_max: usize,
    /// Reads that the node has not answered, over all connections.
    pub reads_max: usize,
    /// Open connections. Each holds some tens of KiB; past it, and past the share of an address, the longest idle
    /// one gives its place to the new one.
    pub connections_max: usize,
    /// The same for TigerBeetle's clients. Each holds up to 256 KiB while a frame comes, and a few KiB when it is
    /// idle.
    pub frame_connections_max: usize,
    /// Bytes of frames above 256 KiB that are being received or worked on, a mebibyte each: a memory budget. Past it
    /// a frame is read when there is room.
    pub frame_bytes_max: usize,
    /// Such a connection on which nothing comes any more is closed after so long; its clients ping every 30 seconds.
    pub frame_idle_timeout: Duration,
    /// Requests in flight on one HTTP/2 connection; the client waits past it. 64 busy callers fit twice.
    pub streams_max: u32,
    /// Streams of change events, each of which reads the history on its own, and of health, over all connections.
    pub watchers_max: usize,
    /// The first request, and the head of each, must be there after so long; so must the first frame.
    pub head_timeout: Duration,
    /// A body must be there after so long: 1 MiB at 100 KiB a second.
    pub body_timeout: Duration,
    /// A connection without a request is closed after so long.
    pub idle_timeout: Duration,
    /// A connection on which no byte moves, although answers wait to be sent, is cut after so long: the peer
    /// reads nothing. Longer than the latest deadline of a call. Streams of change events may be silent.
    pub stall_timeout: Duration,
    /// How often a connection looks at these clocks. One that was used in the last such interval is not idle: it keeps
    /// its place.
    pub check_interval: Duration,
    /// The kernel asks a silent peer for a sign of life after so long, and ends the connection when three
    /// questions, each after a quarter of it, stay without an answer. Costs a call nothing.
    pub keep_alive: Duration,
    /// A deadline for calls that bring none.
    pub deadline_default: Duration,
    /// The latest deadline that a call may ask for.
    pub deadline_max: Duration,
    /// What is in flight when the server stops has so long to end.
    pub drain_timeout: Duration,
    /// What a client still sends after its answer is read and dropped for so long, so that it finds the answer.
    pub linger_timeout: Duration,
    /// When the server itself is overloaded, a retry is worth it after so long.
    pub retry_after: Duration,
}

/// What gRPC and HTTP put around 1 MiB of records.
const BODY_SLACK: usize = 4096;
/// HTTP/2: bytes that a peer may send on one stream and on one connection before it must wait. Four full
/// requests, so that a batch is never stopped half-way by flow control.
pub(crate) const WINDOW_SIZE: u32 = 4 << 20;
/// HTTP/2: bytes of one frame; a full request comes in one or two.
pub(crate) const FRAME_SIZE_MAX: u32 = 1 << 20;
/// HTTP/2: bytes of answers that wait on one stream for the peer to read.
pub(crate) const SEND_BUFFER_SIZE: usize = 1 << 20;
/// Bytes of a request's head.
pub(crate) const HEAD_SIZE_MAX: u32 = 16 << 10;
/// HTTP/1: headers of a request.
pub(crate) const HEADERS_MAX: usize = 64;
/// Connections that wait for a place, of both listeners; past it they are refused.
pub(crate) const WAITING_MAX: usize = 256;
/// Names of accounts that are remembered with their ids, which never change: some 10 MiB.
pub(crate) const NAMES_MAX: usize = 65_536;
/// Change events that one reading of the history brings to a stream: a page, which takes about a millisecond to read
/// and to write out.
pub(crate) const WATCH_ROWS: u32 = 128;
/// Change events that wait for a client to take them: one page, and the reason why the stream ends.
pub(crate) const WATCH_BUFFER: usize = WATCH_ROWS as usize + 1;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_size_max: REQUEST_SIZE_MAX + BODY_SLACK,
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

const _: () =
    assert!(WINDOW_SIZE as usize > REQUEST_SIZE_MAX + BODY_SLACK, "a full request fits in the window");
