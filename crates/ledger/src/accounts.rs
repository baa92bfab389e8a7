//! Accounts in memory: each account's record, chains and bounds. They are found by id, by name and in order
//! of time.
//!
//! Accounts are never removed, and each has a fixed place: its index in the order of creation, which is the
//! order of the timestamps. An account takes 240 bytes, and about 8 in the index by id.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use bezant_codec::chain::initial_head;
use bezant_types::{
    Account, AccountId, AccountView, Bounds, Chain, ChainSide, LedgerNumber, Nanos, QueryFilter,
    limits::NAME_SIZE_MAX,
};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::hash::{FixedHashMap, hash_bytes, hash_id};
use crate::snapshot::Snapshot;
use bezant_types::name_from_bytes;

/// An account in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountState {
    pub(crate) account: Account,
    pub(crate) bounds: Bounds,
    pub(crate) spends: Chain,
    pub(crate) receipts: Chain,
}

const _: () = assert!(size_of::<AccountState>() == 240, "the budget is 256 bytes an account");

impl AccountState {
    pub(crate) fn new(account: Account, bounds: Bounds) -> Self {
        let chain = |side| Chain { sequence: 0, head: initial_head(side, account.id) };
        Self { account, bounds, spends: chain(ChainSide::Spends), receipts: chain(ChainSide::Receipts) }
    }

    /// True when the debits, posted and pending, fit in a `u128`, and so do the credits. Every check of a
    /// limit adds them up.
    pub(crate) const fn sums_fit(&self) -> bool {
        let account = &self.account;
        account.debits_pending.checked_add(account.debits_posted).is_some()
            && account.credits_pending.checked_add(account.credits_posted).is_some()
    }
}

/// The name of an account, padded with zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) place: usize,
    pub(crate) bytes: [u8; NAME_SIZE_MAX],
}

/// A paused query for accounts that match a filter. A query can pause because accounts never change their
/// places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountScan {
    pub(crate) filter: QueryFilter,
    /// Places that are not yet read.
    pub(crate) rest: Range<usize>,
    pub(crate) found: Vec<AccountView>,
}

/// All accounts of the shard.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    states: Snapshot<AccountState>,
    /// Place of each account, by its id.
    by_id: HashTable<u32>,
    /// In the order in which the names were given. A name never changes, and only an undo removes it.
    names: Snapshot<Name>,
    /// Index in `names`, by the bytes of the name.
    by_name: HashTable<u32>,
    /// Index in `names`, by the place of the account.
    name_of: FixedHashMap<usize, usize>,
    /// Number of accounts in each ledger; a ledger without accounts has no entry.
    ledgers: BTreeMap<LedgerNumber, usize>,
}

impl Accounts {
    /// The accounts of a checkpoint, oldest first. `None` when two have the same id, or when they are not
    /// sorted.
    pub(crate) fn restore(states: Vec<AccountState>) -> Option<Self> {
        if !states.is_sorted_by(|before, after| before.account.timestamp < after.account.timestamp) {
            return None;
        }
        let mut by_id = HashTable::with_capacity(states.len());
        let id_at = |place: &u32| states[*place as usize].account.id.0;
        for (place, state) in (0_u32..).zip(&states) {
            let id = state.account.id.0;
            match by_id.entry(hash_id(id), |other| id_at(other) == id, |other| hash_id(id_at(other))) {
                Entry::Occupied(_) => return None,
                Entry::Vacant(entry) => entry.insert(place),
            };
        }
        let mut ledgers = BTreeMap::new();
        states.iter().for_each(|state| *ledgers.entry(state.account.ledger).or_default() += 1);
        // The vector of accounts is moved, not copied: a copy would need as much memory again.
        Some(Self { states: Snapshot::new(states), by_id, ledgers, ..Self::default() })
    }

