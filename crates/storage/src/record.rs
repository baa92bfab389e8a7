//! Small records, each replaced as a whole: the vote, the identities of the node and of a group, the members,
//! a change of the log under way, damage of the history, a conflict between committed entries, the terms of
//! the committed log.
//!
//! A record is one block of 4096 bytes in its own file. A new record is written to a second file and made
//! durable. Then the two files exchange their names, so a crash leaves the old record or the new one. The
//! second file now holds the old record. The next record overwrites it and needs no new disk space
//! ([`reserve_space`]). If the file system cannot exchange names, or there was no old record, the second file
//! is renamed instead. Then space for the next record is allocated, if the disk has some.
//!
//! A damaged record is an error and is never treated as absent: after a lost vote, two leaders could be
//! elected in one term. Before the vote, the identity or the members are read, the folder is synced, because
//! the process that wrote the record may have been killed before it did that.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic "BZNTREC" and a zero |
//! | 8 | 4 | format version of this kind: 1; of kind 2 also 2 |
//! | 12 | 4 | kind: 1 vote, 2 node, 3 change of the log, 4 damage of the history, 5 members, 6 conflict, 7 terms, 8 group |
//! | 16 | 4 | bytes of content |
//! | 20 | 4068 | content, and zeros after it |
//! | 4088 | 8 | checksum of bytes 0..4088, seeded with the kind |

mod copy;
mod group;
mod identity;
mod node;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bezant_codec::{DecodeError, Reader, checksum_seeded};
use bezant_consensus::{Conflict, Members, Terms, Vote};
use bezant_types::{NodeId, Term};
use thiserror::Error;

pub use self::copy::{restore_group_records, restore_records};
pub use self::group::{GroupIdentity, MachineKind};
pub use self::identity::{Identity, KnownDisk};
pub use self::node::{Found, NodeIdentity};
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

const MAGIC: [u8; 8] = *b"BZNTREC\0";
/// The version of all records but one: see [`RecordKind::version_max`].
const FORMAT_VERSION: u32 = 1;
const HEAD_SIZE: usize = 20;
const CHECKSUM_OFFSET: usize = BLOCK_SIZE - 8;
/// Maximal bytes of a record's content.
const CONTENT_SIZE_MAX: usize = CHECKSUM_OFFSET - HEAD_SIZE;

/// What the operator can do about a damaged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordAdvice {
    /// The node must not take part again: another one takes its place.
    #[error(
        "a node without its vote or identity must not take part again. Treat it as lost: replace it in the \
         cluster, and let it join with an empty folder; see \"A damaged disk\" in docs/operations.md"
    )]
    Replace,
    /// The other nodes have the same list.
    #[error(
        "copy members.bzm from the folder of another node, and start the node again; see \"A damaged disk\" in \
         docs/operations.md"
    )]
    CopyMembers,
    /// The record said that the node has entries that the others lack.
    #[error(
        "this node had stopped because it has committed entries that the others lack. Keep the folder, and see \"A \
         node that knows more than the others\" in docs/operations.md"
    )]
    Keep,
    /// The record belongs to a log that cannot be continued.
    #[error("restore the whole folder from a copy or a replica, or examine its files")]
    RestoreFolder,
    /// Nothing repairs the record.
    #[error(
        "the other nodes of the cluster continue without this one: keep the folder and examine its files"
    )]
    Examine,
}

