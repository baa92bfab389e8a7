//! Everything that may grow, and where it ends. At a limit the client hears `overloaded, retry after` or a
//! typed error; nothing is dropped in silence.

/// Bytes of an account or transfer on the fast path.
pub const RECORD_SIZE: usize = 128;
/// Bytes of a create result: timestamp u64, status u32, reserved u32.
pub const RESULT_SIZE: usize = 16;
/// A request of this size at the most: 1 MiB, the size at which the disk reaches its full speed.
pub const REQUEST_SIZE_MAX: usize = 1 << 20;
/// Events of a request: what fits in 1 MiB besides 256 bytes of header and 256 of trailer, as in the field's binary protocol.
pub const EVENTS_MAX: usize = 8189;
/// Results of a query: as many records as a request may carry.
pub const RESULTS_MAX: usize = 8189;
/// Change events in one answer: 384 bytes each on the wire, in 1 MiB.
pub const MOVEMENTS_MAX: usize = 2730;
/// Events in one log entry, whatever many requests it merges.
pub const ENTRY_EVENTS_MAX: usize = 8189;
/// Requests that one log entry merges.
pub const ENTRY_REQUESTS_MAX: usize = 8189;
/// Bytes of a log entry: a full request of extended records and the heads of all requests.
pub const ENTRY_SIZE_MAX: usize = 4 << 20;
/// Log entries written but not yet durable and applied; enough to keep disk and processor busy at once.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Requests that wait for a place in an entry; past it: overloaded.
pub const REQUESTS_WAITING_MAX: usize = 8192;
/// Bytes of the requests that wait; past it: overloaded.
pub const REQUEST_BYTES_WAITING_MAX: usize = 64 << 20;
/// Bytes of an account's name in UTF-8.
pub const NAME_SIZE_MAX: usize = 64;
/// Digits behind the decimal point of an asset: 10^38 is the last power of ten in a `u128`.
pub const ASSET_SCALE_MAX: u8 = 38;
/// Letters and digits of an asset's code.
pub const ASSET_CODE_SIZE_MAX: usize = 16;
/// Assets that can be registered besides ISO 4217.
pub const ASSETS_MAX: usize = 100_000;
/// Pending transfers that wait for post, void or expiry at the same time; each holds 192 bytes of memory.
pub const PENDING_MAX: usize = 16 << 20;
/// Sessions of clients that are remembered; at one more the one unused for longest is evicted, and its client told so.
pub const SESSIONS_MAX: usize = 1024;
/// Bytes of the replies that sessions keep for a retry; past it the same. Room for 256 of the largest.
pub const SESSION_BYTES_MAX: usize = 256 << 20;
/// Nodes of a group, those without a vote among them.
pub const MEMBERS_MAX: usize = 16;
/// Bytes of the address at which a node's peers reach it.
pub const ADDRESS_SIZE_MAX: usize = 200;
/// Reserves that one expiry step releases.
pub const EXPIRE_MAX: usize = 8189;

const _: () = assert!(EVENTS_MAX * RECORD_SIZE <= REQUEST_SIZE_MAX - 256, "a full request fits");
const _: () = assert!(ENTRY_EVENTS_MAX >= EVENTS_MAX, "an entry holds at least one full request");
const _: () = assert!(SESSION_BYTES_MAX >= 2 * REQUEST_SIZE_MAX, "the newest reply is always kept");
