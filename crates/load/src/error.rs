//! Why a run has no figures.

use std::error::Error;
use std::io;
use std::time::Duration;

use bezant_codec::DecodeError;
use bezant_types::TransferId;
use http::StatusCode;
use thiserror::Error;

use crate::books::Totals;
use crate::frames::FramesError;

/// The error of a library below.
type Cause = Box<dyn Error + Send + Sync>;

/// Why a run has no figures: a server does not answer, an event was refused, or the books do not match what
/// was sent. The message of an error leaves out that of its source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The text is no address.
    #[error("{address} is no address")]
    Address {
        /// The text.
        address: String,
        /// What the parser says.
        source: Cause,
    },
    /// The address has another scheme.
    #[error("{address}: only http is supported here")]
    Scheme {
        /// The address.
        address: String,
    },
    /// The address has no host.
    #[error("the address has no host")]
    NoHost,
    /// No connection.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// The error of the connection.
        source: Cause,
    },
    /// An option of the socket.
    #[error("the connection cannot be set up")]
    SetUp(#[source] io::Error),
    /// The handshake of HTTP/2.
    #[error("the server does not support HTTP/2")]
    NoHttp2(#[source] h2::Error),
    /// The node did not serve the request, or the outcome is not known. The request may be repeated with the
    /// same ids at another node.
    #[error("{0}")]
    Retryable(String),
    /// HTTP's status is not 200.
    #[error("the server answers {0}")]
    HttpStatus(StatusCode),
    /// gRPC's status is not 0.
    #[error("status {code}: {message}")]
    Status {
        /// Its number.
        code: i32,
        /// Its message.
        message: String,
    },
    /// An answer without gRPC's status.
    #[error("the answer has no status")]
    NoStatus,
    /// The answer is no message of the protocol.
    #[error("the answer cannot be read")]
    Unreadable(#[source] prost::DecodeError),
    /// The answer is compressed, or has no message.
    #[error("the answer is no plain message")]
    NotPlain,
    /// A connection in TigerBeetle's protocol.
    #[error(transparent)]
    Frames(#[from] FramesError),
    /// A call of gRPC.
    #[error(transparent)]
    Call(#[from] Box<tonic::Status>),
    /// No address answers.
    #[error("no answer within {limit:?}")]
    NoAnswer {
        /// How long the run has waited.
        limit: Duration,
        /// The last error.
        source: Box<Self>,
    },
    /// The server has stopped answering during the load.
    #[error("the server has answered nothing for {0:?}")]
    Stalled(Duration),
    /// The task of a client has panicked.
    #[error("a client failed")]
    Client(#[source] tokio::task::JoinError),
    /// Latencies cannot be counted or added up.
    #[error("no histogram")]
    Histogram(#[source] Cause),
    /// An account or a transfer was refused.
    #[error("{what} was refused")]
    Refused {
        /// `an account` or `a transfer`.
        what: &'static str,
        /// The event and its status.
        source: Box<Self>,
    },
    /// The status of a refused event.
    #[error("event {number} of its request: {name} ({status})")]
    Event {
        /// The index of the event in its request.
        number: usize,
        /// The name of the status.
        name: &'static str,
        /// The number of the status.
        status: u32,
    },
    /// The size of the results is no multiple of a result's.
    #[error("the results are cut")]
    ResultsCut(#[source] DecodeError),
    /// A request has another number of results than events.
    #[error("{events} events have {results} results")]
    ResultCount {
        /// The events of the request.
        events: u64,
        /// The results of its answer.
        results: usize,
    },
    /// The books cannot be read.
    #[error("the books cannot be read")]
    Books(#[source] Box<tonic::Status>),
    /// Debits and credits of a ledger differ.
    #[error("the books of ledger {ledger} do not balance: {sums}")]
    NotBalanced {
        /// The number of the ledger.
        ledger: u32,
        /// Its sums.
        sums: String,
    },
    /// The books moved by something else than the load.
    #[error(
        "the books are not what was sent (does another client write to this server?): expected {expected:?}, \
         found {found:?}"
    )]
    BooksDiffer {
        /// The totals before the load, and the load.
        expected: Totals,
        /// The totals after the load.
        found: Totals,
    },
    /// The accounts cannot be read.
    #[error("no accounts")]
    Accounts(#[source] FramesError),
    /// The size of the accounts is no multiple of an account's.
    #[error("the accounts are cut")]
    AccountsCut(#[source] DecodeError),
    /// The accounts hold something else than what was sent. Each is a count of accounts, the sum of their
    /// debits, and the sum of their credits.
    #[error(
        "the accounts are not what was sent (accounts, debits, credits): expected {expected:?}, found {found:?}"
    )]
    AccountsDiffer {
        /// What was sent.
        expected: (u64, u128, u128),
        /// What the accounts hold.
        found: (u64, u128, u128),
    },
    /// A query after the load.
    #[error("the query '{name}' failed")]
    Query {
        /// The kind of query.
        name: &'static str,
        /// Why it failed.
        source: Box<Self>,
    },
    /// A transfer that was acknowledged.
    #[error("transfer {0} was accepted and is not found")]
    NotFound(TransferId),
}

impl LoadError {
    /// True when the request may be repeated with the same ids at another node.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Retryable(_))
    }
}
