//! How much of each budget one peer address may hold.
//!
//! All clients share the budgets of the server: connections, requests, bytes, streams and reads. Each budget
//! is divided among peer addresses. A peer address is an IPv4 address, or the /64 network of an IPv6 address.
//!
//! The rule: an address may hold at most as much as it leaves free. A single address gets half of a budget; n
//! greedy addresses get 1/(n+1) each, and as much stays free for all others. Switches call this the dynamic
//! threshold algorithm.
//!
//! IPv6 addresses come in blocks: a site has a /48, with 65,536 networks of /64. So the rule applies twice. All
//! /64 of a /48 together may hold at most as much as they leave free, so the site may hold half of what others
//! leave it. One /64 may hold at most as much of that half as it leaves free. So one greedy /64 gets half of
//! what its site may hold, and its neighbours still get a part.
//!
//! A connection holds the [`Share`] of its address. So a request costs one or two more atomic additions for
//! each budget, and no lookup.

use std::array;
use std::collections::HashMap;
use std::iter;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bezant_api::{Failure, Scarce};
use tokio::sync::Notify;

use crate::limits::{Limits, WAITING_MAX};

/// The budgets that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Open connections for gRPC and REST.
    Connections,
    /// Open connections of TigerBeetle's clients.
    FrameConnections,
    /// Requests in flight.
    Requests,
    /// Bytes of the bodies of requests in flight.
    BodyBytes,
    /// Bytes that answers hold whatever their size: see [`crate::answer`].
    AnswerBytes,
    /// Bytes of the rows in answers.
    RowBytes,
    /// Streams of change events and of health.
    Streams,
    /// Reads that the node has not answered.
    Reads,
    /// Large frames of TigerBeetle's clients.
    Frames,
    /// Connections that wait for a place.
    Waiting,
}

const COUNT: usize = Budget::Waiting as usize + 1;

impl Budget {
    /// The name of the budget in failures and metrics.
    pub(crate) const fn scarce(self) -> Scarce {
        match self {
            Self::Connections | Self::FrameConnections | Self::Waiting => Scarce::Connections,
            Self::Requests => Scarce::Requests,
            Self::BodyBytes => Scarce::BodyBytes,
            Self::AnswerBytes | Self::RowBytes => Scarce::AnswerBytes,
            Self::Streams => Scarce::Streams,
            Self::Reads => Scarce::Reads,
            Self::Frames => Scarce::Frames,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Connections | Self::FrameConnections | Self::Waiting => {
                "too many connections of this address are open"
            }
            Self::Requests => "too many requests of this address are in flight",
            Self::BodyBytes => "too many bytes of requests of this address are in flight",
            Self::AnswerBytes | Self::RowBytes => {
                "too many bytes of answers wait for this address to read them"
            }
            Self::Streams => "too many streams of this address are open",
            Self::Reads => "too many reads of this address wait",
            Self::Frames => "too many large requests of this address are in flight",
        }
    }
}

/// One budget of the whole server.
#[derive(Debug)]
struct Pool {
    max: usize,
    used: AtomicUsize,
}

/// The unit that shares are counted for: an IPv4 address (mapped to IPv6), a /64 of IPv6, or a /48 of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerAddress {
    bits: u128,
    prefix: u32,
}

/// A provider assigns at least a /64 to one subscriber or machine.
const NETWORK_PREFIX: u32 = 64;
/// A provider assigns a /48 to one site.
const SITE_PREFIX: u32 = 48;

impl PeerAddress {
    const fn block(bits: u128, prefix: u32) -> Self {
        Self { bits: bits & (u128::MAX << (u128::BITS - prefix)), prefix }
    }

    /// The /48 of an IPv6 network; `None` for an IPv4 address and for a /48.
    const fn site(self) -> Option<Self> {
        if self.prefix == NETWORK_PREFIX { Some(Self::block(self.bits, SITE_PREFIX)) } else { None }
    }
}

