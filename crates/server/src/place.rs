//! Places for connections: within their number and the share of each address, and the longest idle connection goes
//! first when places run out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bezant_api::Failure;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::share::{Budget, PeerAddress, Share, Shares};

/// From here on connections count their time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`START`].
fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Whether a connection is being used.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Requests whose answers are not sent in full.
    pub(crate) open: AtomicUsize,
    /// Something was answered since the clocks of the connection were last looked at.
    pub(crate) served: AtomicBool,
    /// When an answer was last sent in full; the beginning until then.
    used_at: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { open: AtomicUsize::new(0), served: AtomicBool::new(false), used_at: AtomicU64::new(now()) }
    }
}

impl Usage {
    /// An answer has just been sent in full.
    pub(crate) fn touch(&self) {
        self.used_at.store(now(), Relaxed);
        self.served.store(true, Relaxed);
    }

    /// How long it has not been used, in milliseconds; `None` while it is.
    fn idle_for(&self, now: u64) -> Option<u64> {
        let is_used = self.open.load(Relaxed) > 0;
        (!is_used).then(|| now.saturating_sub(self.used_at.load(Relaxed)))
    }
}

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    budget: Budget,
    shares: Arc<Shares>,
    /// A connection that was used so recently keeps its place.
    idle_min: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    share: Arc<Share>,
    usage: Arc<Usage>,
    evicted: Arc<Notify>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(crate) share: Arc<Share>,
    pub(crate) usage: Arc<Usage>,
    evicted: Arc<Notify>,
}

impl Places {
    pub(crate) fn new(budget: Budget, shares: &Arc<Shares>, idle_min: Duration) -> Arc<Self> {
        let table = Mutex::default();
        Arc::new(Self { budget, shares: Arc::clone(shares), idle_min, table })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from that address. Where there is none, the longest idle connection gives up its own.
    /// An address that has connections, all of them in use, is refused another; one that has none waits.
    pub(crate) async fn admit(self: &Arc<Self>, address: PeerAddress) -> Result<Place, Failure> {
        let share = self.shares.of(address);
        loop {
            let freed = self.shares.freed.notified();
            let refused = match share.take(self.budget, 1) {
                Ok(()) => return Ok(self.enter(share)),
                Err(refused) => refused,
            };
            if self.evict_for(&share) {
                continue;
            }
            if share.held(self.budget) > 0 {
                return Err(refused);
            }
            // A connection may also become idle.
            drop(timeout(self.idle_min, freed).await);
        }
    }

    fn enter(self: &Arc<Self>, share: Arc<Share>) -> Place {
        let (usage, evicted) = (Arc::<Usage>::default(), Arc::<Notify>::default());
        let entry =
            Entry { share: Arc::clone(&share), usage: Arc::clone(&usage), evicted: Arc::clone(&evicted) };
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        table.open.insert(number, entry);
        Place { places: Arc::clone(self), number, share, usage, evicted }
    }

    /// Takes the place of an idle connection: of the address itself, or of one that has more connections. Of those, the
    /// longest idle one of the address that has the most. False when there is none.
    fn evict_for(&self, share: &Arc<Share>) -> bool {
        let (own, now) = (share.held(self.budget), now());
        let idle_min = u64::try_from(self.idle_min.as_millis()).unwrap_or(u64::MAX);
        let mut table = self.lock();
        let rank = |entry: &Entry| {
            let idle = entry.usage.idle_for(now).filter(|idle| *idle >= idle_min)?;
            let held = entry.share.held(self.budget);
            let may_go = held > own || entry.share.address() == share.address();
            may_go.then_some((held, idle))
        };
        let ranked = table.open.iter().filter_map(|(number, entry)| Some((rank(entry)?, *number)));
        let Some((_, number)) = ranked.max() else { return false };
        let Some(entry) = table.open.remove(&number) else { return false };
        drop(table);
        entry.share.give(self.budget, 1);
        entry.evicted.notify_one();
        true
    }
}

impl Place {
    /// Ready when the place went to another connection.
    pub(crate) async fn lost(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that was evicted has no place any more.
        let entry = self.places.lock().open.remove(&self.number);
        if entry.is_some() {
            self.share.give(self.places.budget, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::limits::Limits;

    fn address(last: u8) -> PeerAddress {
        IpAddr::from([127, 0, 0, last]).into()
    }

    fn places(connections_max: usize) -> Arc<Places> {
        let shares = Shares::new(&Limits { connections_max, ..Limits::default() });
        Places::new(Budget::Connections, &shares, Duration::from_millis(1))
    }

    async fn is_lost(place: &Place) -> bool {
        timeout(Duration::ZERO, place.lost()).await.is_ok()
    }

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_address_goes_first() {
        let places = places(6);
        let other = places.admit(address(9)).await.unwrap();
        other.usage.used_at.store(0, Relaxed);
        let mut own = Vec::new();
        for _ in 0..3 {
            own.push(places.admit(address(1)).await.unwrap());
        }
        own[0].usage.open.store(1, Relaxed);
        own[1].usage.used_at.store(now() + 900, Relaxed);
        own[2].usage.used_at.store(now(), Relaxed);
        timeout(Duration::from_millis(5), std::future::pending::<()>()).await.unwrap_err();
        own.push(places.admit(address(1)).await.unwrap());
        assert_eq!(
            [is_lost(&own[0]).await, is_lost(&own[1]).await, is_lost(&own[2]).await],
            [false, false, true]
        );
        assert!(!is_lost(&other).await, "what an address has too much of is its own");
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_used_is_refused_another() {
        let places = places(4);
        let own = [places.admit(address(1)).await.unwrap(), places.admit(address(1)).await.unwrap()];
        own.iter().for_each(|place| place.usage.open.store(1, Relaxed));
        assert!(places.admit(address(1)).await.is_err());
        let good = places.admit(address(2)).await.unwrap();
        assert_eq!(good.share.held(Budget::Connections), 1);
        drop(own);
        places.admit(address(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_new_address_gets_the_place_of_the_one_that_has_the_most() {
        let places = places(2);
        let first = places.admit(address(1)).await.unwrap();
        let second = places.admit(address(2)).await.unwrap();
        first.usage.open.store(1, Relaxed);
        second.usage.open.store(1, Relaxed);
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.admit(address(3)).await })
        };
        tokio::task::yield_now().await;
        second.usage.open.store(0, Relaxed);
        let third = waiting.await.unwrap().unwrap();
        assert!(is_lost(&second).await && !is_lost(&first).await);
        drop((first, second, third));
        let share = places.shares.of(address(2));
        assert_eq!(share.held(Budget::Connections), 0, "a place is given back once");
    }
}
