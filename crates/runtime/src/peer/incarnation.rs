//! Tells apart two processes that run under the number of one node, and refuses one of them.
//!
//! A process draws a number when it starts, its incarnation, and sends it in the handshake. A copy of a
//! folder that is started beside the original has the same node number and the same disk, and another
//! incarnation. While a connection of one incarnation is alive, a connection of another one is refused. Three
//! rules keep that from refusing a process that should run:
//! - A process that ended has no connection any more: its successor is accepted at once.
//! - A machine that lost its power leaves a connection that carries nothing. A running peer sends something
//!   every [`HEARTBEAT_INTERVAL`]; after [`UNRESPONSIVE`] without a message the successor is accepted.
//! - The process that answers at the address in the list of members is the right one: it is accepted at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bezant_types::NodeId;

use super::stream::HEARTBEAT_INTERVAL;
use crate::draw::draw;

/// After this time without a message, three heartbeats, an older connection does not keep a newer one out.
const UNRESPONSIVE: Duration = HEARTBEAT_INTERVAL.saturating_mul(3);
/// How often a waiting connection checks the older one.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The size of an incarnation in the handshake in bytes.
pub(super) const SIZE: usize = 32;

/// A process that runs as a node. On the wire: number u64, process u32, 20 bytes of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Drawn when the process started; not 0.
    number: u64,
    /// Its process id on its machine, for operators.
    process: u32,
}

impl Incarnation {
    /// The incarnation of a node that starts now.
    pub(crate) fn draw() -> Self {
        Self { number: draw().max(1), process: std::process::id() }
    }

    pub(super) fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.process.to_le_bytes());
        bytes
    }

    /// `None` when the field is zero: sent by a node that wants to join.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let number = u64::from_le_bytes(*bytes.first_chunk()?);
        let process = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        (number != 0).then_some(Self { number, process })
    }
}

/// The time of the last message on a connection.
#[derive(Debug)]
pub(super) struct LastReceived {
    start: Instant,
    millis: AtomicU64,
}

