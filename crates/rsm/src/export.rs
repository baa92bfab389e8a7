//! What the code that `state_machine!` writes calls. No promise to anybody else.
//!
//! A call is its header in 8 bytes and its arguments as a tuple in postcard's format; an answer, an event and a state are a value in
//! that format. What is left over behind a value makes the whole unknown.
//!
//! The format describes nothing, and serde's attributes can make a type that it writes and does not read, or reads as another value. So a
//! call is read again before it is sent, and a state before its checkpoint counts.

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

/// Room for the header and a few numbers: most commands are written without growing.
const CALL_SIZE_USUAL: usize = 64;

/// A state of so many bytes is read again at each of its checkpoints: it takes about as long as to write it.
const STATE_SIZE_SMALL: usize = 16 << 20;

/// The bytes of a call whose arguments a replica reads as `A`; `None` when it could not, or not as what they are, or when they
/// are nested so deep that a thread's stack might not hold them.
pub fn encode_call<A: Serialize + DeserializeOwned, T: Serialize>(
    header: u64,
    arguments: &T,
) -> Option<Bytes> {
    // First, for it alone knows an end to depth.
    let written = shape(arguments, DEPTH_MAX).ok()?;
    let mut bytes = Vec::with_capacity(CALL_SIZE_USUAL);
    bytes.extend_from_slice(&header.to_le_bytes());
    let bytes = postcard::to_extend(arguments, bytes).ok()?;
    let (_, body) = bytes.split_first_chunk::<8>()?;
    let read: A = decode(body).ok()?;
    let is_same = shape(&read, DEPTH_MAX) == Ok(written) && size(&read) == Some(body.len());
    is_same.then(|| Bytes::from(bytes))
}

/// How many bytes a value takes.
fn size<T: Serialize>(value: &T) -> Option<usize> {
    postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).ok()
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
    let answer = caller.invoke(command.ok_or(UnwritableCall)?).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// Asks a replica and reads its answer.
pub async fn query<C: Caller, T: DeserializeOwned>(
    caller: &C,
    freshness: Freshness,
    query: Option<Bytes>,
) -> Result<T, C::Error> {
    let answer = caller.query(query.ok_or(UnwritableCall)?, freshness).await?;
    Ok(decode(&answer).map_err(|UnknownCall| UnreadableAnswer)?)
}

/// Format, version of the state, state. `read` is the size of the largest state that was read again since the process began: a
/// large one is only when there was none, and whenever it has doubled.
///
/// # Panics
/// When the state cannot be written, or not be read again as what it is: a checkpoint that counts must come back, for the log
/// before it goes.
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
    // How deep a state may be is the program's own affair.
    let written = shape(state, usize::MAX).unwrap_or_else(|_| unwritable(&"a field is left out"));
    let again = postcard::take_from_bytes::<T>(body).unwrap_or_else(|error| unwritable(&error));
    let (state, rest) = again;
    let is_same = rest.is_empty() && shape(&state, usize::MAX) == Ok(written);
    if !is_same || size(&state) != Some(body.len()) {
        unwritable(&"it comes back as another one");
    }
}

fn unwritable(reason: &dyn core::fmt::Display) -> ! {
    panic!(
        "the state cannot be kept in a checkpoint: {reason}. Its fields must be of types that postcard's format carries: no \
         skip_serializing_if, flatten, untagged enums or serde_json::Value. Nothing that was acknowledged is lost: the log still has it"
    )
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
