//! Which process speaks as a node: two processes that speak as one are told apart, and one of them is refused.
//!
//! A process draws a number when it starts, its incarnation, and says it in the handshake. A copy of a folder that is
//! started beside the original has the same node number and the same disk, and another incarnation. While a connection
//! of one incarnation is alive, one of another is refused. Three rules keep that from harming anybody else:
//! - A process that ended has no connection any more: its successor is taken at once.
//! - A machine that lost its power leaves a connection on which nothing comes. A peer that lives says something every
//!   [`SIGN_OF_LIFE`]; after [`SILENT`] without a word the successor is taken.
//! - The process that answers at the address of the member list is the one that is meant: it is taken at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bezant_types::NodeId;

use super::stream::SIGN_OF_LIFE;
use crate::cluster::draw;

/// An older connection that was silent for so long does not keep a newer one out: three signs of life.
const SILENT: Duration = SIGN_OF_LIFE.saturating_mul(3);
/// How often a connection that waits looks at the older one.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes of an incarnation in the handshake.
pub(super) const SIZE: usize = 32;

/// A process that speaks as a node. On the wire: number u64, process u32, 20 bytes of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    /// Drawn when it began; not 0.
    number: u64,
    /// Its number on its machine, for people.
    process: u32,
}

impl Incarnation {
    /// Of a node that begins now.
    pub(crate) fn draw() -> Self {
        Self { number: draw().max(1), process: std::process::id() }
    }

    pub(super) fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.process.to_le_bytes());
        bytes
    }

    /// `None` where nothing is said: by a node that wants to join.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let number = u64::from_le_bytes(*bytes.first_chunk()?);
        let process = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        (number != 0).then_some(Self { number, process })
    }
}

/// When something came on a connection last.
#[derive(Debug)]
pub(super) struct Heard {
    begun: Instant,
    millis: AtomicU64,
}

impl Heard {
    /// Of a connection that begins now.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), millis: AtomicU64::new(0) }
    }

    /// Something came.
    pub(super) fn note(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn at(&self) -> Instant {
        self.begun + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// Which process answered at the address of a peer, while that connection is open. Of a peer whose address has changed
/// two connections may be open: the newer one counts, and the end of the older one says nothing of it.
#[derive(Debug, Default)]
pub(super) struct Dialed {
    /// Number of the connection and the process, by peer.
    of: Mutex<BTreeMap<NodeId, (u64, Option<Incarnation>)>>,
    count: AtomicU64,
}

impl Dialed {
    /// A connection was opened; the number under which it is removed.
    pub(super) fn insert(&self, peer: NodeId, incarnation: Option<Incarnation>) -> u64 {
        let mut of = self.lock();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        of.insert(peer, (number, incarnation));
        number
    }

    /// That connection has ended.
    pub(super) fn remove(&self, peer: NodeId, number: u64) {
        let mut of = self.lock();
        if of.get(&peer).is_some_and(|(current, _)| *current == number) {
            of.remove(&peer);
        }
    }

    /// `None` where none is open, or the process does not say which it is.
    pub(super) fn of(&self, peer: NodeId) -> Option<Incarnation> {
        self.lock().get(&peer).and_then(|(_, incarnation)| *incarnation)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (u64, Option<Incarnation>)>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a connection of a node that has one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes the older one's place.
    Take,
    /// The older one is alive, and of another process.
    Refuse,
    /// It is not known yet; look again after so long, or when the older one ends.
    Wait(Duration),
}

/// A connection that is there, and one that came at `arrived`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encounter<'heard> {
    pub(super) older: Option<Incarnation>,
    pub(super) newer: Option<Incarnation>,
    /// The process that answered at the node's address, while that connection is open.
    pub(super) dialed: Option<Incarnation>,
    pub(super) heard: &'heard Heard,
    pub(super) arrived: Instant,
}

impl Encounter<'_> {
    /// See the module.
    pub(super) fn verdict(self, now: Instant) -> Verdict {
        let are_one = self.older == self.newer || self.dialed == self.newer;
        if self.older.is_none() || self.newer.is_none() || are_one {
            return Verdict::Take;
        }
        let heard = self.heard.at();
        if now.saturating_duration_since(heard) >= SILENT {
            return Verdict::Take;
        }
        // What comes right after the newer one may have been on its way when the older process ended; then its end follows.
        let is_alive = heard.saturating_duration_since(self.arrived) >= SIGN_OF_LIFE;
        if is_alive { Verdict::Refuse } else { Verdict::Wait(LOOK) }
    }
}

/// A process and where its connection comes from.
fn describe(incarnation: Option<Incarnation>) -> String {
    incarnation.map_or_else(|| "a process".to_owned(), |known| format!("process {}", known.process))
}

/// For operators on both sides. It does not name the port of the one that is refused, which is another at each try.
pub(super) fn explain(
    node: NodeId,
    heard_by: NodeId,
    older: (Option<Incarnation>, SocketAddr),
    newer: (Option<Incarnation>, SocketAddr),
) -> String {
    format!(
        "two processes speak as node {node}: node {heard_by} listens to {} at {}, and refuses {} at {}. One of them runs on a \
         copy of the other's folder: stop the one that is not meant, and do not start it again",
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
    fn an_incarnation_comes_back_from_its_bytes_and_zeros_are_none() {
        let drawn = Incarnation::draw();
        assert_eq!(Incarnation::decode(&drawn.encode()), Some(drawn));
        for silent in [&[0; SIZE][..], &[], &[1; 11]] {
            assert_eq!(Incarnation::decode(silent), None);
        }
    }

    #[test]
    fn only_a_living_connection_keeps_another_process_out() {
        let heard = Heard::new();
        let after = |millis| heard.begun + Duration::from_millis(millis);
        let met =
            |older, newer, dialed| Encounter { older, newer, dialed, heard: &heard, arrived: after(100) };
        let twins = met(ONE, TWO, ONE);
        // The older one was heard last at 0 ms.
        assert_eq!(twins.verdict(after(100)), Verdict::Wait(LOOK));
        assert_eq!(twins.verdict(after(1_499)), Verdict::Wait(LOOK));
        assert_eq!(twins.verdict(after(1_500)), Verdict::Take, "silent");
        heard.millis.store(599, Ordering::Relaxed);
        assert_eq!(twins.verdict(after(700)), Verdict::Wait(LOOK), "that may have been on its way");
        heard.millis.store(600, Ordering::Relaxed);
        assert_eq!(twins.verdict(after(700)), Verdict::Refuse);
        for (why, one) in [
            ("the same process", met(ONE, ONE, None)),
            ("the one at the node's address", met(ONE, TWO, TWO)),
            ("the older does not say", met(None, TWO, None)),
            ("the newer does not say", met(ONE, None, ONE)),
        ] {
            assert_eq!(one.verdict(after(700)), Verdict::Take, "{why}");
        }
        assert_eq!(met(ONE, TWO, None).verdict(after(700)), Verdict::Refuse);
    }

    #[test]
    fn the_late_end_of_an_older_connection_leaves_the_newer_one() {
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
