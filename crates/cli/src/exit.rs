//! How a command ends: one line on stderr, and an exit code for scripts. With `-o json` the line is JSON.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | refused by the ledger, or a failure without a more specific code |
//! | 2 | wrong use: an argument, a file or an amount that cannot be read |
//! | 3 | the server cannot be reached, or does not take this now; nothing was changed |
//! | 4 | the requested object does not exist |
//! | 5 | verification failed, or data on disk is damaged |
//! | 6 | the outcome is not known: the change may have been made; stderr says how to find it |
//! | 7 | the change was made, and the answer could not be shown |
//! | 8 | a part of an import or of a cluster change was made, and the rest was not; stderr says which |
//! | 130 | stopped by a signal; nothing was changed |

use std::process::ExitCode;

use bezant_archive::ArchiveError;
use bezant_client::ClientError;
use serde::Serialize;
use thiserror::Error;

use crate::json::Text;
use crate::output::{self, Format};

/// The table of codes, for `--help`.
pub(crate) const CODES: &str = "\
Exit codes:
  0    done
  1    refused by the ledger, or a failure without a more specific code
  2    wrong use: an argument, a file or an amount that cannot be read
  3    the server cannot be reached, or does not take this now; nothing was changed
  4    the requested object does not exist
  5    verification failed, or data on disk is damaged
  6    the outcome is not known: the change may have been made; stderr says how to find it
  7    the change was made, and the answer could not be shown
  8    a part of an import or of a cluster change was made, and the rest was not; stderr says which
  130  stopped by a signal; nothing was changed";

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A status of the ledger that is no success.
    #[error("refused: {name}: {text}")]
    Status {
        /// The name of the status.
        name: &'static str,
        /// The meaning of the status, and the case.
        text: String,
    },
    /// A refusal without a status of the ledger.
    #[error("refused: {0}")]
    Refused(String),
    /// The request makes no sense as it was written.
    #[error("{0}")]
    Usage(String),
    /// No server answers.
    #[error("{0}")]
    Unavailable(String),
    /// The deadline passed before the server began with this call.
    #[error("{0}; nothing was changed")]
    TimedOut(String),
    /// No such account, transfer, file.
    #[error("{0}")]
    NotFound(String),
    /// A chain, a balance or a checksum is not what it has to be.
    #[error("verification failed: {0}")]
    Verification(String),
    /// The disk does not hold what was written to it.
    #[error("{0}")]
    Damaged(String),
    /// A change was sent and its outcome is not known.
    #[error("the outcome is not known: {reason}. {what} may have been made{}", advice(repeat.as_ref()))]
    Unknown {
        /// Why the outcome is not known.
        reason: String,
        /// The requested change, such as `transfer 77`.
        what: String,
        /// The ids of the change, as far as they are known.
        ids: Vec<u128>,
        /// The command that finds the outcome, and makes the change at most once.
        repeat: Option<String>,
    },
    /// A change was made, and what follows it failed.
    #[error("{what} was made, and the answer cannot be shown: {reason}")]
    NotShown {
        /// The change that was made.
        what: String,
        /// The ids of the change.
        ids: Vec<u128>,
        /// Why the answer cannot be shown.
        reason: String,
    },
    /// A part of an import or of a cluster change was made, and the rest was not.
    #[error("a part of {what} was made: {reason}; this command makes the rest, and nothing twice: {repeat}")]
    PartlyMade {
        /// The change, such as `the import`.
        what: &'static str,
        /// Why the rest was not made.
        reason: String,
        /// The command that makes the rest.
        repeat: String,
    },
    /// A signal came before anything was changed.
    #[error("stopped: nothing was changed")]
    Stopped,
    /// The reader of the output, such as `head`, has closed it.
    #[error("the output was closed")]
    OutputClosed,
    /// A failure, with the state after it and how to continue.
    #[error("{source}. {state}")]
    Halted {
        /// The failure.
        source: Box<Self>,
        /// A text for the operator: what is done, what is not, and what to do.
        state: String,
    },
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(std::io::Error),
    /// Everything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

fn advice(repeat: Option<&String>) -> String {
    repeat.map_or_else(String::new, |command| {
        format!("; this command finds the outcome, and makes it at most once: {command}")
    })
}

/// A failure on stderr as JSON.
#[derive(Debug, Serialize)]
struct ErrorJson<'failure> {
    error: ErrorFields<'failure>,
}

#[derive(Debug, Serialize)]
struct ErrorFields<'failure> {
    /// The kind of failure: `refused`, `outcome_unknown`, ...
    code: &'static str,
    exit_code: u8,
    detail: String,
    /// The name of the ledger's status, for a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<Text<u128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<&'failure str>,
}

