//! The queries that the ledger answers from memory. The history on disk answers all others.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bezant_rsm::{Progress, SessionRequest};
use bytes::Bytes;

use crate::Ledger;
use crate::accounts::{AccountScan, AccountState};
use crate::assets::is_built_in;
use crate::session;
use bezant_types::{
    Account, AccountId, AccountView, Asset, Books, HoldFilter, LedgerNumber, LedgerTotals, QueryFilter,
    Transfer, limits, name_to_bytes,
};

/// Accounts that one step of a scan reads: about a millisecond.
const SCAN_ACCOUNTS: usize = 1 << 14;

/// Pending transfers that one step of a scan reads: about a millisecond.
const SCAN_HOLDS: usize = 1 << 12;

/// A paused query for pending transfers. A transfer that is resolved or expires before the scan reaches it is
/// left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldScan {
    filter: HoldFilter,
    found: Vec<Transfer>,
}

/// A query about accounts, assets or pending transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerQuery {
    /// Accounts by id, in the order of the ids; unknown ones are left out.
    Accounts(Vec<AccountId>),
    /// Accounts by name, in the order of the names; unknown ones are left out.
    AccountsByName(Vec<String>),
    /// Accounts that match a filter, in order of their timestamps.
    QueryAccounts(QueryFilter),
    /// The rest of a paused [`QueryAccounts`](Self::QueryAccounts); only the ledger makes it.
    ScanAccounts(AccountScan),
    /// The built-in and the registered assets, in order of their ledgers.
    Assets,
    /// Sums over all accounts, one row per ledger, in order of the ledgers. All accounts are read in one step,
    /// so that debits equal credits: about 30 ms with 800,000 accounts, in which no payment is applied.
    Books,
    /// Sums over the accounts of one ledger.
    Ledger(LedgerNumber),
    /// Whether the expiry of imported pending transfers is paused; answered in constant time.
    ExpiryIsPaused,
    /// Pending transfers that are not resolved, in the order of [`HoldPlace`](bezant_types::HoldPlace).
    Holds(HoldFilter),
    /// The rest of a paused [`Holds`](Self::Holds); only the ledger makes it.
    ScanHolds(HoldScan),
    /// The answer that a request with a session would get if it were committed now.
    Session(SessionRequest),
}

impl LedgerQuery {
    /// The most rows that the answer can have. Sums of ledgers are not counted as rows.
    pub fn rows_max(&self) -> usize {
        match self {
            Self::Accounts(ids) => ids.len(),
            Self::AccountsByName(names) => names.len(),
            Self::QueryAccounts(filter) => filter.limit_capped(),
            Self::Holds(filter) => filter.limit_capped(),
            Self::ScanAccounts(_) | Self::ScanHolds(_) => limits::RESULTS_MAX,
            Self::Ledger(_) => 1,
            Self::Assets | Self::Books | Self::ExpiryIsPaused | Self::Session(_) => 0,
        }
    }
}

/// The answer to a [`LedgerQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerAnswer {
    /// To all queries about accounts.
    Accounts(Vec<AccountView>),
    /// To [`LedgerQuery::Assets`].
    Assets {
        /// In order of their ledgers.
        assets: Vec<Asset>,
        /// Ledgers of built-in currencies that no account uses yet: another asset can still be registered for
        /// them.
        provisional: Vec<LedgerNumber>,
    },
    /// To [`LedgerQuery::Books`].
    Books(Books),
    /// To [`LedgerQuery::Ledger`]; `None` when the ledger has neither an account nor an asset.
    Ledger(Option<LedgerTotals>),
    /// To [`LedgerQuery::ExpiryIsPaused`].
    ExpiryIsPaused(bool),
    /// To [`LedgerQuery::Holds`].
    Holds(Vec<Transfer>),
    /// To [`LedgerQuery::Session`]: an answer with its head, see [`SessionAnswer`](crate::SessionAnswer).
    /// `None` when the request is the session's next one and must be executed.
    Session(Option<Bytes>),
}

/// The sums over the accounts of each ledger.
pub(crate) fn totals(accounts: &[AccountState]) -> BTreeMap<LedgerNumber, LedgerTotals> {
    let mut ledgers: BTreeMap<LedgerNumber, LedgerTotals> = BTreeMap::new();
    for state in accounts {
        let ledger = state.account.ledger;
        let empty = || LedgerTotals { ledger, ..LedgerTotals::default() };
        add(ledgers.entry(ledger).or_insert_with(empty), &state.account);
    }
    ledgers
}

