//! How long a replica waits, in ticks, before it tries to lead.
//!
//! Drawn anew whenever the wait begins, so that two replicas which collided once are unlikely to do it again.

/// Ticks between the attempts of two replicas that stand in turn: long enough for the first to succeed.
const TURN_TICKS: u64 = 8;

/// Draws times to wait (splitmix64, Steele and others 2014): the same from the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    state: u64,
    election_ticks: u64,
    heartbeat_ticks: u64,
}

impl Timeouts {
    pub(crate) fn new(seed: u64, election_ticks: u32, heartbeat_ticks: u32) -> Self {
        assert!(heartbeat_ticks > 0, "signs of life have a distance");
        assert!(election_ticks > heartbeat_ticks, "a leader is heard of before it is doubted");
        let (election_ticks, heartbeat_ticks) = (u64::from(election_ticks), u64::from(heartbeat_ticks));
        Self { state: seed, election_ticks, heartbeat_ticks }
    }

    /// Ticks without a word after which a leader is doubted.
    pub(crate) const fn election_ticks(&self) -> u64 {
        self.election_ticks
    }

    /// Ticks between a leader's signs of incarnation.
    pub(crate) const fn heartbeat_ticks(&self) -> u64 {
        self.heartbeat_ticks
    }

    /// For a replica that waits for a leader's word. The shortest is longer by a sign of life than what the others keep
    /// faith with a leader: whoever asks too early waits once more.
    pub(crate) fn draw(&mut self) -> u64 {
        let first = self.election_ticks + self.heartbeat_ticks;
        first + self.next() % (self.election_ticks - self.heartbeat_ticks)
    }

    /// For one that was pre-empted that many times in a row: longer each time, up to eight times as long.
    pub(crate) fn back_off(&mut self, pre_emptions: u32) -> u64 {
        let longest = self.election_ticks << pre_emptions.min(3);
        self.heartbeat_ticks + self.next() % longest
    }

    /// For one that stands in turn, with so many before it.
    pub(crate) const fn turn(rank: u64) -> u64 {
        1 + rank * TURN_TICKS
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 1
    }
}
