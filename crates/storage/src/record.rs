//! Small records that are replaced as a whole: the vote, who the node is, who the others are, a change of the log
//! under way, damage, what is known to be committed and contradicted, the terms of the committed log.
//!
//! A record is one block of 4096 bytes in a file of its own. It is written beside the old one, made durable,
//! and given the name: a crash leaves the old record or the new one. The two files exchange their names, so that the
//! next record is written over the one before the last, and needs no room on the disk ([`keep_room`]). Where the files
//! cannot exchange their names, or there was no older record, the room for the next is taken when there is some. One that is not what was written is an
//! error and never taken for none: a forgotten vote could elect two leaders. What a process has read is durable:
//! the one that wrote it may have been killed before it was.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic "BZNTREC" and a zero |
//! | 8 | 4 | format version |
//! | 12 | 4 | kind: 1 vote, 2 identity, 3 change of the log, 4 damage of the history, 5 members, 6 conflict, 7 terms |
//! | 16 | 4 | bytes of content |
//! | 20 | 4068 | content, and zeros after it |
//! | 4088 | 8 | checksum of bytes 0..4088, seeded with the kind |

mod copy;

use std::sync::Arc;

use bezant_codec::{DecodeError, Reader, checksum_seeded};
use bezant_consensus::{Conflict, EngineKind, Members, Terms, Vote};
use bezant_types::{LogIndex, NodeId, Term};
use thiserror::Error;

pub use self::copy::mend;
use crate::disk::{BLOCK_SIZE, Disk, DiskError, DiskFile, OpenMode};

const MAGIC: [u8; 8] = *b"BZNTREC\0";
const FORMAT_VERSION: u32 = 1;
const HEAD_SIZE: usize = 20;
const CHECKSUM_OFFSET: usize = BLOCK_SIZE - 8;
/// Bytes that a record may hold.
const CONTENT_SIZE_MAX: usize = CHECKSUM_OFFSET - HEAD_SIZE;
/// Peers that an identity may know.
const KNOWN_MAX: usize = 64;

/// Why a record was not read or written.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// It is not what was written.
    #[error("{file} is damaged: {reason}; nothing was changed: {advice}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: &'static str,
        /// What can be done.
        advice: &'static str,
    },
    /// Written by another version of this program.
    #[error(
        "{file} has format version {found}, and this program knows version {known} alone: use the program that wrote it"
    )]
    UnknownVersion {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is no room. Nothing was changed: it can be tried again when there is.
    #[error(transparent)]
    NoRoom(DiskError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What a record is.
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
}

impl RecordKind {
    const ALL: [Self; 7] =
        [Self::Vote, Self::Identity, Self::Rewrite, Self::Damage, Self::Members, Self::Conflict, Self::Terms];

    const fn file_name(self) -> &'static str {
        match self {
            Self::Vote => "vote.bzv",
            Self::Identity => "node.bzi",
            Self::Rewrite => "log-rewrite.bzr",
            Self::Damage => "damage.bzr",
            Self::Members => "members.bzm",
            Self::Conflict => "conflict.bzr",
            Self::Terms => "terms.bzr",
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
        }
    }

    /// What can be done about one that is damaged.
    const fn advice(self) -> &'static str {
        match self {
            Self::Vote | Self::Identity => {
                "a node that has forgotten what it promised takes part no more. Take it for lost: `bezant cluster replace N` \
                 at another node, and start it on an empty folder with --join; see \"A damaged disk\" in docs/operations.md"
            }
            Self::Members => {
                "copy members.bzm from the folder of another node, and start again; see \"A damaged disk\" in docs/operations.md"
            }
            Self::Conflict => {
                "this node had stopped, for it knows more than the others. Keep the folder, and see \"A node that knows more than \
                 the others\" in docs/operations.md"
            }
            Self::Rewrite | Self::Damage | Self::Terms => {
                "keep the folder and look at it; of a cluster, the other nodes go on without this one"
            }
        }
    }
}

