//! Why a call has no answer. When the ledger refuses an event, that is not an error: it is a status in the
//! answer.

use thiserror::Error;
use tonic_types::StatusExt;

use crate::Position;

/// Why a call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An address that is not a URL.
    #[error("{address} is not an address: write it as http://HOST:PORT")]
    Address {
        /// The address as given.
        address: String,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// An address with a scheme that the client does not support. The client does not fall back to an
    /// unencrypted connection.
    #[error(
        "{address} names a protocol that is not supported: write it as http://HOST:PORT, without encryption"
    )]
    Scheme {
        /// The address as given.
        address: String,
    },
    /// A cluster's token with characters that a header cannot carry.
    #[error("the cluster's token has characters other than visible ASCII")]
    Token,
    /// No address was given.
    #[error("no address was given: name at least one, such as http://127.0.0.1:7070")]
    NoAddress,
    /// None of the servers accepts a connection. Nothing was sent.
    #[error("no server answers at {addresses}: {reason}; is it running?")]
    Unreachable {
        /// All addresses, separated by commas.
        addresses: String,
        /// The reason of the last of them.
        reason: String,
    },
    /// The deadline of the call passed, or its tries were used up. Nothing was changed: the call was a read,
    /// or every try was refused before the server began with it.
    #[error("no answer within the deadline, after {attempts} tries: {reason}; nothing was changed")]
    DeadlineExceeded {
        /// The number of tries.
        attempts: u32,
        /// The reason of the last try.
        reason: String,
    },
    /// The call was sent and its outcome did not come back: it may have been done, or may still be done. Send
    /// the same call with the same ids to learn the outcome; it is done at most once.
    #[error(
        "the outcome is not known, after {attempts} tries: {reason}; retry with the same ids: {}",
        list(ids)
    )]
    OutcomeUnknown {
        /// The ids of the events whose outcome is not known, in their order: the account's id for a change of
        /// an account, the ledger for an asset. When a call took several requests and the first ones were
        /// answered, the ids of all its events. Send the whole call again with the same ids.
        ids: Vec<u128>,
        /// The number of tries.
        attempts: u32,
        /// The reason of the last try that may have been carried out.
        reason: String,
    },
    /// The present state does not allow the call, such as a query for balances of an account without history.
    #[error("this cannot be done: {reason}")]
    FailedPrecondition {
        /// The stable name of the reason, such as `history_not_kept` or `node_behind`; empty when the server
        /// gave none.
        code: String,
        /// The server's message.
        reason: String,
    },
    /// The server's files are damaged: they differ from what was written. The server never answers from such
    /// data.
    #[error("the server's data is damaged: {reason}")]
    Damaged {
        /// The file and the position.
        reason: String,
    },
    /// The request is invalid; a retry does not help.
    #[error("the request is wrong: {reason}")]
    Invalid {
        /// The server's message: what to change.
        reason: String,
    },
    /// The position from which events were requested is after the end: the ledger was restored from an older
    /// copy, or the position belongs to another ledger.
    #[error("{reason}")]
    PositionAfterEnd {
        /// The position after the last event.
        end: Position,
        /// The server's message.
        reason: String,
    },
    /// The server does not allow this caller to do it.
    #[error("the server does not allow this: {reason}")]
    Denied {
        /// The stable name of the reason, such as `token_required`; empty when the server gave none.
        code: String,
        /// The server's message: what it requires.
        reason: String,
    },
    /// The requested object does not exist.
    #[error("{reason}")]
    NotFound {
        /// The server's message.
        reason: String,
    },
    /// A chain of linked events that does not fit in one request.
    #[error("the chain that begins with event {first_index} is longer than {events_max} events: split it")]
    ChainTooLong {
        /// Index of the first event of the chain.
        first_index: usize,
        /// Limit of the events of a request.
        events_max: usize,
    },
    /// A name of more than 64 bytes, or with a zero byte.
    #[error(
        "the name {name:?} is longer than {} bytes, or holds a zero byte",
        bezant_types::limits::NAME_SIZE_MAX
    )]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// The server's answer violates the protocol: it has another version, or is not a Bezant server.
    #[error("the server's answer cannot be read: {reason}; do client and server have the same version?")]
    Protocol {
        /// The part of the answer that cannot be read.
        reason: String,
    },
    /// The server reported an internal error.
    #[error("the server failed: {reason}")]
    Server {
        /// The server's message.
        reason: String,
    },
}

impl ClientError {
    /// True when no server answered in time: the same call may succeed later.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::DeadlineExceeded { .. } | Self::OutcomeUnknown { .. })
    }

    /// The ids of the events whose outcome is not known; empty for every error that changed nothing.
    pub fn unknown_ids(&self) -> &[u128] {
        match self {
            Self::OutcomeUnknown { ids, .. } => ids,
            _ => &[],
        }
    }

    /// The error for a status that is not retried.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let reason = reason(status);
        if let Some(end) = end_of(status) {
            return Self::PositionAfterEnd { end, reason };
        }
        match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Self::Invalid { reason },
            tonic::Code::NotFound => Self::NotFound { reason },
            tonic::Code::FailedPrecondition | tonic::Code::AlreadyExists => {
                let code = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                Self::FailedPrecondition { code, reason }
            }
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => {
                let code = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                Self::Denied { code, reason }
            }
            tonic::Code::DataLoss => Self::Damaged { reason },
            tonic::Code::Unimplemented => Self::Protocol { reason },
            _ => Self::Server { reason },
        }
    }
}