impl Failure {
    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// The exit code as a number.
    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Status { .. } | Self::Refused(_) | Self::Output(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) | Self::TimedOut(_) => 3,
            Self::NotFound(_) => 4,
            Self::Verification(_) | Self::Damaged(_) => 5,
            Self::Unknown { .. } => 6,
            Self::NotShown { .. } => 7,
            Self::PartlyMade { .. } => 8,
            Self::Stopped => 130,
            Self::Halted { source, .. } => source.number(),
        }
    }

    /// The kind of failure, as the `code` in JSON.
    fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } | Self::Refused(_) => "refused",
            Self::Usage(_) => "usage",
            Self::Unavailable(_) | Self::TimedOut(_) => "unavailable",
            Self::NotFound(_) => "not_found",
            Self::Verification(_) => "verification_failed",
            Self::Damaged(_) => "damaged",
            Self::Unknown { .. } => "outcome_unknown",
            Self::NotShown { .. } => "made_not_shown",
            Self::PartlyMade { .. } => "partly_made",
            Self::Stopped => "stopped",
            Self::OutputClosed | Self::Output(_) => "output",
            Self::Other(_) => "failed",
            Self::Halted { source, .. } => source.kind(),
        }
    }

    /// The same failure, with the state after it.
    pub(crate) fn and(self, state: &str) -> Self {
        Self::Halted { source: Box::new(self), state: state.to_owned() }
    }

    /// The failure itself, without the state after it.
    fn cause(&self) -> &Self {
        if let Self::Halted { source, .. } = self { source.cause() } else { self }
    }

    /// A refusal by the ledger. `meaning` is the meaning of the status and the case.
    pub(crate) fn refused(name: &'static str, meaning: &str) -> Self {
        Self::Status { name, text: meaning.trim_end().to_owned() }
    }

    /// The failure for an error of the output.
    pub(crate) fn of_output(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Output(error) }
    }

    /// True when only the output failed.
    pub(crate) const fn is_of_output(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Output(_))
    }

    /// The failure as one after a change that was made: only its answer cannot be shown.
    pub(crate) fn after(self, what: impl Into<String>, ids: Vec<u128>) -> Self {
        Self::NotShown { what: what.into(), ids, reason: self.to_string() }
    }

    /// Prints the failure on stderr; nothing when the output was closed.
    pub(crate) fn report(&self, format: Format) {
        if matches!(self, Self::OutputClosed) {
            return;
        }
        let (status, ids, repeat) = match self.cause() {
            Self::Status { name, .. } => (Some(*name), &[][..], None),
            Self::Unknown { ids, repeat, .. } => (None, &ids[..], repeat.as_deref()),
            Self::NotShown { ids, .. } => (None, &ids[..], None),
            Self::PartlyMade { repeat, .. } => (None, &[][..], Some(repeat.as_str())),
            _ => (None, &[][..], None),
        };
        let ids = ids.iter().copied().map(Text).collect();
        let (code, exit_code, detail) = (self.kind(), self.number(), self.to_string());
        let error = ErrorFields { code, exit_code, detail, status, ids, repeat };
        if format != Format::Json || output::note_json(&ErrorJson { error }).is_err() {
            output::note(&format!("bezant: {self}"));
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let mut text = error.to_string();
        match &error {
            ClientError::Denied { code, .. } if code == "token_required" => {
                text.push_str(" (--token-file, or BEZANT_TOKEN)");
            }
            ClientError::Unreachable { .. } => text.push_str(" `bezant start` starts one"),
            _ => {}
        }
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
            ClientError::OutcomeUnknown { ids, reason, .. } => {
                let what = match &*ids {
                    [id] => format!("the requested change (id {id})"),
                    ids => {
                        format!("the requested change ({} ids from {})", ids.len(), ids.first().unwrap_or(&0))
                    }
                };
                Self::Unknown { reason, what, ids, repeat: None }
            }
            ClientError::DeadlineExceeded { attempts, reason } => {
                let tries = if attempts == 1 { "try" } else { "tries" };
                Self::TimedOut(format!("no answer within the deadline, after {attempts} {tries}: {reason}"))
            }
            error if error.is_unavailable() => Self::Unavailable(text),
            error => Self::Other(error.into()),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let text = error.to_string();
        match error {
            ArchiveError::Open { .. } => Self::NotFound(text),
            ArchiveError::NotAnExport { .. } => Self::Usage(text),
            ArchiveError::Broken { is_maybe_of_one: true, .. } => Self::Verification(format!(
                "{text}; if this is the export of one account, name the account with --of ACCOUNT"
            )),
            ArchiveError::Damaged { .. } | ArchiveError::Broken { .. } => Self::Verification(text),
            ArchiveError::Read(error) | ArchiveError::Write(error) => error.into(),
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

#[cfg(test)]
mod tests {
    use bezant_archive::{Broken, Damage};
    use bezant_client::AccountId;

    use super::*;

    #[test]
    fn errors_of_exports_have_their_exit_codes() {
        let broken = Broken::Account { id: AccountId(1), what: "it is there twice".to_owned() };
        let damage = Damage::CutOff;
        for (error, code, words) in [
            (ArchiveError::Damaged { line: 3, record: None, damage }, 5, "line 3: it is cut off"),
            (
                ArchiveError::Broken { broken: broken.clone(), is_maybe_of_one: true },
                5,
                "twice; if this is the export of one account, name the account with --of ACCOUNT",
            ),
            (ArchiveError::Broken { broken, is_maybe_of_one: false }, 5, "twice"),
            (ArchiveError::Read(std::io::ErrorKind::IsADirectory.into()), 1, "directory"),
        ] {
            let failure = Failure::from(error);
            assert_eq!(failure.number(), code, "{failure}");
            assert!(failure.to_string().ends_with(words), "{failure}");
        }
        let missing = bezant_archive::open(std::path::Path::new("/nowhere/e.jsonl")).err().unwrap();
        assert_eq!(Failure::from(missing).number(), 4);
    }
}
