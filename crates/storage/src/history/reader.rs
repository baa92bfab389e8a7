//! Queries of the history: rows by id for the state machine, rows by filter for clients.
//!
//! The state machine asks for all ids of an entry at once, and nearly all of them are absent. So the ids are
//! sorted by key, and each run's filter is read in that order. The filters rule out nearly all ids.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bezant_types::{
    AccountFilter, FetchKey, Fetched, FetchedTransfer, HistoryPosition, Movement, MovementFilter,
    MovementKind, MovementNumber, Nanos, QueryFilter, Refusal, Resolution, TransferId, TransferView,
};

use super::build::sort;
use super::error::HistoryError;
use super::key::{KEY_BITS, Kind, key};
use super::page::place;
use super::row::Row;
use super::state::{Shared, TableState};
use super::view::{Groups, LastPage, View};
use crate::{HistoryAnswer, HistoryQuery};

/// Maximal number of ids that are looked up at once: an id's index in the list and its key share one integer.
const LOOKUPS_MAX: usize = 1 << (u64::BITS - KEY_BITS);

/// Reads the history. Cheap to clone. Every call covers all rows that were appended before it.
#[derive(Clone, Debug)]
pub struct HistoryReader {
    shared: Arc<Shared>,
}

/// An id to look up.
#[derive(Clone, Copy, Debug)]
struct Lookup {
    kind: Kind,
    value: u128,
}

