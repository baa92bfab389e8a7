//! What the benchmark sends: accounts, and transfers that each move money between two random accounts.
//!
//! Each client has a generator, which writes records directly into the bytes of the next request. With equal
//! settings and an equal run number, a client's n-th transfer has the same accounts and amount in every run,
//! and the same id if ids are random. How many transfers a client sends depends on its speed.

use bezant_codec::{account_to_bytes, put_trailer, transfer_to_bytes};
use bezant_types::limits::RECORD_SIZE;
use bezant_types::{
    Account, AccountFlags, AccountId, LedgerNumber, Nanos, Transfer, TransferFlags, TransferId,
};
use bytes::{BufMut, Bytes, BytesMut};

use crate::settings::{IdOrder, Settings};

/// The ledger of all accounts and transfers of the benchmark.
pub(crate) const LEDGER: LedgerNumber = LedgerNumber(1);
/// Transfers carry the codes 1 to 16, chosen at random.
pub(crate) const CODES: u64 = 16;
/// Amounts are 1 to 1000, chosen at random.
const AMOUNT_MAX: u64 = 1000;

/// The parameters of a run; all its clients have the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Number of accounts.
    pub(crate) accounts: u64,
    /// Number of transfers.
    pub(crate) transfers: u64,
    /// Transfers per request.
    pub(crate) batch: u64,
    /// Number of clients, each with its own connection.
    pub(crate) clients: u64,
    id_order: IdOrder,
    hot_percent: u64,
    has_history: bool,
    seed: u64,
    id_base: u128,
    /// True when a request ends in a trailer that describes its one batch, as TigerBeetle's protocol
    /// requires.
    has_trailer: bool,
}

impl Load {
    /// The load that the settings describe. `run` is the number of the run: different runs have different
    /// ids. With `has_trailer`, requests have the format of TigerBeetle's protocol.
    pub(crate) fn new(settings: &Settings, run: u64, has_trailer: bool) -> Self {
        Self {
            accounts: settings.accounts,
            transfers: settings.transfers,
            batch: settings.batch,
            clients: settings.clients,
            id_order: settings.id_order,
            hot_percent: settings.hot_percent,
            has_history: settings.has_history,
            seed: settings.seed,
            id_base: u128::from(run) << 64,
            has_trailer,
        }
    }

    /// The id of the account with that number, counted from 0.
    pub(crate) fn account_id(&self, number: u64) -> AccountId {
        AccountId(self.id_base + u128::from(number) + 1)
    }

    /// The records of `count` accounts, from number `first` on.
    pub(crate) fn accounts_from(&self, first: u64, count: u64) -> Bytes {
        let mut bytes = BytesMut::new();
        for number in first..first + count {
            bytes.put_slice(&account_to_bytes(&Account {
                id: self.account_id(number),
                ledger: LEDGER,
                code: 1,
                flags: if self.has_history { AccountFlags::HISTORY } else { AccountFlags::NONE },
                ..Account::default()
            }));
        }
        self.put_trailer(&mut bytes, count);
        bytes.freeze()
    }

    fn put_trailer(&self, bytes: &mut BytesMut, count: u64) {
        if self.has_trailer {
            put_trailer(bytes, &[usize::try_from(count).unwrap_or(0)], RECORD_SIZE);
        }
    }

    /// The generator of one client's transfers.
    pub(crate) fn generator(&self, client: u64) -> Generator<'_> {
        let random = Random::new(self.seed ^ (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Generator { load: self, random, bytes: BytesMut::new(), amount_sum: 0 }
    }
}

/// Generates the transfers of one client.
#[derive(Debug)]
pub(crate) struct Generator<'load> {
    load: &'load Load,
    random: Random,
    bytes: BytesMut,
    /// Sum of the amounts of all transfers made so far, in minor units.
    pub(crate) amount_sum: u128,
}

