//! What one peer address may take of what all clients share.
//!
//! Every budget of the server (connections, requests, bytes, streams, reads) is shared by peer addresses: an IPv4
//! address, or the /64 network of an IPv6 address. An address may hold at most as much as it leaves free. Alone it gets
//! half of a budget; n greedy addresses get 1/(n+1) each, and as much stays free for everyone else (in switches this is
//! known as the dynamic threshold algorithm).
//!
//! A connection holds the [`Share`] of its address, so that a request costs one atomic addition more for each
//! budget, and no look-up.

use std::array;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bezant_api::{Failure, Scarce};
use tokio::sync::Notify;

use crate::limits::Limits;

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Open connections for gRPC and REST.
    Connections,
    /// Open connections of TigerBeetle's clients.
    FrameConnections,
    /// Requests in flight.
    Requests,
    /// Bytes of their bodies.
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
}

const COUNT: usize = Budget::Frames as usize + 1;

impl Budget {
    /// As clients and metrics hear of it.
    pub(crate) const fn scarce(self) -> Scarce {
        match self {
            Self::Connections | Self::FrameConnections => Scarce::Connections,
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
            Self::Connections | Self::FrameConnections => "too many connections of this address are open",
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

/// Who shares: an IPv4 address (mapped to IPv6), or the upper half of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerAddress(u128);

impl From<IpAddr> for PeerAddress {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & NETWORK_MASK,
        })
    }
}

const NETWORK_MASK: u128 = Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0).to_bits();

/// The budgets of a server, and the share of every address that has a connection.
#[derive(Debug)]
pub(crate) struct Shares {
    pools: [Pool; COUNT],
    retry_after: Duration,
    addresses: Mutex<HashMap<PeerAddress, Weak<Share>>>,
    /// Told whenever a connection or a large frame gives its place back.
    pub(crate) freed: Notify,
}

impl Shares {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let pool = |max| Pool { max, used: AtomicUsize::new(0) };
        let frames_max = (limits.frame_bytes_max / bezant_tigerbeetle::MESSAGE_SIZE_MAX).max(1);
        Arc::new(Self {
            // In the order of the budgets.
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
            ],
            retry_after: limits.retry_after,
            addresses: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// The share of an address.
    pub(crate) fn of(self: &Arc<Self>, address: PeerAddress) -> Arc<Share> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = addresses.get(&address).and_then(Weak::upgrade) {
            return share;
        }
        let own = array::from_fn(|_| AtomicUsize::new(0));
        let share = Arc::new(Share { address, shares: Arc::clone(self), own });
        addresses.insert(address, Arc::downgrade(&share));
        share
    }
}

/// What one address holds of every budget.
#[derive(Debug)]
pub(crate) struct Share {
    address: PeerAddress,
    shares: Arc<Shares>,
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

    /// Takes of a budget, if the address then holds no more than it leaves free.
    pub(crate) fn take(&self, budget: Budget, size: usize) -> Result<(), Failure> {
        let (pool, own) = (&self.shares.pools[budget as usize], &self.own[budget as usize]);
        let used = pool.used.fetch_add(size, Relaxed);
        let held = own.fetch_add(size, Relaxed).saturating_add(size);
        if held <= pool.max.saturating_sub(used) {
            return Ok(());
        }
        self.return_to(budget, size);
        Err(self.refusal(budget))
    }

    /// Takes of a budget, room or not.
    pub(crate) fn add(&self, budget: Budget, size: usize) {
        self.shares.pools[budget as usize].used.fetch_add(size, Relaxed);
        self.own[budget as usize].fetch_add(size, Relaxed);
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, budget: Budget, size: usize) {
        self.return_to(budget, size);
        if matches!(budget, Budget::Connections | Budget::FrameConnections | Budget::Frames) {
            self.shares.freed.notify_waiters();
        }
    }

    /// Undoes a take, which frees no place that anyone could have waited for.
    fn return_to(&self, budget: Budget, size: usize) {
        self.own[budget as usize].fetch_sub(size, Relaxed);
        self.shares.pools[budget as usize].used.fetch_sub(size, Relaxed);
    }

    /// True while the address holds more than twice what all addresses leave free.
    pub(crate) fn is_past_twice(&self, budget: Budget) -> bool {
        let pool = &self.shares.pools[budget as usize];
        self.held(budget) > pool.max.saturating_sub(pool.used.load(Relaxed)).saturating_mul(2)
    }

    /// What a client hears that finds no room.
    pub(crate) fn refusal(&self, budget: Budget) -> Failure {
        Failure::overloaded(budget.scarce(), budget.sentence(), self.shares.retry_after)
    }

    /// Takes of a budget until the result is dropped.
    pub(crate) fn hold(self: &Arc<Self>, budget: Budget, size: usize) -> Result<Taken, Failure> {
        self.take(budget, size)?;
        Ok(Taken { share: Arc::clone(self), budget, size })
    }

    /// The same, once there is room.
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

impl Drop for Share {
    fn drop(&mut self) {
        let mut addresses = self.shares.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        // A new connection of the address may have made another share meanwhile.
        if addresses.get(&self.address).is_some_and(|share| share.strong_count() == 0) {
            addresses.remove(&self.address);
        }
    }
}

/// A part of a budget; given back when dropped.
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
            let taken: Vec<_> = std::iter::from_fn(|| share.hold(Budget::Requests, 1).ok()).collect();
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
    fn an_ipv6_network_is_one_address_and_a_mapped_one_is_that_of_ipv4() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let shares = Shares::new(&Limits::default());
        let share = shares.of(address("10.0.0.1"));
        assert!(Arc::ptr_eq(&share, &shares.of(address("10.0.0.1"))), "all its connections share");
        drop(share);
        assert!(shares.addresses.lock().unwrap().is_empty());
    }
}
