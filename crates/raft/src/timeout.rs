//! Election timeouts, in ticks.
//!
//! A timeout is drawn whenever the term or the role changes, so that two replicas that started an election at
//! the same time are unlikely to do so again.

/// A generator (xorshift64*, Vigna 2016) that spreads the timeouts of replicas and gives the same values on
/// every platform.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    state: u64,
    /// The shortest timeout, in ticks.
    first: u64,
    /// The number of different timeouts: the longest one is `first + spread - 1`.
    spread: u64,
}

/// Ticks between the elections of two replicas after the connection to their leader broke: long enough for
/// the first to be elected, so that they do not split the votes.
const STAGGER_TICKS: u64 = 8;

impl Timeouts {
    /// Every timeout is below twice `election_ticks`. After a message of the leader, the other replicas grant
    /// no vote for `election_ticks`, and they may have received its last heartbeat later than this replica.
    /// So the shortest timeout is one heartbeat interval longer than that: an earlier request would be
    /// rejected.
    pub(crate) fn new(seed: u64, election_ticks: u32, heartbeat_ticks: u32) -> Self {
        // The state must not be 0, and seeds that differ in one bit must give different sequences.
        let state = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
        let slack = u64::from(heartbeat_ticks.min(election_ticks - 1));
        let election_ticks = u64::from(election_ticks);
        Self { state, first: election_ticks + slack, spread: election_ticks - slack }
    }

    /// The election timeout of a replica that follows or waits for a leader.
    pub(crate) fn draw(&mut self) -> usize {
        let spread = self.next() % self.spread;
        ticks(self.first + spread)
    }

    /// The timeout of a replica whose connection to the leader broke; `rank` is the number of voters that
    /// start an election before it.
    pub(crate) fn after_loss(rank: usize) -> usize {
        1 + rank * ticks(STAGGER_TICKS)
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
