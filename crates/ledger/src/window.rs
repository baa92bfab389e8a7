//! The newest rows of the history, kept in memory.
//!
//! The old rows that an entry needs are fetched while earlier entries are still being applied. The rows that
//! those entries add are found in the window. So the window must reach back to the history position up to
//! which a fetch has read. Then an id is new if neither the fetch nor the window has it. An id that is
//! greater than every earlier id is new without any look-up.
//!
//! The window has two generations. When the newer one has [`GENERATION_ROWS`] rows or more, the older one is
//! dropped as a whole, and an empty one begins.

use alloc::vec::Vec;

use bezant_types::{
    FetchedTransfer, HistoryPosition, Movement, MovementKind, MovementNumber, Refusal, Resolution, RowBatch,
    Transfer, TransferId,
};
use hashbrown::HashTable;

use crate::hash::{FixedHashMap, hash_id};

/// Rows of a full generation: several full entries, so that the fetch for an entry in flight is never too
/// old.
pub(crate) const GENERATION_ROWS: usize = 1 << 16;

/// Flag in a place: it belongs to a refusal, not to a movement.
const REFUSED: u32 = 1 << 31;

/// The newest rows, found by id.
#[derive(Debug)]
pub(crate) struct Window {
    /// The newer generation comes first.
    generations: [Generation; 2],
    /// Movements of the entry that is being applied.
    movements: Vec<Movement>,
    /// Refusals of the entry that is being applied.
    refusals: Vec<Refusal>,
    /// Position of the first row of the entry that is being applied.
    base: HistoryPosition,
    /// The greatest id ever used.
    id_max: TransferId,
}

#[derive(Debug)]
struct Generation {
    /// The position of its first row.
    start: HistoryPosition,
    ids: Vec<u128>,
    /// For each id: the number of its movement, or of its refusal together with the flag [`REFUSED`]. Both
    /// are counted from `start`.
    places: Vec<u32>,
    /// Index in `ids` and `places`, by the id.
    by_id: HashTable<u32>,
    /// Rows of whole entries, each with the number of its first row.
    movements: Vec<(u64, RowBatch<Movement>)>,
    refusals: Vec<(u64, RowBatch<Refusal>)>,
    /// The records of pending transfers that were resolved in this generation, and how they were. Looked up,
    /// never iterated.
    resolved: FixedHashMap<u128, (Transfer, MovementKind)>,
}

/// The state of the entry before a chain, to which an undo returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    movements: usize,
    id_max: TransferId,
}

impl Window {
    /// An empty window that begins at `position`.
    pub(crate) fn new(position: HistoryPosition, id_max: TransferId) -> Self {
        Self {
            generations: [Generation::new(position), Generation::new(position)],
            movements: Vec::new(),
            refusals: Vec::new(),
            base: position,
            id_max,
        }
    }

    /// The position after the last row.
    pub(crate) fn position(&self) -> HistoryPosition {
        HistoryPosition {
            movements: self.base.movements + self.movements.len() as u64,
            refusals: self.base.refusals + self.refusals.len() as u64,
        }
    }

    pub(crate) fn id_max(&self) -> TransferId {
        self.id_max
    }

    /// True when every row after `seen` is in the window.
    pub(crate) fn covers(&self, seen: HistoryPosition) -> bool {
        seen.reaches(self.generations[1].start)
    }

    /// Reserves memory for an entry of up to `rows` movements; starts a new generation when the current one
    /// is full.
    pub(crate) fn begin_entry(&mut self, rows: usize) {
        // All rows count, not only those with ids: an expiry has no id, but takes as much memory.
        let start = self.generations[0].start;
        let held = self.base.movements - start.movements + self.base.refusals - start.refusals;
        if held >= GENERATION_ROWS as u64 {
            self.generations.swap(0, 1);
            self.generations[0].restart(self.base);
        }
        self.movements.reserve_exact(rows);
    }

    /// Ends the entry and returns its rows.
    pub(crate) fn finish_entry(&mut self) -> (RowBatch<Movement>, RowBatch<Refusal>) {
        let position = self.position();
        if self.movements.len() < self.movements.capacity() / 2 {
            // Memory was reserved for every event, but in a retried request only few events may be new.
            self.movements.shrink_to_fit();
        }
        let movements = RowBatch::new(core::mem::take(&mut self.movements));
        let refusals = RowBatch::new(core::mem::take(&mut self.refusals));
        let current = &mut self.generations[0];
        assert!(current.end() == self.base, "the rows of an entry follow those of the entry before it");
        assert!(current.ids.len() == current.places.len(), "every id of the window has a place");
        if !movements.is_empty() {
            current.movements.push((self.base.movements, RowBatch::clone(&movements)));
        }
        if !refusals.is_empty() {
            current.refusals.push((self.base.refusals, RowBatch::clone(&refusals)));
        }
        self.base = position;
        (movements, refusals)
    }