impl HistoryReader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Both tables as they are now.
    pub(super) fn views(&self) -> (View<Movement>, View<Refusal>) {
        let state = self.shared.read();
        (state.movements.view(), state.refusals.view())
    }

    /// The number of rows that can be read.
    pub fn position(&self) -> HistoryPosition {
        self.shared.read().position()
    }

    /// The rows under `keys`, in the order of the keys; absent rows are left out.
    pub fn fetch(&self, keys: &[FetchKey]) -> Result<Fetched, HistoryError> {
        let mut fetched = Fetched { seen: self.position(), ..Fetched::default() };
        for keys in keys.chunks(LOOKUPS_MAX) {
            self.fetch_some(keys, &mut fetched)?;
        }
        Ok(fetched)
    }

    /// The rows before movement `end` that match a query. So a caller at an earlier position of the log gets
    /// no later rows.
    pub fn read(&self, query: &HistoryQuery, end: MovementNumber) -> Result<HistoryAnswer, HistoryError> {
        match query {
            HistoryQuery::Transfers(ids) => self.transfers(ids, end),
            HistoryQuery::AccountTransfers(filter) => self.account_transfers(filter, end),
            HistoryQuery::QueryTransfers(filter) => self.query_transfers(filter, end),
            HistoryQuery::Movements(filter) => self.movements(filter, end),
        }
    }

    /// Like [`read`](Self::read), for transfers, each with its state before movement `end`.
    pub fn read_transfers(
        &self,
        query: &HistoryQuery,
        end: MovementNumber,
    ) -> Result<Vec<TransferView>, HistoryError> {
        let rows = self.read(query, end)?;
        let pending = rows.iter().filter(|(_, row)| row.kind == MovementKind::Pending);
        let lookups: Vec<Lookup> =
            pending.map(|(_, row)| Lookup { kind: Kind::Resolution, value: row.transfer.id.0 }).collect();
        let mut ends: BTreeMap<u128, Movement> = BTreeMap::new();
        for lookups in lookups.chunks(LOOKUPS_MAX) {
            let packed = pack(lookups);
            let (view, mut found) = {
                let state = self.shared.read();
                (state.movements.view(), find_in_tail(&state.movements, lookups, &packed))
            };
            find_in_runs(&view, lookups, &packed, &mut found)?;
            let before_end = found.into_iter().filter(|(_, number, _)| *number < end.0);
            ends.extend(before_end.map(|(at, _, row)| (lookups[at].value, row)));
        }
        Ok(rows.iter().map(|(_, row)| TransferView::new(row, ends.get(&row.transfer.id.0))).collect())
    }

    fn fetch_some(&self, keys: &[FetchKey], fetched: &mut Fetched) -> Result<(), HistoryError> {
        let mut lookups = Vec::with_capacity(keys.len());
        let mut times = Vec::new();
        for key in keys {
            match *key {
                FetchKey::Transfer(id) => lookups.push(Lookup { kind: Kind::Id, value: id.0 }),
                FetchKey::Resolution(id) => lookups.push(Lookup { kind: Kind::Resolution, value: id.0 }),
                FetchKey::Timestamp(time) => times.push(time),
            }
        }
        let packed = pack(&lookups);
        let (movements, refusals, mut found, mut refused) = {
            let state = self.shared.read();
            let found = find_in_tail(&state.movements, &lookups, &packed);
            let refused = find_in_tail(&state.refusals, &lookups, &packed);
            (state.movements.view(), state.refusals.view(), found, refused)
        };
        find_in_runs(&movements, &lookups, &packed, &mut found)?;
        find_in_runs(&refusals, &lookups, &packed, &mut refused)?;
        let refused = refused.into_iter().map(|(at, _, row)| (at, FetchedTransfer::Refused(row)));
        let mut transfers: Vec<_> = refused.collect();
        let mut resolutions = Vec::new();
        for (at, number, row) in found {
            if lookups[at].kind == Kind::Id {
                transfers.push((at, FetchedTransfer::Applied(MovementNumber(number), row)));
            } else {
                let pending_id = TransferId(lookups[at].value);
                resolutions.push((at, Resolution { pending_id, kind: row.kind }));
            }
        }
        transfers.sort_by_key(|(at, _)| *at);
        resolutions.sort_by_key(|(at, _)| *at);
        fetched.transfers.extend(transfers.into_iter().map(|(_, transfer)| transfer));
        fetched.resolutions.extend(resolutions.into_iter().map(|(_, resolution)| resolution));
        let mut last = LastPage::new();
        for time in times {
            let number = movements.first_at(time, &mut last)?;
            if number < movements.end && movements.row(number, &mut last)?.timestamp == time {
                fetched.timestamps.push(time);
            }
        }
        Ok(())
    }

    fn transfers(&self, ids: &[TransferId], end: MovementNumber) -> Result<HistoryAnswer, HistoryError> {
        let fetched = self.fetch(&ids.iter().copied().map(FetchKey::Transfer).collect::<Vec<_>>())?;
        let applied = fetched.transfers.into_iter().filter_map(|transfer| match transfer {
            FetchedTransfer::Applied(number, movement) if number < end => Some((number, movement)),
            FetchedTransfer::Applied(..) | FetchedTransfer::Refused(_) => None,
        });
        Ok(applied.collect())
    }

    fn account_transfers(
        &self,
        filter: &AccountFilter,
        end: MovementNumber,
    ) -> Result<HistoryAnswer, HistoryError> {
        if !filter.is_valid() {
            return Ok(Vec::new());
        }
        let account = filter.account_id.0;
        let sides = [(filter.flags.debits, Kind::DebitAccount), (filter.flags.credits, Kind::CreditAccount)];
        let wanted = sides.into_iter().filter(|(wanted, _)| *wanted);
        let mut groups = vec![wanted.map(|(_, kind)| (kind, account)).collect()];
        add_groups(
            &mut groups,
            [
                (Kind::UserData128, filter.user_data_128),
                (Kind::UserData64, filter.user_data_64.into()),
                (Kind::UserData32, filter.user_data_32.into()),
                (Kind::Code, filter.code.into()),
            ],
        );
        let times = (filter.timestamp_min, filter.timestamp_max);
        self.filtered(&groups, (times, end), filter.limit_capped(), filter.flags.reversed)
    }

    fn query_transfers(
        &self,
        filter: &QueryFilter,
        end: MovementNumber,
    ) -> Result<HistoryAnswer, HistoryError> {
        if !filter.is_valid() {
            return Ok(Vec::new());
        }
        let mut groups = Vec::new();
        add_groups(
            &mut groups,
            [
                (Kind::UserData128, filter.user_data_128),
                (Kind::UserData64, filter.user_data_64.into()),
                (Kind::UserData32, filter.user_data_32.into()),
                (Kind::Ledger, filter.ledger.0.into()),
                (Kind::Code, filter.code.into()),
            ],
        );
        let times = (filter.timestamp_min, filter.timestamp_max);
        self.filtered(&groups, (times, end), filter.limit_capped(), filter.reversed)
    }

    fn filtered(
        &self,
        groups: &Groups,
        (times, end): ((Nanos, Nanos), MovementNumber),
        limit: usize,
        reversed: bool,
    ) -> Result<HistoryAnswer, HistoryError> {
        let view = self.shared.read().movements.view();
        let range = rows_of(&view, times, end)?;
        let mut answer = Vec::new();
        view.scan(groups, range, reversed, |number, row| {
            if row.kind != MovementKind::Expired {
                answer.push((MovementNumber(number), row));
            }
            answer.len() < limit
        })?;
        Ok(answer)
    }

    fn movements(&self, filter: &MovementFilter, end: MovementNumber) -> Result<HistoryAnswer, HistoryError> {
        if !filter.is_valid() {
            return Ok(Vec::new());
        }
        let view = self.shared.read().movements.view();
        let range = rows_of(&view, (filter.timestamp_min, filter.timestamp_max), end)?;
        let limit = filter.limit_capped();
        let mut answer = Vec::new();
        view.scan(&Groups::new(), range.start.max(filter.from.0)..range.end, false, |number, row| {
            answer.push((MovementNumber(number), row));
            answer.len() < limit
        })?;
        Ok(answer)
    }
}