impl LastReceived {
    /// For a connection that begins now.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    /// Notes that a message came.
    pub(super) fn note(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// The process that answered at the address of each peer, while that connection is open. When the address of
/// a peer has changed, two connections may be open: the newer one counts, and the end of the older one
/// changes nothing.
#[derive(Debug, Default)]
pub(super) struct Dialed {
    /// The number of the connection and the process, by peer.
    of: Mutex<BTreeMap<NodeId, (u64, Option<Incarnation>)>>,
    count: AtomicU64,
}

impl Dialed {
    /// Adds an opened connection, and returns the number under which it is removed.
    pub(super) fn insert(&self, peer: NodeId, incarnation: Option<Incarnation>) -> u64 {
        let mut of = self.lock();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        of.insert(peer, (number, incarnation));
        number
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&self, peer: NodeId, number: u64) {
        let mut of = self.lock();
        if of.get(&peer).is_some_and(|(current, _)| *current == number) {
            of.remove(&peer);
        }
    }

    /// The process that answered at the peer's address; `None` when no such connection is open, or the
    /// process sent no incarnation.
    pub(super) fn of(&self, peer: NodeId) -> Option<Incarnation> {
        self.lock().get(&peer).and_then(|(_, incarnation)| *incarnation)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (u64, Option<Incarnation>)>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The decision about a connection of a node that has one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It replaces the older one.
    Take,
    /// The older one is alive, and of another process.
    Refuse,
    /// Not decided yet: check again after this time, or when the older one ends.
    Wait(Duration),
}

/// An existing connection, and one that came at `arrived`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encounter<'received> {
    pub(super) older: Option<Incarnation>,
    pub(super) newer: Option<Incarnation>,
    /// The process that answered at the node's address, while that connection is open.
    pub(super) dialed: Option<Incarnation>,
    pub(super) received: &'received LastReceived,
    pub(super) arrived: Instant,
}

impl Encounter<'_> {
    /// The decision; see the module.
    pub(super) fn verdict(self, now: Instant) -> Verdict {
        let are_one = self.older == self.newer || self.dialed == self.newer;
        if self.older.is_none() || self.newer.is_none() || are_one {
            return Verdict::Take;
        }
        let received = self.received.at();
        if now.saturating_duration_since(received) >= UNRESPONSIVE {
            return Verdict::Take;
        }
        // A message right after the newer connection may have been on its way when the older process ended;
        // then its end follows.
        let is_alive = received.saturating_duration_since(self.arrived) >= HEARTBEAT_INTERVAL;
        if is_alive { Verdict::Refuse } else { Verdict::Wait(CHECK_INTERVAL) }
    }
}

/// The process in readable form.
fn describe(incarnation: Option<Incarnation>) -> String {
    incarnation.map_or_else(|| "a process".to_owned(), |known| format!("process {}", known.process))
}

/// The refusal, for operators on both sides. It omits the port of the refused process, which differs at each
/// try.
pub(super) fn explain(
    node: NodeId,
    receiver: NodeId,
    older: (Option<Incarnation>, SocketAddr),
    newer: (Option<Incarnation>, SocketAddr),
) -> String {
    format!(
        "two processes run as node {node}: node {receiver} accepts {} at {}, and refuses {} at {}. One of them runs on a \
         copy of the other's folder: stop the one that should not run, and do not start it again",
        describe(older.0),
        older.1,
        describe(newer.0),
        newer.1.ip()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<Incarnation> = Some(Incarnation { number: 1, process: 7 });
    const TWO: Option<Incarnation> = Some(Incarnation { number: 2, process: 7 });

    #[test]
    fn zeros_decode_to_no_incarnation() {
        let drawn = Incarnation::draw();
        assert_eq!(Incarnation::decode(&drawn.encode()), Some(drawn));
        for bytes in [&[0; SIZE][..], &[], &[1; 11]] {
            assert_eq!(Incarnation::decode(bytes), None);
        }
    }

    #[test]
    fn only_a_connection_in_use_keeps_another_process_out() {
        let received = LastReceived::new();
        let after = |millis| received.start + Duration::from_millis(millis);
        let met = |older, newer, dialed| Encounter {
            older,
            newer,
            dialed,
            received: &received,
            arrived: after(100),
        };
        let both = met(ONE, TWO, ONE);
        // The last message on the older one came at 0 ms.
        assert_eq!(both.verdict(after(100)), Verdict::Wait(CHECK_INTERVAL));
        assert_eq!(both.verdict(after(1_499)), Verdict::Wait(CHECK_INTERVAL));
        assert_eq!(both.verdict(after(1_500)), Verdict::Take, "unresponsive");
        received.millis.store(599, Ordering::Relaxed);
        assert_eq!(
            both.verdict(after(700)),
            Verdict::Wait(CHECK_INTERVAL),
            "the message may have been on its way"
        );
        received.millis.store(600, Ordering::Relaxed);
        assert_eq!(both.verdict(after(700)), Verdict::Refuse);
        for (why, one) in [
            ("the same process", met(ONE, ONE, None)),
            ("the one at the node's address", met(ONE, TWO, TWO)),
            ("the older has no incarnation", met(None, TWO, None)),
            ("the newer has no incarnation", met(ONE, None, ONE)),
        ] {
            assert_eq!(one.verdict(after(700)), Verdict::Take, "{why}");
        }
        assert_eq!(met(ONE, TWO, None).verdict(after(700)), Verdict::Refuse);
    }

    #[test]
    fn a_late_end_of_an_older_connection_is_ignored() {
        let (dialed, peer) = (Dialed::default(), NodeId(2));
        let process = Some(Incarnation { number: 7, process: 1 });
        let older = dialed.insert(peer, process);
        let newer = dialed.insert(peer, process);
        dialed.remove(peer, older);
        assert_eq!(dialed.of(peer), process);
        dialed.remove(peer, newer);
        assert_eq!(dialed.of(peer), None);
    }
}
