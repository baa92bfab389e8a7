//! Commands that wait for a place in an entry, in the order in which they came, within limits.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_rsm::{Command, Entry};
use bezant_types::NodeId;
use bezant_types::limits::{
    ENTRY_EVENTS_MAX, ENTRY_REQUESTS_MAX, ENTRY_SIZE_MAX, REQUEST_BYTES_WAITING_MAX, REQUESTS_WAITING_MAX,
};

use crate::Ticket;
use crate::change::CHANGE_OPERATION;
use crate::message::ForwardNumber;

/// Who waits for what becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Client(Ticket),
    /// Another node, for a client of its own.
    Peer(NodeId, ForwardNumber),
    /// The node itself.
    Own,
}

/// Commands and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    commands: VecDeque<(Origin, Command)>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// False, and nothing changes, when too much waits already.
    #[must_use]
    pub(crate) fn push(&mut self, origin: Origin, command: Command) -> bool {
        let size = command.body.len();
        if self.commands.len() >= REQUESTS_WAITING_MAX || self.bytes + size > REQUEST_BYTES_WAITING_MAX {
            return false;
        }
        self.bytes += size;
        self.commands.push_back((origin, command));
        true
    }

    /// A command that goes first: the node's own, or one that waited before and must wait again.
    pub(crate) fn push_first(&mut self, origin: Origin, command: Command) {
        self.bytes += command.body.len();
        self.commands.push_front((origin, command));
    }

    /// The first command of a client, for another node.
    pub(crate) fn pop(&mut self) -> Option<(Origin, Command)> {
        let (origin, command) = self.commands.pop_front()?;
        self.bytes -= command.body.len();
        Some((origin, command))
    }

    /// Takes out the changes of members: none of them may come into an entry.
    pub(crate) fn take_changes(&mut self) -> Vec<(Origin, Command)> {
        let is_change = |command: &Command| command.operation == CHANGE_OPERATION;
        if !self.commands.iter().any(|(_, command)| is_change(command)) {
            return Vec::new();
        }
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.commands).into_iter().partition(|(_, command)| is_change(command));
        self.bytes -= taken.iter().map(|(_, command)| command.body.len()).sum::<usize>();
        self.commands = left;
        taken.into()
    }

    /// As many commands as an entry may merge.
    pub(crate) fn take_entry(&mut self) -> (Vec<Origin>, Vec<Command>) {
        let mut origins = Vec::new();
        let mut commands = Vec::new();
        let (mut events, mut size) = (0, 0);
        while let Some((_, command)) = self.commands.front() {
            events += command.events as usize;
            size += Entry::command_size(command.body.len());
            let fits = events <= ENTRY_EVENTS_MAX
                && size <= ENTRY_SIZE_MAX - 64
                && commands.len() < ENTRY_REQUESTS_MAX;
            if !fits && !commands.is_empty() {
                break;
            }
            if let Some((origin, command)) = self.pop() {
                origins.push(origin);
                commands.push(command);
            }
        }
        (origins, commands)
    }

    /// Takes out everybody of whom that is true; the others stay in their order.
    pub(crate) fn take(&mut self, is_taken: impl Fn(Origin) -> bool) -> Vec<Origin> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.commands).into_iter().partition(|(origin, _)| is_taken(*origin));
        self.bytes = left.iter().map(|(_, command)| command.body.len()).sum();
        self.commands = left;
        taken.into_iter().map(|(origin, _)| origin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn command(events: u32) -> Command {
        Command { operation: 1, events, body: Bytes::from(alloc::vec![0; events as usize * 128]) }
    }

    #[test]
    fn small_commands_merge_and_large_ones_stand_alone() {
        let mut queue = Queue::default();
        for (ticket, events) in [(1, 8000), (2, 100), (3, 89), (4, 1), (5, 8189)] {
            assert!(queue.push(Origin::Client(Ticket(ticket)), command(events)));
        }
        let sizes: Vec<usize> = core::iter::from_fn(|| {
            let (origins, _) = queue.take_entry();
            (!origins.is_empty()).then_some(origins.len())
        })
        .collect();
        assert_eq!(sizes, [3, 1, 1]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn too_much_is_refused_and_nothing_is_lost() {
        let mut queue = Queue::default();
        let taken =
            (0..9000).filter(|ticket| queue.push(Origin::Client(Ticket(*ticket)), command(1))).count();
        assert_eq!(taken, REQUESTS_WAITING_MAX);
        assert_eq!(queue.take(|_| true).len(), taken);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }
}
