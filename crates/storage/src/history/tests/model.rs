//! A model of the history that consists of two lists, and a seeded generator of rows and queries.

use std::sync::Arc;

use bezant_types::{
    AccountFilter, AccountFilterFlags, AccountId, Balances, CreateTransferStatus, FetchKey, Fetched,
    FetchedTransfer, Head, HistoryPosition, Hold, HoldState, LedgerNumber, Movement, MovementFilter,
    MovementKind, MovementNumber, Nanos, QueryFilter, Refusal, Resolution, RowBatch, Transfer, TransferId,
    TransferView,
};

use crate::history::{History, HistoryError, HistoryOptions, TableLayout};
use crate::{HistoryAnswer, HistoryQuery};

/// 48 movements or 126 refusals per first run, so that a few thousand rows have runs of three levels.
pub(super) const SMALL: HistoryOptions = HistoryOptions {
    movements: TableLayout { run_pages: 4, buffer_pages: 2, file_pages: 32, growth_pages: 8 },
    refusals: TableLayout { run_pages: 1, buffer_pages: 1, file_pages: 8, growth_pages: 2 },
};

/// A reproducible sequence of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len().max(1) as u64);
        from.get(usize::try_from(at).unwrap()).copied()
    }
}

/// The rows of one entry.
pub(super) type Entry = (RowBatch<Movement>, RowBatch<Refusal>);

/// All rows, in lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) movements: Vec<Movement>,
    pub(super) refusals: Vec<Refusal>,
}

/// Generates rows.
#[derive(Debug)]
pub(super) struct Generator {
    random: Random,
    time: u64,
    /// Pending transfers that are not resolved yet.
    pending: Vec<Transfer>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), time: 1000, pending: Vec::new() }
    }

    /// Continues after the rows of a model.
    pub(super) fn after(model: &Model, seed: u64) -> Self {
        let time = model.movements.last().map_or(0, |row| row.timestamp.0);
        Self { time: time.max(1000) + 1, ..Self::new(seed) }
    }

    /// An entry of up to `rows_max` movements and some refusals.
    pub(super) fn entry(&mut self, rows_max: u64) -> Entry {
        let movements = Arc::new((0..self.random.below(rows_max + 1)).map(|_| self.movement()).collect());
        let refusals = Arc::new((0..self.random.below(rows_max / 3 + 1)).map(|_| self.refusal()).collect());
        (movements, refusals)
    }

    fn movement(&mut self) -> Movement {
        let random = &mut self.random;
        self.time += 1 + random.below(3);
        let side = |random: &mut Random| AccountId(1 + u128::from(random.below(6)));
        let rarely = |random: &mut Random, of: u64| if random.below(4) == 0 { random.below(of) } else { 0 };
        let mut transfer = Transfer {
            id: TransferId(random.wide()),
            debit_account_id: side(random),
            credit_account_id: side(random),
            amount: random.wide(),
            user_data_128: rarely(random, 5).into(),
            user_data_64: rarely(random, 300),
            user_data_32: u32::try_from(rarely(random, 3)).unwrap(),
            ledger: LedgerNumber(if random.below(9) == 0 { 2 } else { 1 }),
            code: u16::try_from(1 + random.below(3)).unwrap(),
            timestamp: Nanos(self.time),
            ..Transfer::default()
        };
        let mut kind = MovementKind::SinglePhase;
        match random.below(10) {
            0 | 1 => {
                kind = MovementKind::Pending;
                self.pending.push(transfer);
            }
            2 if !self.pending.is_empty() => {
                let at = usize::try_from(random.below(self.pending.len() as u64)).unwrap();
                let pending = self.pending.swap_remove(at);
                kind = random
                    .pick(&[MovementKind::Posted, MovementKind::Voided, MovementKind::Expired])
                    .unwrap();
                if kind == MovementKind::Expired {
                    transfer = pending;
                } else {
                    transfer.pending_id = pending.id;
                }
            }
            _ => {}
        }
        let debit = Balances { debits_posted: random.wide(), ..Balances::default() };
        let credit = Balances { credits_posted: random.wide(), ..Balances::default() };
        let head = Head([7; 32]);
        let timestamp = Nanos(self.time);
        Movement { transfer, kind, timestamp, debit, credit, debit_head: head, credit_head: head }
    }

    fn refusal(&mut self) -> Refusal {
        self.time += 1;
        let status = CreateTransferStatus::ExceedsCredits;
        Refusal { id: TransferId(self.random.wide()), timestamp: Nanos(self.time), status }
    }
}

