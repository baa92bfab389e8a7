//! Sessions of callers that send many commands at once: each command is done once, however often it is
//! retried.
//!
//! A caller opens a session and numbers its commands 1, 2, 3 and so on. With each command it also sends the
//! lowest number whose reply it still waits for. The table keeps the replies from that number on. A repeated
//! command gets its first reply. A command with a lower number comes too late and is not done. The table is
//! part of the replicated state, so a retry after a restart or at another leader finds it.
//!
//! Always holds: a number is done at most once, and a session never gets the number of an earlier one. The
//! number of sessions and the bytes of their replies are limited. Above the limit of sessions, the session
//! that was unused for longest is dropped; its later commands are refused, not done. Above the limit of
//! bytes, the session with the most bytes loses its oldest replies, but stays. So large answers to one caller
//! cost the other callers nothing.
//!
//! Source: "Implementing Linearizability at Large Scale and Low Latency" (Lee et al., RIFL, 2015). The crate
//! `rsm` has sessions of one request at a time, for a protocol that needs them.

use std::collections::{BTreeMap, VecDeque};

use bezant_codec::{DecodeError, Reader};
use bezant_types::limits::SESSIONS_MAX;
use bytes::Bytes;

use crate::command::{Head, NUMBER_MAX, Verdict};

/// The most commands of a session between the oldest that waits and the newest.
pub(crate) const WINDOW_MAX: u64 = 8192;
/// The limit of the bytes of the replies that all sessions keep.
const BYTES_MAX: usize = 64 << 20;

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new: do it, then [`complete`](Replies::complete) it.
    Execute,
    /// It was done, or must not be done: this is the reply.
    Reply(Bytes),
}

/// The replies of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Session {
    /// The number of the first reply in `replies`.
    oldest: u64,
    /// `None` for a number that has not come yet.
    replies: VecDeque<Option<Bytes>>,
    /// The index of the entry that used it last.
    used: u64,
    bytes: usize,
}

impl Session {
    /// Drops the content of replies, oldest first, until `bytes` are free. It stays known that they were
    /// made. The reply at `newest` is kept. Returns the number of bytes freed.
    fn drop_replies(&mut self, bytes: usize, newest: Option<usize>) -> usize {
        let dropped = Verdict::Dropped.reply(&[]);
        let mut free = 0;
        for (place, kept) in self.replies.iter_mut().enumerate() {
            let Some(reply) = kept.as_mut().filter(|_| newest != Some(place)) else { continue };
            free += reply.len().saturating_sub(dropped.len());
            *reply = dropped.clone();
            if free >= bytes {
                break;
            }
        }
        self.bytes -= free;
        free
    }

    fn drop_first(&mut self) {
        self.oldest += 1;
        if let Some(Some(reply)) = self.replies.pop_front() {
            self.bytes -= reply.len();
        }
    }

    /// The place of a number, which is at least `oldest`.
    fn place(&self, number: u64) -> usize {
        usize::try_from(number - self.oldest).unwrap_or(usize::MAX)
    }
}

/// The sessions and their replies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replies {
    sessions: BTreeMap<u64, Session>,
    bytes: usize,
    /// The number of the newest session; 0 before the first.
    last: u64,
}

impl Replies {
    /// Opens a session. Its number is derived from the entry's index and is higher than every earlier number.
    /// Several commands of one entry have the same index, so the number of the newest session counts too;
    /// that session may be dropped already.
    pub(crate) fn open(&mut self, index: u64) -> Bytes {
        let number = (index << 16).max(self.last.saturating_add(1));
        self.last = number;
        self.sessions.insert(number, Session { oldest: 1, used: index, ..Session::default() });
        self.evict(number);
        Verdict::Done.reply(&number.to_le_bytes())
    }

    /// Decides what to do with a command of the entry at `index`.
    pub(crate) fn admit(&mut self, head: Head, index: u64) -> Admission {
        let Some(session) = self.sessions.get_mut(&head.session) else {
            return Admission::Reply(Verdict::NoSession.reply(&[]));
        };
        session.used = index;
        let floor = head.oldest.max((head.number + 1).saturating_sub(WINDOW_MAX));
        let before = session.bytes;
        while session.oldest < floor && !session.replies.is_empty() {
            session.drop_first();
        }
        session.oldest = session.oldest.max(floor);
        self.bytes -= before - session.bytes;
        if head.number < session.oldest {
            return Admission::Reply(Verdict::Dropped.reply(&[]));
        }
        match session.replies.get(session.place(head.number)) {
            Some(Some(reply)) => Admission::Reply(reply.clone()),
            _ => Admission::Execute,
        }
    }

