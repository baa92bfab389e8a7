//! How long a replica waits for its leader, in ticks, before it asks for votes.
//!
//! Drawn anew for every term, so that two replicas which collided once are unlikely to do it again.

/// A small generator (xorshift64*, Vigna 2016): good enough to keep replicas apart, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    state: u64,
    /// The shortest, and how much longer one may be.
    first: u64,
    spread: u64,
}

/// Ticks between the candidacies of two replicas after the connection to their leader broke: long enough for the
/// first to be elected, so that they do not split the votes.
const LOST_TICKS: u64 = 8;

impl Timeouts {
    /// Draws up to twice `election_ticks`. The shortest is longer by a sign of life than what the others keep faith with
    /// a leader: they heard of it a little later, perhaps, and whoever asks too early waits once more.
    pub(crate) fn new(seed: u64, election_ticks: u32, heartbeat_ticks: u32) -> Self {
        // The generator must not begin with 0; seeds that differ in one bit must not begin alike.
        let state = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        let slack = u64::from(heartbeat_ticks.min(election_ticks - 1));
        let election_ticks = u64::from(election_ticks);
        Self { state, first: election_ticks + slack, spread: election_ticks - slack }
    }

    /// For a replica that waits for a leader's word.
    pub(crate) fn draw(&mut self) -> usize {
        let spread = self.next() % self.spread;
        ticks(self.first + spread)
    }

    /// For a replica whose connection to the leader broke, and that has so many voters before it.
    pub(crate) fn after_loss(rank: usize) -> usize {
        1 + rank * ticks(LOST_TICKS)
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }
}

fn ticks(count: u64) -> usize {
    usize::try_from(count).expect("invariant: a timeout is some hundred ticks")
}
