//! How a command ends: one clear line on stderr, and a code that scripts can use.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | refused by the ledger, or a failure without a code of its own |
//! | 2 | wrong use: an argument, a file or an amount that cannot be read |
//! | 3 | the server cannot be reached, or does not take this now |
//! | 4 | what was asked for does not exist |
//! | 5 | verification failed, or data on disk is damaged |

use std::process::ExitCode;

use bezant_client::ClientError;
use thiserror::Error;

/// The table of codes, for `--help`.
pub(crate) const CODES: &str = "\
Exit codes:
  0  done
  1  refused by the ledger, or a failure without a code of its own
  2  wrong use: an argument, a file or an amount that cannot be read
  3  the server cannot be reached, or does not take this now
  4  what was asked for does not exist
  5  verification failed, or data on disk is damaged";

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A status of the ledger that is no success.
    #[error("refused: {0}")]
    Refused(String),
    /// The request makes no sense as it was written.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("{0}")]
    Unavailable(String),
    /// No such account, transfer, file.
    #[error("{0}")]
    NotFound(String),
    /// A chain, a balance or a checksum is not what it has to be.
    #[error("verification failed: {0}")]
    Verification(String),
    /// The disk does not hold what was written to it.
    #[error("{0}")]
    Damaged(String),
    /// Whoever read the output has read enough.
    #[error("the output was closed")]
    OutputClosed,
    /// A failure with what it left behind and how to go on.
    #[error("{source}. {state}")]
    Stopped {
        /// Why.
        source: Box<Self>,
        /// What is done, what is not, and what to do.
        state: String,
    },
    /// Everything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Refused(_) | Self::Other(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Unavailable(_) => ExitCode::from(3),
            Self::NotFound(_) => ExitCode::from(4),
            Self::Verification(_) | Self::Damaged(_) => ExitCode::from(5),
            Self::Stopped { source, .. } => source.exit_code(),
        }
    }

    /// The same failure, said with the state that it leaves behind.
    pub(crate) fn and(self, state: &str) -> Self {
        Self::Stopped { source: Box::new(self), state: state.to_owned() }
    }

    /// A refusal in the ledger's own words: the status, then what it means.
    pub(crate) fn refused(name: &str, meaning: &str) -> Self {
        Self::Refused(format!("{name}: {meaning}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Address { .. }
            | ClientError::Scheme { .. }
            | ClientError::Token
            | ClientError::Denied { .. }
            | ClientError::Invalid { .. }
            | ClientError::FailedPrecondition { .. }
            | ClientError::PositionAfterEnd { .. }
            | ClientError::NameTooLong { .. }
            | ClientError::ChainTooLong { .. } => Self::Usage(text),
            ClientError::Damaged { .. } => Self::Damaged(text),
            ClientError::NotFound { .. } => Self::NotFound(text),
            error if error.is_unavailable() => Self::Unavailable(text),
            error => Self::Other(error.into()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Other(error.into())
        }
    }
}