    /// The names of a checkpoint, in the order given. `None` when an account has two names, or two accounts
    /// have the same one.
    pub(crate) fn restore_names(&mut self, names: Vec<Name>) -> Option<()> {
        for name in names {
            if self.name_of.contains_key(&name.place) || self.find_by_name(&name.bytes).is_some() {
                return None;
            }
            self.set_name(name.place, name.bytes);
        }
        Some(())
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn all(&self) -> &[AccountState] {
        self.states.items()
    }

    /// The place of the account with that id.
    pub(crate) fn find(&self, id: AccountId) -> Option<usize> {
        let items = self.states.items();
        self.by_id
            .find(hash_id(id.0), |place| items[*place as usize].account.id == id)
            .map(|place| *place as usize)
    }

    /// The place of the account with that name.
    pub(crate) fn find_by_name(&self, name: &[u8; NAME_SIZE_MAX]) -> Option<usize> {
        let names = self.names.items();
        let found = self.by_name.find(hash_bytes(name), |at| names[*at as usize].bytes == *name)?;
        Some(names[*found as usize].place)
    }

    /// The name of the account at `place`, padded with zeros; all zero = no name.
    pub(crate) fn name(&self, place: usize) -> [u8; NAME_SIZE_MAX] {
        self.name_of.get(&place).map_or([0; NAME_SIZE_MAX], |at| self.names.items()[*at].bytes)
    }

    pub(crate) fn get(&self, place: usize) -> &AccountState {
        &self.states.items()[place]
    }

    pub(crate) fn change(&mut self, place: usize) -> &mut AccountState {
        self.states.change(place)
    }

    pub(crate) fn change_two(
        &mut self,
        first: usize,
        second: usize,
    ) -> (&mut AccountState, &mut AccountState) {
        self.states.change_two(first, second)
    }

    /// Adds an account whose id is new, and returns its place.
    pub(crate) fn insert(&mut self, state: AccountState) -> usize {
        let place = self.states.len();
        let small = u32::try_from(place).expect("invariant: fewer than 2^32 accounts fit in memory");
        assert!(
            state.account.timestamp > self.last_timestamp(),
            "accounts are in the order of their timestamps"
        );
        *self.ledgers.entry(state.account.ledger).or_default() += 1;
        self.states.push(state);
        let items = self.states.items();
        self.by_id.insert_unique(hash_id(state.account.id.0), small, |at| {
            hash_id(items[*at as usize].account.id.0)
        });
        place
    }

    /// Undoes the last `insert`.
    pub(crate) fn remove_last(&mut self) {
        let place = self.states.len() - 1;
        let Account { id, ledger, .. } = self.get(place).account;
        let hash = hash_id(id.0);
        let count = self.ledgers.get_mut(&ledger).expect("invariant: the account was counted");
        *count -= 1;
        if *count == 0 {
            self.ledgers.remove(&ledger);
        }
        let entry = self.by_id.find_entry(hash, |at| *at as usize == place);
        entry.expect("invariant: the account is found by its id").remove();
        if self.names.items().last().is_some_and(|name| name.place == place) {
            self.remove_last_name();
        }
        self.states.pop();
    }

    /// Names the account at `place`. It must have no name yet, and no other account may have this name.
    pub(crate) fn set_name(&mut self, place: usize, bytes: [u8; NAME_SIZE_MAX]) {
        let at = self.names.len();
        self.names.push(Name { place, bytes });
        let names = self.names.items();
        let small = u32::try_from(at).expect("invariant: no more names than accounts");
        self.by_name.insert_unique(hash_bytes(&bytes), small, |at| hash_bytes(&names[*at as usize].bytes));
        let before = self.name_of.insert(place, at);
        assert!(before.is_none(), "an account gets one name");
    }

    fn remove_last_name(&mut self) {
        let at = self.names.len() - 1;
        let name = self.names.items()[at];
        let entry = self.by_name.find_entry(hash_bytes(&name.bytes), |found| *found as usize == at);
        entry.expect("invariant: the name is in the index of names").remove();
        self.name_of.remove(&name.place);
        self.names.pop();
    }

    /// True when an account belongs to that ledger.
    pub(crate) fn has_ledger(&self, ledger: LedgerNumber) -> bool {
        self.ledgers.contains_key(&ledger)
    }

    /// True when an account has exactly that timestamp.
    pub(crate) fn has_timestamp(&self, timestamp: Nanos) -> bool {
        self.all().binary_search_by_key(&timestamp, |state| state.account.timestamp).is_ok()
    }

    /// The timestamp of the newest account; 0 when there is none.
    pub(crate) fn last_timestamp(&self) -> Nanos {
        self.all().last().map_or(Nanos(0), |state| state.account.timestamp)
    }

    pub(crate) fn view(&self, place: usize) -> AccountView {
        let state = self.get(place);
        AccountView {
            account: state.account,
            name: name_from_bytes(&self.name(place)).map(String::from).unwrap_or_default(),
            bounds: state.bounds,
            spends: state.spends,
            receipts: state.receipts,
        }
    }

    /// The places of the accounts whose timestamps match the filter.
    pub(crate) fn range(&self, filter: &QueryFilter) -> Range<usize> {
        if !filter.is_valid() {
            return 0..0;
        }
        let all = self.all();
        let from = all.partition_point(|state| state.account.timestamp < filter.timestamp_min);
        let to = if filter.timestamp_max.0 == 0 {
            all.len()
        } else {
            all.partition_point(|state| state.account.timestamp <= filter.timestamp_max)
        };
        from..to
    }

    /// Reads up to `count` accounts of the scan; true when the scan has ended.
    pub(crate) fn step(&self, scan: &mut AccountScan, count: usize) -> bool {
        let limit = scan.filter.limit_capped();
        for _ in 0..count {
            let next = if scan.filter.reversed { scan.rest.next_back() } else { scan.rest.next() };
            let Some(place) = next.filter(|_| scan.found.len() < limit) else { return true };
            if matches(&self.get(place).account, &scan.filter) {
                scan.found.push(self.view(place));
            }
        }
        false
    }

    pub(crate) fn names_len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn begin_cut(&mut self) {
        self.states.begin_cut();
        self.names.begin_cut();
    }

    pub(crate) fn poll_states_cut(&mut self, count: usize, read: impl FnMut(&AccountState)) -> bool {
        self.states.poll_cut(count, read)
    }

    pub(crate) fn poll_names_cut(&mut self, count: usize, read: impl FnMut(&Name)) -> bool {
        self.names.poll_cut(count, read)
    }
}

fn matches(account: &Account, filter: &QueryFilter) -> bool {
    (filter.user_data_128 == 0 || filter.user_data_128 == account.user_data_128)
        && (filter.user_data_64 == 0 || filter.user_data_64 == account.user_data_64)
        && (filter.user_data_32 == 0 || filter.user_data_32 == account.user_data_32)
        && (filter.ledger.0 == 0 || filter.ledger == account.ledger)
        && (filter.code == 0 || filter.code == account.code)
}