impl From<IpAddr> for PeerAddress {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::block(address.to_ipv6_mapped().to_bits(), u128::BITS),
            IpAddr::V6(address) => Self::block(address.to_bits(), NETWORK_PREFIX),
        }
    }
}

/// The budgets of a server, and the share of every address that has a connection.
#[derive(Debug)]
pub(crate) struct Shares {
    pools: [Pool; COUNT],
    retry_after: Duration,
    addresses: Mutex<HashMap<PeerAddress, Weak<Share>>>,
    /// Notified whenever a connection or a large frame returns its place.
    pub(crate) freed: Notify,
}

impl Shares {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let pool = |max| Pool { max, used: AtomicUsize::new(0) };
        let frames_max = (limits.frame_bytes_max / bezant_tigerbeetle::MESSAGE_SIZE_MAX).max(1);
        Arc::new(Self {
            // In the order of `Budget`'s variants.
            pools: [
                pool(limits.connections_max),
                pool(limits.frame_connections_max),
                pool(limits.requests_max),
                pool(limits.body_bytes_max),
                pool(limits.answer_bytes_max),
                pool(limits.answer_bytes_max),
                pool(limits.watchers_max),
                pool(limits.reads_max),
                pool(frames_max),
                pool(WAITING_MAX),
            ],
            retry_after: limits.retry_after,
            addresses: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Finds or makes the share of an address.
    pub(crate) fn of(self: &Arc<Self>, address: PeerAddress) -> Arc<Share> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let site = address.site().map(|site| self.find_or_make(&mut addresses, site, None));
        self.find_or_make(&mut addresses, address, site)
    }

    fn find_or_make(
        self: &Arc<Self>,
        addresses: &mut HashMap<PeerAddress, Weak<Share>>,
        address: PeerAddress,
        site: Option<Arc<Share>>,
    ) -> Arc<Share> {
        if let Some(share) = addresses.get(&address).and_then(Weak::upgrade) {
            return share;
        }
        let own = array::from_fn(|_| AtomicUsize::new(0));
        let share = Arc::new(Share { address, shares: Arc::clone(self), site, own });
        addresses.insert(address, Arc::downgrade(&share));
        share
    }
}

/// What one address holds of every budget.
#[derive(Debug)]
pub(crate) struct Share {
    address: PeerAddress,
    shares: Arc<Shares>,
    /// The share of the /48 of an IPv6 network; `None` for an IPv4 address and for a /48.
    site: Option<Arc<Self>>,
    own: [AtomicUsize; COUNT],
}

impl Share {
    pub(crate) const fn address(&self) -> PeerAddress {
        self.address
    }

    /// What this address holds of a budget.
    pub(crate) fn held(&self, budget: Budget) -> usize {
        self.own[budget as usize].load(Relaxed)
    }

    /// What the /48 of this address holds of a budget. Without a /48, what the address itself holds.
    pub(crate) fn held_by_site(&self, budget: Budget) -> usize {
        self.site.as_deref().unwrap_or(self).held(budget)
    }

    /// True if both addresses are in the same /48, or are equal.
    pub(crate) fn is_of_site(&self, other: &Self) -> bool {
        let site = |share: &Self| share.address.site().unwrap_or(share.address);
        site(self) == site(other)
    }

    /// The share of the /48, where there is one, then this share.
    fn levels(&self) -> impl Iterator<Item = &Self> {
        self.site.as_deref().into_iter().chain(iter::once(self))
    }

    /// Takes `size` of a budget if the address then holds no more than it leaves free. What it leaves free is
    /// counted in the budget, or for a network of IPv6 in what its /48 may hold.
    pub(crate) fn take(&self, budget: Budget, size: usize) -> Result<(), Failure> {
        let pool = &self.shares.pools[budget as usize];
        let mut free = pool.max.saturating_sub(pool.used.fetch_add(size, Relaxed));
        let mut fits = true;
        // Every level counts it, even after a level that refused: the undo subtracts it from every level.
        for share in self.levels() {
            let held = share.own[budget as usize].fetch_add(size, Relaxed);
            fits &= held.saturating_add(size) <= free;
            free = free_inside(free, held);
        }
        if fits {
            return Ok(());
        }
        self.return_to(budget, size);
        Err(self.refusal(budget))
    }