impl Generator<'_> {
    /// The records of `count` transfers, from number `first` of the run on, and the id of the last one.
    pub(crate) fn batch(&mut self, first: u64, count: u64) -> (Bytes, TransferId) {
        // Reuses the memory of the previous batch once the transport has released it.
        self.bytes.reserve((usize::try_from(count).unwrap_or(0) + 1) * RECORD_SIZE);
        let mut id = TransferId(0);
        for number in first..first + count {
            let transfer = self.transfer(number);
            id = transfer.id;
            self.amount_sum += transfer.amount;
            self.bytes.put_slice(&transfer_to_bytes(&transfer));
        }
        self.load.put_trailer(&mut self.bytes, count);
        (self.bytes.split().freeze(), id)
    }

    fn transfer(&mut self, number: u64) -> Transfer {
        let (debit, credit) = self.two_accounts();
        Transfer {
            id: self.id(number),
            debit_account_id: self.load.account_id(debit),
            credit_account_id: self.load.account_id(credit),
            amount: u128::from(1 + self.random.below(AMOUNT_MAX)),
            pending_id: TransferId(0),
            user_data_128: 0,
            user_data_64: 0,
            user_data_32: 0,
            timeout_seconds: 0,
            ledger: LEDGER,
            code: u16::try_from(1 + self.random.below(CODES)).unwrap_or(1),
            flags: TransferFlags::NONE,
            timestamp: Nanos(0),
        }
    }

    fn id(&mut self, number: u64) -> TransferId {
        match self.load.id_order {
            IdOrder::Sequential => TransferId(self.load.id_base + u128::from(number) + 1),
            // 0 and the greatest number are not valid ids. All runs draw the same random numbers; the run
            // number makes their ids different.
            IdOrder::Random => {
                let id = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
                TransferId((id ^ self.load.id_base).clamp(1, u128::MAX - 1))
            }
        }
    }

    /// The numbers of two different accounts. In `hot_percent` of the transfers, one of them is account 0 (in
    /// others it is so by chance).
    fn two_accounts(&mut self) -> (u64, u64) {
        let accounts = self.load.accounts;
        let first =
            if self.random.below(100) < self.load.hot_percent { 0 } else { self.random.below(accounts) };
        let second = (first + 1 + self.random.below(accounts - 1)) % accounts;
        if self.random.next() & (1 << 63) == 0 { (first, second) } else { (second, first) }
    }
}

/// The generator xorshift64*. It takes a multiplication and three shifts per number, too little to affect the
/// figures of the benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Accepts every seed, 0 included.
    pub(crate) const fn new(seed: u64) -> Self {
        let state = seed ^ 0x2545_f491_4f6c_dd1d;
        Self { state: if state == 0 { 1 } else { state } }
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A random number below `end`. It is uniform, with a relative error of at most `end` / 2^64.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bezant_codec::{records, transfer_from_bytes};

    use super::*;

    fn load(id_order: IdOrder, hot_percent: u64) -> Load {
        Load {
            accounts: 10,
            transfers: 4000,
            batch: 1000,
            clients: 1,
            id_order,
            hot_percent,
            has_history: false,
            seed: 7,
            id_base: 1 << 64,
            has_trailer: false,
        }
    }

    fn transfers(load: &Load) -> (Vec<Transfer>, u128) {
        let mut generator = load.generator(0);
        let mut transfers = Vec::new();
        for first in (0..load.transfers).step_by(1000) {
            let (bytes, id) = generator.batch(first, 1000);
            transfers.extend(records(&bytes).unwrap().iter().map(transfer_from_bytes));
            assert_eq!(transfers.last().map(|transfer| transfer.id), Some(id));
        }
        (transfers, generator.amount_sum)
    }

    #[test]
    fn sequential_ids_grow_and_random_ones_are_unique() {
        let (sequential, _) = transfers(&load(IdOrder::Sequential, 0));
        assert!(sequential.is_sorted_by(|one, next| one.id < next.id));
        let (random, _) = transfers(&load(IdOrder::Random, 0));
        assert!(!random.is_sorted_by(|one, next| one.id < next.id));
        assert_eq!(random.iter().map(|transfer| transfer.id).collect::<HashSet<_>>().len(), 4000);
    }

    #[test]
    fn accounts_differ_and_all_of_them_are_used() {
        let load = load(IdOrder::Sequential, 0);
        let (transfers, sum) = transfers(&load);
        assert!(transfers.iter().all(|transfer| transfer.debit_account_id != transfer.credit_account_id));
        let debited: HashSet<_> = transfers.iter().map(|transfer| transfer.debit_account_id).collect();
        assert_eq!(debited, (0..10).map(|number| load.account_id(number)).collect());
        assert_eq!(sum, transfers.iter().map(|transfer| transfer.amount).sum::<u128>());
    }

    #[test]
    fn the_hot_share_is_what_was_asked_for() {
        let load = load(IdOrder::Sequential, 100);
        let hot = load.account_id(0);
        let (transfers, _) = transfers(&load);
        let all_hot = transfers
            .iter()
            .all(|transfer| (transfer.debit_account_id == hot) != (transfer.credit_account_id == hot));
        assert!(all_hot);
    }

    #[test]
    fn equal_seeds_make_equal_loads_and_clients_differ() {
        let load = load(IdOrder::Random, 0);
        assert_eq!(load.generator(1).batch(0, 50), load.generator(1).batch(0, 50));
        assert_ne!(load.generator(1).batch(0, 50), load.generator(2).batch(0, 50));
    }
}
