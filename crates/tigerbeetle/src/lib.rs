//! The bytes of TigerBeetle's client protocol, as its clients of the 0.17 line use it.
//!
//! Frames follow each other on a plain TCP connection. Each has a header of 256 bytes and a body of at most
//! 1,048,320 bytes; all integers are little-endian ([`frame`]). A client sends pings and requests; a server
//! sends pongs, replies and evictions ([`message`]). A request names an operation and carries its events, most
//! of them in batches ([`operation`]). [`Client`] is the client's end of a session, for tests and measurements.
//! It is as strict as the official clients.
//!
//! What always holds: every parser here is total; bytes from a socket can cause an error, never a panic. This
//! crate uses no socket and no clock, and does not know what an operation does.
//!
//! Source: the protocol as observed on the official clients and server of version 0.17.9.

mod checksum;
mod client;
mod event;
pub mod frame;
pub mod message;
pub mod operation;
mod release;

pub use checksum::checksum;
pub use client::{Client, ClientError, Received};
pub use event::{
    CHANGE_EVENT_SIZE, CHANGE_FILTER_SIZE, change_event_from_bytes, change_event_to_bytes,
    change_filter_from_bytes, change_filter_to_bytes,
};
pub use frame::{BODY_SIZE_MAX, FrameError, HEADER_SIZE, Header, MESSAGE_SIZE_MAX};
pub use message::{Eviction, Ping, Pong, Reply, Request};
pub use operation::Operation;
pub use release::Release;
