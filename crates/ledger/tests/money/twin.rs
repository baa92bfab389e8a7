//! The ledger and the model, driven by the same entries and compared after each of them.
//!
//! The model's history replaces the history on disk. Every finished checkpoint is restored at once. The
//! restored ledger must equal the model at the start of the checkpoint. After it applied the entries since,
//! it must equal the running ledger, byte for byte.

use bezant_codec::{records, result_from_bytes};
use bezant_ledger::{Ledger, LedgerAnswer, LedgerQuery, Operation};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::{
    AccountView, Fetched, HistoryPosition, HoldFilter, LogIndex, Nanos, Transfer, limits::RESULT_SIZE,
};

use crate::model::Model;

/// The results of one entry: the result of each event of each command.
pub(crate) type Results = Vec<Vec<bezant_types::EventResult>>;

/// An entry with the rows that were fetched for it, some time before it is applied.
#[derive(Clone, Debug)]
pub(crate) struct Fetching {
    pub(crate) entry: Entry,
    found: Fetched,
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Cut {
    bytes: Vec<u8>,
    /// The model when the cut began.
    model: Model,
    /// The entries applied since, with their indexes.
    entries: Vec<(LogIndex, Entry)>,
}

/// The ledger and the model, with the index of the last entry.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) ledger: Ledger,
    pub(crate) model: Model,
    index: LogIndex,
    cut: Option<Cut>,
    /// Number of checkpoints that were restored and compared.
    pub(crate) restored_count: usize,
    /// The rules of the entries that `submit` makes.
    pub(crate) rules: u8,
}

impl Default for Twin {
    fn default() -> Self {
        Self {
            ledger: Ledger::new(),
            model: Model::default(),
            index: LogIndex(0),
            cut: None,
            restored_count: 0,
            rules: Ledger::RULES,
        }
    }
}

impl Twin {
    /// Fetches the rows that an entry needs, from a history that lags by `lag` rows.
    pub(crate) fn fetch(&self, entry: &Entry, lag: u64) -> Fetching {
        let entry = Entry::decode(&entry.encode()).expect("an entry round-trips");
        let prefetch = self.ledger.prefetch(&entry);
        let now = self.model.history.position();
        let reader = HistoryPosition {
            movements: now.movements.saturating_sub(lag),
            refusals: now.refusals.saturating_sub(lag),
        };
        let mut found = self.model.history.fetch(&prefetch.keys, reader);
        found.seen = found.seen.earlier(prefetch.position);
        Fetching { entry, found }
    }

    /// Applies an entry to both and compares results, rows and all visible state.
    pub(crate) fn apply(&mut self, fetching: Fetching) -> Results {
        let Fetching { entry, found } = fetching;
        self.index = self.index.next();
        let before = self.model.history.position();
        let applied = self.ledger.apply(self.index, &entry, found).or_else(|| {
            compare(&self.ledger, &self.model);
            let found = self.fetch(&entry, 0).found;
            self.ledger.apply(self.index, &entry, found)
        });
        let applied = applied.expect("the window covers a fetch of the latest rows");
        let expected = apply_to_model(&mut self.model, &entry);
        let results: Results = applied.results.iter().map(|bytes| read_results(bytes)).collect();
        for (at, command) in entry.commands.iter().enumerate() {
            let (got, wanted) = (&results[at], &expected[at]);
            assert_eq!(got, wanted, "results of operation {} in entry {}", command.operation, self.index);
        }
        self.compare_rows(before, &applied.rows.movements, &applied.rows.refusals);
        compare(&self.ledger, &self.model);
        if let Some(cut) = &mut self.cut {
            cut.entries.push((self.index, entry));
        }
        results
    }

    /// Applies one entry with a fresh fetch; `time` is the timestamp of its last event.
    pub(crate) fn submit(&mut self, time: Nanos, commands: Vec<Command>) -> Results {
        self.apply(self.fetch(&Entry { time, commands, checkpoint: false, rules: self.rules }, 0))
    }

    fn compare_rows(
        &self,
        before: HistoryPosition,
        movements: &bezant_types::RowBatch<bezant_types::Movement>,
        refusals: &bezant_types::RowBatch<bezant_types::Refusal>,
    ) {
        let history = &self.model.history;
        let new_movements = &history.movements[usize::try_from(before.movements).unwrap()..];
        let new_refusals = &history.refusals[usize::try_from(before.refusals).unwrap()..];
        assert_eq!(**movements, *new_movements, "movements of entry {}", self.index);
        assert_eq!(**refusals, *new_refusals, "refusals of entry {}", self.index);
        let last = history.movements.iter().rev().take(new_movements.len() + 1);
        let times: Vec<Nanos> = last.map(|movement| movement.timestamp).collect();
        assert!(times.is_sorted_by(|new, old| new > old), "timestamps grow along the history: {times:?}");
    }

    /// Begins a checkpoint, unless one is in progress.
    pub(crate) fn begin_checkpoint(&mut self) {
        if self.cut.is_none() {
            self.ledger.begin_checkpoint();
            self.cut = Some(Cut { bytes: Vec::new(), model: self.model.clone(), entries: Vec::new() });
        }
    }

