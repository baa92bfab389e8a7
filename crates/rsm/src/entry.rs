//! A log entry: a cluster time, and the merged commands of many clients.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | cluster time, ns since the epoch: the timestamp of the entry's last event |
//! | 8 | 4 | number of commands |
//! | 12 | 1 | flags: bit 0 = a checkpoint is made after this entry; all others zero |
//! | 13 | 1 | rules: see [`Entry::rules`] |
//! | 14 | 2 | zero |
//! | 16 | ... | the commands, each padded with zeros to a multiple of 16 |
//!
//! A command: operation u16, zero u16, size of the body u32, number of events u32, zero u32, body.

use alloc::vec::Vec;
use core::fmt;

use bezant_types::Nanos;
use bytes::{BufMut, Bytes, BytesMut};

const ENTRY_HEAD_SIZE: usize = 16;
const COMMAND_HEAD_SIZE: usize = 16;
const ALIGNMENT: usize = 16;
const FLAG_CHECKPOINT: u8 = 1;

/// A command of one request to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Number of the operation, as the machine defines it.
    pub operation: u16,
    /// Number of events in the body; each gets a separate timestamp.
    pub events: u32,
    /// The events, in the format of the machine.
    pub body: Bytes,
}

/// The content of one log entry for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Timestamp of the last event. The first event has the timestamp `time - events + 1`, where `events`
    /// counts the events of all commands.
    pub time: Nanos,
    /// The commands in the order of their arrival at the leader.
    pub commands: Vec<Command>,
    /// True when a checkpoint is made after this entry. The proposer decides this, so that replicas make
    /// their checkpoints at the same index and can compare them.
    pub checkpoint: bool,
    /// Number of the rules by which the machine applies this entry:
    /// [`StateMachine::RULES`](crate::StateMachine::RULES) of the program that proposed it. It never changes,
    /// so that every version of the program that applies the log gets the same state.
    pub rules: u8,
}

/// The bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryError;

impl fmt::Display for EntryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the bytes are not a log entry")
    }
}

impl core::error::Error for EntryError {}

impl Entry {
    /// Number of events of all commands.
    pub fn events(&self) -> u64 {
        self.commands.iter().map(|command| u64::from(command.events)).sum()
    }

    /// Number of bytes that a command adds to an entry.
    pub const fn command_size(body_size: usize) -> usize {
        COMMAND_HEAD_SIZE + body_size.next_multiple_of(ALIGNMENT)
    }

    /// The bytes for the log.
    ///
    /// # Panics
    /// When the size of a body or the number of commands does not fit in 32 bits; limits keep both far below.
    pub fn encode(&self) -> Bytes {
        let size: usize = self.commands.iter().map(|command| Self::command_size(command.body.len())).sum();
        let mut bytes = BytesMut::with_capacity(ENTRY_HEAD_SIZE + size);
        bytes.put_u64_le(self.time.0);
        bytes.put_u32_le(u32::try_from(self.commands.len()).expect("invariant: commands are limited"));
        bytes.put_u8(if self.checkpoint { FLAG_CHECKPOINT } else { 0 });
        bytes.put_u8(self.rules);
        bytes.put_u16_le(0);
        for command in &self.commands {
            bytes.put_u16_le(command.operation);
            bytes.put_u16_le(0);
            bytes.put_u32_le(u32::try_from(command.body.len()).expect("invariant: bodies are limited"));
            bytes.put_u32_le(command.events);
            bytes.put_u32_le(0);
            bytes.put_slice(&command.body);
            let padded = bytes.len().next_multiple_of(ALIGNMENT);
            bytes.put_bytes(0, padded - bytes.len());
        }
        bytes.freeze()
    }

    /// Reads the bytes of the log for a machine that implements the rules up to `rules`; an entry with a
    /// greater number is an error.
    pub fn decode_within(bytes: &Bytes, rules: u8) -> Result<Self, EntryError> {
        Self::decode(bytes).and_then(|entry| if entry.rules <= rules { Ok(entry) } else { Err(EntryError) })
    }

