//! Election timeouts, in ticks.
//!
//! A timeout is drawn whenever a replica starts to wait, so that two replicas which campaigned at the same
//! time are unlikely to do so again.

/// Ticks between the campaigns of two replicas after the connection to their leader broke: long enough for
/// the first one to succeed.
const STAGGER_TICKS: u64 = 8;

/// Draws timeouts (splitmix64, Steele and others 2014): equal seeds give equal values.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    state: u64,
    election_ticks: u64,
    heartbeat_ticks: u64,
}

impl Timeouts {
    pub(crate) fn new(seed: u64, election_ticks: u32, heartbeat_ticks: u32) -> Self {
        assert!(heartbeat_ticks > 0, "the heartbeat interval is at least one tick");
        assert!(
            election_ticks > heartbeat_ticks,
            "the election timeout is longer than the heartbeat interval"
        );
        let (election_ticks, heartbeat_ticks) = (u64::from(election_ticks), u64::from(heartbeat_ticks));
        Self { state: seed, election_ticks, heartbeat_ticks }
    }

    /// After so many ticks without a message of the leader, a replica grants pre-votes. After so many ticks
    /// without a quorum, a leader steps down.
    pub(crate) const fn election_ticks(&self) -> u64 {
        self.election_ticks
    }

    /// Ticks between two heartbeats of a leader.
    pub(crate) const fn heartbeat_ticks(&self) -> u64 {
        self.heartbeat_ticks
    }

    /// The election timeout of a replica that follows or waits for a leader. After a message of the leader,
    /// the other replicas grant no pre-vote for `election_ticks`. The shortest timeout is one heartbeat
    /// interval longer, because an earlier request would not be granted.
    pub(crate) fn draw(&mut self) -> u64 {
        let first = self.election_ticks + self.heartbeat_ticks;
        first + self.next() % (self.election_ticks - self.heartbeat_ticks)
    }

    /// The timeout after a ballot was pre-empted. `pre_emptions` is the number of pre-emptions in a row; the
    /// range grows with it, up to eight election timeouts.
    pub(crate) fn back_off(&mut self, pre_emptions: u32) -> u64 {
        let longest = self.election_ticks << pre_emptions.min(3);
        self.heartbeat_ticks + self.next() % longest
    }

    /// The timeout of a replica that campaigns after `rank` other voters.
    pub(crate) const fn staggered(rank: u64) -> u64 {
        1 + rank * STAGGER_TICKS
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 1
    }
}