    /// Reads the next piece. After the last one, restores the checkpoint and compares it with the model. Then
    /// applies the entries since, compares again, and replaces the running ledger with the restored one.
    pub(crate) fn poll_checkpoint(&mut self, size: usize) {
        let Some(mut cut) = self.cut.take() else { return };
        if let Some(piece) = self.ledger.poll_checkpoint(size) {
            cut.bytes.extend(piece);
            self.cut = Some(cut);
            return;
        }
        let mut restored = Ledger::restore(&cut.bytes).expect("a checkpoint can be read");
        compare(&restored, &cut.model);
        let mut model = cut.model;
        for (index, entry) in cut.entries {
            let prefetch = restored.prefetch(&entry);
            let mut found = self.model.history.fetch(&prefetch.keys, model.history.position());
            found.seen = found.seen.earlier(prefetch.position);
            let applied = restored.apply(index, &entry, found).expect("the fetch is fresh");
            let expected = apply_to_model(&mut model, &entry);
            let results: Results = applied.results.iter().map(|bytes| read_results(bytes)).collect();
            assert_eq!(results, expected, "results of entry {index} when it is applied again");
        }
        compare(&restored, &self.model);
        assert_eq!(
            read_checkpoint(&mut restored, 1 << 20),
            read_checkpoint(&mut self.ledger, size),
            "the same state is the same bytes"
        );
        self.ledger = restored;
        self.restored_count += 1;
    }
}

/// A whole checkpoint, read in pieces of `size` bytes.
pub(crate) fn read_checkpoint(ledger: &mut Ledger, size: usize) -> Vec<u8> {
    ledger.begin_checkpoint();
    std::iter::from_fn(|| ledger.poll_checkpoint(size)).flatten().collect()
}

fn read_results(bytes: &[u8]) -> Vec<bezant_types::EventResult> {
    records::<RESULT_SIZE>(bytes).unwrap().iter().map(result_from_bytes).collect()
}

/// The model's results of each command.
fn apply_to_model(model: &mut Model, entry: &Entry) -> Results {
    let mut time = entry.time.0 - entry.events();
    model.rules = entry.rules;
    let commands = entry.commands.iter();
    commands
        .map(|command| {
            time += u64::from(command.events);
            model.apply(Nanos(time), command)
        })
        .collect()
}

/// Asserts that all visible state of the ledger equals the model's.
pub(crate) fn compare(ledger: &Ledger, model: &Model) {
    let accounts = |query| match ledger.query(query) {
        LedgerAnswer::Accounts(views) => views,
        other => panic!("not accounts: {other:?}"),
    };
    let expected: Vec<AccountView> = model.accounts.values().cloned().collect();
    let got = accounts(LedgerQuery::Accounts(model.accounts.keys().copied().collect()));
    assert_eq!(got, expected, "accounts by id");
    let named: Vec<AccountView> = expected.iter().filter(|it| !it.name.is_empty()).cloned().collect();
    let names = named.iter().map(|view| view.name.clone()).collect();
    assert_eq!(accounts(LedgerQuery::AccountsByName(names)), named, "accounts by name");
    let LedgerAnswer::Books(books) = ledger.query(LedgerQuery::Books) else { panic!("not books") };
    assert_eq!(books, model.books(), "books");
    for totals in books.ledgers {
        assert!(totals.is_balanced(), "{totals:?}");
        let answer = ledger.query(LedgerQuery::Ledger(totals.ledger));
        assert_eq!(answer, LedgerAnswer::Ledger(Some(totals)), "the sums of one ledger");
    }
    let LedgerAnswer::Holds(holds) =
        ledger.query(LedgerQuery::Holds(HoldFilter { limit: 8189, ..HoldFilter::default() }))
    else {
        panic!("not holds")
    };
    let mut expected: Vec<Transfer> = model.pending.values().copied().collect();
    expected.sort_by_key(|it| (it.expires_at().map_or(u64::MAX, |at| at.0), it.timestamp));
    assert_eq!(holds, expected, "unresolved holds");
    for id in model.accounts.keys() {
        let filter = HoldFilter { account_id: *id, limit: 2, ..HoldFilter::default() };
        let is_of = |it: &&Transfer| it.debit_account_id == *id || it.credit_account_id == *id;
        let first_two = expected.iter().filter(is_of).take(2).copied().collect();
        assert_eq!(ledger.query(LedgerQuery::Holds(filter)), LedgerAnswer::Holds(first_two), "holds of {id}");
    }
    let next = model.expired(Nanos(u64::MAX)).first().and_then(Transfer::expires_at);
    assert_eq!(ledger.due_at(), next, "the next expiry");
    let expired = u32::try_from(model.expired(model.time).len()).unwrap();
    let due = ledger.due(model.time).map(|command| (command.operation, command.events));
    assert_eq!(due, (expired > 0).then_some((Operation::Expire as u16, expired)), "what is due");
    let LedgerAnswer::Assets { assets, provisional } = ledger.query(LedgerQuery::Assets) else {
        panic!("not assets")
    };
    assert_eq!(assets, model.assets(), "assets");
    assert_eq!(provisional, model.provisional(), "currencies that may be replaced");
}