    /// Reads the bytes of the log. The bodies share the memory of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, EntryError> {
        let head = bytes.first_chunk::<ENTRY_HEAD_SIZE>().ok_or(EntryError)?;
        let [t0, t1, t2, t3, t4, t5, t6, t7, c0, c1, c2, c3, flags, rules, 0, 0] = *head else {
            return Err(EntryError);
        };
        if flags & !FLAG_CHECKPOINT != 0 {
            return Err(EntryError);
        }
        let checkpoint = flags != 0;
        let time = Nanos(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
        let count = usize::try_from(u32::from_le_bytes([c0, c1, c2, c3])).map_err(|_| EntryError)?;
        if count > bytes.len() / COMMAND_HEAD_SIZE {
            return Err(EntryError);
        }
        let mut commands = Vec::with_capacity(count);
        let mut at = ENTRY_HEAD_SIZE;
        for _ in 0..count {
            let (command, size) = decode_command(bytes, at)?;
            commands.push(command);
            at += size;
        }
        if at == bytes.len() { Ok(Self { time, commands, checkpoint, rules }) } else { Err(EntryError) }
    }
}

/// The command at offset `at`, and its size in the entry.
fn decode_command(bytes: &Bytes, at: usize) -> Result<(Command, usize), EntryError> {
    let rest = bytes.get(at..).ok_or(EntryError)?;
    let head = rest.first_chunk::<COMMAND_HEAD_SIZE>().ok_or(EntryError)?;
    let [o0, o1, 0, 0, s0, s1, s2, s3, e0, e1, e2, e3, 0, 0, 0, 0] = *head else {
        return Err(EntryError);
    };
    let body_size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).map_err(|_| EntryError)?;
    let size = Entry::command_size(body_size);
    let padding = rest.get(COMMAND_HEAD_SIZE + body_size..size).ok_or(EntryError)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(EntryError);
    }
    let start = at + COMMAND_HEAD_SIZE;
    let command = Command {
        operation: u16::from_le_bytes([o0, o1]),
        events: u32::from_le_bytes([e0, e1, e2, e3]),
        body: bytes.slice(start..start + body_size),
    };
    Ok((command, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            time: Nanos(7),
            commands: alloc::vec![
                Command { operation: 1, events: 1, body: Bytes::from_static(b"odd") },
                Command { operation: 2, events: 0, body: Bytes::new() },
            ],
            checkpoint: true,
            rules: 3,
        }
    }

    #[test]
    fn entries_survive_encoding_and_decoding() {
        assert_eq!(Entry::decode(&entry().encode()), Ok(entry()));
    }

    #[test]
    fn an_entry_of_the_first_version_has_rules_0() {
        let mut bytes = entry().encode().to_vec();
        bytes[12..16].copy_from_slice(&1_u32.to_le_bytes());
        assert_eq!(Entry::decode(&bytes.clone().into()), Ok(Entry { rules: 0, ..entry() }));
        for at in [12, 14, 15] {
            let mut bytes = bytes.clone();
            bytes[at] |= 2;
            assert_eq!(Entry::decode(&bytes.into()), Err(EntryError), "bit 1 of byte {at} is reserved");
        }
    }

    #[test]
    fn an_entry_with_later_rules_is_refused() {
        let bytes = entry().encode();
        assert_eq!(Entry::decode_within(&bytes, 3), Ok(entry()));
        assert_eq!(Entry::decode_within(&bytes, 2), Err(EntryError));
    }

    #[test]
    fn a_cut_entry_is_refused() {
        let bytes = entry().encode();
        for size in 0..bytes.len() {
            assert_eq!(Entry::decode(&bytes.slice(..size)), Err(EntryError), "cut to {size}");
        }
    }
}
