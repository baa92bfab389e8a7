//! The faults of a run and their times. They are drawn from the seed before the run begins.
//!
//! Every seed has its own selection of fault kinds, some frequent and some absent. So rare combinations
//! occur. A run with few faults finds defects that show only after a long time without faults.

use bezant_types::NodeId;

use crate::bug::Bug;
use crate::net::Weather;
use crate::random::Random;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// The greatest drift of a clock, in millionths. Real clocks drift far less; so much has an effect even in a
/// short run.
const DRIFT_MAX: u64 = 50_000;

/// A fault. Durations are in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A machine loses its power, and gets it back after a duration.
    PowerLoss(NodeId, u64),
    /// All machines lose their power at once.
    Blackout(u64),
    /// A process is killed, and starts again after a duration.
    Kill(NodeId, u64),
    /// A machine loses its power at the given operation of its disk, counted from now.
    PowerLossInWrite(NodeId, u64),
    /// The given operation of a disk, counted from now, fails.
    DiskFailure(NodeId, u64),
    /// A process pauses for a duration.
    Pause(NodeId, u64),
    /// A disk has space only for this number of further bytes (second), for a duration (third).
    FullDisk(NodeId, u64, u64),
    /// Every flush of a disk takes longer by a duration, until the next such fault or the end of the faults.
    SlowDisk(NodeId, u64),
    /// A clock jumps by this many ns.
    ClockJump(NodeId, i64),
    /// One machine can neither send nor receive.
    Isolate(NodeId),
    /// One machine cannot send.
    Mute(NodeId),
    /// One machine cannot receive.
    Deaf(NodeId),
    /// Two machines cannot reach each other; both can reach all others.
    CutPair(NodeId, NodeId),
    /// Two parts of the cluster cannot reach each other; the mask's bits are the nodes of one part.
    Split(u64),
    /// All machines can reach each other again.
    Heal,
    /// The network changes: lost and duplicated messages in a thousand, and the greatest delay.
    Weather(u64, u64, u64),
    /// The leader is asked to transfer leadership.
    TransferLeadership,
    /// A machine loses its power shortly after its next vote, and is back before the election ends.
    PowerLossAfterVote(NodeId),
    /// A machine stops, a few bits of a file on its disk change, and it starts after a duration.
    BitRot(NodeId, u64),
    /// A copy of a disk is taken.
    CopyDisk(NodeId),
    /// A machine stops, the copy replaces its disk, and it starts after a duration.
    Rewind(NodeId, u64),
}

impl Fault {
    /// The name of the kind, for the totals.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::PowerLoss(..) => "power loss",
            Self::Blackout(_) => "blackout",
            Self::Kill(..) => "kill",
            Self::PowerLossInWrite(..) => kind::POWER_LOSS_IN_WRITE,
            Self::DiskFailure(..) => kind::DISK_FAILURE,
            Self::Pause(..) => "pause",
            Self::FullDisk(..) => kind::FULL_DISK,
            Self::SlowDisk(..) => kind::SLOW_DISK,
            Self::ClockJump(..) => "clock jump",
            Self::Isolate(_) => "isolation",
            Self::Mute(_) => "mute",
            Self::Deaf(_) => "deaf",
            Self::CutPair(..) => "cut pair",
            Self::Split(_) => "split",
            Self::Heal => "heal",
            Self::Weather(..) => "weather",
            Self::TransferLeadership => "leadership transfer",
            Self::PowerLossAfterVote(_) => kind::POWER_LOSS_AFTER_VOTE,
            Self::BitRot(..) => "bit rot",
            Self::CopyDisk(_) => kind::COPY,
            Self::Rewind(..) => kind::REWIND,
        }
    }
}

/// Names of kinds that are counted in several places, because their effect comes later than the fault, or is
/// not a [`Fault`] at all.
pub(crate) mod kind {
    pub(crate) const POWER_LOSS_IN_WRITE: &str = "power loss in a write";
    pub(crate) const DISK_FAILURE: &str = "disk failure";
    pub(crate) const FULL_DISK: &str = "full disk";
    pub(crate) const SLOW_DISK: &str = "slow disk";
    pub(crate) const CLOCK_DRIFT: &str = "clock drift";
    pub(crate) const POWER_LOSS_AFTER_VOTE: &str = "power loss after a vote";
    pub(crate) const COPY: &str = "copy of a disk";
    pub(crate) const REWIND: &str = "disk back in time";
}