    /// Keeps the reply to a command that was [admitted](Admission::Execute) and done.
    ///
    /// # Panics
    /// When the command was not admitted.
    pub(crate) fn complete(&mut self, head: Head, reply: Bytes) {
        let session = self.sessions.get_mut(&head.session).expect("invariant: its session admitted it");
        let place = session.place(head.number);
        if session.replies.len() <= place {
            session.replies.resize(place + 1, None);
        }
        session.bytes += reply.len();
        self.bytes += reply.len();
        let before = session.replies[place].replace(reply);
        assert!(before.is_none(), "only what was admitted is done");
        self.free_bytes(head.session, place);
    }

    /// Drops the sessions unused for longest beyond the limit.
    fn evict(&mut self, current: u64) {
        while self.sessions.len() > SESSIONS_MAX {
            let others = self.sessions.iter().filter(|(number, _)| **number != current);
            let Some(oldest) = others.min_by_key(|(_, session)| session.used).map(|(number, _)| *number)
            else {
                return;
            };
            if let Some(session) = self.sessions.remove(&oldest) {
                self.bytes -= session.bytes;
            }
        }
    }

    /// Drops replies of the session that keeps the most, until the limit holds; never the reply that was just
    /// made.
    fn free_bytes(&mut self, current: u64, newest: usize) {
        let made = self.sessions.get(&current).and_then(|session| session.replies.get(newest)?.as_ref());
        let made = made.map_or(0, Bytes::len);
        while self.bytes > BYTES_MAX {
            let excess = self.bytes - BYTES_MAX;
            let spare =
                |number: u64, session: &Session| session.bytes - if number == current { made } else { 0 };
            let most = self.sessions.iter_mut().max_by_key(|(number, session)| spare(**number, session));
            let Some((number, session)) = most else { return };
            let free = session.drop_replies(excess, (*number == current).then_some(newest));
            self.bytes -= free;
            if free == 0 {
                // Nothing more can be dropped. What is left fits: a byte for each dropped reply, and the
                // newest reply.
                return;
            }
        }
    }

    /// Number of the last session u64, count u32; for each session its number u64, oldest u64, used u64,
    /// count u32 of places; for each place 0, or 1, size u32 and the reply.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.last.to_le_bytes());
        put_count(bytes, self.sessions.len());
        for (number, session) in &self.sessions {
            for value in [*number, session.oldest, session.used] {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            put_count(bytes, session.replies.len());
            for reply in &session.replies {
                bytes.push(u8::from(reply.is_some()));
                if let Some(reply) = reply {
                    put_count(bytes, reply.len());
                    bytes.extend_from_slice(reply);
                }
            }
        }
    }

    /// Reads [`write`](Self::write)'s bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut table = Self { last: reader.u64()?, ..Self::default() };
        let mut last = None;
        for _ in 0..count(reader)? {
            let number = reader.u64()?;
            let mut session = Session { oldest: reader.u64()?, used: reader.u64()?, ..Session::default() };
            if last >= Some(number) || number > table.last || !(1..=NUMBER_MAX).contains(&session.oldest) {
                return Err(DecodeError::Value);
            }
            last = Some(number);
            for _ in 0..count(reader)? {
                let reply = match reader.u8()? {
                    0 => None,
                    1 => {
                        let size = count(reader)?;
                        Some(Bytes::copy_from_slice(reader.take(size)?))
                    }
                    _ => return Err(DecodeError::Value),
                };
                session.bytes += reply.as_ref().map_or(0, Bytes::len);
                session.replies.push_back(reply);
            }
            if session.replies.len() as u64 > WINDOW_MAX {
                return Err(DecodeError::Size);
            }
            table.bytes += session.bytes;
            table.sessions.insert(number, session);
        }
        if table.sessions.len() > SESSIONS_MAX { Err(DecodeError::Size) } else { Ok(table) }
    }
}