    /// Adds the row of the transfer with that id. `make` writes the row in place: it has 336 bytes.
    pub(crate) fn push_transfer(&mut self, id: TransferId, make: impl FnOnce() -> Movement) {
        let place = small(self.position().movements - self.generations[0].start.movements);
        self.movements.extend(core::iter::once_with(make));
        self.generations[0].insert(id, place);
        self.id_max = self.id_max.max(id);
    }

    /// Adds the row of an expiry, which has no id.
    pub(crate) fn push_expiry(&mut self, movement: &Movement) {
        self.movements.push(*movement);
    }

    /// Adds a used-up id.
    pub(crate) fn push_refusal(&mut self, refusal: Refusal) {
        let place = small(self.position().refusals - self.generations[0].start.refusals);
        self.refusals.push(refusal);
        self.generations[0].insert(refusal.id, place | REFUSED);
        self.id_max = self.id_max.max(refusal.id);
    }

    /// Records how a pending transfer ended.
    pub(crate) fn push_resolution(&mut self, pending: Transfer, kind: MovementKind) {
        let before = self.generations[0].resolved.insert(pending.id.0, (pending, kind));
        assert!(before.is_none(), "a pending transfer ends once");
    }

    /// Removes the record of how a pending transfer ended, because its chain was undone.
    pub(crate) fn remove_resolution(&mut self, id: TransferId) {
        let removed = self.generations[0].resolved.remove(&id.0);
        assert!(removed.is_some(), "a chain removes the resolution that it added");
    }

    /// The row with that id, if the window has it.
    pub(crate) fn find(&self, id: TransferId) -> Option<FetchedTransfer> {
        self.generations.iter().find_map(|generation| {
            let place = generation.find(id)?;
            Some(if place & REFUSED == 0 {
                let number = generation.start.movements + u64::from(place);
                FetchedTransfer::Applied(MovementNumber(number), *self.movement(generation, number))
            } else {
                let number = generation.start.refusals + u64::from(place & !REFUSED);
                FetchedTransfer::Refused(*self.refusal(generation, number))
            })
        })
    }

    /// The first position of the newer generation.
    pub(crate) fn current_start(&self) -> HistoryPosition {
        self.generations[0].start
    }

    /// True when the id is in the newer generation. The id then stays in the window as long as the window
    /// covers [`Self::current_start`]. The older generation may be dropped before an entry in flight is
    /// applied.
    pub(crate) fn is_current(&self, id: TransferId) -> bool {
        self.generations[0].find(id).is_some()
    }

    /// The same for the resolution of a pending transfer.
    pub(crate) fn is_resolution_current(&self, id: TransferId) -> bool {
        self.generations[0].resolved.contains_key(&id.0)
    }

    /// How a pending transfer ended, if the window has that.
    pub(crate) fn resolution(&self, id: TransferId) -> Option<(Transfer, Resolution)> {
        self.generations.iter().find_map(|generation| {
            let (pending, kind) = generation.resolved.get(&id.0)?;
            Some((*pending, Resolution { pending_id: id, kind: *kind }))
        })
    }

    /// True when a movement in the window has exactly that timestamp.
    pub(crate) fn has_timestamp(&self, timestamp: bezant_types::Nanos) -> bool {
        let is_in = |rows: &[Movement]| rows.binary_search_by_key(&timestamp, |row| row.timestamp).is_ok();
        is_in(&self.movements)
            || self
                .generations
                .iter()
                .flat_map(|generation| &generation.movements)
                .any(|(_, rows)| is_in(rows))
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { movements: self.movements.len(), id_max: self.id_max }
    }

    /// Removes the movements since the mark. There are no refusals since the mark: those of a chain are added
    /// after its undo.
    pub(crate) fn undo(&mut self, mark: Mark) {
        assert!(mark.movements <= self.movements.len(), "a chain only adds rows");
        for movement in self.movements.drain(mark.movements..).rev() {
            self.generations[0].remove_last(movement.transfer.id);
        }
        self.id_max = mark.id_max;
    }

    fn movement<'window>(&'window self, generation: &'window Generation, number: u64) -> &'window Movement {
        row(&generation.movements, self.base.movements, &self.movements, number)
    }