/// Adds a list of one value for every value other than 0; 0 means no condition.
fn add_groups<const N: usize>(groups: &mut Groups, values: [(Kind, u128); N]) {
    groups.extend(values.into_iter().filter(|(_, value)| *value != 0).map(|value| vec![value]));
}

/// The rows before `end` with timestamps from `times.0` to `times.1`, both inclusive; 0 means no bound.
fn rows_of(
    view: &View<Movement>,
    times: (Nanos, Nanos),
    end: MovementNumber,
) -> Result<Range<u64>, HistoryError> {
    let mut last = LastPage::new();
    let first = if times.0.0 == 0 { 0 } else { view.first_at(times.0, &mut last)? };
    let last = if times.1.0 == 0 { view.end } else { view.first_at(Nanos(times.1.0 + 1), &mut last)? };
    Ok(first..last.min(end.0))
}

/// Keys and indexes of the lookups, each pair in one integer, sorted.
fn pack(lookups: &[Lookup]) -> Vec<u64> {
    let pack = |(at, lookup): (u64, &Lookup)| key(lookup.kind, lookup.value) << (u64::BITS - KEY_BITS) | at;
    let mut packed: Vec<u64> = (0..).zip(lookups).map(pack).collect();
    sort(&mut packed, &mut Vec::new());
    packed
}

/// The key and the index of a packed lookup.
fn unpack(packed: u64) -> (u64, usize) {
    (packed >> (u64::BITS - KEY_BITS), place(packed & (LOOKUPS_MAX as u64 - 1)))
}

/// Index of the lookup, number of the row, row.
type Found<R> = Vec<(usize, u64, R)>;

fn find_in_tail<R: Row>(table: &TableState<R>, lookups: &[Lookup], packed: &[u64]) -> Found<R> {
    let mut found = Vec::new();
    for packed in packed {
        let (key, at) = unpack(*packed);
        let Lookup { kind, value } = lookups[at];
        if let Some((number, row)) = table.tail.find(kind, value, key) {
            found.push((at, number, row));
        }
    }
    found
}

fn find_in_runs<R: Row>(
    view: &View<R>,
    lookups: &[Lookup],
    packed: &[u64],
    found: &mut Found<R>,
) -> Result<(), HistoryError> {
    let mut last = LastPage::new();
    let mut candidates = Vec::new();
    for run in view.runs.iter().rev() {
        let summary = &run.summary;
        candidates.clear();
        candidates.extend(packed.iter().map(|packed| unpack(*packed)).filter(|(key, at)| {
            let Lookup { kind, value } = lookups[*at];
            let may_be = kind != Kind::Id || summary.ids.0 <= value && value <= summary.ids.1;
            may_be && summary.filter.may_contain(*key)
        }));
        for (_, at) in &candidates {
            let Lookup { kind, value } = lookups[*at];
            if let Some((number, row)) = view.find_in_run(run, kind, value, &mut last)? {
                found.push((*at, number, row));
            }
        }
    }
    Ok(())
}
