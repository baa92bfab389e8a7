//! Places for connections: their number is limited in total and for each address. When places run out, the
//! longest idle connection is closed first.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bezant_api::Failure;
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use crate::share::{Budget, PeerAddress, Share, Shares, Taken};

/// The time that connections measure their use from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since [`START`].
fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Whether and when a connection was used.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Requests whose answers are not sent in full.
    pub(crate) open: AtomicUsize,
    /// An answer was sent since the connection last checked its timeouts.
    pub(crate) served: AtomicBool,
    /// Milliseconds since [`START`] when an answer was last sent in full; at first when the connection was
    /// opened.
    used_at: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { open: AtomicUsize::new(0), served: AtomicBool::new(false), used_at: AtomicU64::new(now()) }
    }
}

impl Usage {
    /// Notes that an answer has just been sent in full.
    pub(crate) fn touch(&self) {
        self.used_at.store(now(), Relaxed);
        self.served.store(true, Relaxed);
    }

    /// Milliseconds since the last use; `None` while the connection is in use.
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
    /// A connection that was used within this time keeps its place.
    idle_min: Duration,
    /// A connection that waits longer is refused.
    wait_max: Duration,
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

/// The place of one connection; returned when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(crate) share: Arc<Share>,
    pub(crate) usage: Arc<Usage>,
    evicted: Arc<Notify>,
}