    /// Takes `size` of a budget, whether it fits or not.
    pub(crate) fn add(&self, budget: Budget, size: usize) {
        self.shares.pools[budget as usize].used.fetch_add(size, Relaxed);
        self.levels().for_each(|share| {
            share.own[budget as usize].fetch_add(size, Relaxed);
        });
    }

    /// Returns what was taken, and wakes those that wait for a place.
    pub(crate) fn give(&self, budget: Budget, size: usize) {
        self.return_to(budget, size);
        if matches!(budget, Budget::Connections | Budget::FrameConnections | Budget::Frames) {
            self.shares.freed.notify_waiters();
        }
    }

    /// Undoes a take. It wakes no waiter, because no place became free.
    pub(crate) fn return_to(&self, budget: Budget, size: usize) {
        self.levels().for_each(|share| {
            share.own[budget as usize].fetch_sub(size, Relaxed);
        });
        self.shares.pools[budget as usize].used.fetch_sub(size, Relaxed);
    }

    /// True while the address, or its /48, holds more than twice what is free for it.
    pub(crate) fn is_past_twice(&self, budget: Budget) -> bool {
        let pool = &self.shares.pools[budget as usize];
        let mut free = pool.max.saturating_sub(pool.used.load(Relaxed));
        self.levels().any(|share| {
            let held = share.held(budget);
            let is_past = held > free.saturating_mul(2);
            free = free_inside(free, held);
            is_past
        })
    }

    /// The failure of a client whose take was refused.
    pub(crate) fn refusal(&self, budget: Budget) -> Failure {
        Failure::overloaded(budget.scarce(), budget.sentence(), self.shares.retry_after)
    }

    /// Takes `size` of a budget until the result is dropped.
    pub(crate) fn hold(self: &Arc<Self>, budget: Budget, size: usize) -> Result<Taken, Failure> {
        self.take(budget, size)?;
        Ok(Taken { share: Arc::clone(self), budget, size })
    }

    /// The same, but waits until it fits.
    pub(crate) async fn wait_for(self: &Arc<Self>, budget: Budget, size: usize) -> Taken {
        loop {
            let freed = self.shares.freed.notified();
            if let Ok(taken) = self.hold(budget, size) {
                return taken;
            }
            freed.await;
        }
    }
}

/// What is free inside a /48 that holds `held`, when `free` is free for all. Others leave the /48 both of these,
/// and it may hold half of them.
const fn free_inside(free: usize, held: usize) -> usize {
    free.saturating_add(held).div_ceil(2).saturating_sub(held)
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut addresses = self.shares.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        // A new connection of the address may have made another share meanwhile.
        if addresses.get(&self.address).is_some_and(|share| share.strong_count() == 0) {
            addresses.remove(&self.address);
        }
    }
}

