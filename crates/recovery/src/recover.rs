//! Reads a replica's state back from its disk.

use std::sync::Arc;

use bezant_consensus::{Conflict, LogEntry, Terms, Vote};
use bezant_replica::{ReplayError, replay};
use bezant_rsm::{Prefetch, RestoreError};
use bezant_storage::checkpoint::{CheckpointError, CheckpointStore};
use bezant_storage::disk::{Disk, DiskError};
use bezant_storage::log::{self, CutTail, Log, LogError, LogOptions};
use bezant_storage::record::{Identity, RecordError, VoteStore, load_conflict, load_terms};
use bezant_storage::repair::{DamageNote, is_only_voter};
use bezant_storage::{History, HistoryError, HistoryReader};
use bezant_types::{FetchKey, Fetched, LogIndex, Term};
use thiserror::Error;

use crate::machine::Machine;
use crate::repair::{Repair, repair};

/// Why recovery failed. Acknowledged data is unchanged, except where the other replicas have it; the start
/// can be repeated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The folder cannot be used: another process has locked it, or the system refused access.
    #[error("the data folder cannot be used: {0}")]
    Disk(#[from] DiskError),
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's bytes are intact, but they are not a state of this machine.
    #[error("the checkpoint cannot be used: {0}")]
    Restore(#[from] RestoreError),
    /// The history cannot be read.
    #[error("the history cannot be read: {0}")]
    History(#[from] HistoryError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
    /// An entry of the log cannot be applied.
    #[error("the log cannot be applied: {0}")]
    Replay(#[from] ReplayError<HistoryError>),
    /// A record cannot be read or written.
    #[error("the vote or another record cannot be read or written: {0}")]
    Record(#[from] RecordError),
}

/// How the entries of the log are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By this replica alone: every entry of its log is committed, and is applied during recovery.
    Alone,
    /// By the group: entries after the checkpoint are applied later, when the engine reports that they are
    /// committed.
    Grouped,
}

/// The recovered state of a replica.
#[derive(Debug)]
pub struct Recovered<M> {
    /// Stores later checkpoints.
    pub store: CheckpointStore,
    /// The state after `applied`.
    pub machine: M,
    /// The machine's rows.
    pub history: History,
    /// The log, ready to append the next entry.
    pub log: Log,
    /// Stores later votes.
    pub votes: VoteStore,
    /// The last vote; `None` when this replica has not voted and knows of no term.
    pub vote: Option<Vote>,
    /// The checkpoint from which the state was restored, and the term of its last entry; zeros for none.
    pub checkpoint: (LogIndex, Term),
    /// The last entry that `machine` has applied.
    pub applied: LogIndex,
    /// With [`Mode::Grouped`], the entries of the log after the checkpoint; empty with [`Mode::Alone`].
    pub entries: Vec<LogEntry>,
    /// The last entry in the log that this disk records as committed.
    pub committed: LogIndex,
    /// The terms of the log, up to `checkpoint` or further.
    pub terms: Terms,
    /// The conflict for which this replica stopped earlier; `None` when it did not. Such a replica stays
    /// stopped, and every entry that it knows to be committed is applied.
    pub conflict: Option<Conflict>,
    /// Bytes of the entries between the checkpoint and `applied`.
    pub log_bytes: usize,
    /// The number of those entries.
    pub entries_replayed: u64,
    /// The end of the log that a crash left half written; no entry in it was acknowledged.
    pub cut: Option<CutTail>,
    /// The damage that was dropped and must come from the other replicas, in the order in which it was found.
    pub repairs: Vec<Repair>,
}

/// Reads the rows of a prefetch. Their position is at most the machine's when it chose the keys.
pub fn fetch(reader: &HistoryReader, prefetch: &Prefetch<FetchKey>) -> Result<Fetched, HistoryError> {
    let mut found = reader.fetch(&prefetch.keys)?;
    found.seen = found.seen.earlier(prefetch.position);
    Ok(found)
}

/// Maximal number of repairs in one start. Each keeps less than the one before it. A disk that needs more is
/// not usable.
const REPAIRS_MAX: usize = 8;

/// Reads everything back. If other replicas can supply what is damaged, this replica drops it, and fetches it
/// from them later.
pub fn recover<M: Machine>(
    disk: &Arc<dyn Disk>,
    options: LogOptions,
    mode: Mode,
) -> Result<Recovered<M>, RecoverError> {
    let mut repairs = Vec::new();
    loop {
        let mut checkpoint = (LogIndex(0), Term(0));
        let error = match read_back(disk, options, mode, &mut checkpoint) {
            Ok(recovered) => return Ok(Recovered { repairs, ..recovered }),
            Err(error) => error,
        };
        // A stopped replica, or the only voter, may be the only replica with its entries: nothing is dropped
        // there.
        if mode == Mode::Alone
            || repairs.len() == REPAIRS_MAX
            || load_conflict(&**disk)?.is_some()
            || !has_others(&**disk)?
        {
            return Err(error);
        }
        match repair(disk, checkpoint, &error, repairs.is_empty())? {
            Some(repair) => repairs.push(repair),
            None => return Err(error),
        }
    }
}

/// Opens the record of the vote. A new folder gets a vote before its log, so a log without a vote shows that
/// the vote was lost. Only folders of version 0.1 may have an empty log without one.
fn open_votes(disk: &Arc<dyn Disk>, mode: Mode) -> Result<(VoteStore, Option<Vote>), RecoverError> {
    let (mut votes, vote) = VoteStore::open(Arc::clone(disk))?;
    if vote.is_some() || mode == Mode::Alone || log::has_segments(&**disk)? {
        return Ok((votes, vote));
    }
    votes.save(Vote::default())?;
    Ok((votes, Some(Vote::default())))
}

/// An error when damage of the history was found while the replica ran, and the others can supply the rows.
fn check_noted_damage(disk: &dyn Disk) -> Result<(), RecoverError> {
    let Some(DamageNote { file, offset }) = DamageNote::load(disk)? else { return Ok(()) };
    if !has_others(disk)? {
        return Ok(());
    }
    let advice = "the damage was found while the node ran";
    Err(RecoverError::History(HistoryError::Damaged { file, offset, advice }))
}

/// False when this replica is the only voter of its group. True when its disk does not say who votes.
fn has_others(disk: &dyn Disk) -> Result<bool, RecordError> {
    let Some(identity) = Identity::load(disk)? else { return Ok(true) };
    Ok(!is_only_voter(disk, identity.node)?)
}

/// Reads everything back, or returns the first damage. Sets `checkpoint` as soon as the checkpoint is read,
/// so that it is known when later data is damaged.
fn read_back<M: Machine>(
    disk: &Arc<dyn Disk>,
    options: LogOptions,
    mode: Mode,
    checkpoint: &mut (LogIndex, Term),
) -> Result<Recovered<M>, RecoverError> {
    let (mut votes, vote) = open_votes(disk, mode)?;
    let conflict = if mode == Mode::Grouped { load_conflict(&**disk)? } else { None };
    if mode == Mode::Grouped && conflict.is_none() {
        check_noted_damage(&**disk)?;
    }
    let store = CheckpointStore::new(Arc::clone(disk));
    let mut machine = match store.load_newest()? {
        Some(newest) => {
            *checkpoint = (newest.index, newest.term);
            M::restore(&newest.bytes)?
        }
        None => M::default(),
    };
    let checkpoint = *checkpoint;
    let mut history = History::open(Arc::clone(disk), machine.position())?;
    let (log, mut recovered) = Log::open(Arc::clone(disk), options, checkpoint.0)?;
    let reader = history.reader();
    let (mut applied, mut log_bytes, mut entries_replayed) = (checkpoint.0, 0, 0);
    let mut entries = Vec::new();
    while let Some(entry) = recovered.entries.next()? {
        if mode == Mode::Grouped {
            entries.push(entry.clone());
            if conflict.is_none_or(|conflict| entry.index > conflict.committed) {
                continue;
            }
        }
        if let Some(rows) = replay(&mut machine, &entry, |prefetch| fetch(&reader, prefetch))? {
            history.append(rows.movements, rows.refusals)?;
        }
        while history.maintain()? {}
        applied = entry.index;
        log_bytes += entry.payload.len();
        entries_replayed += 1;
    }
    if vote.is_none() && mode == Mode::Grouped {
        if checkpoint.0 > LogIndex(0) || !entries.is_empty() {
            return Err(VoteStore::missing().into());
        }
        votes.save(Vote::default())?;
    }
    let cut = recovered.cut;
    let committed = recovered.committed.max(recovered.entries.committed()).min(log.last_index()).max(applied);
    // If the record is damaged, the list begins empty. Then fewer terms can be compared with other replicas,
    // and those that are added from now on are still right.
    let mut terms = match load_terms(&**disk) {
        Err(RecordError::Damaged { .. }) => Terms::new(),
        terms => terms?,
    };
    if checkpoint.0 > LogIndex(0) {
        terms.push(checkpoint.1, checkpoint.0);
    }
    Ok(Recovered {
        store,
        machine,
        history,
        log,
        votes,
        vote: vote.filter(|vote| *vote != Vote::default()),
        checkpoint,
        applied,
        entries,
        committed,
        terms,
        conflict,
        log_bytes,
        entries_replayed,
        cut,
        repairs: Vec::new(),
    })
}
