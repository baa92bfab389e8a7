//! What the code that `state_machine!` writes calls. No promise to anybody else.
//!
//! A call is its header in 8 bytes and its arguments as a tuple in postcard's format; an answer, an event and a state are a value in
//! that format. What is left over behind a value makes the whole unknown.

pub use alloc::vec::Vec;

pub use bezant_rsm_macros::declare;
pub use bezant_types::{LogIndex, Nanos};
pub use bytes::Bytes;
pub use serde_core::Serialize;
pub use serde_core::de::DeserializeOwned;

use crate::{Caller, Freshness, RestoreError, SavedState, UnknownCall, UnreadableAnswer};

/// The first byte of a checkpoint.
const CHECKPOINT_FORMAT: u8 = 1;

/// Room for the header and a few numbers: most commands are written without growing.
const CALL_SIZE_USUAL: usize = 64;

/// The bytes of a call; `None` when an argument refuses to be written.
pub fn encode_call<T: Serialize>(header: u64, arguments: &T) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(CALL_SIZE_USUAL);
    bytes.extend_from_slice(&header.to_le_bytes());
    postcard::to_extend(arguments, bytes).ok().map(Bytes::from)
}

/// Header and arguments of a call.
///
/// # Errors
/// When it is too short.
pub fn split(call: &[u8]) -> Result<(u64, &[u8]), UnknownCall> {
    let (header, arguments) = call.split_first_chunk().ok_or(UnknownCall)?;
    Ok((u64::from_le_bytes(*header), arguments))
}

/// A value, of all of the bytes.
///
/// # Errors
/// When they are not that.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UnknownCall> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(UnknownCall),
    }
}

/// The bytes of an answer or event. When it refuses to be written there are none: the state has changed already, on every
/// replica, and whoever reads no bytes where there must be some is told that they cannot be read.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).map(Bytes::from).unwrap_or_default()
}

/// Puts a command in the log and reads its answer.
pub async fn invoke<C: Caller, T: DeserializeOwned>(
    caller: &C,
    command: Option<Bytes>,
) -> Result<T, C::Error> {
    let answer = caller.invoke(command.ok_or(UnknownCall)?).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// Asks a replica and reads its answer.
pub async fn query<C: Caller, T: DeserializeOwned>(
    caller: &C,
    freshness: Freshness,
    query: Option<Bytes>,
) -> Result<T, C::Error> {
    let answer = caller.query(query.ok_or(UnknownCall)?, freshness).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// Format, version of the state, state.
pub fn checkpoint<T: Serialize>(version: u32, state: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CALL_SIZE_USUAL);
    bytes.push(CHECKPOINT_FORMAT);
    bytes.extend_from_slice(&version.to_le_bytes());
    postcard::to_extend(state, bytes)
        .expect("invariant: a state can be written: its fields are not of serde's flattened or untyped kinds")
}

/// Reads [`checkpoint`]'s bytes, or lets `migrate` read those of an earlier version.
///
/// # Errors
/// When they are of a later program, damaged, or of a version that `migrate` does not know.
pub fn restore<T: DeserializeOwned>(
    version: u32,
    checkpoint: &[u8],
    migrate: fn(&SavedState<'_>) -> Option<T>,
) -> Result<T, RestoreError> {
    let (format, rest) = checkpoint.split_first().ok_or(RestoreError { section: "format" })?;
    if *format != CHECKPOINT_FORMAT {
        return Err(RestoreError { section: "format" });
    }
    let (saved_version, state) =
        rest.split_first_chunk().ok_or(RestoreError { section: "version of the state" })?;
    let saved = SavedState::new(u32::from_le_bytes(*saved_version), state);
    match saved.version() {
        same if same == version => saved.read().ok_or(RestoreError { section: "state" }),
        older if older < version => {
            migrate(&saved).ok_or(RestoreError { section: "state of an earlier version" })
        }
        _ => Err(RestoreError { section: "state of a later version" }),
    }
}

/// Compiles for what can be an argument, an answer or an event.
pub const fn travels<T: Serialize + DeserializeOwned + Send + 'static>() {}