/// A part of a budget; returned when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    share: Arc<Share>,
    budget: Budget,
    size: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.give(self.budget, self.size);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bezant_api::ErrorCode;

    use super::*;

    pub(crate) fn share(limits: &Limits) -> Arc<Share> {
        Shares::new(limits).of(address("127.0.0.1"))
    }

    fn address(text: &str) -> PeerAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_takes_no_more_than_it_leaves_free() {
        let shares = Shares::new(&Limits { requests_max: 90, ..Limits::default() });
        let takes = |text: &str| {
            let share = shares.of(address(text));
            let taken: Vec<_> = iter::from_fn(|| share.hold(Budget::Requests, 1).ok()).collect();
            (taken.len(), taken)
        };
        let (alone, taken) = takes("10.0.0.1");
        assert_eq!(alone, 45);
        let (second, others) = takes("10.0.0.2");
        assert_eq!(second, 23, "half of what the first left");
        assert_eq!(takes("10.0.0.3").0, 11);
        let refused = shares.of(address("10.0.0.2")).take(Budget::Requests, 1).unwrap_err();
        assert_eq!((refused.code, refused.scarce), (ErrorCode::Overloaded, Some(Scarce::Requests)));
        drop((taken, others));
        assert_eq!(takes("10.0.0.2").0, 45, "all of it comes back");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }

    #[test]
    fn the_networks_of_a_site_share_one_limit() {
        let shares = Shares::new(&Limits { requests_max: 96, ..Limits::default() });
        let network = |at| shares.of(address(&format!("2001:db8:7:{at:x}::1")));
        let networks: Vec<_> = (0..64).map(network).collect();
        let mut taken = Vec::new();
        for network in networks.iter().cycle().take(640) {
            taken.extend(network.hold(Budget::Requests, 1).ok());
        }
        assert_eq!(taken.len(), 48, "half, however many networks they are");
        assert_eq!((networks[0].held(Budget::Requests), networks[0].held_by_site(Budget::Requests)), (1, 48));
        let other = shares.of(address("2001:db8:8::1"));
        let good: Vec<_> = iter::from_fn(|| other.hold(Budget::Requests, 1).ok()).collect();
        assert_eq!(good.len(), 12, "half of the half of what the first site left");
        drop(taken);
        assert_eq!(networks[0].held_by_site(Budget::Requests), 0);
    }

    #[test]
    fn a_network_leaves_a_part_to_its_neighbours() {
        let shares = Shares::new(&Limits { requests_max: 96, ..Limits::default() });
        let takes = |text: &str| {
            let share = shares.of(address(text));
            iter::from_fn(|| share.hold(Budget::Requests, 1).ok()).collect::<Vec<_>>()
        };
        let first = takes("2001:db8:7:1::1");
        assert_eq!(first.len(), 24, "half of what its site may hold");
        let second = takes("2001:db8:7:2::1");
        assert_eq!(second.len(), 12, "half of what the first left");
        let third = takes("2001:db8:7:3::1");
        assert_eq!(third.len(), 6);
        let fourth = takes("2001:db8:7:4::1");
        assert_eq!(fourth.len(), 3);
        let other = takes("2001:db8:8:1::1");
        assert_eq!(other.len(), 13, "half of the half of 51 that the first site left");
        let plain = takes("10.0.0.1");
        assert_eq!(plain.len(), 19, "half of the 38 that both sites left");
        drop((first, second, third, fourth));
        assert_eq!(takes("2001:db8:7:4::1").len(), 16, "half of the half of what the others left");
    }

    #[test]
    fn an_unreading_network_is_refused_before_its_site() {
        let shares = Shares::new(&Limits { answer_bytes_max: 96, ..Limits::default() });
        let of = |text: &str| shares.of(address(text));
        let (greedy, neighbour) = (of("2001:db8:7:1::1"), of("2001:db8:7:2::1"));
        greedy.add(Budget::RowBytes, 32);
        assert!(!greedy.is_past_twice(Budget::RowBytes));
        greedy.add(Budget::RowBytes, 1);
        assert!(greedy.is_past_twice(Budget::RowBytes), "a third");
        assert!(!neighbour.is_past_twice(Budget::RowBytes));
        assert!(neighbour.hold(Budget::RowBytes, 1).is_ok());
        greedy.add(Budget::RowBytes, 32);
        assert!(neighbour.is_past_twice(Budget::RowBytes), "two thirds are too much of the site");
    }

    #[test]
    fn the_share_of_an_address_without_connections_is_removed() {
        let shares = Shares::new(&Limits::default());
        drop(shares.of(address("2001:db8::1")));
        assert!(shares.addresses.lock().unwrap().is_empty(), "with its site");
        let share = shares.of(address("10.0.0.1"));
        assert!(Arc::ptr_eq(&share, &shares.of(address("10.0.0.1"))), "all its connections share");
        drop(share);
        assert!(shares.addresses.lock().unwrap().is_empty());
    }
}