impl Model {
    pub(super) fn add(&mut self, (movements, refusals): &Entry) {
        self.movements.extend_from_slice(movements);
        self.refusals.extend_from_slice(refusals);
    }

    pub(super) fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.movements.len() as u64, refusals: self.refusals.len() as u64 }
    }

    /// The rows of both tables from a position on.
    pub(super) fn entry_from(&self, position: HistoryPosition) -> Entry {
        let from = |rows: u64| usize::try_from(rows).unwrap();
        let movements = Arc::new(self.movements[from(position.movements)..].to_vec());
        (movements, Arc::new(self.refusals[from(position.refusals)..].to_vec()))
    }

    fn fetch(&self, keys: &[FetchKey]) -> Fetched {
        let mut fetched = Fetched::from(self.position());
        for key in keys {
            match *key {
                FetchKey::Transfer(id) => {
                    fetched.transfers.extend(self.transfer(id));
                    let refusal = self.refusals.iter().find(|row| row.id == id);
                    fetched.transfers.extend(refusal.map(|row| FetchedTransfer::Refused(*row)));
                }
                FetchKey::Resolution(id) => {
                    let ends = |row: &&Movement| match row.kind {
                        MovementKind::Posted | MovementKind::Voided => row.transfer.pending_id == id,
                        MovementKind::Expired => row.transfer.id == id,
                        MovementKind::SinglePhase | MovementKind::Pending => false,
                    };
                    let end = self.movements.iter().find(ends);
                    fetched.resolutions.extend(end.map(|row| Resolution { pending_id: id, kind: row.kind }));
                }
                FetchKey::Timestamp(time) => {
                    if self.movements.iter().any(|row| row.timestamp == time) {
                        fetched.timestamps.push(time);
                    }
                }
            }
        }
        fetched
    }

    fn transfer(&self, id: TransferId) -> Option<FetchedTransfer> {
        let is_it = |row: &Movement| row.transfer.id == id && row.kind != MovementKind::Expired;
        let at = self.movements.iter().position(is_it)?;
        Some(FetchedTransfer::Applied(MovementNumber(at as u64), self.movements[at]))
    }

    fn numbered(&self, end: MovementNumber) -> impl Iterator<Item = (MovementNumber, Movement)> {
        let end = usize::try_from(end.0).unwrap().min(self.movements.len());
        self.movements[..end].iter().enumerate().map(|(at, row)| (MovementNumber(at as u64), *row))
    }

    fn read(&self, query: &HistoryQuery, end: MovementNumber) -> HistoryAnswer {
        let in_time = |row: &Movement, min: Nanos, max: Nanos| {
            min <= row.timestamp && (max.0 == 0 || row.timestamp <= max)
        };
        let is_or_any = |wanted: u128, own: u128| wanted == 0 || wanted == own;
        match query {
            HistoryQuery::Transfers(ids) => ids
                .iter()
                .filter_map(|id| match self.transfer(*id) {
                    Some(FetchedTransfer::Applied(number, row)) if number < end => Some((number, row)),
                    _ => None,
                })
                .collect(),
            HistoryQuery::AccountTransfers(filter) => {
                let wanted = |row: &Movement| {
                    let transfer = &row.transfer;
                    let debits = filter.flags.debits && transfer.debit_account_id == filter.account_id;
                    let credits = filter.flags.credits && transfer.credit_account_id == filter.account_id;
                    row.kind != MovementKind::Expired
                        && (debits || credits)
                        && in_time(row, filter.timestamp_min, filter.timestamp_max)
                        && is_or_any(filter.user_data_128, transfer.user_data_128)
                        && is_or_any(filter.user_data_64.into(), transfer.user_data_64.into())
                        && is_or_any(filter.user_data_32.into(), transfer.user_data_32.into())
                        && is_or_any(filter.code.into(), transfer.code.into())
                };
                self.select(
                    filter.is_valid().then_some(end),
                    filter.limit_capped(),
                    filter.flags.reversed,
                    wanted,
                )
            }
            HistoryQuery::QueryTransfers(filter) => {
                let wanted = |row: &Movement| {
                    let transfer = &row.transfer;
                    row.kind != MovementKind::Expired
                        && in_time(row, filter.timestamp_min, filter.timestamp_max)
                        && is_or_any(filter.user_data_128, transfer.user_data_128)
                        && is_or_any(filter.user_data_64.into(), transfer.user_data_64.into())
                        && is_or_any(filter.user_data_32.into(), transfer.user_data_32.into())
                        && is_or_any(filter.ledger.0.into(), transfer.ledger.0.into())
                        && is_or_any(filter.code.into(), transfer.code.into())
                };
                self.select(filter.is_valid().then_some(end), filter.limit_capped(), filter.reversed, wanted)
            }
            HistoryQuery::Movements(filter) => self
                .numbered(end)
                .filter(|(number, row)| {
                    filter.is_valid()
                        && *number >= filter.from
                        && in_time(row, filter.timestamp_min, filter.timestamp_max)
                })
                .take(filter.limit_capped())
                .collect(),
        }
    }

    /// The transfers that match the query, each with its state before `end`.
    fn views(&self, query: &HistoryQuery, end: MovementNumber) -> Vec<TransferView> {
        let end_of = |id| {
            self.numbered(end).map(|(_, row)| row).find(|row| match row.kind {
                MovementKind::Posted | MovementKind::Voided => row.transfer.pending_id == id,
                MovementKind::Expired => row.transfer.id == id,
                MovementKind::SinglePhase | MovementKind::Pending => false,
            })
        };
        let hold = |row: &Movement| match end_of(row.transfer.id) {
            None => Hold::PENDING,
            Some(end) => Hold {
                state: match end.kind {
                    MovementKind::Posted => HoldState::Posted,
                    MovementKind::Voided => HoldState::Voided,
                    _ => HoldState::Expired,
                },
                captured: if end.kind == MovementKind::Posted { end.transfer.amount } else { 0 },
                resolved_by: if end.kind == MovementKind::Expired { TransferId(0) } else { end.transfer.id },
                resolved_at: end.timestamp,
            },
        };
        let rows = self.read(query, end).into_iter().map(|(_, row)| row);
        let view = |row: Movement| TransferView {
            transfer: row.transfer,
            hold: (row.kind == MovementKind::Pending).then(|| hold(&row)),
        };
        rows.map(view).collect()
    }

    fn select(
        &self,
        end: Option<MovementNumber>,
        limit: usize,
        reversed: bool,
        wanted: impl Fn(&Movement) -> bool,
    ) -> HistoryAnswer {
        let rows = self.numbered(end.unwrap_or_default());
        let mut rows: Vec<_> = rows.filter(|(_, row)| wanted(row)).collect();
        if reversed {
            rows.reverse();
        }
        rows.truncate(limit);
        rows
    }

    /// No bound, or a random one.
    fn end(&self, random: &mut Random) -> MovementNumber {
        let all = random.below(2) == 0;
        MovementNumber(if all { u64::MAX } else { random.below(self.movements.len() as u64 + 1) })
    }

    /// Compares the answers of the history to random queries with the model's.
    pub(super) fn check(&self, history: &History, seed: u64, queries: u64) {
        let reader = history.reader();
        assert_eq!(reader.position(), self.position(), "exactly the model's rows are visible");
        let mut random = Random::new(seed);
        for number in 0..queries {
            let query = self.query(&mut random);
            let end = self.end(&mut random);
            let answer = reader.read(&query, end).unwrap();
            assert_eq!(answer, self.read(&query, end), "query {number}: {query:?} before {end}");
            let views = reader.read_transfers(&query, end).unwrap();
            assert_eq!(views, self.views(&query, end), "query {number}: {query:?} before {end}");
            let keys: Vec<_> = (0..random.below(40)).map(|_| self.key(&mut random)).collect();
            assert_eq!(reader.fetch(&keys).unwrap(), self.fetch(&keys), "query {number}");
        }
    }

    /// Compares all answers with the model's; an error is allowed and returned, a wrong answer is not.
    pub(super) fn check_or_fail(&self, history: &History, seed: u64, queries: u64) -> Vec<HistoryError> {
        let reader = history.reader();
        let mut random = Random::new(seed);
        let mut errors = Vec::new();
        for number in 0..queries {
            let query = self.query(&mut random);
            let end = self.end(&mut random);
            match reader.read(&query, end) {
                Ok(answer) => assert_eq!(answer, self.read(&query, end), "query {number}: {query:?}"),
                Err(error) => errors.push(error),
            }
            let keys: Vec<_> = (0..random.below(10)).map(|_| self.key(&mut random)).collect();
            match reader.fetch(&keys) {
                Ok(answer) => assert_eq!(answer, self.fetch(&keys), "query {number}"),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    fn key(&self, random: &mut Random) -> FetchKey {
        let movement = random.pick(&self.movements).map(|row| (row.transfer, row.timestamp));
        let (transfer, time) = movement.unwrap_or_default();
        let errors = random.pick(&self.refusals).map_or(TransferId(1), |row| row.id);
        match random.below(8) {
            0 => FetchKey::Transfer(transfer.id),
            1 => FetchKey::Transfer(errors),
            2 => FetchKey::Resolution(transfer.id),
            3 => FetchKey::Resolution(transfer.pending_id),
            4 => FetchKey::Timestamp(time),
            5 => FetchKey::Timestamp(Nanos(random.below(20_000))),
            _ => FetchKey::Transfer(TransferId(random.wide())),
        }
    }

    fn query(&self, random: &mut Random) -> HistoryQuery {
        let time = |random: &mut Random| match random.below(3) {
            0 => Nanos(0),
            1 => Nanos(random.below(20_000)),
            _ => random.pick(&self.movements).map_or(Nanos(5), |row| row.timestamp),
        };
        let (timestamp_min, timestamp_max) = (time(random), time(random));
        let rarely = |random: &mut Random, of: u64| if random.below(4) == 0 { random.below(of) } else { 0 };
        let limit = if random.below(3) == 0 { 8189 } else { 1 + u32::try_from(random.below(30)).unwrap() };
        let user_data_128 = rarely(random, 5).into();
        let user_data_64 = rarely(random, 300);
        let user_data_32 = u32::try_from(rarely(random, 3)).unwrap();
        let code = u16::try_from(rarely(random, 4)).unwrap();
        let reversed = random.below(2) == 0;
        match random.below(8) {
            0 => HistoryQuery::Transfers(
                (0..10)
                    .map(|_| match self.key(random) {
                        FetchKey::Transfer(id) | FetchKey::Resolution(id) => id,
                        FetchKey::Timestamp(_) => TransferId(3),
                    })
                    .collect(),
            ),
            1 => HistoryQuery::Movements(MovementFilter {
                from: MovementNumber(random.below(self.movements.len() as u64 + 2)),
                timestamp_min,
                timestamp_max,
                limit,
            }),
            2..5 => HistoryQuery::QueryTransfers(QueryFilter {
                user_data_128,
                user_data_64,
                user_data_32,
                ledger: LedgerNumber(u32::try_from(rarely(random, 3)).unwrap()),
                code,
                timestamp_min,
                timestamp_max,
                limit,
                reversed,
            }),
            _ => HistoryQuery::AccountTransfers(AccountFilter {
                account_id: AccountId(random.below(8).into()),
                user_data_128,
                user_data_64,
                user_data_32,
                code,
                timestamp_min,
                timestamp_max,
                limit,
                flags: AccountFilterFlags {
                    debits: random.below(3) > 0,
                    credits: random.below(3) > 0,
                    reversed,
                },
            }),
        }
    }
}
