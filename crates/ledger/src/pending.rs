//! Pending transfers that are not posted, voided or expired.
//!
//! They are sorted by timestamp, which is the order in a checkpoint, and by expiry. A pending transfer never
//! changes: it is inserted once and removed once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::iter;
use core::ops::Bound::{self, Excluded, Unbounded};

use bezant_types::{HoldPlace, Nanos, Transfer, TransferFlags, TransferId};

use crate::hash::FixedHashMap;

/// Pending transfers, found by id, by timestamp and by expiry.
#[derive(Debug, Default)]
pub(crate) struct PendingTransfers {
    by_time: BTreeMap<Nanos, Transfer>,
    times: FixedHashMap<u128, Nanos>,
    /// The transfers with a timeout that were not imported.
    own_by_expiry: Order,
    /// The transfers with a timeout that were imported. A pause affects only these.
    imported_by_expiry: Order,
    cut: Option<Cut>,
}

/// Pairs of an expiry and the timestamp of the transfer that expires then.
type Order = BTreeSet<(Nanos, Nanos)>;

/// A checkpoint that is being written.
#[derive(Debug)]
struct Cut {
    /// The next timestamp to read out.
    next: Nanos,
    /// The newest timestamp of the cut.
    end: Nanos,
    /// Transfers that were removed since the cut began and are not yet read out.
    removed: BTreeMap<Nanos, Transfer>,
}

impl PendingTransfers {
    /// The transfers of a checkpoint, oldest first. `None` when two share a timestamp or an id, when they are
    /// not sorted, or when one is not a pending transfer.
    pub(crate) fn restore(transfers: Vec<Transfer>) -> Option<Self> {
        let mut pending = Self::default();
        for transfer in transfers {
            let is_in_order =
                pending.by_time.last_key_value().is_none_or(|(last, _)| *last < transfer.timestamp);
            let is_pending = transfer.flags.contains(TransferFlags::PENDING);
            if !is_in_order || !is_pending || pending.times.contains_key(&transfer.id.0) {
                return None;
            }
            pending.insert(transfer);
        }
        Some(pending)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// All transfers, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Transfer> {
        self.by_time.values()
    }

    pub(crate) fn get(&self, id: TransferId) -> Option<&Transfer> {
        self.by_time.get(self.times.get(&id.0)?)
    }

    pub(crate) fn insert(&mut self, transfer: Transfer) {
        if let Some(expiry) = transfer.expires_at() {
            self.order_of(&transfer).insert((expiry, transfer.timestamp));
        }
        assert!(transfer.flags.contains(TransferFlags::PENDING), "only a pending transfer has a reserve");
        let same_id = self.times.insert(transfer.id.0, transfer.timestamp);
        assert!(same_id.is_none(), "two pending transfers have the same id");
        let same_time = self.by_time.insert(transfer.timestamp, transfer);
        assert!(same_time.is_none(), "two pending transfers have the same timestamp");
        if let Some(cut) = &mut self.cut {
            // An undo inserts the transfer again. The cut must return it only once.
            cut.removed.remove(&transfer.timestamp);
        }
    }

    pub(crate) fn remove(&mut self, id: TransferId) -> Option<Transfer> {
        let time = self.times.remove(&id.0)?;
        let transfer = self.by_time.remove(&time)?;
        if let Some(expiry) = transfer.expires_at() {
            let was_in_order = self.order_of(&transfer).remove(&(expiry, time));
            assert!(was_in_order, "a pending transfer with a timeout has a place in the order of expiry");
        }
        if let Some(cut) = &mut self.cut
            && time >= cut.next
            && time <= cut.end
        {
            cut.removed.insert(time, transfer);
        }
        Some(transfer)
    }

    /// The time of the next expiry. With `is_paused`, imported transfers do not count.
    pub(crate) fn next_expiry(&self, is_paused: bool) -> Option<Nanos> {
        let imported = self.imported_by_expiry.first().filter(|_| !is_paused);
        self.own_by_expiry.first().into_iter().chain(imported).min().map(|(expiry, _)| *expiry)
    }

    const fn order_of(&mut self, transfer: &Transfer) -> &mut Order {
        if transfer.flags.contains(TransferFlags::IMPORTED) {
            &mut self.imported_by_expiry
        } else {
            &mut self.own_by_expiry
        }
    }

