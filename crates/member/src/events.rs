//! The newest events of all streams, kept in the state: any replica can tell them, in order, and go on where a
//! subscriber stopped.
//!
//! Always holds: numbers grow by one over all streams, and are the same on every replica. What does not fit is
//! forgotten, the oldest first; whoever missed something is told, and nobody who did not.

use std::collections::{BTreeMap, VecDeque};

use bezant_codec::{DecodeError, Reader};
use bezant_rsm::Event;
use bytes::Bytes;

use crate::replies::{count, put_count};

/// Events that are kept.
const EVENTS_MAX: usize = 1 << 16;
/// Their bytes.
const BYTES_MAX: usize = 16 << 20;
/// What an event takes besides its bytes.
const EVENT_OVERHEAD: usize = 64;

/// Events behind a number were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The last one of the stream that was.
    pub(crate) last: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    kept: VecDeque<(u64, Bytes)>,
    /// The last one that was forgotten; 0 when none was.
    forgotten: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    streams: BTreeMap<u32, Stream>,
    /// The stream of each event that is kept, in order of their numbers.
    order: VecDeque<u32>,
    /// The number of the newest; 0 before the first.
    last: u64,
    bytes: usize,
}

impl Events {
    /// Adds an event, and forgets what does not fit any more.
    pub(crate) fn push(&mut self, stream: u32, bytes: Bytes) {
        self.last += 1;
        self.bytes += bytes.len() + EVENT_OVERHEAD;
        self.streams.entry(stream).or_default().kept.push_back((self.last, bytes));
        self.order.push_back(stream);
        while self.order.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(first) = self.order.pop_front() else { return };
        if let Some(stream) = self.streams.get_mut(&first)
            && let Some((number, bytes)) = stream.kept.pop_front()
        {
            stream.forgotten = number;
            self.bytes -= bytes.len() + EVENT_OVERHEAD;
        }
    }

    /// The number of the newest event, over all streams; 0 before the first.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The events of a stream behind that number, at most `limit`.
    pub(crate) fn after(&self, stream: u32, after: u64, limit: usize) -> Result<Vec<Event>, Forgotten> {
        let Some(stream) = self.streams.get(&stream) else { return Ok(Vec::new()) };
        if after < stream.forgotten {
            return Err(Forgotten { last: stream.forgotten });
        }
        let from = stream.kept.partition_point(|(number, _)| *number <= after);
        let events = stream.kept.iter().skip(from).take(limit);
        Ok(events.map(|(number, bytes)| Event { number: *number, bytes: bytes.clone() }).collect())
    }

    /// Last u64; count u32 of streams, for each its number u32 and the last event that was forgotten u64; count u32 of
    /// events, for each its stream u32, size u32 and bytes. The last of them has the number `last`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.last.to_le_bytes());
        put_count(bytes, self.streams.len());
        let mut places = BTreeMap::new();
        for (number, stream) in &self.streams {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&stream.forgotten.to_le_bytes());
            places.insert(*number, stream.kept.iter());
        }
        put_count(bytes, self.order.len());
        for number in &self.order {
            let event = places.get_mut(number).and_then(Iterator::next);
            let (_, event) = event.expect("invariant: each place in the order has its event");
            bytes.extend_from_slice(&number.to_le_bytes());
            put_count(bytes, event.len());
            bytes.extend_from_slice(event);
        }
    }

    /// Reads [`write`](Self::write)'s bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let last = reader.u64()?;
        let mut events = Self::default();
        for _ in 0..count(reader)? {
            let (stream, forgotten) = (reader.u32()?, reader.u64()?);
            let is_new = events.streams.insert(stream, Stream { forgotten, ..Stream::default() }).is_none();
            if !is_new || forgotten > last {
                return Err(DecodeError::Value);
            }
        }
        let kept = count(reader)?;
        if kept > EVENTS_MAX {
            return Err(DecodeError::Size);
        }
        events.last = last.checked_sub(kept as u64).ok_or(DecodeError::Value)?;
        for _ in 0..kept {
            let stream = reader.u32()?;
            let size = count(reader)?;
            let bytes = Bytes::copy_from_slice(reader.take(size)?);
            if !events.streams.contains_key(&stream) {
                return Err(DecodeError::Value);
            }
            events.push(stream, bytes);
        }
        if events.order.len() == kept { Ok(events) } else { Err(DecodeError::Size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &Events, stream: u32, after: u64) -> Vec<u64> {
        events.after(stream, after, 100).unwrap().into_iter().map(|event| event.number).collect()
    }

    #[test]
    fn a_stream_goes_on_behind_any_number() {
        let mut events = Events::default();
        for stream in [1, 2, 1, 1, 2] {
            events.push(stream, Bytes::from_static(b"event"));
        }
        assert_eq!(numbers(&events, 1, 0), [1, 3, 4]);
        assert_eq!(numbers(&events, 1, 3), [4]);
        assert_eq!(numbers(&events, 2, 4), [5]);
        assert_eq!(numbers(&events, 3, 0), []);
        assert_eq!(events.after(1, 0, 2).unwrap().len(), 2);
        assert_eq!(events.last(), 5);
    }

    #[test]
    fn whoever_missed_something_is_told_and_nobody_else() {
        let mut events = Events::default();
        events.push(2, Bytes::new());
        for _ in 0..EVENTS_MAX {
            events.push(1, Bytes::new());
        }
        assert_eq!(events.after(2, 0, 1), Err(Forgotten { last: 1 }));
        assert_eq!(numbers(&events, 2, 1), [], "it has seen all that there was");
        assert_eq!(events.after(1, 0, 1).unwrap()[0].number, 2);
        let large = Bytes::from(vec![0; BYTES_MAX / 2]);
        events.push(1, large.clone());
        events.push(1, large);
        assert_eq!(events.order.len(), 1, "bytes count, too");
        events.push(3, Bytes::from(vec![0; 2 * BYTES_MAX]));
        assert_eq!((events.order.len(), events.bytes), (0, 0), "one that never fits");
    }

    #[test]
    fn events_come_back_as_they_went_and_every_cut_is_refused() {
        let mut events = Events::default();
        for number in 0..u32::try_from(EVENTS_MAX).unwrap() + 10 {
            events.push(number % 3, Bytes::from(vec![7; 3]));
        }
        while events.order.len() > 20 {
            events.forget_first();
        }
        let mut bytes = Vec::new();
        events.write(&mut bytes);
        assert_eq!(Events::read(&mut Reader::new(&bytes)), Ok(events));
        for size in 0..bytes.len() {
            assert!(Events::read(&mut Reader::new(&bytes[..size])).is_err(), "cut to {size}");
        }
    }
}
