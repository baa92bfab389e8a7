//! Rest: a group with nothing to do stops its clock, so that an idle group costs nothing but memory.
//!
//! Both engines measure time only in the ticks that they are given. A replica that is given none keeps its
//! role, and nothing in it times out. So rest needs no change of an engine: the leader and its followers
//! agree by one message, and then their drivers stop the ticks.
//!
//! The rules:
//! 1. A replica is *quiet* when nothing waits or is under way in it, it has not failed, all of its log is
//!    applied, and that was so for some time.
//! 2. A quiet leader rests when it may take commands (its disk has space, its clock is right), every
//!    connected member has the whole log, and the connected voters are a quorum. It sends them
//!    [`PeerMessage::Rest`](crate::PeerMessage::Rest). A voter without other voters needs no agreement.
//!    Members that are not connected do not keep a group awake.
//! 3. A quiet follower of that leader, in that term, with that log, rests. Any other replica answers
//!    [`PeerMessage::Wake`](crate::PeerMessage::Wake), which wakes the leader.
//! 4. Everything else wakes a replica: a request, a read that it cannot answer from what it has applied, a
//!    message, a connection to a member that begins or ends, a deadline of the leader's machine. One
//!    exception: shortly after its own `Rest` a leader stays at rest when a message of the engine needs no
//!    answer, such as a late response to a heartbeat.
//! 5. A follower that wakes for another reason than a message of its leader sends it `Wake`. The leader's
//!    heartbeat arrives before the follower's election timeout. The heartbeats of an awake leader wake its
//!    followers.
//! 6. The node of the leader of a resting follower is unresponsive: for the engine, the connection to the
//!    leader is lost.
//! 7. A leader that told others to rest wakes them when it ceases to lead, fails, or stops for a conflict.
//!    No follower rests under a leader that does not lead any more.
//! 8. While a follower rests, the age of its state is the time since something arrived from the leader's
//!    node: on that ordered connection the leader has sent no message of the group since its `Rest`.
//!
//! Why this is safe: ticks decide when an engine acts, never what is committed. A commit and a linearizable
//! read need a quorum, as ever. Why the group does not rest for ever: rules 4 to 7, and each request wakes
//! the replica that it reaches, whose ticks then show whether a leader answers.

use alloc::vec::Vec;

use bezant_types::{LogIndex, NodeId};

/// Ticks that a leader must be quiet before it rests.
pub(crate) const QUIET_TICKS: u64 = 50;
/// Ticks that a follower must be quiet before it rests: fewer than the leader's, because it may finish the
/// same work some ticks later.
pub(crate) const FOLLOWER_QUIET_TICKS: u64 = 25;
/// Ticks after its `Rest` for which a leader expects late responses to its heartbeats.
const LATE_TICKS: u64 = 10;

/// Whether the clock of a replica runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// It runs.
    Runs,
    /// A leader has told its followers to rest. Its engine receives no tick; the driver still ticks, and
    /// after so many ticks the clock stops.
    Ends(u64),
    /// The driver does not tick.
    Stopped,
}

/// The rest of one replica.
#[derive(Debug)]
pub(crate) struct Rest {
    clock: Clock,
    /// The last tick at which something was under way here.
    busy_at: u64,
    /// What was applied at the last tick.
    applied: LogIndex,
    /// The peers that this replica has told to rest since it leads.
    told: Vec<NodeId>,
}

impl Rest {
    pub(crate) const fn new() -> Self {
        Self { clock: Clock::Runs, busy_at: 0, applied: LogIndex(0), told: Vec::new() }
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.clock != Clock::Runs
    }

    /// False while the driver need not tick.
    pub(crate) fn needs_ticks(&self) -> bool {
        self.clock != Clock::Stopped
    }

    /// True while late responses to heartbeats are expected.
    pub(crate) const fn expects_late_messages(&self) -> bool {
        matches!(self.clock, Clock::Ends(_))
    }

    /// Something is under way at that tick.
    pub(crate) const fn note_busy(&mut self, ticks: u64) {
        self.busy_at = ticks;
    }

    /// Handles a tick of an awake replica: `is_still` when nothing is under way, `applied` is what is applied.
    pub(crate) fn note_tick(&mut self, ticks: u64, is_still: bool, applied: LogIndex) {
        if !is_still || applied != self.applied {
            self.busy_at = ticks;
        }
        self.applied = applied;
    }

    /// True when nothing was under way for so many ticks.
    pub(crate) const fn is_quiet(&self, now: u64, ticks: u64) -> bool {
        self.busy_at + ticks <= now
    }

    /// This leader rests, and tells these peers to rest.
    pub(crate) fn begin(&mut self, told: &[NodeId]) {
        self.clock = if told.is_empty() { Clock::Stopped } else { Clock::Ends(LATE_TICKS) };
        let new = told.iter().filter(|peer| !self.told.contains(peer));
        let new: Vec<NodeId> = new.copied().collect();
        self.told.extend(new);
    }

    /// This follower rests.
    pub(crate) const fn follow(&mut self) {
        self.clock = Clock::Stopped;
    }

    /// Handles a tick of a resting replica.
    pub(crate) const fn tick(&mut self) {
        if let Clock::Ends(ticks) = self.clock {
            self.clock = if ticks > 1 { Clock::Ends(ticks - 1) } else { Clock::Stopped };
        }
    }

    /// The replica wakes. False when it did not rest.
    pub(crate) fn end(&mut self) -> bool {
        core::mem::replace(&mut self.clock, Clock::Runs) != Clock::Runs
    }

    /// The peers to wake because this replica does not lead any more.
    pub(crate) fn take_told(&mut self) -> Vec<NodeId> {
        core::mem::take(&mut self.told)
    }
}
