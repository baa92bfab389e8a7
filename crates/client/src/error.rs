//! Why a call has no answer. A refusal by the rules of money is not an error: it is a status in the answer.

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
    /// The deadline of the call passed, or its tries were used up. A write may have been applied all the
    /// same: call again with the same ids and learn the outcome.
    #[error("no outcome within the deadline, after {attempts} tries: {reason}; retry with the same ids")]
    DeadlineExceeded {
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
        matches!(self, Self::Unreachable { .. } | Self::DeadlineExceeded { .. })
    }

    /// What a status that is not worth another try stands for.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let reason = reason(status);
        match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Self::Invalid { reason },
            tonic::Code::NotFound => Self::NotFound { reason },
            tonic::Code::FailedPrecondition | tonic::Code::AlreadyExists => {
                let code = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                Self::FailedPrecondition { code, reason }
            }
            tonic::Code::DataLoss => Self::Damaged { reason },
            tonic::Code::Unimplemented => Self::Protocol { reason },
            _ => Self::Server { reason },
        }
    }
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