/// Why a record was not read or written.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The record on the disk is not what was written.
    #[error("{file} is damaged: {reason}; nothing was changed: {advice}")]
    Damaged {
        /// Name of the file.
        file: String,
        /// What is wrong.
        reason: &'static str,
        /// What the operator can do.
        advice: RecordAdvice,
    },
    /// Another version of this program wrote the record.
    #[error(
        "{file} has format version {found}, and this program reads only version {known}: \
         use the program that wrote it"
    )]
    UnknownVersion {
        /// Name of the file.
        file: String,
        /// Format version of the record.
        found: u32,
        /// Format version that this program reads.
        known: u32,
    },
    /// The disk is full. Nothing was changed; the call can be repeated once there is space.
    #[error(transparent)]
    NoSpace(DiskError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Kind of a record; the number is part of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum RecordKind {
    Vote = 1,
    Identity = 2,
    Rewrite = 3,
    Damage = 4,
    Members = 5,
    Conflict = 6,
    Terms = 7,
    Group = 8,
}

impl RecordKind {
    /// The records of a folder of version 0.1, which has no folders for groups.
    const OF_ONE_FOLDER: [Self; 7] =
        [Self::Vote, Self::Identity, Self::Rewrite, Self::Damage, Self::Members, Self::Conflict, Self::Terms];
    /// The records of a data folder whose groups have folders.
    const OF_NODE: [Self; 1] = [Self::Identity];
    /// The records of a group's folder.
    const OF_GROUP: [Self; 7] =
        [Self::Vote, Self::Group, Self::Rewrite, Self::Damage, Self::Members, Self::Conflict, Self::Terms];

    /// The newest format version of this kind that this program reads; it reads the older ones too.
    const fn version_max(self) -> u32 {
        match self {
            Self::Identity => node::FORMAT_VERSION,
            _ => FORMAT_VERSION,
        }
    }

    const fn file_name(self) -> &'static str {
        match self {
            Self::Vote => "vote.bzv",
            Self::Identity => "node.bzi",
            Self::Rewrite => "log-rewrite.bzr",
            Self::Damage => "damage.bzr",
            Self::Members => "members.bzm",
            Self::Conflict => "conflict.bzr",
            Self::Terms => "terms.bzr",
            Self::Group => "group.bzi",
        }
    }

    const fn unfinished_name(self) -> &'static str {
        match self {
            Self::Vote => "vote.tmp",
            Self::Identity => "node.tmp",
            Self::Rewrite => "log-rewrite.tmp",
            Self::Damage => "damage.tmp",
            Self::Members => "members.tmp",
            Self::Conflict => "conflict.tmp",
            Self::Terms => "terms.tmp",
            Self::Group => "group.tmp",
        }
    }

    /// Advice for a damaged record of this kind.
    const fn advice(self) -> RecordAdvice {
        match self {
            Self::Vote | Self::Identity | Self::Group => RecordAdvice::Replace,
            Self::Members => RecordAdvice::CopyMembers,
            Self::Conflict => RecordAdvice::Keep,
            Self::Rewrite | Self::Damage | Self::Terms => RecordAdvice::Examine,
        }
    }
}

fn damaged(kind: RecordKind, reason: &'static str) -> RecordError {
    RecordError::Damaged { file: kind.file_name().to_owned(), reason, advice: kind.advice() }
}

/// True when the folder has a file `name`.
fn exists(disk: &dyn Disk, name: &str) -> Result<bool, DiskError> {
    Ok(disk.list()?.iter().any(|file| file == name))
}

/// A record as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    version: u32,
    content: Vec<u8>,
}

/// Reads a record of format version 1; `None` when there is none.
pub(crate) fn load(disk: &dyn Disk, kind: RecordKind) -> Result<Option<Vec<u8>>, RecordError> {
    match load_from(disk, kind.file_name(), kind)? {
        Some(record) if record.version != FORMAT_VERSION => {
            Err(unknown_version(kind, record.version, FORMAT_VERSION))
        }
        record => Ok(record.map(|record| record.content)),
    }
}

fn unknown_version(kind: RecordKind, found: u32, known: u32) -> RecordError {
    RecordError::UnknownVersion { file: kind.file_name().to_owned(), found, known }
}

/// Reads a record, or its copy, of any version that is known.
fn load_from(disk: &dyn Disk, name: &str, kind: RecordKind) -> Result<Option<Record>, RecordError> {
    if !exists(disk, name)? {
        return Ok(None);
    }
    let file = disk.open(name, OpenMode::Read)?;
    if file.size()? != BLOCK_SIZE as u64 {
        return Err(damaged(kind, "the file does not have the size of a record"));
    }
    let mut block = [0; BLOCK_SIZE];
    file.read_at(0, &mut block)?;
    let broken = |_: DecodeError| damaged(kind, "the magic or the checksum is wrong");
    let mut reader = Reader::new(&block);
    let magic = reader.array::<8>().map_err(broken)?;
    let (version, found_kind) = (reader.u32().map_err(broken)?, reader.u32().map_err(broken)?);
    let size = usize::try_from(reader.u32().map_err(broken)?).unwrap_or(usize::MAX);
    let checksum = Reader::new(&block[CHECKSUM_OFFSET..]).u64().map_err(broken)?;
    if magic != MAGIC || checksum != checksum_seeded(kind as u64, &block[..CHECKSUM_OFFSET]) {
        return Err(damaged(kind, "the magic or the checksum is wrong"));
    }
    if version == 0 || version > kind.version_max() {
        return Err(unknown_version(kind, version, kind.version_max()));
    }
    if found_kind != kind as u32 || size > CONTENT_SIZE_MAX {
        return Err(damaged(kind, "the file holds another record"));
    }
    Ok(Some(Record { version, content: block[HEAD_SIZE..HEAD_SIZE + size].to_vec() }))
}

