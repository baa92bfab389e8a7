//! The network: which messages arrive, when, and how often.

use std::collections::BTreeMap;

use bezant_types::NodeId;

use crate::random::Random;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The least time that a message takes, in ns.
    pub(crate) delay_min: u64,
    /// The most.
    pub(crate) delay_max: u64,
    /// Messages in a thousand that do not arrive.
    pub(crate) loss: u64,
    /// Messages in a thousand that arrive twice.
    pub(crate) doubles: u64,
}

impl Weather {
    /// A network without faults.
    pub(crate) const FAIR: Self = Self { delay_min: 50_000, delay_max: 500_000, loss: 0, doubles: 0 };
}

/// The network.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) weather: Weather,
    /// Directions in which nothing goes, and the kind of the fault that is to blame.
    cut: BTreeMap<(NodeId, NodeId), &'static str>,
}

impl Net {
    pub(crate) const fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeMap::new() }
    }

    /// Cuts one direction.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId, kind: &'static str) {
        self.cut.insert((from, to), kind);
    }

    /// Everything goes again.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// True when something does not go.
    pub(crate) fn cuts_something(&self) -> bool {
        !self.cut.is_empty()
    }

    /// The kind of the fault for which nothing goes in this direction; `None` where it goes.
    pub(crate) fn cut_by(&self, from: NodeId, to: NodeId) -> Option<&'static str> {
        self.cut.get(&(from, to)).copied()
    }

    /// How long each copy of a message takes; none when it is lost.
    pub(crate) fn delays(&self, from: NodeId, to: NodeId, random: &mut Random) -> Vec<u64> {
        let Weather { delay_min, delay_max, loss, doubles } = self.weather;
        if self.cut_by(from, to).is_some() || random.per_mille(loss) {
            return Vec::new();
        }
        let copies = if random.per_mille(doubles) { 2 } else { 1 };
        (0..copies).map(|_| random.between(delay_min, delay_max)).collect()
    }
}
