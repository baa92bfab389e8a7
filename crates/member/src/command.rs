//! The bytes of a command in the log, and of its reply.
//!
//! | operation | body |
//! |---|---|
//! | 1 open | nothing: opens a session, whose number is the reply |
//! | 2 invoke | session u64, number u64, oldest u64, the service's command |
//!
//! A reply begins with its verdict (u8). After the verdict `done` comes the service's answer, or the number
//! of the opened session.

use bezant_rsm::Command;
use bytes::{BufMut, Bytes, BytesMut};

/// The operation that opens a session.
pub(crate) const OPEN: u16 = 1;
/// The operation that executes a command of the service.
pub(crate) const INVOKE: u16 = 2;
/// The size in bytes of what precedes the service's command.
pub(crate) const HEAD_SIZE: usize = 24;

/// The highest number of a command in its session.
pub(crate) const NUMBER_MAX: u64 = u64::MAX >> 1;

/// The session and the number of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the session.
    pub(crate) session: u64,
    /// The number of the command within its session, from 1 on.
    pub(crate) number: u64,
    /// The caller no longer waits for replies below this number.
    pub(crate) oldest: u64,
}

impl Head {
    /// The command for the log.
    pub(crate) fn command(self, command: &[u8]) -> Command {
        let mut body = BytesMut::with_capacity(HEAD_SIZE + command.len());
        body.put_u64_le(self.session);
        body.put_u64_le(self.number);
        body.put_u64_le(self.oldest);
        body.put_slice(command);
        Command { operation: INVOKE, events: 1, body: body.freeze() }
    }

    /// Reads the body of a command into its head and the service's command; `None` when it is malformed.
    pub(crate) fn read(body: &Bytes) -> Option<(Self, Bytes)> {
        let (head, _) = body.split_first_chunk::<HEAD_SIZE>()?;
        let ([session, number, oldest], _) = head.as_chunks::<8>() else { return None };
        let number_of = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let head = Self { session: number_of(session), number: number_of(number), oldest: number_of(oldest) };
        // The limit keeps numbers far from overflow.
        let is_sound = head.number >= head.oldest && head.oldest > 0 && head.number <= NUMBER_MAX;
        is_sound.then(|| (head, body.slice(HEAD_SIZE..)))
    }
}

/// The command that opens a session.
pub(crate) const fn open() -> Command {
    Command { operation: OPEN, events: 1, body: Bytes::new() }
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// It is done; the service's answer follows, or the number of the opened session.
    Done = 0,
    /// The service has no such command; nothing was changed.
    Unknown = 1,
    /// The session does not exist (any more); nothing was changed by this try.
    NoSession = 2,
    /// The caller no longer waits for it, or its reply was dropped; nothing was changed by this try.
    Dropped = 3,
    /// It is done, and the service's answer is too large to keep.
    TooLarge = 4,
}

impl Verdict {
    const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Done),
            1 => Some(Self::Unknown),
            2 => Some(Self::NoSession),
            3 => Some(Self::Dropped),
            4 => Some(Self::TooLarge),
            _ => None,
        }
    }

    /// The reply's bytes.
    pub(crate) fn reply(self, answer: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(1 + answer.len());
        bytes.put_u8(self as u8);
        bytes.put_slice(answer);
        bytes.freeze()
    }

    /// Reads a reply; `None` when this version cannot read it.
    pub(crate) fn read(reply: &Bytes) -> Option<(Self, Bytes)> {
        Some((Self::from_u8(*reply.first()?)?, reply.slice(1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_replies_are_read_as_written() {
        let head = Head { session: 7, number: 3, oldest: 2 };
        let command = head.command(b"add");
        assert_eq!(Head::read(&command.body), Some((head, Bytes::from_static(b"add"))));
        assert_eq!(Head::read(&command.body.slice(..HEAD_SIZE - 1)), None);
        let confused = Head { oldest: 4, ..head };
        assert_eq!(Head::read(&confused.command(b"add").body), None, "the oldest number is after its own");
        let answer = Bytes::from_static(b"7");
        for verdict in
            [Verdict::Done, Verdict::Unknown, Verdict::NoSession, Verdict::Dropped, Verdict::TooLarge]
        {
            assert_eq!(Verdict::read(&verdict.reply(&answer)), Some((verdict, answer.clone())));
        }
        assert_eq!(Verdict::read(&Bytes::from_static(&[9])), None);
    }
}
