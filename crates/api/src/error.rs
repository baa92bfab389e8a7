//! The errors of calls: one list of stable codes for gRPC, REST and clients.
//!
//! A refused event is not an error of the call: it is a status in the reply. An error means that the call as
//! a whole was not understood, not allowed or not completed. The name of a code never changes.

use core::fmt;
use std::time::Duration;

use tonic::Code;

use crate::token::EventPosition;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $text:literal $http:literal $grpc:ident,)+) => {
        /// The stable code of an error; its name is `code` in problem+json and `reason` in gRPC's
        /// `ErrorInfo`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $code,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The code's name, in snake case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $text,)+ }
            }

            /// The code's HTTP status.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$code => $http,)+ }
            }

            /// The code's gRPC status.
            pub const fn grpc_code(self) -> Code {
                match self { $(Self::$code => Code::$grpc,)+ }
            }

            /// The meaning of the code, in one line.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$code => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// True when a write that failed with this code may have been done, or may still be done. The
            /// same call with the same ids returns its outcome.
            pub const fn leaves_outcome_open(self) -> bool {
                matches!(
                    self,
                    Self::DeadlineExceeded | Self::ReadOnly | Self::Stopping | Self::Interrupted | Self::Internal
                )
            }

            /// The code with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|code| code.name() == name).copied()
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not of the shape that the call takes.
    InvalidJson = "invalid_json" 400 InvalidArgument,
    /// A field has a value that it cannot have.
    InvalidField = "invalid_field" 400 InvalidArgument,
    /// A query parameter is unknown or has a value that it cannot have.
    InvalidQuery = "invalid_query" 400 InvalidArgument,
    /// The cursor is damaged or was not made by this API.
    InvalidCursor = "invalid_cursor" 400 InvalidArgument,
    /// The cursor belongs to another query: keep every parameter but the limit.
    CursorOfAnotherQuery = "cursor_of_another_query" 400 InvalidArgument,
    /// The position is after the end of the change events: the ledger was restored, or the position belongs
    /// to another ledger.
    PositionAfterEnd = "position_after_end" 400 OutOfRange,
    /// The records are not a whole number of events of the operation, or the operation is unknown.
    InvalidRecords = "invalid_records" 400 InvalidArgument,
    /// The request has no event.
    NoEvents = "no_events" 400 InvalidArgument,
    /// The request has more events than one call may carry.
    TooManyEvents = "too_many_events" 400 InvalidArgument,
    /// The gRPC message cannot be read as the type that the call takes.
    InvalidMessage = "invalid_message" 400 InvalidArgument,
    /// The head of the request is not what HTTP allows.
    InvalidRequest = "invalid_request" 400 InvalidArgument,
    /// The request expects something that the server does not do.
    ExpectationFailed = "expectation_failed" 417 InvalidArgument,
    /// A web page of another origin sent the request.
    ForbiddenOrigin = "forbidden_origin" 403 PermissionDenied,
    /// The request names a host that this listener does not accept: see the allowed hosts in its settings.
    MisdirectedRequest = "misdirected_request" 421 PermissionDenied,
    /// On a listener that other machines can reach, a change of the cluster needs the cluster's token.
    TokenRequired = "token_required" 401 Unauthenticated,
    /// There is no such account.
    AccountNotFound = "account_not_found" 404 NotFound,
    /// There is no such transfer.
    TransferNotFound = "transfer_not_found" 404 NotFound,
    /// No account has this name.
    NameNotFound = "name_not_found" 422 NotFound,
    /// There is no such ledger: it has neither an account nor an asset.
    LedgerNotFound = "ledger_not_found" 404 NotFound,
    /// No ledger has an asset of this code.
    AssetNotFound = "asset_not_found" 422 NotFound,
    /// The account was created without the flag history: its balances over time are not kept.
    HistoryNotKept = "history_not_kept" 422 FailedPrecondition,
    /// There is no such path or method of the service.
    RouteNotFound = "route_not_found" 404 Unimplemented,
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed" 405 Unimplemented,
    /// A write needs the content type application/json, also when its body is empty.
    UnsupportedMediaType = "unsupported_media_type" 415 InvalidArgument,
    /// The request is larger than 1 MiB.
    RequestTooLarge = "request_too_large" 413 OutOfRange,
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout" 408 DeadlineExceeded,
    /// Too many requests or bytes are waiting already; nothing was done.
    Overloaded = "overloaded" 429 ResourceExhausted,
    /// The deadline passed before the outcome was known; retry a write with the same ids.
    DeadlineExceeded = "deadline_exceeded" 504 DeadlineExceeded,
    /// The node accepts no writes, because its disk failed or is full, or its clock is wrong; it still
    /// answers reads.
    ReadOnly = "read_only" 503 Unavailable,
    /// The node is being stopped; retry a write with the same ids.
    Stopping = "stopping" 503 Unavailable,
    /// No node leads: an election, no majority in reach, or a first start that waits. Nothing was done; try
    /// again, or another node.
    NoLeader = "no_leader" 503 Unavailable,
    /// The node has no state to show yet: it fetches or repairs its state from other nodes. Ask another node,
    /// or this one later.
    NoState = "no_state" 503 Unavailable,
    /// The leader changed, or did not answer in time, before the outcome was known; retry a write with the
    /// same ids.
    Interrupted = "interrupted" 503 Unavailable,
    /// The cluster has no such node.
    MemberNotFound = "member_not_found" 404 NotFound,
    /// The node is a member already, or a voter already.
    MemberExists = "member_exists" 409 AlreadyExists,
    /// Another change of the cluster is under way; try again when it is complete.
    ChangeUnderWay = "change_under_way" 409 Aborted,
    /// The node has not caught up with the leader, or does not answer; try again later.
    NodeBehind = "node_behind" 409 FailedPrecondition,
    /// The node leads: transfer the leadership first.
    NodeLeads = "node_leads" 409 FailedPrecondition,
    /// The cluster does not allow this change.
    ChangeRefused = "change_refused" 409 FailedPrecondition,
    /// The Idempotency-Key was used by another request: a key belongs to one request. Nothing was done.
    IdempotencyKeyReused = "idempotency_key_reused" 409 AlreadyExists,
    /// The history on disk is damaged and is not served.
    HistoryDamaged = "history_damaged" 500 DataLoss,
    /// A fault of the server; its log has the details.
    Internal = "internal" 500 Internal,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// One field of a request with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `transfers[3].code`; empty = the request as a whole.
    pub field: String,
    /// What to change, in a sentence.
    pub description: String,
}

