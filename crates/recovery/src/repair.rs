//! One of several replicas whose disk is damaged forgets what is damaged: the others have it.
//!
//! What it forgets may be what it has confirmed before. So three things happen, in this order, each durable before
//! the next:
//!
//! 1. The identity notes that this disk is not admitted: the replica neither votes nor stands until it has on disk
//!    what a leader has agreed that was elected without it.
//! 2. The vote moves on to a term of its own. So no leader of an earlier term is followed any more, and whatever
//!    this replica has confirmed in one counts for nothing from then on: not even a message that is on its way still.
//! 3. What is damaged is forgotten: the log from the damage on; or all of it, when checkpoint or history are.
//!
//! A crash between two of them leaves the damage where it was, and the next start begins here again. Damage of
//! identity or vote is not repaired: a forgotten vote could elect two leaders.

use std::fmt;
use std::sync::Arc;

use bezant_consensus::Vote;
use bezant_storage::HistoryError;
use bezant_storage::checkpoint::CheckpointError;
use bezant_storage::disk::Disk;
use bezant_storage::log::{self, LogError};
use bezant_storage::record::{Identity, RecordError, VoteStore};
use bezant_storage::repair::{forget_all, remove_set_aside};
use bezant_types::{LogIndex, NodeId, Term};

use crate::recover::RecoverError;

/// What was damaged, and what stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What was found, with file and place.
    pub damage: String,
    /// The last entry of the log that stayed; `None` when nothing did, not the state either.
    pub kept: Option<LogIndex>,
}

impl fmt::Display for Repair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept {
            Some(kept) => write!(formatter, "entries behind {kept} are fetched from the other nodes")?,
            None => write!(formatter, "state, history and log are fetched from the other nodes")?,
        }
        write!(formatter, "; until then this node does not vote. Found: {}", self.damage)
    }
}

/// Repairs what this error tells of; `None`, and nothing is changed, when it is nothing that a repair helps.
pub(crate) fn repair(
    disk: &Arc<dyn Disk>,
    checkpoint: (LogIndex, Term),
    error: &RecoverError,
    is_first: bool,
) -> Result<Option<Repair>, RecoverError> {
    let damaged_file = match error {
        RecoverError::Checkpoint(error) => error.damaged_file(),
        RecoverError::History(error) => error.damaged_file(),
        RecoverError::Log(error) => error.is_damage().then_some(""),
        _ => None,
    };
    let Some(damaged_file) = damaged_file else { return Ok(None) };
    let Some(identity) = Identity::load(&**disk)? else { return Ok(None) };
    Identity { is_admitted: false, ..identity }.store(&**disk)?;
    if is_first {
        leave_term(disk)?;
        remove_set_aside(&**disk)?;
    }
    let kept = if let RecoverError::Log(damage) = error {
        Some(log::repair(&**disk, checkpoint, damage)?)
    } else {
        forget_all(&**disk, damaged_file)?;
        None
    };
    Ok(Some(Repair { damage: describe(error), kept }))
}

/// The damage alone, without the advice for a node that is alone.
fn describe(error: &RecoverError) -> String {
    match error {
        RecoverError::Checkpoint(CheckpointError::Damaged { file, offset, reason, .. })
        | RecoverError::Log(LogError::Damaged { file, offset, reason, .. }) => {
            format!("{file} is damaged at offset {offset}: {reason}")
        }
        RecoverError::Log(LogError::Missing { expected_index, reason, .. }) => {
            format!("the log has no file with entry {expected_index}: {reason}")
        }
        RecoverError::Log(LogError::Record(RecordError::Damaged { file, reason, .. })) => {
            format!("{file} is damaged: {reason}")
        }
        RecoverError::History(HistoryError::Damaged { file, offset, .. }) => {
            format!("{file} is damaged at offset {offset}")
        }
        other => other.to_string(),
    }
}

/// From now on this replica is in a term in which it has confirmed nothing, and voted for nobody.
fn leave_term(disk: &Arc<dyn Disk>) -> Result<(), RecoverError> {
    let (mut votes, vote) = VoteStore::open(Arc::clone(disk))?;
    let term = Term(vote.unwrap_or_default().term.0 + 1);
    Ok(votes.save(Vote { term, voted_for: NodeId(0) })?)
}