/// Replaces a record, in format version 1; durable on return. After [`RecordError::NoSpace`] the old record
/// is unchanged.
pub(crate) fn store(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<(), RecordError> {
    store_block(disk, kind, &block_of(kind, FORMAT_VERSION, content))
}

fn store_block(disk: &dyn Disk, kind: RecordKind, block: &[u8; BLOCK_SIZE]) -> Result<(), RecordError> {
    write_file(disk, kind.unfinished_name(), block)?.sync()?;
    let has_older = exists(disk, kind.file_name())?;
    if has_older && disk.exchange(kind.unfinished_name(), kind.file_name())? {
        return Ok(disk.sync_folder()?);
    }
    disk.rename(kind.unfinished_name(), kind.file_name())?;
    disk.sync_folder()?;
    match write_file(disk, kind.unfinished_name(), &[0; BLOCK_SIZE]) {
        Err(error) if !matches!(error, RecordError::NoSpace(_)) => Err(error),
        _ => Ok(()),
    }
}

/// The bytes of a record on the disk.
fn block_of(kind: RecordKind, version: u32, content: &[u8]) -> [u8; BLOCK_SIZE] {
    assert!(content.len() <= CONTENT_SIZE_MAX, "a record is small");
    assert!((1..=kind.version_max()).contains(&version), "a record that is written can be read");
    let size = u32::try_from(content.len()).expect("invariant: a record is small");
    let mut block = [0; BLOCK_SIZE];
    block[..8].copy_from_slice(&MAGIC);
    block[8..12].copy_from_slice(&version.to_le_bytes());
    block[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    block[16..20].copy_from_slice(&size.to_le_bytes());
    block[HEAD_SIZE..HEAD_SIZE + content.len()].copy_from_slice(content);
    let checksum = checksum_seeded(kind as u64, &block[..CHECKSUM_OFFSET]);
    block[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
    block
}

/// Writes a block to the second file of a record. An existing file already has its disk space; a file of
/// another size is removed first.
fn write_file(
    disk: &dyn Disk,
    name: &str,
    block: &[u8; BLOCK_SIZE],
) -> Result<Arc<dyn DiskFile>, RecordError> {
    let no_space = |error| match error {
        DiskError::Full { .. } => RecordError::NoSpace(error),
        other => RecordError::Disk(other),
    };
    let file = match disk.open(name, OpenMode::Write) {
        Err(DiskError::NotFound { .. }) => disk.open(name, OpenMode::Create).map_err(no_space)?,
        Ok(file) if file.size()? != BLOCK_SIZE as u64 => {
            disk.remove(name)?;
            disk.open(name, OpenMode::Create).map_err(no_space)?
        }
        other => other?,
    };
    file.write_at(0, block).map_err(no_space)?;
    Ok(file)
}

/// Allocates disk space for the next record of every kind, where that is missing. Then votes and member lists
/// can be stored on a full disk. True when all space is allocated.
pub fn reserve_space(disk: &dyn Disk) -> Result<bool, RecordError> {
    reserve_space_for(disk, &RecordKind::OF_ONE_FOLDER)
}

/// The same as [`reserve_space`] for the records of a data folder whose groups have folders.
pub fn reserve_node_space(disk: &dyn Disk) -> Result<bool, RecordError> {
    reserve_space_for(disk, &RecordKind::OF_NODE)
}

/// The same as [`reserve_space`] for the records in the folder of a group.
pub fn reserve_group_space(disk: &dyn Disk) -> Result<bool, RecordError> {
    reserve_space_for(disk, &RecordKind::OF_GROUP)
}

fn reserve_space_for(disk: &dyn Disk, kinds: &[RecordKind]) -> Result<bool, RecordError> {
    let mut has_all = true;
    for kind in kinds {
        if has_space(disk, kind.unfinished_name())? {
            continue;
        }
        match write_file(disk, kind.unfinished_name(), &[0; BLOCK_SIZE]) {
            Ok(file) => file.sync()?,
            Err(RecordError::NoSpace(_)) => has_all = false,
            Err(error) => return Err(error),
        }
    }
    disk.sync_folder()?;
    Ok(has_all)
}

/// True when the file has the size of a record: then its space is allocated. A file that was created on a
/// full disk is shorter.
fn has_space(disk: &dyn Disk, name: &str) -> Result<bool, RecordError> {
    match disk.open(name, OpenMode::Read) {
        Ok(file) => Ok(file.size()? == BLOCK_SIZE as u64),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a record; durable on return. Its disk space is kept for the next one.
pub(crate) fn remove(disk: &dyn Disk, kind: RecordKind) -> Result<(), RecordError> {
    if exists(disk, kind.file_name())? {
        disk.rename(kind.file_name(), kind.unfinished_name())?;
        disk.sync_folder()?;
    }
    Ok(())
}

/// Stores the last vote. After a failed write every later call fails, because the content of the disk is
/// unknown.
#[derive(Debug)]
pub struct VoteStore {
    disk: Arc<dyn Disk>,
    failed: Option<RecordError>,
}

impl VoteStore {
    /// Reads the last vote and makes its file name durable; `None` when there never was one.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(Self, Option<Vote>), RecordError> {
        disk.sync_folder()?;
        let vote = load(&*disk, RecordKind::Vote)?.map(|content| decode_vote(&content)).transpose();
        let vote = vote.map_err(|_| damaged(RecordKind::Vote, "it does not hold a vote"))?;
        Ok((Self { disk, failed: None }, vote))
    }

    /// The error of a folder that lacks its vote though it has a log: a vote is durable before the log of a new
    /// folder, and before any entry of its term.
    pub fn missing() -> RecordError {
        damaged(RecordKind::Vote, "it is missing, although there is a log")
    }

    /// Allocates disk space for the next vote, where that is missing; true when it is allocated. The other
    /// records are left alone, because other threads may be writing them. The function [`reserve_space`] is
    /// for the start of a node, when there are no other writers.
    pub fn reserve_space(&self) -> Result<bool, RecordError> {
        reserve_space_for(&*self.disk, &[RecordKind::Vote])
    }

    /// Replaces the vote; durable on return. After [`RecordError::NoSpace`] the call can be repeated.
    pub fn save(&mut self, vote: Vote) -> Result<(), RecordError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut content = [0; 16];
        content[..8].copy_from_slice(&vote.term.0.to_le_bytes());
        content[8..].copy_from_slice(&vote.voted_for.0.to_le_bytes());
        store(&*self.disk, RecordKind::Vote, &content).inspect_err(|error| {
            if !matches!(error, RecordError::NoSpace(_)) {
                self.failed = Some(error.clone());
            }
        })
    }
}

fn decode_vote(content: &[u8]) -> Result<Vote, DecodeError> {
    let mut reader = Reader::new(content);
    let vote = Vote { term: Term(reader.u64()?), voted_for: NodeId(reader.u64()?) };
    reader.finish()?;
    Ok(vote)
}

/// Reads the members of the cluster and makes the file name durable; `None` when no list was stored yet.
pub fn load_members(disk: &dyn Disk) -> Result<Option<Members>, RecordError> {
    disk.sync_folder()?;
    let Some(content) = load(disk, RecordKind::Members)? else { return Ok(None) };
    let mut rest = content.as_slice();
    let members = Members::decode(&mut rest).filter(|_| rest.is_empty());
    members.map(Some).ok_or_else(|| damaged(RecordKind::Members, "it does not hold a list of members"))
}

/// Replaces the members of the cluster; durable on return.
pub fn store_members(disk: &dyn Disk, members: &Members) -> Result<(), RecordError> {
    copy::store(disk, RecordKind::Members, FORMAT_VERSION, &members.encode())
}

/// Reads why this replica has stopped; `None` when it has not. A damaged record is an error: otherwise the
/// replica would take part again.
pub fn load_conflict(disk: &dyn Disk) -> Result<Option<Conflict>, RecordError> {
    let Some(content) = load(disk, RecordKind::Conflict)? else { return Ok(None) };
    let conflict = Conflict::decode(&content);
    conflict.map(Some).ok_or_else(|| damaged(RecordKind::Conflict, "it does not hold a conflict"))
}

/// Stores why this replica has stopped, so that it stays stopped after a restart. Durable on return.
pub fn store_conflict(disk: &dyn Disk, conflict: &Conflict) -> Result<(), RecordError> {
    store(disk, RecordKind::Conflict, &conflict.encode())
}

/// Reads the terms of the committed log, at least up to the newest checkpoint; empty when none were stored
/// yet.
pub fn load_terms(disk: &dyn Disk) -> Result<Terms, RecordError> {
    let Some(content) = load(disk, RecordKind::Terms)? else { return Ok(Terms::default()) };
    let mut rest = content.as_slice();
    let terms = Terms::decode(&mut rest).filter(|_| rest.is_empty());
    terms.ok_or_else(|| damaged(RecordKind::Terms, "it does not hold a list of terms"))
}

/// Replaces the terms of the committed log; durable on return. Called before the checkpoint that they cover
/// is durable.
pub fn store_terms(disk: &dyn Disk, terms: &Terms) -> Result<(), RecordError> {
    store(disk, RecordKind::Terms, &terms.encode())
}