fn damaged(kind: RecordKind, reason: &'static str) -> RecordError {
    RecordError::Damaged { file: kind.file_name().to_owned(), reason, advice: kind.advice() }
}

/// True when there is such a file.
fn exists(disk: &dyn Disk, name: &str) -> Result<bool, DiskError> {
    Ok(disk.list()?.iter().any(|file| file == name))
}

/// Reads a record; `None` when there is none.
pub(crate) fn load(disk: &dyn Disk, kind: RecordKind) -> Result<Option<Vec<u8>>, RecordError> {
    load_from(disk, kind.file_name(), kind)
}

fn load_from(disk: &dyn Disk, name: &str, kind: RecordKind) -> Result<Option<Vec<u8>>, RecordError> {
    if !exists(disk, name)? {
        return Ok(None);
    }
    let file = disk.open(name, OpenMode::Read)?;
    if file.size()? != BLOCK_SIZE as u64 {
        return Err(damaged(kind, "the file does not have the size of a record"));
    }
    let mut block = [0; BLOCK_SIZE];
    file.read_at(0, &mut block)?;
    let broken = |_: DecodeError| damaged(kind, "it is not what was written");
    let mut reader = Reader::new(&block);
    let magic = reader.array::<8>().map_err(broken)?;
    let (version, found_kind) = (reader.u32().map_err(broken)?, reader.u32().map_err(broken)?);
    let size = usize::try_from(reader.u32().map_err(broken)?).unwrap_or(usize::MAX);
    let checksum = Reader::new(&block[CHECKSUM_OFFSET..]).u64().map_err(broken)?;
    if magic != MAGIC || checksum != checksum_seeded(kind as u64, &block[..CHECKSUM_OFFSET]) {
        return Err(damaged(kind, "it is not what was written"));
    }
    if version != FORMAT_VERSION {
        let file = kind.file_name().to_owned();
        return Err(RecordError::UnknownVersion { file, found: version, known: FORMAT_VERSION });
    }
    if found_kind != kind as u32 || size > CONTENT_SIZE_MAX {
        return Err(damaged(kind, "it is another record"));
    }
    Ok(Some(block[HEAD_SIZE..HEAD_SIZE + size].to_vec()))
}

/// Replaces a record; it is durable on return. After [`RecordError::NoRoom`] the old one is what it was.
pub(crate) fn store(disk: &dyn Disk, kind: RecordKind, content: &[u8]) -> Result<(), RecordError> {
    let block = block_of(kind, content);
    write_file(disk, kind.unfinished_name(), &block)?.sync()?;
    let has_older = exists(disk, kind.file_name())?;
    if has_older && disk.exchange(kind.unfinished_name(), kind.file_name())? {
        return Ok(disk.sync_folder()?);
    }
    disk.rename(kind.unfinished_name(), kind.file_name())?;
    disk.sync_folder()?;
    match write_file(disk, kind.unfinished_name(), &[0; BLOCK_SIZE]) {
        Err(error) if !matches!(error, RecordError::NoRoom(_)) => Err(error),
        _ => Ok(()),
    }
}

