//! Ids that grow with time.
//!
//! An id is a ULID read as a number: 48 bits of milliseconds since the Unix epoch, then 80 random bits.
//! Ids that grow are the cheapest for a server: it knows without a look-up that a new one is new. Within a
//! process every id is greater than the one before, also when the clock stands still or goes back; between
//! processes two ids differ but for a chance of one in 2^80 within the same millisecond.
//!
//! An id is drawn once for each intent and kept with it: a retry must send the same id again.

use std::sync::{Mutex, PoisonError};

use bezant_types::{AccountId, TransferId};
use ulid::Ulid;

/// Draws ids, each greater than the one before. Shared by reference between threads.
///
/// ```
/// let ids = bezant_client::ids::IdGenerator::new();
/// assert!(ids.transfer_id() < ids.transfer_id());
/// ```
#[derive(Debug, Default)]
pub struct IdGenerator {
    last: Mutex<u128>,
}

impl IdGenerator {
    /// Begins with the present moment.
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
    /// `u128::MAX`: the 48 bits of time last until the year 10889.
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
    fn ids_grow_strictly_whatever_the_clock_does() {
        let ids = IdGenerator::new();
        let drawn: Vec<u128> = (0..10_000).map(|_| ids.transfer_id().0).collect();
        assert!(drawn.is_sorted_by(|one, next| one < next), "each id is greater than the one before");
        let later = ids.next(Ulid(u128::MAX >> 1));
        assert_eq!(ids.next(Ulid(7)), later + 1, "a clock that goes back does not take ids back");
    }

    #[test]
    fn ids_carry_their_time() {
        let year_2020_millis = 1_577_836_800_000;
        assert!(IdGenerator::new().account_id().0 >> 80 > year_2020_millis, "48 bits of milliseconds");
    }
}