impl Violation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same, with the path of the object that has the field in front.
    #[must_use]
    pub fn within(mut self, parent: impl fmt::Display) -> Self {
        self.field =
            if self.field.is_empty() { parent.to_string() } else { format!("{parent}.{}", self.field) };
        self
    }
}

/// The resource that ran out, for a call that is refused as overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Places for connections.
    Connections,
    /// Places for requests in flight.
    Requests,
    /// Memory for the bodies of requests.
    BodyBytes,
    /// Memory for answers.
    AnswerBytes,
    /// Places for endless streams.
    Streams,
    /// Places for reads that the node has not answered.
    Reads,
    /// Memory for large frames of TigerBeetle's clients.
    Frames,
    /// The queue of this node, or of the leader.
    Node,
}

impl Scarce {
    /// All resources, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Requests,
        Self::BodyBytes,
        Self::AnswerBytes,
        Self::Streams,
        Self::Reads,
        Self::Frames,
        Self::Node,
    ];

    /// The resource's name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::BodyBytes => "body_bytes",
            Self::AnswerBytes => "answer_bytes",
            Self::Streams => "streams",
            Self::Reads => "reads",
            Self::Frames => "frames",
            Self::Node => "node",
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// The kind of the error.
    pub code: ErrorCode,
    /// What to change or to do, in a sentence.
    pub detail: String,
    /// The fields with invalid values; empty where the error concerns no single field.
    pub violations: Vec<Violation>,
    /// The delay before a retry; `None` = a retry may follow at once, or does not help.
    pub retry_after: Option<Duration>,
    /// The resource that ran out; `None` unless the call is refused as overloaded.
    pub scarce: Option<Scarce>,
    /// The position after the last event, for `position_after_end`; `None` for every other code.
    pub end: Option<Box<EventPosition>>,
    /// The ids of the events of a write whose outcome is not known, in order; empty = nothing was done.
    pub unknown_ids: Vec<u128>,
    /// True for a `read_only` write that was refused before it started.
    pub is_nothing_done: bool,
}

impl Failure {
    /// A failure without violations and without a retry delay.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            violations: Vec::new(),
            retry_after: None,
            scarce: None,
            end: None,
            unknown_ids: Vec::new(),
            is_nothing_done: false,
        }
    }

    /// Adds the ids of the write's events if its outcome is not known.
    #[must_use]
    pub fn of_events(mut self, ids: impl IntoIterator<Item = u128>) -> Self {
        if self.code.leaves_outcome_open() && !self.is_nothing_done && self.unknown_ids.is_empty() {
            self.unknown_ids = ids.into_iter().collect();
        }
        self
    }

    /// The failure of a request for events from a position that was after the last event when `end` was read.
    pub fn position_after_end(from: &EventPosition, end: EventPosition) -> Self {
        let detail = format!(
            "position {from} is after the end, {end}: continue from {end}, or from an earlier position. If you have \
             received events up to there, this ledger was restored from an older copy: the events from now on differ \
             from those that you received"
        );
        Self { end: Some(Box::new(end)), ..Self::new(ErrorCode::PositionAfterEnd, detail) }
    }

    /// The server is overloaded: nothing was done.
    pub fn overloaded(scarce: Scarce, what: &str, retry_after: Duration) -> Self {
        let detail = format!("{what}: retry after {} ms", retry_after.as_millis());
        let (retry_after, scarce) = (Some(retry_after), Some(scarce));
        Self { retry_after, scarce, ..Self::new(ErrorCode::Overloaded, detail) }
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        let detail = format!("{}: {}", violation.field, violation.description);
        Self { violations: vec![violation], ..Self::new(ErrorCode::InvalidField, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code), "{code}");
            assert!(!code.meaning().is_empty(), "{code}");
        }
    }

    #[test]
    fn every_code_is_in_the_documentation() {
        let page = include_str!("../../../docs/wire-formats.md");
        for code in ErrorCode::ALL {
            let row = format!("| `{code}` | {} | ", code.http_status());
            assert!(page.contains(&row) && page.contains(code.meaning()), "{row}");
        }
    }

    #[test]
    fn violations_have_the_path_of_their_field() {
        let violation = Violation::new("code", "must be at most 65535").within("transfers[3]");
        assert_eq!(Failure::from(violation).detail, "transfers[3].code: must be at most 65535");
    }
}
