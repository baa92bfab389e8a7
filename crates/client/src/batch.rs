//! Cuts a long list of events into requests.
//!
//! All events of a chain of linked events are created, or none is, so a chain travels in one request: a cut
//! is only after an event that is not linked to the next. The order of the events is kept, and every batch
//! except the last is as full as the chains allow.

use std::ops::Range;

/// A chain that does not fit in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainTooLong {
    /// Index of its first event.
    pub(crate) first_index: usize,
}

/// Cuts `count` events into batches of at most `events_max`; `is_linked` is true for the index of an
/// event that is linked to the next one.
pub(crate) fn cut(
    count: usize,
    events_max: usize,
    is_linked: impl Fn(usize) -> bool,
) -> Result<Vec<Range<usize>>, ChainTooLong> {
    assert!(events_max > 0, "a batch holds at least one event");
    let mut batches = Vec::with_capacity(count.div_ceil(events_max));
    let (mut begin, mut chain_begin) = (0, 0);
    for index in 0..count {
        if index - chain_begin == events_max {
            return Err(ChainTooLong { first_index: chain_begin });
        }
        if index - begin == events_max {
            batches.push(begin..chain_begin);
            begin = chain_begin;
        }
        if !is_linked(index) {
            chain_begin = index + 1;
        }
    }
    if begin < count {
        batches.push(begin..count);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(flags: &[u8]) -> impl Fn(usize) -> bool {
        |index| flags.get(index) == Some(&1)
    }

    #[test]
    fn without_chains_batches_are_full() {
        assert_eq!(cut(7, 3, |_| false), Ok(vec![0..3, 3..6, 6..7]));
        assert_eq!(cut(6, 3, |_| false), Ok(vec![0..3, 3..6]));
        assert_eq!(cut(0, 3, |_| false), Ok(vec![]));
    }

    #[test]
    fn a_chain_is_never_cut() {
        assert_eq!(cut(5, 3, linked(&[0, 0, 1, 1, 0])), Ok(vec![0..2, 2..5]));
        assert_eq!(cut(6, 3, linked(&[1, 1, 0, 1, 1, 0])), Ok(vec![0..3, 3..6]));
        assert_eq!(cut(4, 3, linked(&[0, 1, 0, 0])), Ok(vec![0..3, 3..4]));
    }

    #[test]
    fn a_chain_longer_than_a_request_is_refused() {
        assert_eq!(cut(5, 3, linked(&[0, 1, 1, 1, 0])), Err(ChainTooLong { first_index: 1 }));
    }

    #[test]
    fn the_server_decides_on_a_chain_without_an_end() {
        assert_eq!(cut(4, 3, linked(&[0, 0, 1, 1])), Ok(vec![0..2, 2..4]));
    }
}
