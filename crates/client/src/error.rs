//! Why a call has no answer. A refusal by the rules of money is not an error: it is a status in the answer.

use bezant_types::MovementNumber;
use thiserror::Error;
use tonic_types::StatusExt;

/// Why a call has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An address that is no URL.
    #[error("{address} is not an address: write it as http://HOST:PORT")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// An address of a protocol that this client does not speak. It is not tried without encryption instead.
    #[error(
        "{address} asks for a protocol that is not spoken here: write it as http://HOST:PORT, without encryption"
    )]
    Scheme {
        /// As it was given.
        address: String,
    },
    /// A cluster's token with characters that no header can hold.
    #[error("the cluster's token has characters other than those of ASCII that can be seen")]
    Token,
    /// No address was given.
    #[error("no address was given: name at least one, such as http://127.0.0.1:7070")]
    NoAddress,
    /// None of the servers takes a connection. Nothing was sent.
    #[error("no server answers at {addresses}: {reason}; is it running? `bezant start` starts one")]
    Unreachable {
        /// All addresses, separated by commas.
        addresses: String,
        /// What the last of them said.
        reason: String,
    },
    /// The deadline of the call passed, or its tries were used up. Nothing was changed: every try was turned down
    /// before it was begun, or was a read.
    #[error("no answer within the deadline, after {attempts} tries: {reason}; nothing was changed")]
    DeadlineExceeded {
        /// How often it was tried.
        attempts: u32,
        /// What the last try said.
        reason: String,
    },
    /// The call was sent and its outcome did not come back: it may have been done, or may still be done. The same call
    /// with the same ids tells: it is done at most once.
    #[error(
        "the outcome is not known, after {attempts} tries: {reason}; retry with the same ids: {}",
        list(ids)
    )]
    OutcomeUnknown {
        /// The ids of the events whose outcome is not known, in their order; of a change of an account its id, of an
        /// asset its ledger. Of a call in several requests of which the first ones were answered: those of all its
        /// events. Send the whole call again with the same ids.
        ids: Vec<u128>,
        /// How often it was tried.
        attempts: u32,
        /// What the last try said.
        reason: String,
    },
    /// What was asked about is not in a state that allows it, such as balances of an account without history.
    #[error("this cannot be done: {reason}")]
    FailedPrecondition {
        /// The stable name of the reason, such as `history_not_kept` or `node_behind`; empty when the server gave none.
        code: String,
        /// The server's words on why not.
        reason: String,
    },
    /// The server's disk does not hold what was written to it. It serves nothing else in its place.
    #[error("the server's data is damaged: {reason}")]
    Damaged {
        /// Which file, where.
        reason: String,
    },
    /// The request is wrong in itself; trying again does not help.
    #[error("the request is wrong: {reason}")]
    Invalid {
        /// The server's words on what to change.
        reason: String,
    },
    /// Events were asked for from a position after the end: the ledger was restored from an older copy, or the position
    /// is that of another ledger.
    #[error("{reason}")]
    PositionAfterEnd {
        /// The position of the next event.
        end: MovementNumber,
        /// The server's words.
        reason: String,
    },
    /// The server does not let this caller do it.
    #[error("the server does not allow this: {reason}")]
    Denied {
        /// The stable name of the reason, such as `token_required`; empty when the server gave none.
        code: String,
        /// The server's words on what it asks for.
        reason: String,
    },
    /// What was asked for does not exist.
    #[error("{reason}")]
    NotFound {
        /// The server's words.
        reason: String,
    },
    /// A chain of linked events that does not fit in one request.
    #[error("the chain that begins with event {first_index} is longer than {events_max} events: split it")]
    ChainTooLong {
        /// Index of its first event.
        first_index: usize,
        /// Events of a request at the most.
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
    /// The server's answer is not what the protocol promises: it speaks another version, or is no Bezant server.
    #[error("the server's answer cannot be read: {reason}; do client and server have the same version?")]
    Protocol {
        /// What does not fit.
        reason: String,
    },
    /// The server failed in a way that it did not foresee.
    #[error("the server failed: {reason}")]
    Server {
        /// Its words.
        reason: String,
    },
}

impl ClientError {
    /// True when nobody answered in time: the same call may succeed later.
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

    /// What a status that is not worth another try stands for.
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

/// The end that a status names, when it refuses a position after it.
fn end_of(status: &tonic::Status) -> Option<MovementNumber> {
    let info = status.get_details_error_info()?;
    let is_after_end = info.reason == bezant_api::ErrorCode::PositionAfterEnd.name();
    let end = info.metadata.get("end").filter(|_| is_after_end)?;
    end.parse().ok().map(MovementNumber)
}

/// Ids for people: the first few of many.
fn list(ids: &[u128]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(u128::to_string).collect();
    let more = ids.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Why the call may have been carried out all the same, after a try with that end; `None` = it was turned down.
pub(crate) fn open_reason(status: &tonic::Status) -> Option<String> {
    (!is_nothing_done(status)).then(|| reason(status))
}

/// True when the server says that it has not begun with the call: trying again is not needed to learn its outcome.
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
        // A proxy, or a server that is none of ours.
        None => matches!(
            status.code(),
            tonic::Code::InvalidArgument | tonic::Code::NotFound | tonic::Code::Unimplemented
        ),
    }
}

/// True when no connection came about.
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

/// The words of a status, with what caused it when that is a broken connection.
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

    use tonic::{Code, Status};
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_position_after_the_end_is_told_from_other_ranges() {
        let status = |code: &str| {
            let details =
                ErrorDetails::with_error_info(code, "bezant", [("end".to_owned(), "10".to_owned())]);
            Status::with_error_details(Code::OutOfRange, "no", details)
        };
        let error = ClientError::from_status(&status("position_after_end"));
        assert!(matches!(error, ClientError::PositionAfterEnd { end: MovementNumber(10), .. }), "{error:?}");
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
    fn what_was_turned_down_changed_nothing() {
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
    fn silence_and_broken_connections_say_nothing() {
        assert!(!is_nothing_done(&Status::deadline_exceeded("no answer")));
        assert!(!is_nothing_done(&Status::from_error(Box::new(std::io::Error::other("reset")))));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(is_nothing_done(&Status::from_error(Box::new(refused))));
    }

    #[test]
    fn an_open_call_is_explained_by_the_try_that_left_it_open() {
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
