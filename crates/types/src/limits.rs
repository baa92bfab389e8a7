//! Limits of everything that may grow. At a limit the client receives `overloaded, retry after` or a typed
//! error; a request is never dropped without an answer.

/// Bytes of the record of an account or transfer.
pub const RECORD_SIZE: usize = 128;
/// Bytes of a create result: timestamp u64, status u32, reserved u32.
pub const RESULT_SIZE: usize = 16;
/// Maximum size of a request in bytes: 1 MiB, the size at which a disk reaches its full throughput.
pub const REQUEST_SIZE_MAX: usize = 1 << 20;
/// Events of a request: as many records as fit in 1 MiB together with a header and a trailer of 256 bytes
/// each. It is the limit of TigerBeetle's binary protocol.
pub const EVENTS_MAX: usize = 8189;
/// Results of a query: as many records as fit in a request.
pub const RESULTS_MAX: usize = 8189;
/// Change events in one answer: each takes 384 bytes on the wire, and an answer takes 1 MiB.
pub const MOVEMENTS_MAX: usize = 2730;
/// Events in one log entry, independent of the number of requests that it merges.
pub const ENTRY_EVENTS_MAX: usize = 8189;
/// Requests that one log entry merges.
pub const ENTRY_REQUESTS_MAX: usize = 8189;
/// Bytes of a log entry: a full request of extended records and the headers of all requests.
pub const ENTRY_SIZE_MAX: usize = 4 << 20;
/// Log entries written but not yet durable and applied; enough to keep disk and processor busy at the same
/// time.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Requests that wait to be merged into an entry. Above this number, requests are refused as overloaded.
pub const REQUESTS_WAITING_MAX: usize = 8192;
/// Bytes of the requests that wait. Above this number, requests are refused as overloaded.
pub const REQUEST_BYTES_WAITING_MAX: usize = 64 << 20;
/// Bytes of an account's name in UTF-8.
pub const NAME_SIZE_MAX: usize = 64;
/// Digits after the decimal point of an asset. 10^38 is the largest power of ten that fits in a `u128`.
pub const ASSET_SCALE_MAX: u8 = 38;
/// Bytes of an asset's code, which is ASCII.
pub const ASSET_CODE_SIZE_MAX: usize = 16;
/// Assets that can be registered in addition to ISO 4217.
pub const ASSETS_MAX: usize = 100_000;
/// Open pending transfers: not yet posted, voided or expired. Each takes 192 bytes of memory.
pub const PENDING_MAX: usize = 16 << 20;
/// Sessions of clients. When one more is opened, the least recently used session is evicted. The evicted
/// client is notified at its next request.
pub const SESSIONS_MAX: usize = 1024;
/// Bytes of the replies that are stored for retries in sessions: 256 of the largest replies. Above this
/// number, the least recently used session with a large reply is evicted.
pub const SESSION_BYTES_MAX: usize = 256 << 20;
/// Bytes of the tagged fields of one event: three times those of today.
pub const FIELDS_SIZE_MAX: usize = 320;
/// Bytes of the events of a request with tagged fields: as many as a full request of operation 3 has.
pub const TAGGED_SIZE_MAX: usize = EVENTS_MAX * 256;
/// Members of a group, learners included.
pub const MEMBERS_MAX: usize = 16;
/// Bytes of the address at which a node's peers reach it.
pub const ADDRESS_SIZE_MAX: usize = 200;
/// Pending transfers that one expiry step releases.
pub const EXPIRE_MAX: usize = 8189;

const _: () = assert!(EVENTS_MAX * RECORD_SIZE <= REQUEST_SIZE_MAX - 256, "a full request fits");
const _: () = assert!(ENTRY_EVENTS_MAX >= EVENTS_MAX, "an entry holds at least one full request");
const _: () = assert!(TAGGED_SIZE_MAX + (64 << 10) <= ENTRY_SIZE_MAX, "a full request fits in an entry");
const _: () = assert!(SESSION_BYTES_MAX >= 2 * REQUEST_SIZE_MAX, "the newest reply is always kept");