/// The names of all kinds.
pub(crate) const KIND_NAMES: [&str; 20] = [
    "power loss",
    "blackout",
    "kill",
    kind::POWER_LOSS_IN_WRITE,
    kind::DISK_FAILURE,
    "pause",
    kind::SLOW_DISK,
    "clock jump",
    "isolation",
    "mute",
    "deaf",
    "cut pair",
    "split",
    "heal",
    "weather",
    "leadership transfer",
    kind::POWER_LOSS_AFTER_VOTE,
    "bit rot",
    kind::FULL_DISK,
    kind::CLOCK_DRIFT,
];
/// The kinds that every run has in which old copies replace disks.
pub const REWIND_NAMES: [&str; 4] = [kind::COPY, kind::REWIND, "isolation", "heal"];
/// Other kinds that such a run may have.
const REWIND_KINDS: [u64; 6] = [0, 2, 5, 8, 13, 14];
const KINDS: u64 = 18;
/// Kinds that cause elections, and crashes in the middle of them.
const ELECTION_KINDS: [u64; 5] = [2, 5, 15, 15, 15];
/// Kinds that damage disks, and cut off the replicas that have the lost data.
const DAMAGE_KINDS: [u64; 6] = [0, 5, 8, 11, 16, 16];
/// Kinds that leave a leader connected only to its clients, while the other replicas elect another leader.
const CUT_KINDS: [u64; 5] = [8, 9, 10, 11, 12];

/// Kinds that make flushes fail, and stop the replicas that have the data that was not written.
const FLUSH_KINDS: [u64; 6] = [0, 1, 4, 4, 4, 8];

/// The plan of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// When the faults end.
    pub(crate) until: u64,
    /// The faults, with their times in ns, sorted by time.
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) weather: Weather,
    pub(crate) checkpoint_interval_bytes: usize,
}

impl Plan {
    /// Draws a plan. A bug that has an effect only in rare moments gets a plan that makes these moments
    /// frequent.
    pub(crate) fn draw(random: &mut Random, nodes: &[NodeId], bug: Option<Bug>) -> Self {
        let is_about_votes = bug == Some(Bug::ForgetVote);
        let until = random.between(6, 16) * SECOND;
        let drawn: Vec<u64> = (0..KINDS).filter(|_| random.per_mille(400)).collect();
        let kinds_drawn = match bug {
            Some(Bug::ForgetVote) => ELECTION_KINDS.to_vec(),
            Some(Bug::IgnoreFailedFsync) => FLUSH_KINDS.to_vec(),
            Some(Bug::VoteAfterDamage) => DAMAGE_KINDS.to_vec(),
            Some(Bug::ReadFromDeposedLeader) => CUT_KINDS.to_vec(),
            _ => drawn,
        };
        let pause = random.between(100, if is_about_votes { 300 } else { 1500 }) * MILLI;
        let mut faults = Vec::new();
        let mut time = SECOND;
        while time < until && !kinds_drawn.is_empty() {
            time += random.between(pause / 2, pause * 2);
            let kind = random.pick(&kinds_drawn).copied().unwrap_or(0);
            let fault = draw(kind, random, nodes);
            faults.push((time, fault));
            let cuts = matches!(
                fault,
                Fault::Isolate(_) | Fault::Mute(_) | Fault::Deaf(_) | Fault::CutPair(..) | Fault::Split(_)
            );
            if cuts {
                faults.push((time + random.between(100, 3000) * MILLI, Fault::Heal));
            }
        }
        faults.sort_by_key(|(time, _)| *time);
        faults.retain(|(time, _)| *time < until);
        let interval = if random.per_mille(700) { random.between(4 << 10, 64 << 10) } else { 8 << 20 };
        Self {
            until,
            faults,
            weather: if random.per_mille(500) && !is_about_votes {
                Weather::FAIR
            } else {
                bad_weather(random)
            },
            checkpoint_interval_bytes: usize::try_from(interval).unwrap_or(1 << 20),
        }
    }
}

