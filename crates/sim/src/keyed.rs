//! Requests with an idempotency key, as the server passes them to the ledger: new ones, retries, and
//! different requests with an old key.
//!
//! Ids and marks are derived from client and key. `api::idempotency` derives them from the key in the same
//! way, with another hash.

use std::collections::VecDeque;

use bezant_codec::checksum_seeded;
use bezant_ledger::{Event, KeyedHead, Operation, ToCommand, ToKeyedCommand};
use bezant_rsm::Command;
use bezant_types::{Account, AccountId, LedgerNumber, Transfer, TransferId};
use bytes::Bytes;

use crate::random::Random;

/// Old keys that a client may use again.
const REMEMBERED: usize = 12;

/// The purpose of an id.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Account = 1,
    Transfer = 2,
    /// The first of several transfers. (A single transfer has the guard as its id.)
    FirstOfSeveral = 3,
    Witness = 4,
}

/// The first request with a key.
#[derive(Clone, Debug)]
struct Keyed {
    key: u64,
    events: Events,
}

/// The events of a request, without their ids, which follow from the key.
#[derive(Clone, Debug)]
enum Events {
    Accounts(Vec<Account>),
    Transfers(Vec<Transfer>),
}

/// The keys of one client.
#[derive(Debug)]
pub(crate) struct Keys {
    client: u64,
    last_key: u64,
    sent: VecDeque<Keyed>,
}

impl Keys {
    pub(crate) const fn new(client: u64) -> Self {
        Self { client, last_key: 0, sent: VecDeque::new() }
    }

    /// A new request with a key: one to four transfers, or sometimes accounts. Also returns the transfers
    /// with their ids.
    pub(crate) fn first(
        &mut self,
        random: &mut Random,
        mut payment: impl FnMut(&mut Random) -> Transfer,
    ) -> (Command, Vec<Transfer>) {
        let count = random.between(1, 4);
        let events = if random.per_mille(150) {
            let account = Account { ledger: LedgerNumber(1), code: 3, ..Account::default() };
            Events::Accounts((0..count).map(|_| account).collect())
        } else {
            Events::Transfers((0..count).map(|_| payment(random)).collect())
        };
        self.last_key += 1;
        let request = Keyed { key: self.last_key, events };
        self.sent.push_back(request.clone());
        self.sent.drain(..self.sent.len().saturating_sub(REMEMBERED));
        self.request(request)
    }

    /// The first request with an old key again, or a different request with that key. `None` without an old
    /// key.
    pub(crate) fn again(
        &self,
        random: &mut Random,
        mut payment: impl FnMut(&mut Random) -> Transfer,
    ) -> Option<(Command, Vec<Transfer>)> {
        let at = usize::try_from(random.below(REMEMBERED as u64)).unwrap_or(0);
        let mut request = self.sent.get(at)?.clone();
        match (&mut request.events, random.below(8)) {
            (_, 0..4) => {}
            // One more event before the old ones. The old ones change their position, and so their ids.
            (Events::Transfers(transfers), 4..6) => transfers.insert(0, payment(random)),
            (Events::Transfers(transfers), 6) => transfers[0].amount ^= 1,
            (Events::Transfers(transfers), _) if transfers.len() > 1 => drop(transfers.pop()),
            (Events::Accounts(accounts), 4..6) => accounts.insert(0, Account { code: 4, ..accounts[0] }),
            (Events::Accounts(accounts), _) => accounts[0].code ^= 1,
            _ => {}
        }
        Some(self.request(request))
    }

    /// The command of a request, and its transfers.
    fn request(&self, Keyed { key, events }: Keyed) -> (Command, Vec<Transfer>) {
        match events {
            Events::Accounts(mut accounts) => {
                for (account, at) in accounts.iter_mut().zip(0..) {
                    account.id = AccountId(self.id(Kind::Account, key, at));
                }
                let records = Event::write_all(&accounts);
                let guard = self.id(Kind::Account, key, 0);
                (self.marked(guard, key, Operation::CreateAccounts, &records), Vec::new())
            }
            Events::Transfers(mut transfers) => {
                let several = transfers.len() > 1;
                for (transfer, at) in transfers.iter_mut().zip(0..) {
                    let kind = if at == 0 && several { Kind::FirstOfSeveral } else { Kind::Transfer };
                    transfer.id = TransferId(self.id(kind, key, at));
                }
                let (operation, records) = (Operation::CreateTransfers, Event::write_all(&transfers));
                let command = if several {
                    self.marked(self.id(Kind::Transfer, key, 0), key, operation, &records)
                } else {
                    operation.command(records).expect("invariant: whole events")
                };
                (command, transfers)
            }
        }
    }

    fn marked(&self, guard: u128, key: u64, operation: Operation, records: &Bytes) -> Command {
        let seal = checksum_seeded(u64::from(operation as u16), records);
        let witness = self.id(Kind::Witness, key, 0) ^ u128::from(seal);
        let head = KeyedHead { guard: TransferId(guard), witness: TransferId(witness), operation };
        head.command(records).expect("invariant: whole events that create")
    }

    /// An id. The ids of every second key are smaller than all ids that clients draw. The others are between
    /// those.
    fn id(&self, kind: Kind, key: u64, position: u64) -> u128 {
        // Each combination of arguments is another seed, so that the first numbers of the generators differ.
        let mut hash = Random::new(self.client << 48 | key << 16 | position << 8 | kind as u64);
        let high = if key.is_multiple_of(2) { 0 } else { self.client + 1 };
        u128::from(high) << 64 | u128::from(hash.next())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_marks_differ_by_key_and_not_by_attempt() {
        let (keys, mut ids) = ([Keys::new(0), Keys::new(1)], BTreeSet::new());
        let payments = |count| Events::Transfers(vec![Transfer { amount: 5, ..Transfer::default() }; count]);
        let mut marks = BTreeSet::new();
        for (keys, key) in keys.iter().flat_map(|keys| (1..50).map(move |key| (keys, key))) {
            let request = |count| keys.request(Keyed { key, events: payments(count) });
            let (command, transfers) = request(3);
            assert_eq!(request(3).0, command);
            ids.extend(transfers.iter().map(|transfer| transfer.id.0));
            let (other, _) = request(2);
            assert_eq!(other.body[..16], command.body[..16], "one guard");
            assert!(marks.insert(other.body[16..32].to_vec()) && marks.insert(command.body[16..32].to_vec()));
            let (single, transfers) = request(1);
            assert_eq!(single.operation, Operation::CreateTransfers as u16);
            assert_eq!(transfers[0].id.0.to_le_bytes(), command.body[..16], "the guard is its id");
            assert!(ids.insert(transfers[0].id.0));
        }
        assert_eq!(ids.len(), 2 * 49 * 4);
    }
}
