//! A vector that can be read out in pieces, as it was at one moment, while it continues to change.
//!
//! A checkpoint of millions of accounts must not stop the payments. So a cut has a cursor. The items before
//! the cursor have been read out. An item at or after the cursor is copied when it is about to change for the
//! first time.

use alloc::vec::Vec;

use crate::hash::FixedHashMap;

/// Items that are never removed, with at most one cut under way.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    items: Vec<T>,
    cut: Option<Cut<T>>,
}

#[derive(Debug)]
struct Cut<T> {
    /// Index of the next item to read out.
    next: usize,
    /// Number of items when the cut began.
    end: usize,
    /// Changed items that are not yet read out, as they were when the cut began. Looked up by index, never
    /// iterated.
    saved: FixedHashMap<usize, T>,
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self { items: Vec::new(), cut: None }
    }
}

impl<T: Clone> Snapshot<T> {
    pub(crate) const fn new(items: Vec<T>) -> Self {
        Self { items, cut: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    pub(crate) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Removes the item of the last `push`, which was made after the cut began.
    pub(crate) fn pop(&mut self) {
        self.items.pop();
        assert!(
            self.cut.as_ref().is_none_or(|cut| cut.end <= self.items.len()),
            "an item of the cut must not be removed"
        );
    }

    /// The item, which is about to change.
    pub(crate) fn change(&mut self, place: usize) -> &mut T {
        self.save(place);
        &mut self.items[place]
    }

    /// Two different items, which are about to change.
    pub(crate) fn change_two(&mut self, first: usize, second: usize) -> (&mut T, &mut T) {
        self.save(first);
        self.save(second);
        let [first, second] =
            self.items.get_disjoint_mut([first, second]).expect("invariant: the two items differ");
        (first, second)
    }

    fn save(&mut self, place: usize) {
        if let Some(cut) = &mut self.cut
            && place >= cut.next
            && place < cut.end
        {
            cut.saved.entry(place).or_insert_with(|| self.items[place].clone());
        }
    }

    /// Begins a cut: [`poll_cut`](Self::poll_cut) reads out the items as they are now.
    pub(crate) fn begin_cut(&mut self) {
        assert!(self.cut.is_none(), "a cut is already in progress");
        self.cut = Some(Cut { next: 0, end: self.items.len(), saved: FixedHashMap::default() });
    }

    /// Reads out up to `count` items. Returns false at the last one, which ends the cut.
    pub(crate) fn poll_cut(&mut self, count: usize, mut read: impl FnMut(&T)) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        let end = cut.end.min(cut.next + count);
        for place in cut.next..end {
            read(cut.saved.remove(&place).as_ref().unwrap_or(&self.items[place]));
        }
        cut.next = end;
        let has_more = cut.next < cut.end;
        if !has_more {
            assert!(cut.saved.is_empty(), "every item that was saved has been read out");
            self.cut = None;
        }
        has_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_not_affected_by_later_changes() {
        let mut snapshot = Snapshot::new(alloc::vec![1, 2, 3, 4]);
        snapshot.begin_cut();
        let mut seen = Vec::new();
        *snapshot.change(3) = 40;
        assert!(snapshot.poll_cut(2, |item| seen.push(*item)));
        *snapshot.change(0) = 10;
        *snapshot.change(2) = 30;
        *snapshot.change(2) = 31;
        snapshot.push(5);
        *snapshot.change(4) = 50;
        assert!(!snapshot.poll_cut(9, |item| seen.push(*item)));
        assert_eq!(seen, [1, 2, 3, 4]);
        assert_eq!(snapshot.items(), [10, 2, 31, 40, 50]);
    }
}