    /// The transfers with a timeout from a position on, in order of expiry. With `is_paused`, without
    /// imported ones.
    fn in_order(&self, from: Bound<(Nanos, Nanos)>, is_paused: bool) -> impl Iterator<Item = (Nanos, Nanos)> {
        let mut own = self.own_by_expiry.range((from, Unbounded)).copied().peekable();
        let imported = (!is_paused).then(|| self.imported_by_expiry.range((from, Unbounded)).copied());
        let mut imported = imported.into_iter().flatten().peekable();
        iter::from_fn(move || match (own.peek(), imported.peek()) {
            (Some(own_next), Some(imported_next)) if imported_next < own_next => imported.next(),
            (None, _) => imported.next(),
            _ => own.next(),
        })
    }

    /// Up to `count` transfers whose timeout has passed at `now`, in order of expiry. With `is_paused`,
    /// without imported ones.
    pub(crate) fn expired(
        &self,
        now: Nanos,
        count: usize,
        is_paused: bool,
    ) -> impl Iterator<Item = &Transfer> {
        self.in_order(Unbounded, is_paused)
            .take_while(move |(expiry, _)| *expiry <= now)
            .take(count)
            .filter_map(|(_, time)| self.by_time.get(&time))
    }

    /// Visits up to `count` transfers after a position, in the order of positions, until `visit` returns
    /// false. Returns the position that was reached. `None` when no transfers are left, or when `visit`
    /// returned false.
    pub(crate) fn scan(
        &self,
        after: HoldPlace,
        count: usize,
        mut visit: impl FnMut(&Transfer) -> bool,
    ) -> Option<HoldPlace> {
        let mut left = count;
        let mut after = after;
        if after.expires_at != Nanos::NEVER {
            let from = (after.expires_at, after.timestamp);
            for (expires_at, timestamp) in self.in_order(Excluded(from), false).take(count) {
                let transfer = &self.by_time[&timestamp];
                if !visit(transfer) {
                    return None;
                }
                (after, left) = (HoldPlace { expires_at, timestamp }, left - 1);
            }
            if left == 0 {
                return Some(after);
            }
            after = HoldPlace { expires_at: Nanos::NEVER, timestamp: Nanos(0) };
        }
        if self.own_by_expiry.len() + self.imported_by_expiry.len() == self.by_time.len() {
            return None;
        }
        // Transfers without a timeout come last, in order of their timestamps. The others are skipped here,
        // but count as visited.
        for (timestamp, transfer) in self.by_time.range((Excluded(after.timestamp), Unbounded)).take(left) {
            if transfer.expires_at().is_none() && !visit(transfer) {
                return None;
            }
            (after.timestamp, left) = (*timestamp, left - 1);
        }
        (left == 0).then_some(after)
    }

    pub(crate) fn begin_cut(&mut self) {
        assert!(self.cut.is_none(), "a cut is already in progress");
        let end = self.by_time.last_key_value().map_or(Nanos(0), |(time, _)| *time);
        self.cut = Some(Cut { next: Nanos(0), end, removed: BTreeMap::new() });
    }

    /// Reads out up to `count` transfers. Returns false at the last one, which ends the cut.
    pub(crate) fn poll_cut(&mut self, count: usize, mut read: impl FnMut(&Transfer)) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        let range = cut.next..=cut.end;
        let kept = self.by_time.range(range.clone()).take(count);
        let removed = cut.removed.range(range).take(count);
        let mut page: Vec<(Nanos, Transfer)> = kept.chain(removed).map(|(time, it)| (*time, *it)).collect();
        page.sort_unstable_by_key(|(time, _)| *time);
        page.truncate(count);
        page.iter().for_each(|(_, transfer)| read(transfer));
        if let Some((last, _)) = page.last()
            && *last < cut.end
        {
            cut.next = Nanos(last.0 + 1);
            return true;
        }
        self.cut = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn transfer(id: u128, timeout_seconds: u32) -> Transfer {
        let timestamp = Nanos(u64::try_from(id).unwrap());
        let flags = TransferFlags::PENDING;
        Transfer { id: TransferId(id), timestamp, timeout_seconds, flags, ..Transfer::default() }
    }

    #[test]
    fn pending_transfers_expire_in_order() {
        let mut pending = PendingTransfers::default();
        [transfer(1, 9), transfer(2, 0), transfer(3, 5)].into_iter().for_each(|it| pending.insert(it));
        assert_eq!(pending.next_expiry(false), Some(Nanos(5_000_000_003)));
        let ids: Vec<u128> = pending.expired(Nanos(u64::MAX), 9, false).map(|it| it.id.0).collect();
        assert_eq!(ids, [3, 1]);
        assert_eq!(pending.expired(Nanos(5_000_000_002), 9, false).count(), 0);
    }

