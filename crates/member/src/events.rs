//! The newest events of all streams, kept in the state: any replica can return them in order, and continue
//! where a subscriber stopped.
//!
//! Always holds: numbers grow by one over all streams, and are the same on every replica. Events beyond the
//! limits are dropped, the oldest first. A subscriber that missed an event gets an error; no other subscriber
//! does.

use std::collections::{BTreeMap, VecDeque};

use bezant_codec::{DecodeError, Reader};
use bezant_rsm::Event;
use bytes::Bytes;

use crate::replies::{count, put_count};

/// The limit of events that are kept.
const EVENTS_MAX: usize = 1 << 16;
/// The limit of their bytes.
const BYTES_MAX: usize = 16 << 20;
/// The bytes counted for an event besides its content.
const EVENT_OVERHEAD: usize = 64;

/// Events after the requested number were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The last dropped event of the stream.
    pub(crate) last: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    kept: VecDeque<(u64, Bytes)>,
    /// The last dropped event; 0 when none was.
    dropped: u64,
}

/// The newest events of all streams; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    streams: BTreeMap<u32, Stream>,
    /// The stream of each kept event, in order of their numbers.
    order: VecDeque<u32>,
    /// The number of the newest event; 0 before the first.
    last: u64,
    bytes: usize,
}

impl Events {
    /// Adds an event, and drops the oldest events beyond the limits.
    pub(crate) fn push(&mut self, stream: u32, bytes: Bytes) {
        self.last += 1;
        self.bytes += bytes.len() + EVENT_OVERHEAD;
        self.streams.entry(stream).or_default().kept.push_back((self.last, bytes));
        self.order.push_back(stream);
        while self.order.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.order.pop_front() else { return };
        if let Some(stream) = self.streams.get_mut(&first)
            && let Some((number, bytes)) = stream.kept.pop_front()
        {
            stream.dropped = number;
            self.bytes -= bytes.len() + EVENT_OVERHEAD;
        }
    }

    /// The number of the newest event, over all streams; 0 before the first.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The events of a stream after that number, at most `limit`.
    pub(crate) fn after(&self, stream: u32, after: u64, limit: usize) -> Result<Vec<Event>, Dropped> {
        let Some(stream) = self.streams.get(&stream) else { return Ok(Vec::new()) };
        if after < stream.dropped {
            return Err(Dropped { last: stream.dropped });
        }
        let from = stream.kept.partition_point(|(number, _)| *number <= after);
        let events = stream.kept.iter().skip(from).take(limit);
        Ok(events.map(|(number, bytes)| Event { number: *number, bytes: bytes.clone() }).collect())
    }

    /// Last u64; count u32 of streams, for each its number u32 and its last dropped event u64; count u32 of
    /// events, for each its stream u32, size u32 and bytes. The last of them has the number `last`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.last.to_le_bytes());
        put_count(bytes, self.streams.len());
        let mut places = BTreeMap::new();
        for (number, stream) in &self.streams {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&stream.dropped.to_le_bytes());
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
            let (stream, dropped) = (reader.u32()?, reader.u64()?);
            let is_new = events.streams.insert(stream, Stream { dropped, ..Stream::default() }).is_none();
            if !is_new || dropped > last {
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
    fn a_stream_continues_after_any_number() {
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
    fn only_a_subscriber_that_missed_events_gets_an_error() {
        let mut events = Events::default();
        events.push(2, Bytes::new());
        for _ in 0..EVENTS_MAX {
            events.push(1, Bytes::new());
        }
        assert_eq!(events.after(2, 0, 1), Err(Dropped { last: 1 }));
        assert_eq!(numbers(&events, 2, 1), [], "it has received every event");
        assert_eq!(events.after(1, 0, 1).unwrap()[0].number, 2);
        let large = Bytes::from(vec![0; BYTES_MAX / 2]);
        events.push(1, large.clone());
        events.push(1, large);
        assert_eq!(events.order.len(), 1, "bytes count, too");
        events.push(3, Bytes::from(vec![0; 2 * BYTES_MAX]));
        assert_eq!((events.order.len(), events.bytes), (0, 0), "an event that never fits");
    }

    #[test]
    fn events_are_read_as_written_and_cuts_are_refused() {
        let mut events = Events::default();
        for number in 0..u32::try_from(EVENTS_MAX).unwrap() + 10 {
            events.push(number % 3, Bytes::from(vec![7; 3]));
        }
        while events.order.len() > 20 {
            events.drop_first();
        }
        let mut bytes = Vec::new();
        events.write(&mut bytes);
        assert_eq!(Events::read(&mut Reader::new(&bytes)), Ok(events));
        for size in 0..bytes.len() {
            assert!(Events::read(&mut Reader::new(&bytes[..size])).is_err(), "cut to {size}");
        }
    }
}
