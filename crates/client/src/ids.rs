//! Ids that grow with time.
//!
//! An id is a ULID read as a number: 48 bits of milliseconds since the Unix epoch, then 80 random bits.
//! Growing ids are the cheapest for a server: it finds out without a look-up that a new id is new. Within a
//! process each id is greater than the previous one, also when the clock stands still or goes back. Between
//! processes, two ids of the same millisecond are equal with a probability of one in 2^80.
//!
//! Draw one id for each intended event and keep it with the event: a retry must send the same id again.

use std::sync::{Mutex, PoisonError};

use bezant_types::{AccountId, TransferId};
use ulid::Ulid;

/// Draws ids, each greater than the previous one. Shared by reference between threads.
///
/// ```
/// let ids = bezant_client::ids::IdGenerator::new();
/// assert!(ids.transfer_id() < ids.transfer_id());
/// ```
#[derive(Debug, Default)]
pub struct IdGenerator {
    /// The last id drawn; 0 = none yet.
    last: Mutex<u128>,
}

impl IdGenerator {
    /// A generator whose first id carries the present time.
    pub const fn new() -> Self {
        Self { last: Mutex::new(0) }
    }

    /// An id for a new account.
    pub fn account_id(&self) -> AccountId {
        AccountId(self.next(Ulid::generate()))
    }

    /// An id for a new transfer.
    pub fn transfer_id(&self) -> TransferId {
        TransferId(self.next(Ulid::generate()))
    }

    /// `fresh` when it is greater than the last id, else the number after the last id. Never 0, and never
    /// `u128::MAX`: the 48 bits of time suffice until the year 10889.
    fn next(&self, fresh: Ulid) -> u128 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = u128::from(fresh).max(last.saturating_add(1));
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_strictly_also_when_the_clock_goes_back() {
        let ids = IdGenerator::new();
        let drawn: Vec<u128> = (0..10_000).map(|_| ids.transfer_id().0).collect();
        assert!(drawn.is_sorted_by(|one, next| one < next), "each id is greater than the previous one");
        let later = ids.next(Ulid(u128::MAX >> 1));
        assert_eq!(ids.next(Ulid(7)), later + 1, "ids still grow when the clock goes back");
    }

    #[test]
    fn ids_carry_their_time() {
        let year_2020_millis = 1_577_836_800_000;
        assert!(IdGenerator::new().account_id().0 >> 80 > year_2020_millis, "48 bits of milliseconds");
    }
}