impl Places {
    pub(crate) fn new(
        budget: Budget,
        shares: &Arc<Shares>,
        idle_min: Duration,
        wait_max: Duration,
    ) -> Arc<Self> {
        let table = Mutex::default();
        Arc::new(Self { budget, shares: Arc::clone(shares), idle_min, wait_max, table })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place now. If none is free, an idle connection loses its place. An address all of whose
    /// connections are in use is refused another one; an address without connections may wait: `None`.
    fn place_for(self: &Arc<Self>, share: &Arc<Share>) -> Result<Option<Place>, Failure> {
        loop {
            let refused = match share.take(self.budget, 1) {
                Ok(()) => return Ok(Some(self.enter(Arc::clone(share)))),
                Err(refused) => refused,
            };
            if let Some(entry) = self.evict_for(share, false) {
                entry.share.give(self.budget, 1);
            } else if share.held_by_site(self.budget) > 0 {
                return Err(refused);
            } else {
                return Ok(None);
            }
        }
    }

    /// Replaces an idle connection of the same address, or of an address in the same /48 that has more
    /// connections. The other addresses' connections are not affected.
    fn exchange(self: &Arc<Self>, share: &Arc<Share>) -> Option<Place> {
        let entry = self.evict_for(share, true)?;
        share.add(self.budget, 1);
        entry.share.return_to(self.budget, 1);
        Some(self.enter(Arc::clone(share)))
    }

    /// Takes a place, and waits until there is one.
    async fn place_of_first(self: &Arc<Self>, share: &Arc<Share>) -> Result<Place, Failure> {
        loop {
            // Registered before the check, so that no place that becomes free in between is missed.
            let freed = self.shares.freed.notified();
            if let Some(place) = self.place_for(share)? {
                return Ok(place);
            }
            // A connection can also become idle, which sends no notification.
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

    /// Evicts the longest idle connection that may lose its place to `share`. Candidates are connections of
    /// the address itself and of addresses that have more connections; with `is_of_site_only`, only those in
    /// the same /48. Of the candidates, the /48 with the most connections comes first, then the address with
    /// the most. The evicted place still counts: the caller takes it. `None` when there is no candidate.
    fn evict_for(&self, share: &Arc<Share>, is_of_site_only: bool) -> Option<Entry> {
        let counts = |share: &Share| (share.held_by_site(self.budget), share.held(self.budget));
        let ((own_site, own), now) = (counts(share), now());
        let idle_min = u64::try_from(self.idle_min.as_millis()).unwrap_or(u64::MAX);
        let mut table = self.lock();
        let rank = |entry: &Entry| {
            let idle = entry.usage.idle_for(now).filter(|idle| *idle >= idle_min)?;
            let (site, held) = counts(&entry.share);
            let is_own = entry.share.address() == share.address();
            let is_of_neighbour = entry.share.is_of_site(share) && held > own;
            let may_go = is_own || is_of_neighbour || site > own_site && !is_of_site_only;
            may_go.then_some((site, held, idle))
        };
        let ranked = table.open.iter().filter_map(|(number, entry)| Some((rank(entry)?, *number)));
        let (_, number) = ranked.max()?;
        let entry = table.open.remove(&number)?;
        drop(table);
        entry.evicted.notify_one();
        Some(entry)
    }
}

/// The connections of a listener that wait for a place, in order of arrival. Connections that get a place or
/// are refused at once do not wait for them.
#[derive(Debug)]
pub(crate) struct Queue<Connection> {
    places: Arc<Places>,
    waiting: VecDeque<Waiting<Connection>>,
}

#[derive(Debug)]
struct Waiting<Connection> {
    connection: Connection,
    share: Arc<Share>,
    until: tokio::time::Instant,
    /// One of a limited number of waiting connections.
    _counted: Taken,
}

/// A connection, and its place or why it gets none.
type Admitted<Connection> = (Connection, Result<Place, Failure>);

impl<Connection> Queue<Connection> {
    pub(crate) const fn new(places: Arc<Places>) -> Self {
        Self { places, waiting: VecDeque::new() }
    }

    /// Admits a new connection from `address`; `None` = it waits. While other connections wait, they get the
    /// places that become free: then an address that has connections gets only a place that its own
    /// connections lose.
    pub(crate) fn admit(
        &mut self,
        connection: Connection,
        address: PeerAddress,
    ) -> Option<Admitted<Connection>> {
        let places = &self.places;
        let share = places.shares.of(address);
        let placed = if self.waiting.is_empty() {
            places.place_for(&share)
        } else if share.held_by_site(places.budget) > 0 {
            places.exchange(&share).map(Some).ok_or_else(|| share.refusal(places.budget))
        } else {
            Ok(None)
        };
        let counted = match placed {
            Ok(Some(place)) => return Some((connection, Ok(place))),
            Err(refused) => return Some((connection, Err(refused))),
            Ok(None) => share.hold(Budget::Waiting, 1),
        };
        match counted {
            Ok(counted) => {
                let until = tokio::time::Instant::now() + places.wait_max;
                self.waiting.push_back(Waiting { connection, share, until, _counted: counted });
                None
            }
            Err(refused) => Some((connection, Err(refused))),
        }
    }

    /// The connection that has waited for longest, once it has a place or is refused; pending while no
    /// connection waits. It is cancel safe: a dropped call loses no connection.
    pub(crate) async fn next(&mut self) -> Admitted<Connection> {
        let Some(first) = self.waiting.front() else { return pending().await };
        let placed = timeout_at(first.until, self.places.place_of_first(&first.share)).await;
        let placed = placed.unwrap_or_else(|_| Err(first.share.refusal(self.places.budget)));
        match self.waiting.pop_front() {
            Some(first) => (first.connection, placed),
            None => pending().await,
        }
    }
}

impl Place {
    /// Ready when another connection took the place.
    pub(crate) async fn lost(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An evicted connection has no place any more.
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
    use crate::limits::{Limits, WAITING_MAX};

    fn address(last: u8) -> PeerAddress {
        IpAddr::from([127, 0, 0, last]).into()
    }

    fn address_v6(text: &str) -> PeerAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// A queue whose connections are numbers.
    fn queue(connections_max: usize) -> Queue<u32> {
        queue_of(connections_max, Duration::from_mins(1))
    }

    /// A queue in which a connection waits at most `wait_max`.
    fn queue_of(connections_max: usize, wait_max: Duration) -> Queue<u32> {
        let shares = Shares::new(&Limits { connections_max, ..Limits::default() });
        Queue::new(Places::new(Budget::Connections, &shares, Duration::from_millis(1), wait_max))
    }

    impl Queue<u32> {
        /// A place that is free now.
        fn place(&mut self, address: PeerAddress) -> Place {
            self.admit(0, address).expect("it does not wait").1.unwrap()
        }

        /// A place that is free now; its connection is then in use.
        fn used_place(&mut self, address: PeerAddress) -> Place {
            let place = self.place(address);
            place.usage.open.store(1, Relaxed);
            place
        }

        fn is_refused(&mut self, address: PeerAddress) -> bool {
            self.admit(0, address).is_some_and(|(_, placed)| placed.is_err())
        }
    }

    /// Makes the connection idle for long.
    fn leave_idle(place: &Place) {
        place.usage.open.store(0, Relaxed);
        place.usage.used_at.store(0, Relaxed);
    }

    async fn is_lost(place: &Place) -> bool {
        timeout(Duration::ZERO, place.lost()).await.is_ok()
    }

    /// Waits until a connection that is opened now counts as idle for a millisecond.
    fn pass_a_millisecond() {
        let before = now();
        while now() < before + 2 {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_address_goes_first() {
        let mut queue = queue(6);
        let other = queue.place(address(9));
        other.usage.used_at.store(0, Relaxed);
        let mut own: Vec<_> = (0..3).map(|_| queue.place(address(1))).collect();
        own[0].usage.open.store(1, Relaxed);
        own[1].usage.used_at.store(now() + 900, Relaxed);
        own[2].usage.used_at.store(now(), Relaxed);
        pass_a_millisecond();
        own.push(queue.place(address(1)));
        assert_eq!(
            [is_lost(&own[0]).await, is_lost(&own[1]).await, is_lost(&own[2]).await],
            [false, false, true]
        );
        assert!(!is_lost(&other).await, "an address that has too many loses its own connection");
    }

    #[tokio::test]
    async fn an_address_whose_connections_are_all_used_is_refused_another() {
        let mut queue = queue(4);
        let own = [queue.used_place(address(1)), queue.used_place(address(1))];
        assert!(queue.is_refused(address(1)));
        let good = queue.place(address(2));
        assert_eq!(good.share.held(Budget::Connections), 1);
        drop(own);
        queue.place(address(1));
    }

    #[tokio::test]
    async fn a_new_address_gets_a_place_of_the_largest_holder() {
        let mut queue = queue(2);
        let (first, second) = (queue.used_place(address(1)), queue.used_place(address(2)));
        assert!(queue.admit(3, address(3)).is_none(), "the third waits");
        leave_idle(&second);
        let (number, third) = queue.next().await;
        assert_eq!(number, 3);
        assert!(is_lost(&second).await && !is_lost(&first).await);
        let shares = Arc::clone(&queue.places.shares);
        drop((first, second, third));
        assert_eq!(shares.of(address(2)).held(Budget::Connections), 0, "a place is returned once");
    }

    #[tokio::test]
    async fn waiting_connections_keep_their_order_and_block_no_others() {
        let mut queue = queue(3);
        let (first, second) = (queue.used_place(address(1)), queue.used_place(address(2)));
        let idle = queue.used_place(address(8));
        for number in 3..6 {
            assert!(queue.admit(number, address(u8::try_from(number).unwrap())).is_none(), "{number} waits");
        }
        assert!(queue.is_refused(address(1)), "at once, though others wait");
        leave_idle(&idle);
        let own = queue.place(address(8));
        assert!(is_lost(&idle).await, "an address still gets the place that its own connection loses");
        own.usage.open.store(1, Relaxed);
        drop(first);
        assert!(queue.admit(6, address(6)).is_none(), "a free place goes to the waiting connections");
        assert!(timeout(Duration::ZERO, queue.next()).await.is_ok_and(|(number, _)| number == 3));
        drop(second);
        assert_eq!(queue.next().await.0, 4);
        drop(own);
        assert_eq!(queue.next().await.0, 5);
    }

    #[tokio::test]
    async fn a_long_wait_and_a_full_queue_are_refused() {
        let mut queue = queue_of(1, Duration::ZERO);
        let _used = queue.used_place(address(1));
        let number = |at: usize| u8::try_from(at % 200 + 2).unwrap();
        let waits = |at: &usize| queue.admit(0, address(number(*at))).is_none();
        let waiting = (0..2 * WAITING_MAX).filter(waits).count();
        assert!((WAITING_MAX / 2..WAITING_MAX).contains(&waiting), "{waiting}");
        for _ in 0..waiting {
            assert!(queue.next().await.1.is_err());
        }
        assert!(queue.admit(0, address(7)).is_none(), "the queue has space again");
    }

    #[tokio::test]
    async fn a_greedy_network_leaves_places_to_its_neighbours() {
        let mut queue = queue(16);
        let (greedy, neighbour) = (address_v6("2001:db8:2:1::1"), address_v6("2001:db8:2:2::1"));
        let used: Vec<_> = (0..4).map(|_| queue.used_place(greedy)).collect();
        assert!(queue.is_refused(greedy), "a /64 gets half of the half of its /48");
        let _first = queue.used_place(neighbour);
        let _other = queue.used_place(address_v6("2001:db8:3:1::1"));
        // All other places are used, and others wait for one.
        let _rest: Vec<_> = (1..=10).map(|last| queue.used_place(address(last))).collect();
        assert!(queue.admit(7, address(77)).is_none(), "an IPv4 address waits");
        leave_idle(&used[1]);
        let third = queue.used_place(address_v6("2001:db8:2:3::1"));
        assert!(is_lost(&used[1]).await, "the /64 of the same /48 that has more connections lost it");
        assert_eq!((third.share.held(Budget::Connections), used[0].share.held(Budget::Connections)), (1, 3));
        assert_eq!(third.share.held_by_site(Budget::Connections), 5);
    }

    #[tokio::test]
    async fn the_networks_of_one_site_count_together() {
        let mut queue = queue(8);
        let good: Vec<_> = (0..2).map(|_| queue.place(address_v6("2001:db8:1::1"))).collect();
        let networks: Vec<_> =
            (0..3).map(|at| queue.place(address_v6(&format!("2001:db8:2:{at}::1")))).collect();
        networks.iter().for_each(|place| place.usage.open.store(1, Relaxed));
        assert!(queue.is_refused(address_v6("2001:db8:2:77::1")), "the site has its share");
        good.iter().chain(&networks).for_each(leave_idle);
        let others: Vec<_> = (1..4).map(|last| queue.place(address(last))).collect();
        assert!(others.iter().all(|place| place.share.held(Budget::Connections) == 1));
        queue.place(address(4));
        let mut lost = 0;
        for network in &networks {
            lost += u32::from(is_lost(network).await);
        }
        assert_eq!(lost, 1, "of the site that has the most");
        assert!(!is_lost(&good[0]).await && !is_lost(&good[1]).await);
    }
}
