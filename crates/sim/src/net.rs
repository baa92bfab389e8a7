//! The network: which messages arrive, when, and how many copies of them.

use std::collections::BTreeMap;

use bezant_types::NodeId;

use crate::random::Random;

/// The present quality of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The least delay of a message, in ns.
    pub(crate) delay_min: u64,
    /// The greatest delay of a message, in ns.
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
    /// Directions in which messages are dropped, with the kind of the fault that caused it.
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

    /// Ends all cuts.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// True while a direction is cut.
    pub(crate) fn cuts_something(&self) -> bool {
        !self.cut.is_empty()
    }

    /// The kind of the fault that cuts this direction; `None` if it is not cut.
    pub(crate) fn cut_by(&self, from: NodeId, to: NodeId) -> Option<&'static str> {
        self.cut.get(&(from, to)).copied()
    }

    /// The delay of each copy of a message, in ns; none when it is lost.
    pub(crate) fn delays(&self, from: NodeId, to: NodeId, random: &mut Random) -> Vec<u64> {
        let Weather { delay_min, delay_max, loss, doubles } = self.weather;
        if self.cut_by(from, to).is_some() || random.per_mille(loss) {
            return Vec::new();
        }
        let copies = if random.per_mille(doubles) { 2 } else { 1 };
        (0..copies).map(|_| random.between(delay_min, delay_max)).collect()
    }
}