    fn refusal<'window>(&'window self, generation: &'window Generation, number: u64) -> &'window Refusal {
        row(&generation.refusals, self.base.refusals, &self.refusals, number)
    }
}

impl Generation {
    fn new(start: HistoryPosition) -> Self {
        Self {
            start,
            ids: Vec::new(),
            places: Vec::new(),
            by_id: HashTable::new(),
            movements: Vec::new(),
            refusals: Vec::new(),
            resolved: FixedHashMap::default(),
        }
    }

    /// Empties the generation and keeps its allocations.
    fn restart(&mut self, start: HistoryPosition) {
        self.start = start;
        self.ids.clear();
        self.places.clear();
        self.by_id.clear();
        self.movements.clear();
        self.refusals.clear();
        self.resolved.clear();
    }

    /// The position after its last row that belongs to a whole entry.
    fn end(&self) -> HistoryPosition {
        HistoryPosition {
            movements: end(&self.movements).unwrap_or(self.start.movements),
            refusals: end(&self.refusals).unwrap_or(self.start.refusals),
        }
    }

    fn insert(&mut self, id: TransferId, place: u32) {
        let ids = &self.ids;
        self.by_id.insert_unique(hash_id(id.0), small(ids.len() as u64), |at| hash_id(ids[*at as usize]));
        self.ids.push(id.0);
        self.places.push(place);
    }

    fn find(&self, id: TransferId) -> Option<u32> {
        let at = self.by_id.find(hash_id(id.0), |at| self.ids[*at as usize] == id.0)?;
        Some(self.places[*at as usize])
    }

    fn remove_last(&mut self, id: TransferId) {
        let last = self.ids.len() - 1;
        let entry = self.by_id.find_entry(hash_id(id.0), |at| *at as usize == last);
        entry.expect("invariant: the last id of the window has an entry").remove();
        self.ids.pop();
        self.places.pop();
    }
}

/// The number after the last row; `None` when there are no rows.
fn end<Row>(entries: &[(u64, RowBatch<Row>)]) -> Option<u64> {
    entries.last().map(|(first, rows)| first + rows.len() as u64)
}

/// The row with that number. Rows from `base` on are in `applying`, the rows of the entry that is being
/// applied; earlier ones are in `entries`.
fn row<'rows, Row>(
    entries: &'rows [(u64, RowBatch<Row>)],
    base: u64,
    applying: &'rows [Row],
    number: u64,
) -> &'rows Row {
    if number >= base {
        return &applying[place(number - base)];
    }
    let after = entries.partition_point(|(first, _)| *first <= number);
    let (first, rows) = &entries[after - 1];
    &rows[place(number - first)]
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("invariant: a place in memory fits in usize")
}