impl Ledger {
    pub(crate) fn answer_step(&self, query: LedgerQuery) -> Progress<LedgerQuery, LedgerAnswer> {
        let views = |places: &mut dyn Iterator<Item = usize>| {
            LedgerAnswer::Accounts(places.map(|place| self.accounts.view(place)).collect())
        };
        Progress::Done(match query {
            LedgerQuery::Accounts(ids) => views(&mut ids.into_iter().filter_map(|id| self.accounts.find(id))),
            LedgerQuery::AccountsByName(names) => views(&mut names.iter().filter_map(|name| {
                let bytes = name_to_bytes(name).filter(|_| !name.is_empty())?;
                self.accounts.find_by_name(&bytes)
            })),
            LedgerQuery::QueryAccounts(filter) => {
                let rest = self.accounts.range(&filter);
                return self.scan_step(AccountScan { filter, rest, found: Vec::new() });
            }
            LedgerQuery::ScanAccounts(scan) => return self.scan_step(scan),
            LedgerQuery::Assets => {
                let assets = self.assets.all();
                let is_provisional =
                    |asset: &&Asset| is_built_in(asset) && !self.accounts.has_ledger(asset.ledger);
                let provisional = assets.iter().filter(is_provisional).map(|asset| asset.ledger).collect();
                LedgerAnswer::Assets { assets, provisional }
            }
            LedgerQuery::Books => LedgerAnswer::Books(self.books()),
            LedgerQuery::Ledger(ledger) => LedgerAnswer::Ledger(self.totals_of(ledger)),
            LedgerQuery::ExpiryIsPaused => LedgerAnswer::ExpiryIsPaused(self.expiry_is_paused),
            LedgerQuery::Holds(filter) => return self.hold_step(HoldScan { filter, found: Vec::new() }),
            LedgerQuery::ScanHolds(scan) => return self.hold_step(scan),
            LedgerQuery::Session(request) => {
                LedgerAnswer::Session(session::answer_of(self.sessions.admit(&request)))
            }
        })
    }

    fn scan_step(&self, mut scan: AccountScan) -> Progress<LedgerQuery, LedgerAnswer> {
        if self.accounts.step(&mut scan, SCAN_ACCOUNTS) {
            Progress::Done(LedgerAnswer::Accounts(scan.found))
        } else {
            Progress::More(LedgerQuery::ScanAccounts(scan))
        }
    }

    fn hold_step(&self, mut scan: HoldScan) -> Progress<LedgerQuery, LedgerAnswer> {
        let HoldScan { filter, found } = &mut scan;
        let limit = filter.limit_capped();
        let next = self.pending.scan(filter.after, SCAN_HOLDS, |transfer| {
            if found.len() < limit && filter.has(transfer) {
                found.push(*transfer);
            }
            found.len() < limit
        });
        match next {
            Some(after) => {
                filter.after = after;
                Progress::More(LedgerQuery::ScanHolds(scan))
            }
            None => Progress::Done(LedgerAnswer::Holds(scan.found)),
        }
    }

    fn totals_of(&self, ledger: LedgerNumber) -> Option<LedgerTotals> {
        let mut totals = LedgerTotals { ledger, ..LedgerTotals::default() };
        if !self.accounts.has_ledger(ledger) {
            return self.assets.all().iter().any(|asset| asset.ledger == ledger).then_some(totals);
        }
        let accounts = self.accounts.all().iter().map(|state| &state.account);
        accounts.filter(|account| account.ledger == ledger).for_each(|account| add(&mut totals, account));
        Some(totals)
    }

    fn books(&self) -> Books {
        Books {
            time: self.time,
            history: self.window.position(),
            accounts: self.accounts.len() as u64,
            pending: self.pending.len() as u64,
            expiry_is_paused: self.expiry_is_paused,
            ledgers: totals(self.accounts.all()).into_values().collect(),
        }
    }
}

/// Adds an account to the totals of its ledger.
fn add(totals: &mut LedgerTotals, account: &Account) {
    totals.accounts += 1;
    totals.debits_pending = totals.debits_pending.plus(account.debits_pending);
    totals.debits_posted = totals.debits_posted.plus(account.debits_posted);
    totals.credits_pending = totals.credits_pending.plus(account.credits_pending);
    totals.credits_posted = totals.credits_posted.plus(account.credits_posted);
}
