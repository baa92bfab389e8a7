//! Why a node makes no entries for now: the disk, or the clock. The node itself knows one reason at a time.

use bezant_node::Input;
use bezant_replica::Machine;

use super::NodeThread;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pressures {
    pub(super) disk: Option<String>,
    pub(super) clock: Option<String>,
}

impl Pressures {
    /// As the node takes them.
    pub(super) fn all<M: Machine>(&self) -> Input<M> {
        Input::Pressure(self.disk.as_ref().or(self.clock.as_ref()).cloned())
    }
}

impl<M: Machine> NodeThread<M> {
    /// The clock lets this node make no entries, or does so no more.
    pub(super) fn press_clock(&mut self, reason: Option<String>) {
        self.pressures.clock = reason;
        self.node.handle(self.clock.now(), self.pressures.all());
        self.tell_health();
    }
}