/// A record as it lies on the disk.
fn block_of(kind: RecordKind, content: &[u8]) -> [u8; BLOCK_SIZE] {
    assert!(content.len() <= CONTENT_SIZE_MAX, "a record is small");
    let size = u32::try_from(content.len()).expect("invariant: a record is small");
    let mut block = [0; BLOCK_SIZE];
    block[..8].copy_from_slice(&MAGIC);
    block[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    block[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    block[16..20].copy_from_slice(&size.to_le_bytes());
    block[HEAD_SIZE..HEAD_SIZE + content.len()].copy_from_slice(content);
    let checksum = checksum_seeded(kind as u64, &block[..CHECKSUM_OFFSET]);
    block[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
    block
}

/// Writes a block to a file beside a record. One that is there has its room on the disk; a piece of one gives way.
fn write_file(
    disk: &dyn Disk,
    name: &str,
    block: &[u8; BLOCK_SIZE],
) -> Result<Arc<dyn DiskFile>, RecordError> {
    let no_room = |error| match error {
        DiskError::Full { .. } => RecordError::NoRoom(error),
        other => RecordError::Disk(other),
    };
    let file = match disk.open(name, OpenMode::Write) {
        Err(DiskError::NotFound { .. }) => disk.open(name, OpenMode::Create).map_err(no_room)?,
        Ok(file) if file.size()? != BLOCK_SIZE as u64 => {
            disk.remove(name)?;
            disk.open(name, OpenMode::Create).map_err(no_room)?
        }
        other => other?,
    };
    file.write_at(0, block).map_err(no_room)?;
    Ok(file)
}

/// Takes the room for every record of one of several replicas, now or earlier: a disk that is full takes votes and
/// lists of members all the same. True when all of it is there.
pub fn keep_room(disk: &dyn Disk) -> Result<bool, RecordError> {
    keep_room_for(disk, &RecordKind::ALL)
}

fn keep_room_for(disk: &dyn Disk, kinds: &[RecordKind]) -> Result<bool, RecordError> {
    let mut has_all = true;
    for kind in kinds {
        if has_room(disk, kind.unfinished_name())? {
            continue;
        }
        match write_file(disk, kind.unfinished_name(), &[0; BLOCK_SIZE]) {
            Ok(file) => file.sync()?,
            Err(RecordError::NoRoom(_)) => has_all = false,
            Err(error) => return Err(error),
        }
    }
    disk.sync_folder()?;
    Ok(has_all)
}

/// True when a file has the size of a record, and so its room: one that found no room when it was made is shorter.
fn has_room(disk: &dyn Disk, name: &str) -> Result<bool, RecordError> {
    match disk.open(name, OpenMode::Read) {
        Ok(file) => Ok(file.size()? == BLOCK_SIZE as u64),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a record; it is gone for good on return. Its room is kept for the next one.
pub(crate) fn remove(disk: &dyn Disk, kind: RecordKind) -> Result<(), RecordError> {
    if exists(disk, kind.file_name())? {
        disk.rename(kind.file_name(), kind.unfinished_name())?;
        disk.sync_folder()?;
    }
    Ok(())
}

/// Keeps the last vote. After a failure it stays closed: what the disk holds then is not known.
#[derive(Debug)]
pub struct VoteStore {
    disk: Arc<dyn Disk>,
    failed: Option<RecordError>,
}

impl VoteStore {
    /// Reads the last vote, and makes its name durable; `None` when there has never been one.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(Self, Option<Vote>), RecordError> {
        disk.sync_folder()?;
        let vote = load(&*disk, RecordKind::Vote)?.map(|content| decode_vote(&content)).transpose();
        let vote = vote.map_err(|_| damaged(RecordKind::Vote, "it is no vote"))?;
        Ok((Self { disk, failed: None }, vote))
    }

    /// Takes the room for the next vote, where it is not taken yet; true when it is there. The other records have other
    /// writers, who may be at work: [`keep_room`] is for the start.
    pub fn keep_room(&self) -> Result<bool, RecordError> {
        keep_room_for(&*self.disk, &[RecordKind::Vote])
    }

    /// Keeps this one instead; it is durable on return. Where there is no room, it can be tried again.
    pub fn save(&mut self, vote: Vote) -> Result<(), RecordError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut content = [0; 16];
        content[..8].copy_from_slice(&vote.term.0.to_le_bytes());
        content[8..].copy_from_slice(&vote.voted_for.0.to_le_bytes());
        store(&*self.disk, RecordKind::Vote, &content).inspect_err(|error| {
            if !matches!(error, RecordError::NoRoom(_)) {
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

/// Whose folder this is, in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the cluster's token.
    pub token: [u8; 32],
    /// Which node.
    pub node: NodeId,
    /// Random number of this folder: a node whose folder was lost and made anew has another.
    pub disk: u128,
    /// The entry that made this folder's node a member, as the list said when the folder was made; 0 for those with
    /// whom the cluster began. A number that was removed and added again has another folder.
    pub since: LogIndex,
    /// True when this folder is known to have lost nothing, so that its node may vote.
    pub is_admitted: bool,
    /// What the cluster agrees with; `None` before that is known, and in a folder older than the choice, which is Raft's.
    pub engine: Option<EngineKind>,
    /// Other nodes that were met, and their folders; at most 64.
    pub known: Vec<KnownDisk>,
}

/// The folder of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDisk {
    /// Whose.
    pub node: NodeId,
    /// The entry that made the node a member: one that was removed and added again has another folder.
    pub since: LogIndex,
    /// Its random number.
    pub disk: u128,
}

/// Reads who takes part in the cluster, and makes its name durable; `None` when nobody has written it yet.
pub fn load_members(disk: &dyn Disk) -> Result<Option<Members>, RecordError> {
    disk.sync_folder()?;
    let Some(content) = load(disk, RecordKind::Members)? else { return Ok(None) };
    let mut rest = content.as_slice();
    let members = Members::decode(&mut rest).filter(|_| rest.is_empty());
    members.map(Some).ok_or_else(|| damaged(RecordKind::Members, "it is no list of members"))
}

/// Replaces who takes part in the cluster; it is durable on return.
pub fn store_members(disk: &dyn Disk, members: &Members) -> Result<(), RecordError> {
    copy::store(disk, RecordKind::Members, &members.encode())
}

/// Reads why this replica has stopped; `None` when it has not. What is damaged is an error: the replica would take part again.
pub fn load_conflict(disk: &dyn Disk) -> Result<Option<Conflict>, RecordError> {
    let Some(content) = load(disk, RecordKind::Conflict)? else { return Ok(None) };
    let conflict = Conflict::decode(&content);
    conflict.map(Some).ok_or_else(|| damaged(RecordKind::Conflict, "it is no conflict"))
}

/// Notes why this replica has stopped: it comes back so. Durable on return.
pub fn store_conflict(disk: &dyn Disk, conflict: &Conflict) -> Result<(), RecordError> {
    store(disk, RecordKind::Conflict, &conflict.encode())
}

/// Reads the terms of the committed log, at least up to the newest checkpoint; empty when nobody has written them yet.
pub fn load_terms(disk: &dyn Disk) -> Result<Terms, RecordError> {
    let Some(content) = load(disk, RecordKind::Terms)? else { return Ok(Terms::default()) };
    let mut rest = content.as_slice();
    let terms = Terms::decode(&mut rest).filter(|_| rest.is_empty());
    terms.ok_or_else(|| damaged(RecordKind::Terms, "it is no list of terms"))
}

/// Replaces the terms of the committed log, before a checkpoint of them is durable; durable on return.
pub fn store_terms(disk: &dyn Disk, terms: &Terms) -> Result<(), RecordError> {
    store(disk, RecordKind::Terms, &terms.encode())
}

impl Identity {
    /// Reads it, and makes its name durable; `None` when the folder belongs to no cluster.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, RecordError> {
        disk.sync_folder()?;
        let identity = load(disk, RecordKind::Identity)?.map(|content| Self::decode(&content)).transpose();
        identity.map_err(|_| damaged(RecordKind::Identity, "it is no identity"))
    }

    /// Replaces it; it is durable on return.
    ///
    /// # Panics
    /// When it knows more than 64 nodes.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), RecordError> {
        copy::store(disk, RecordKind::Identity, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        assert!(self.known.len() <= KNOWN_MAX, "a cluster has few nodes");
        let mut content = Vec::new();
        content.extend_from_slice(&self.token);
        content.extend_from_slice(&self.node.0.to_le_bytes());
        content.extend_from_slice(&self.disk.to_le_bytes());
        content.extend_from_slice(&self.since.0.to_le_bytes());
        let engine = self.engine.map_or(0, |engine| engine as u8);
        content.extend_from_slice(&[u8::from(self.is_admitted), engine, 0, 0, 0, 0, 0, 0]);
        content.extend_from_slice(&(self.known.len() as u64).to_le_bytes());
        for known in &self.known {
            content.extend_from_slice(&known.node.0.to_le_bytes());
            content.extend_from_slice(&known.since.0.to_le_bytes());
            content.extend_from_slice(&known.disk.to_le_bytes());
        }
        content
    }

    fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let token = reader.array()?;
        let node = NodeId(reader.u64()?);
        let disk = u128::from_le_bytes(reader.array()?);
        let since = LogIndex(reader.u64()?);
        let [admitted, engine, ..] = reader.array::<8>()?;
        let is_admitted = admitted != 0;
        let engine = match engine {
            0 => None,
            code => Some(EngineKind::from_code(code).ok_or(DecodeError::Value)?),
        };
        let count = reader.u64()?;
        if count > KNOWN_MAX as u64 {
            return Err(DecodeError::Value);
        }
        let mut known = Vec::new();
        for _ in 0..count {
            let (node, since) = (NodeId(reader.u64()?), LogIndex(reader.u64()?));
            known.push(KnownDisk { node, since, disk: u128::from_le_bytes(reader.array()?) });
        }
        reader.finish()?;
        Ok(Self { token, node, disk, since, is_admitted, engine, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultPlan, MemoryDisk};

    fn vote(term: u64) -> Vote {
        Vote { term: Term(term), voted_for: NodeId(2) }
    }

    fn saved(disk: &MemoryDisk) -> Result<Option<Vote>, RecordError> {
        VoteStore::open(Arc::new(disk.clone())).map(|(_, vote)| vote)
    }

    #[test]
    fn a_vote_survives_and_a_crash_leaves_the_old_or_the_new() {
        for crash_at in 1..12 {
            let disk = MemoryDisk::new();
            let (mut votes, none) = VoteStore::open(Arc::new(disk.clone())).unwrap();
            assert_eq!(none, None);
            votes.save(vote(1)).unwrap();
            let before = disk.counts().total();
            disk.set_faults(FaultPlan { fail_at: Some(before + crash_at), ..FaultPlan::default() });
            let is_saved = votes.save(vote(2)).is_ok();
            assert!(is_saved || votes.save(vote(3)).is_err(), "after a failure it stays closed");
            for seed in 0..8 {
                let found = saved(&disk.crash(seed)).unwrap();
                if is_saved {
                    assert_eq!(found, Some(vote(2)));
                } else {
                    assert!([Some(vote(1)), Some(vote(2))].contains(&found), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn no_flipped_bit_is_taken_for_a_vote_or_for_none() {
        let disk = MemoryDisk::new();
        VoteStore::open(Arc::new(disk.clone())).unwrap().0.save(vote(7)).unwrap();
        let file = disk.open("vote.bzv", OpenMode::Write).unwrap();
        let mut block = [0; BLOCK_SIZE];
        file.read_at(0, &mut block).unwrap();
        for at in 0..BLOCK_SIZE {
            let mut flipped = block;
            flipped[at] ^= 1 << (at % 8);
            file.write_at(0, &flipped).unwrap();
            assert!(matches!(saved(&disk), Err(RecordError::Damaged { .. })), "byte {at}");
        }
        for size in [0, 1, 512, BLOCK_SIZE - 1, BLOCK_SIZE + 1] {
            let mut other = block.to_vec();
            other.resize(size, 0);
            disk.put("vote.bzv", &other);
            assert!(matches!(saved(&disk), Err(RecordError::Damaged { .. })), "{size} bytes");
        }
        disk.put("node.bzi", &block);
        assert!(matches!(Identity::load(&disk), Err(RecordError::Damaged { .. })), "another record");
    }

    #[test]
    fn a_vote_that_was_read_is_durable_though_its_writer_was_killed() {
        for crash_at in 1..=5 {
            let disk = MemoryDisk::new();
            let (mut votes, _) = VoteStore::open(Arc::new(disk.clone())).unwrap();
            votes.save(vote(1)).unwrap();
            let crash_at = Some(disk.counts().total() + crash_at);
            disk.set_faults(FaultPlan { crash_at, ..FaultPlan::default() });
            drop(votes.save(vote(2)));
            let killed = disk.restart();
            let found = saved(&killed).unwrap();
            for seed in 0..16 {
                assert!(saved(&disk.crash(seed)).unwrap().is_some(), "never none");
                assert_eq!(saved(&killed.crash(seed)), Ok(found), "{crash_at:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_record_left_unfinished_is_never_read_and_not_in_the_way() {
        let disk = MemoryDisk::new();
        disk.put("vote.tmp", &[1, 2, 3]);
        assert_eq!(saved(&disk), Ok(None));
        VoteStore::open(Arc::new(disk.clone())).unwrap().0.save(vote(2)).unwrap();
        assert_eq!(saved(&disk), Ok(Some(vote(2))));
    }

    #[test]
    fn a_full_disk_takes_records_whose_room_was_kept() {
        let disk = MemoryDisk::new();
        assert_eq!(keep_room(&disk), Ok(true));
        let fill = |disk: &MemoryDisk| {
            disk.set_faults(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
        };
        fill(&disk);
        let (mut votes, _) = VoteStore::open(Arc::new(disk.clone())).unwrap();
        // The room for the first of each kind became the record; that for the next is taken when there is some.
        votes.save(vote(1)).unwrap();
        assert!(matches!(votes.save(vote(2)), Err(RecordError::NoRoom(_))), "nothing was changed");
        assert_eq!(saved(&disk), Ok(Some(vote(1))));
        disk.set_faults(FaultPlan::default());
        assert_eq!(keep_room(&disk), Ok(true));
        fill(&disk);
        for term in 2..20 {
            votes.save(vote(term)).unwrap();
            assert_eq!(saved(&disk.crash(term)), Ok(Some(vote(term))));
            store(&disk, RecordKind::Rewrite, &[1, 2, 3]).unwrap();
            remove(&disk, RecordKind::Rewrite).unwrap();
            assert_eq!(load(&disk, RecordKind::Rewrite), Ok(None));
        }
    }

    #[test]
    fn an_identity_comes_back_as_it_went() {
        let disk = MemoryDisk::new();
        assert_eq!(Identity::load(&disk).unwrap(), None);
        let known = (1..=64).map(|node| KnownDisk {
            node: NodeId(node),
            since: LogIndex(node * 3),
            disk: u128::MAX - u128::from(node),
        });
        let known = known.collect();
        let identity = Identity {
            token: [3; 32],
            node: NodeId(1),
            disk: 99,
            since: LogIndex(3),
            is_admitted: true,
            engine: Some(EngineKind::Paxos),
            known,
        };
        identity.store(&disk).unwrap();
        assert_eq!(Identity::load(&disk).unwrap(), Some(identity));
    }

    #[test]
    fn the_largest_list_of_members_comes_back_as_it_went() {
        let disk = MemoryDisk::new();
        assert_eq!(load_members(&disk).unwrap(), None);
        let count = bezant_types::limits::MEMBERS_MAX as u64;
        let address = "a".repeat(bezant_types::limits::ADDRESS_SIZE_MAX);
        let members = Members::first((1..=count).map(|node| (NodeId(node), address.clone())));
        store_members(&disk, &members).unwrap();
        assert_eq!(load_members(&disk).unwrap(), Some(members));
    }
}
