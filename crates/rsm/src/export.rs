//! Functions for the code that `state_machine!` generates. No other code may rely on them.
//!
//! A call is a header of 8 bytes, followed by its arguments as a tuple in postcard's format. An answer, an
//! event and a state are one value in that format. Bytes after the value make it unreadable as a whole.
//!
//! The format does not describe its values. With some of serde's attributes, a written value cannot be read
//! back, or is read as another value. So a call is decoded again before it is sent, and a state before its
//! checkpoint is used.

pub use alloc::vec::Vec;

pub use bezant_rsm_macros::declare;
pub use bezant_types::{LogIndex, Nanos};
pub use bytes::Bytes;
pub use serde_core::Serialize;
pub use serde_core::de::DeserializeOwned;

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::shape::{DEPTH_MAX, shape};
use crate::{Caller, Freshness, RestoreError, SavedState, UnknownCall, UnreadableAnswer, UnwritableCall};

/// The first byte of a checkpoint.
const CHECKPOINT_FORMAT: u8 = 1;

/// Enough for the header and a few numbers, so that most commands are written without a reallocation.
const CALL_SIZE_USUAL: usize = 64;

/// States of at most this size in bytes are read back at every checkpoint, which takes about as long as
/// writing them.
const STATE_SIZE_SMALL: usize = 16 << 20;

/// The bytes of a call whose arguments a replica reads as `A`. `None` when the replica could not read them,
/// or would read other arguments, or when they are nested so deep that a thread's stack might overflow.
pub fn encode_call<A: Serialize + DeserializeOwned, T: Serialize>(
    header: u64,
    arguments: &T,
) -> Option<Bytes> {
    // The shape comes first, because only `shape` limits the depth.
    let written = shape(arguments, DEPTH_MAX).ok()?;
    let mut bytes = Vec::with_capacity(CALL_SIZE_USUAL);
    bytes.extend_from_slice(&header.to_le_bytes());
    let bytes = postcard::to_extend(arguments, bytes).ok()?;
    let (_, body) = bytes.split_first_chunk::<8>()?;
    let read: A = decode(body).ok()?;
    let is_same = shape(&read, DEPTH_MAX) == Ok(written) && size(&read) == Some(body.len());
    is_same.then(|| Bytes::from(bytes))
}

/// Size of a value in bytes.
fn size<T: Serialize>(value: &T) -> Option<usize> {
    postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).ok()
}

/// Splits a call into its header and its arguments.
///
/// # Errors
/// When the call is shorter than a header.
pub fn split(call: &[u8]) -> Result<(u64, &[u8]), UnknownCall> {
    let (header, arguments) = call.split_first_chunk().ok_or(UnknownCall)?;
    Ok((u64::from_le_bytes(*header), arguments))
}

/// Decodes a value that takes all of the bytes.
///
/// # Errors
/// When the bytes are not such a value, or bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UnknownCall> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(UnknownCall),
    }
}

/// The bytes of an answer or event. A value that cannot be written gives empty bytes. That is no error here,
/// because the state has changed already, on every replica. The reader gets an error when it decodes the
/// empty bytes.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_allocvec(value).map(Bytes::from).unwrap_or_default()
}

/// Puts a command in the log and reads its answer.
pub async fn invoke<C: Caller, T: DeserializeOwned>(
    caller: &C,
    command: Option<Bytes>,
) -> Result<T, C::Error> {
    let answer = caller.invoke(command.ok_or(UnwritableCall)?).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// Sends a query to a replica and reads its answer.
pub async fn query<C: Caller, T: DeserializeOwned>(
    caller: &C,
    freshness: Freshness,
    query: Option<Bytes>,
) -> Result<T, C::Error> {
    let answer = caller.query(query.ok_or(UnwritableCall)?, freshness).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// The bytes of a checkpoint: format, version of the state, state. `read` is the size of the largest state
/// that was read back since the process began. A large state is read back the first time, and then whenever
/// its size has doubled.
///
/// # Panics
/// When the state cannot be written, or cannot be read back as the same state. A checkpoint must be readable,
/// because the log before it is deleted.
pub fn checkpoint<T: Serialize + DeserializeOwned>(version: u32, state: &T, read: &AtomicUsize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CALL_SIZE_USUAL);
    bytes.push(CHECKPOINT_FORMAT);
    bytes.extend_from_slice(&version.to_le_bytes());
    let head = bytes.len();
    let written = postcard::to_extend(state, bytes);
    let bytes = written.unwrap_or_else(|error| unwritable(&error));
    let body = bytes.get(head..).unwrap_or_default();
    let before = read.load(Ordering::Relaxed);
    if body.len() <= STATE_SIZE_SMALL || before == 0 || body.len() / 2 >= before {
        check(state, body);
        read.fetch_max(body.len(), Ordering::Relaxed);
    }
    bytes
}

fn check<T: Serialize + DeserializeOwned>(state: &T, body: &[u8]) {
    // The depth of a state is not limited: the program is responsible for it.
    let written = shape(state, usize::MAX)
        .unwrap_or_else(|_| unwritable(&"a field is skipped, or cannot be serialized"));
    let again = postcard::take_from_bytes::<T>(body).unwrap_or_else(|error| unwritable(&error));
    let (state, rest) = again;
    let is_same = rest.is_empty() && shape(&state, usize::MAX) == Ok(written);
    if !is_same || size(&state) != Some(body.len()) {
        unwritable(&"it is read back as another state");
    }
}

fn unwritable(reason: &dyn core::fmt::Display) -> ! {
    panic!(
        "the state cannot be kept in a checkpoint: {reason}. The types of its fields may not use skip_serializing_if, \
         flatten, untagged enums or serde_json::Value, because postcard's format cannot represent them. No acknowledged \
         command is lost: the log still has them all"
    )
}

/// Reads the bytes of [`checkpoint`]. Calls `migrate` for the state of an earlier version.
///
/// # Errors
/// When the bytes are damaged, or of a later version, or of an earlier version that `migrate` does not read.
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

/// Compiles only when `T` can be an argument, an answer or an event.
pub const fn travels<T: Serialize + DeserializeOwned + Send + 'static>() {}