/// Writes a count as u32.
pub(crate) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("invariant: what is counted is limited");
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// Reads a count.
pub(crate) fn count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    usize::try_from(reader.u32()?).map_err(|_| DecodeError::Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn open(replies: &mut Replies, index: u64) -> u64 {
        let (verdict, number) = Verdict::read(&replies.open(index)).unwrap();
        assert_eq!(verdict, Verdict::Done);
        u64::from_le_bytes(number[..].try_into().unwrap())
    }

    fn head(session: u64, number: u64, oldest: u64) -> Head {
        Head { session, number, oldest }
    }

    fn refusal(verdict: Verdict) -> Admission {
        Admission::Reply(verdict.reply(&[]))
    }

    #[test]
    fn a_command_is_done_once_in_any_order() {
        let mut replies = Replies::default();
        let session = open(&mut replies, 5);
        assert_ne!(open(&mut replies, 5), session, "two sessions of one entry differ");
        for number in [3, 1] {
            assert_eq!(replies.admit(head(session, number, 1), 6), Admission::Execute);
            replies.complete(head(session, number, 1), reply("done"));
        }
        assert_eq!(replies.admit(head(session, 3, 1), 7), Admission::Reply(reply("done")));
        assert_eq!(replies.admit(head(session, 2, 1), 7), Admission::Execute, "it has not come yet");
        assert_eq!(replies.admit(head(session, 4, 4), 8), Admission::Execute);
        assert_eq!(replies.admit(head(session, 2, 1), 9), refusal(Verdict::Dropped), "late");
        assert_eq!(replies.admit(head(77, 1, 1), 9), refusal(Verdict::NoSession));
    }

    #[test]
    fn the_window_moves_without_the_caller() {
        let mut replies = Replies::default();
        let session = open(&mut replies, 1);
        let far = WINDOW_MAX + 10;
        assert_eq!(replies.admit(head(session, far, 1), 2), Admission::Execute);
        replies.complete(head(session, far, 1), reply("far"));
        assert_eq!(replies.admit(head(session, 1, 1), 3), refusal(Verdict::Dropped));
        assert_eq!(replies.admit(head(session, far, 1), 4), Admission::Reply(reply("far")));
    }

    #[test]
    fn the_session_unused_for_longest_goes_first() {
        let mut replies = Replies::default();
        let first = open(&mut replies, 1);
        let second = open(&mut replies, 2);
        for index in 3..=SESSIONS_MAX as u64 {
            open(&mut replies, index);
        }
        replies.admit(head(first, 1, 1), 5000);
        open(&mut replies, 5001);
        assert_eq!(replies.admit(head(second, 1, 1), 5002), refusal(Verdict::NoSession));
        assert_eq!(replies.admit(head(first, 1, 1), 5002), Admission::Execute);
    }

    #[test]
    fn the_largest_session_loses_replies_and_no_session_is_lost() {
        let mut replies = Replies::default();
        let idle = open(&mut replies, 1);
        replies.complete(head(idle, 1, 1), reply("done"));
        let session = open(&mut replies, 2);
        let large = Bytes::from(vec![7; BYTES_MAX / 4]);
        for number in 1..=6 {
            assert_eq!(replies.admit(head(session, number, 1), 3), Admission::Execute);
            replies.complete(head(session, number, 1), large.clone());
        }
        assert!(replies.bytes <= BYTES_MAX);
        assert_eq!(replies.admit(head(idle, 1, 1), 4), Admission::Reply(reply("done")));
        assert_eq!(replies.admit(head(session, 2, 1), 4), refusal(Verdict::Dropped), "not done again");
        assert_eq!(replies.admit(head(session, 6, 1), 4), Admission::Reply(large.clone()));
        // A small reply is kept although other replies have filled the space. A large one makes a larger
        // session lose replies.
        let late = open(&mut replies, 5);
        for (number, answer) in [(1, reply("small")), (2, large)] {
            assert_eq!(replies.admit(head(late, number, 1), 6), Admission::Execute);
            replies.complete(head(late, number, 1), answer.clone());
            assert_eq!(replies.admit(head(late, number, 1), 7), Admission::Reply(answer));
        }
        assert!(replies.bytes <= BYTES_MAX);
        let counted: usize = replies
            .sessions
            .values()
            .flat_map(|session| session.replies.iter().flatten())
            .map(Bytes::len)
            .sum();
        assert_eq!(counted, replies.bytes);
    }

    #[test]
    fn no_session_number_is_used_twice() {
        let mut replies = Replies::default();
        let first = open(&mut replies, 5);
        replies.sessions.clear();
        let second = open(&mut replies, 5);
        assert!(second > first, "of one entry");
        let mut bytes = Vec::new();
        replies.sessions.clear();
        replies.write(&mut bytes);
        let mut back = Replies::read(&mut Reader::new(&bytes)).unwrap();
        assert!(open(&mut back, 5) > second, "from a checkpoint");
    }

    #[test]
    fn the_table_is_read_as_written_and_cuts_are_refused() {
        let mut replies = Replies::default();
        let session = open(&mut replies, 5);
        for number in [4, 2] {
            replies.admit(head(session, number, 2), 6);
            replies.complete(head(session, number, 2), reply("done"));
        }
        open(&mut replies, 9);
        let mut bytes = Vec::new();
        replies.write(&mut bytes);
        assert_eq!(Replies::read(&mut Reader::new(&bytes)), Ok(replies));
        for size in 0..bytes.len() {
            assert!(Replies::read(&mut Reader::new(&bytes[..size])).is_err(), "cut to {size}");
        }
    }
}
