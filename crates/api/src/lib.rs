//! The shapes of the APIs: protobuf and JSON, and the conversions between them and the records of the ledger.
//!
//! Server and client share this crate, so that a field has the same name and meaning at both ends. Protobuf
//! types exist only here, in the server and in the client. This crate does no I/O. Every function over bytes
//! from outside is total: invalid bytes are an error that describes what to change.
#![deny(clippy::float_arithmetic)]

/// Types and service of the protobuf package `bezant.v1`, generated from `proto/` when this crate is built.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    clippy::use_self,
    clippy::or_fun_call,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated from the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("bezant.v1");

    /// Descriptors of the package, for the reflection service.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bezant_descriptors.bin"));
}

pub mod assets;
pub mod cursor;
mod draft;
mod error;
pub mod explain;
pub mod idempotency;
pub mod json;
pub mod message;
mod moment;
pub mod name;
pub mod settle;
mod status;
pub mod token;

pub use draft::{AccountDraft, AccountReference, TransferDraft};
pub use error::{ErrorCode, Failure, Scarce, Violation};
pub use moment::{MOMENT_FORMS, parse_moment, show_moment};
pub use status::status_name;