fn small(number: u64) -> u32 {
    u32::try_from(number)
        .ok()
        .filter(|number| number & REFUSED == 0)
        .expect("invariant: a generation holds far fewer than 2^31 rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::{Balances, Head, Nanos};

    fn expiry(timestamp: u64) -> Movement {
        Movement {
            transfer: Transfer { id: TransferId(timestamp.into()), ..Transfer::default() },
            kind: MovementKind::Expired,
            timestamp: Nanos(timestamp),
            debit: Balances::default(),
            credit: Balances::default(),
            debit_head: Head::NONE,
            credit_head: Head::NONE,
        }
    }

    #[test]
    fn expiries_alone_do_not_grow_the_window_forever() {
        let mut window = Window::new(HistoryPosition::default(), TransferId(0));
        let mut timestamp = 0;
        for _ in 0..12 {
            window.begin_entry(8189);
            for _ in 0..8189 {
                timestamp += 1;
                let movement = expiry(timestamp);
                window.push_expiry(&movement);
                window.push_resolution(movement.transfer, MovementKind::Expired);
            }
            window.finish_entry();
        }
        assert!(window.current_start().movements >= GENERATION_ROWS as u64, "a new generation has begun");
        assert!(window.generations.iter().all(|held| held.resolved.len() < GENERATION_ROWS + 8189));
        assert_eq!(window.position().movements, 12 * 8189);
    }

    #[test]
    fn an_entry_with_few_rows_keeps_little_memory() {
        let mut window = Window::new(HistoryPosition::default(), TransferId(0));
        window.begin_entry(8189);
        window.push_expiry(&expiry(1));
        let (movements, _) = window.finish_entry();
        assert_eq!(movements.len(), 1);
        assert!(movements.capacity() < 8, "{}", movements.capacity());
    }

    fn refusal(id: u128) -> Refusal {
        let status = bezant_types::CreateTransferStatus::DebitAccountNotFound;
        Refusal { id: TransferId(id), timestamp: Nanos(0), status }
    }

    /// Adds an entry with that many expiries and refusals.
    fn add(window: &mut Window, movements: usize, refusals: usize) {
        window.begin_entry(movements);
        for _ in 0..movements {
            window.push_expiry(&expiry(1));
        }
        for _ in 0..refusals {
            let id = u128::from(window.position().refusals) + 1;
            window.push_refusal(refusal(id));
        }
        window.finish_entry();
    }

    #[test]
    fn a_generation_ends_when_its_rows_are_enough() {
        let start = HistoryPosition { movements: 1_000_000, refusals: 2_000_000 };
        let mut window = Window::new(start, TransferId(0));
        let mut begins = start;
        for _ in 0..3 {
            add(&mut window, GENERATION_ROWS - 7, 6);
            add(&mut window, 0, 1);
            assert_eq!(window.current_start(), begins, "one row less than the limit when the entry began");
            begins = window.position();
            window.begin_entry(0);
            assert_eq!(window.current_start(), begins, "movements and refusals count together");
            window.finish_entry();
        }
    }

    #[test]
    fn the_window_covers_two_generations() {
        let mut window = Window::new(HistoryPosition::default(), TransferId(0));
        let starts: Vec<HistoryPosition> = (0..3)
            .map(|_| {
                let start = window.position();
                add(&mut window, GENERATION_ROWS, 3);
                start
            })
            .collect();
        assert!(!window.covers(starts[0]), "its rows were dropped");
        assert!(window.covers(starts[1]) && window.covers(starts[2]) && window.covers(window.position()));
        let (movements, refusals) = (starts[1].movements, starts[1].refusals);
        assert!(!window.covers(HistoryPosition { movements: movements - 1, refusals }));
        assert!(!window.covers(HistoryPosition { movements, refusals: refusals - 1 }));
        assert!(window.find(TransferId(3)).is_none(), "a row of the dropped generation");
        for id in [4, 6, 7, 9] {
            assert_eq!(window.find(TransferId(id)), Some(FetchedTransfer::Refused(refusal(id))), "{id}");
            assert_eq!(window.is_current(TransferId(id)), id > 6, "{id}");
        }
    }

    #[test]
    fn memory_that_an_entry_reserved_is_given_back_below_half() {
        let mut window = Window::new(HistoryPosition::default(), TransferId(0));
        for (rows, capacity) in [(8, 8), (4, 8), (3, 3), (1, 1)] {
            window.begin_entry(8);
            for _ in 0..rows {
                window.push_expiry(&expiry(1));
            }
            assert_eq!(window.finish_entry().0.capacity(), capacity, "{rows} of 8 rows");
        }
    }

    #[test]
    fn rows_are_found_in_the_entry_that_added_them() {
        let mut window = Window::new(HistoryPosition { movements: 50, refusals: 70 }, TransferId(0));
        let movement = |id: u64| Movement { kind: MovementKind::SinglePhase, ..expiry(id) };
        for id in 1..=9 {
            // Entries of one and of two rows, with an empty one between them.
            window.push_transfer(TransferId(id.into()), || movement(id));
            window.push_refusal(refusal(u128::from(id) + 100));
            if id % 3 != 1 {
                window.finish_entry();
                window.begin_entry(0);
                window.finish_entry();
            }
            let mark = window.mark();
            window.push_transfer(TransferId(500), || movement(500));
            window.undo(mark);
            assert_eq!(window.find(TransferId(500)), None, "undone");
            assert_eq!(window.id_max(), TransferId(u128::from(id) + 100), "the greatest id is undone, too");
        }
        for id in 1..=9 {
            let number = MovementNumber(49 + id);
            let row = FetchedTransfer::Applied(number, movement(id));
            assert_eq!(window.find(TransferId(id.into())), Some(row), "{id}");
            let id = u128::from(id) + 100;
            assert_eq!(window.find(TransferId(id)), Some(FetchedTransfer::Refused(refusal(id))), "{id}");
            assert!(!window.has_timestamp(Nanos(10)));
        }
        for time in 1..=9 {
            assert!(window.has_timestamp(Nanos(time)), "{time}");
        }
        window.push_transfer(TransferId(10), || movement(10));
        assert!(window.has_timestamp(Nanos(10)), "in the entry that is being applied");
    }
}