    #[test]
    fn a_pause_affects_only_imported_transfers() {
        let mut pending = PendingTransfers::default();
        let imported =
            Transfer { flags: TransferFlags::PENDING.union(TransferFlags::IMPORTED), ..transfer(1, 2) };
        [imported, transfer(2, 5), transfer(3, 0)].into_iter().for_each(|it| pending.insert(it));
        let ids = |pending: &PendingTransfers, is_paused| -> Vec<u128> {
            pending.expired(Nanos(u64::MAX), 9, is_paused).map(|it| it.id.0).collect()
        };
        assert_eq!((ids(&pending, true), ids(&pending, false)), (vec![2], vec![1, 2]));
        pending.insert(Transfer {
            flags: TransferFlags::PENDING.union(TransferFlags::IMPORTED),
            ..transfer(4, 9)
        });
        assert_eq!(ids(&pending, false), [1, 2, 4], "one order for both kinds");
        pending.remove(TransferId(4));
        assert_eq!(pending.next_expiry(true), Some(Nanos(5_000_000_002)));
        pending.remove(TransferId(2));
        assert_eq!((pending.next_expiry(true), ids(&pending, false)), (None, vec![1]));
    }

    #[test]
    fn restore_rejects_duplicates_and_wrong_order() {
        let restored = |ids: &[(u128, u64)]| {
            let at = |(id, time): &(u128, u64)| Transfer { timestamp: Nanos(*time), ..transfer(*id, 0) };
            PendingTransfers::restore(ids.iter().map(at).collect()).map(|it| it.len())
        };
        assert_eq!(restored(&[(7, 1), (5, 2)]), Some(2));
        assert_eq!(restored(&[(7, 1), (5, 1)]), None);
        assert_eq!(restored(&[(7, 1), (7, 2)]), None);
        assert_eq!(restored(&[(7, 2), (5, 1)]), None);
    }

    #[test]
    fn a_scan_follows_the_order_of_expiry() {
        let hold = |id, timestamp, seconds| Transfer { timestamp: Nanos(timestamp), ..transfer(id, seconds) };
        let mut pending = PendingTransfers::default();
        // 3 and 4 expire in the same nanosecond.
        let second = Nanos::PER_SECOND;
        let all = [
            hold(1, 1, 0),
            hold(2, 2, 9),
            hold(3, 3, 5),
            hold(4, 3 + second, 4),
            hold(5, 5, 0),
            hold(6, 6, 3),
        ];
        all.iter().for_each(|it| pending.insert(*it));
        for count in 1..8 {
            let mut seen = Vec::new();
            let mut after = Some(HoldPlace::default());
            while let Some(place) = after {
                let before = seen.len();
                after = pending.scan(place, count, |it| {
                    seen.push(it.id.0);
                    true
                });
                assert!(seen.len() - before <= count, "a step visits at most `count` transfers");
            }
            assert_eq!(seen, [6, 3, 4, 2, 1, 5], "{count} at a time");
        }
        for (at, next) in [(5, Some(3)), (2, Some(4)), (1, Some(1)), (0, Some(5)), (4, None)] {
            let mut seen = None;
            pending.scan(HoldPlace::of(&all[at]), 100, |it| {
                seen = Some(it.id.0);
                false
            });
            assert_eq!(seen, next, "after {}", all[at].id);
        }
    }

    #[test]
    fn a_scan_ends_with_the_transfers_without_a_timeout() {
        // Three transfers with a timeout that were not imported, and two that were: sum and product differ.
        let imported =
            |id| Transfer { flags: TransferFlags::PENDING.union(TransferFlags::IMPORTED), ..transfer(id, 5) };
        let mut pending = PendingTransfers::default();
        [transfer(1, 5), transfer(2, 5), transfer(3, 5), imported(4), imported(5), transfer(6, 0)]
            .into_iter()
            .for_each(|it| pending.insert(it));
        let mut seen = Vec::new();
        let next = pending.scan(HoldPlace::default(), 100, |it| {
            seen.push(it.id.0);
            true
        });
        assert_eq!((seen, next), (vec![1, 2, 3, 4, 5, 6], None));
    }

    #[test]
    fn a_cut_is_not_affected_by_later_changes() {
        let mut pending = PendingTransfers::default();
        (1..=5).for_each(|id| pending.insert(transfer(id, 1)));
        pending.begin_cut();
        let mut seen = Vec::new();
        pending.remove(TransferId(4));
        assert!(pending.poll_cut(2, |it| seen.push(it.id.0)));
        pending.remove(TransferId(1));
        pending.remove(TransferId(5));
        pending.insert(transfer(6, 1));
        while pending.poll_cut(2, |it| seen.push(it.id.0)) {}
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert_eq!(pending.len(), 3);
    }
}