impl Plan {
    /// A run in which old copies replace disks. The following repeats. A minority is cut off while the other
    /// nodes commit entries. Then an old copy replaces the disk of one of these other nodes; together with
    /// the minority it is a majority without the entries. Then the rest is connected again, some of it after
    /// a crash.
    pub(crate) fn with_rewinds(random: &mut Random, nodes: &[NodeId]) -> Self {
        let until = random.between(8, 16) * SECOND;
        let mut faults = Vec::new();
        let mut time = SECOND;
        while time < until {
            time += random.between(200, 1500) * MILLI;
            let mut rest = nodes.to_vec();
            let mut draw_one = |random: &mut Random| {
                let at = usize::try_from(random.below(rest.len() as u64)).unwrap_or(0);
                rest.swap_remove(at)
            };
            let old = draw_one(random);
            let away: Vec<NodeId> = (0..nodes.len() / 2).map(|_| draw_one(random)).collect();
            faults.push((time, Fault::CopyDisk(old)));
            time += random.between(0, 800) * MILLI;
            faults.extend(away.iter().map(|node| (time, Fault::Isolate(*node))));
            time += random.between(300, 2000) * MILLI;
            let back = random.between(10, 200) * MILLI;
            faults.extend([(time, Fault::Rewind(old, back)), (time, Fault::Heal)]);
            for witness in &rest {
                faults.push((time, Fault::Isolate(*witness)));
                let long = random.between(500, 2500) * MILLI;
                match random.below(4) {
                    0 => faults.push((time, Fault::Kill(*witness, long))),
                    1 => faults.push((time, Fault::PowerLoss(*witness, long))),
                    _ => {}
                }
            }
            if random.per_mille(500) {
                let kind = random.pick(&REWIND_KINDS).copied().unwrap_or(0);
                faults.push((time + random.between(0, 2000) * MILLI, draw(kind, random, nodes)));
            }
            time += random.between(800, 3000) * MILLI;
            faults.push((time, Fault::Heal));
        }
        faults.sort_by_key(|(time, _)| *time);
        faults.retain(|(time, _)| *time < until);
        let interval = if random.per_mille(600) { random.between(4 << 10, 64 << 10) } else { 8 << 20 };
        Self {
            until,
            faults,
            weather: Weather::FAIR,
            checkpoint_interval_bytes: usize::try_from(interval).unwrap_or(1 << 20),
        }
    }
}

/// The drift of each clock against the world's, in millionths; all zeros in most runs. They have their own
/// generator, so that a run without drift is the same as before drift was added.
pub(crate) fn clock_drifts(seed: u64, machines: usize) -> Vec<i64> {
    let mut random = Random::new(!seed);
    let is_drifting = random.per_mille(300);
    let drift = |_| random.between(0, 2 * DRIFT_MAX).cast_signed() - DRIFT_MAX.cast_signed();
    if is_drifting { (0..machines).map(drift).collect() } else { vec![0; machines] }
}

fn bad_weather(random: &mut Random) -> Weather {
    let delay_min = random.between(20_000, 2 * MILLI);
    let delay_max = delay_min + random.between(0, 30 * MILLI);
    Weather { delay_min, delay_max, loss: random.below(120), doubles: random.below(80) }
}

fn draw(kind: u64, random: &mut Random, nodes: &[NodeId]) -> Fault {
    let node = random.pick(nodes).copied().unwrap_or(NodeId(1));
    let other = random.pick(nodes).copied().filter(|other| *other != node);
    let away = random.between(20, 4000) * MILLI;
    match kind {
        0 => Fault::PowerLoss(node, away),
        1 => Fault::Blackout(away),
        2 => Fault::Kill(node, away),
        3 => Fault::PowerLossInWrite(node, random.between(1, 60)),
        4 => Fault::DiskFailure(node, random.between(1, 60)),
        5 => Fault::Pause(node, away),
        6 => Fault::SlowDisk(node, random.between(1, 3000) * MILLI),
        7 => {
            let size = i64::try_from(random.between(1, 3600 * SECOND)).unwrap_or(0);
            Fault::ClockJump(node, if random.per_mille(500) { size } else { -size })
        }
        8 => Fault::Isolate(node),
        9 => Fault::Mute(node),
        10 => Fault::Deaf(node),
        11 => Fault::CutPair(node, other.unwrap_or(NodeId(node.0 % nodes.len() as u64 + 1))),
        12 => Fault::Split(random.next()),
        13 => Fault::Weather(random.below(150), random.below(100), random.between(MILLI, 40 * MILLI)),
        14 => Fault::TransferLeadership,
        15 => Fault::PowerLossAfterVote(node),
        16 => Fault::BitRot(node, away),
        _ => Fault::FullDisk(node, random.below(1 << 20), away),
    }
}