/// The position after the last event, from a status that refuses a later position.
fn end_of(status: &tonic::Status) -> Option<Position> {
    let info = status.get_details_error_info()?;
    let is_after_end = info.reason == bezant_api::ErrorCode::PositionAfterEnd.name();
    let end = info.metadata.get("end").filter(|_| is_after_end)?;
    end.parse().ok()
}

/// Ids for a message; of many only the first few.
fn list(ids: &[u128]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(u128::to_string).collect();
    let more = ids.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Why a call may have been carried out although the try ended with this status; `None` = it was not.
pub(crate) fn open_reason(status: &tonic::Status) -> Option<String> {
    (!is_nothing_done(status)).then(|| reason(status))
}

/// True when the server has not begun with the call, so its outcome is known without a retry.
fn is_nothing_done(status: &tonic::Status) -> bool {
    if std::error::Error::source(status).is_some() {
        return is_not_sent(status);
    }
    let info = status.get_details_error_info();
    if info.as_ref().is_some_and(|info| info.metadata.get("done").is_some_and(|done| done == "nothing")) {
        return true;
    }
    let code = info.and_then(|info| bezant_api::ErrorCode::from_name(&info.reason));
    match code {
        Some(code) => !code.leaves_outcome_open(),
        // The answer of a proxy, or of a server that is not Bezant.
        None => matches!(
            status.code(),
            tonic::Code::InvalidArgument | tonic::Code::NotFound | tonic::Code::Unimplemented
        ),
    }
}

/// True when no connection was made, so nothing was sent.
fn is_not_sent(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The message of a status, with its causes when a connection broke.
pub(crate) fn reason(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = error.source();
    }
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bezant_types::MovementNumber;
    use tonic::{Code, Status};
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_position_after_the_end_differs_from_other_ranges() {
        let end = Position::of_row(MovementNumber(10));
        let status = |code: &str| {
            let details =
                ErrorDetails::with_error_info(code, "bezant", [("end".to_owned(), end.to_string())]);
            Status::with_error_details(Code::OutOfRange, "no", details)
        };
        let error = ClientError::from_status(&status("position_after_end"));
        assert!(
            matches!(&error, ClientError::PositionAfterEnd { end: of_error, .. } if *of_error == end),
            "{error:?}"
        );
        let error = ClientError::from_status(&status("request_too_large"));
        assert!(matches!(error, ClientError::Invalid { .. }), "{error:?}");
    }

    fn status(grpc: Code, reason: &str) -> Status {
        Status::with_error_details(
            grpc,
            "",
            ErrorDetails::with_error_info(reason, "bezant", HashMap::<String, String>::new()),
        )
    }

    #[test]
    fn a_refused_call_changed_nothing() {
        assert!(is_nothing_done(&status(Code::ResourceExhausted, "overloaded")));
        assert!(is_nothing_done(&status(Code::Unavailable, "no_leader")));
        assert!(is_nothing_done(&status(Code::InvalidArgument, "invalid_records")));
        let not_begun = HashMap::from([("done".to_owned(), "nothing".to_owned())]);
        let details = ErrorDetails::with_error_info("read_only", "bezant", not_begun);
        assert!(is_nothing_done(&Status::with_error_details(Code::Unavailable, "", details)));
        for (code, reason) in [
            (Code::DeadlineExceeded, "deadline_exceeded"),
            (Code::Unavailable, "interrupted"),
            (Code::Unavailable, "stopping"),
            (Code::Unavailable, "read_only"),
            (Code::Internal, "internal"),
        ] {
            assert!(!is_nothing_done(&status(code, reason)), "{reason}");
        }
    }

    #[test]
    fn timeouts_and_broken_connections_leave_the_outcome_open() {
        assert!(!is_nothing_done(&Status::deadline_exceeded("no answer")));
        assert!(!is_nothing_done(&Status::from_error(Box::new(std::io::Error::other("reset")))));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(is_nothing_done(&Status::from_error(Box::new(refused))));
    }

    #[test]
    fn the_reason_is_that_of_the_try_left_open() {
        let tries =
            [Status::deadline_exceeded("no answer within 500 ms"), status(Code::Unavailable, "no_leader")];
        let open = tries.iter().fold(None, |open, status| open_reason(status).or(open));
        assert_eq!(open.as_deref(), Some("no answer within 500 ms"));
        assert_eq!(open_reason(&tries[1]), None);
    }

    #[test]
    fn many_ids_are_counted() {
        let error = ClientError::OutcomeUnknown { ids: (1..=10).collect(), attempts: 2, reason: "x".into() };
        assert!(error.to_string().ends_with("1, 2, 3, 4, 5, 6, 7, 8 and 2 more"), "{error}");
        assert_eq!(error.unknown_ids().len(), 10);
    }
}
