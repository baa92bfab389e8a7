//! Repair of damage: one of several replicas drops its damaged data and fetches it from the others.
//!
//! The replica may have acknowledged what it drops. Therefore three steps happen in this order, and each is
//! durable before the next:
//!
//! 1. The identity records that this disk is not admitted. The replica neither votes nor stands for election
//!    until a leader was elected without its vote, and its disk has every entry that this leader had
//!    committed.
//! 2. The vote moves on to a new term. The replica then follows no leader of an earlier term. So its
//!    acknowledgements in those terms no longer count, not even one that is still in the network.
//! 3. The damaged data is dropped: the log from the damage on, or state, history and log when the checkpoint
//!    or the history is damaged.
//!
//! After a crash between two steps the damage is still there, and the next start begins with step 1. Damage
//! of the identity or of the vote is not repaired: a lost vote could elect two leaders.

use std::fmt;
use std::sync::Arc;

use bezant_consensus::Vote;
use bezant_storage::HistoryError;
use bezant_storage::checkpoint::CheckpointError;
use bezant_storage::disk::Disk;
use bezant_storage::log::{self, LogError};
use bezant_storage::record::{Identity, RecordError, VoteStore};
use bezant_storage::repair::{remove_set_aside, remove_state};
use bezant_types::{LogIndex, NodeId, Term};

use crate::recover::RecoverError;

/// What was damaged, and what was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The damage, with file and place.
    pub damage: String,
    /// The last entry of the log that was kept; `None` when state, history and log were dropped.
    pub kept: Option<LogIndex>,
}

impl fmt::Display for Repair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept {
            Some(kept) => write!(formatter, "entries after {kept} are fetched from the other nodes")?,
            None => write!(formatter, "state, history and log are fetched from the other nodes")?,
        }
        write!(formatter, "; until then this node does not vote. Found: {}", self.damage)
    }
}

/// Repairs the damage that `error` reports; `None`, with nothing changed, when a repair does not help.
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
    // Without the vote, the term in which this replica acknowledged entries is not known: nothing is repaired.
    if is_first && VoteStore::open(Arc::clone(disk))?.1.is_none() {
        return Err(VoteStore::missing().into());
    }
    Identity { is_admitted: false, ..identity }.store(&**disk)?;
    if is_first {
        leave_term(disk)?;
        remove_set_aside(&**disk)?;
    }
    let kept = if let RecoverError::Log(damage) = error {
        Some(log::repair(&**disk, checkpoint, damage)?)
    } else {
        remove_state(&**disk, damaged_file)?;
        None
    };
    Ok(Some(Repair { damage: describe(error), kept }))
}

/// The damage alone, without the error's advice: that advice is for a node that has no peers.
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

/// Moves to a term in which this replica has acknowledged nothing and has not voted.
fn leave_term(disk: &Arc<dyn Disk>) -> Result<(), RecoverError> {
    let (mut votes, vote) = VoteStore::open(Arc::clone(disk))?;
    let term = Term(vote.unwrap_or_default().term.0 + 1);
    Ok(votes.save(Vote { term, voted_for: NodeId(0) })?)
}
