//! Commands that wait for a place in an entry, in the order in which they came, within limits.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_rsm::{Command, Entry};
use bezant_types::limits::{
    ENTRY_EVENTS_MAX, ENTRY_REQUESTS_MAX, ENTRY_SIZE_MAX, REQUEST_BYTES_WAITING_MAX, REQUESTS_WAITING_MAX,
};

use crate::Ticket;

/// Commands and their tickets; the node's own commands have none.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    commands: VecDeque<(Option<Ticket>, Command)>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// False, and nothing changes, when too much waits already.
    #[must_use]
    pub(crate) fn push(&mut self, ticket: Ticket, command: Command) -> bool {
        let size = command.body.len();
        if self.commands.len() >= REQUESTS_WAITING_MAX || self.bytes + size > REQUEST_BYTES_WAITING_MAX {
            return false;
        }
        self.bytes += size;
        self.commands.push_back((Some(ticket), command));
        true
    }

    /// A command of the node's own goes first.
    pub(crate) fn push_own(&mut self, command: Command) {
        self.bytes += command.body.len();
        self.commands.push_front((None, command));
    }

    /// As many commands as an entry may merge.
    pub(crate) fn take_entry(&mut self) -> (Vec<Option<Ticket>>, Vec<Command>) {
        let mut tickets = Vec::new();
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
            if let Some((ticket, command)) = self.commands.pop_front() {
                self.bytes -= command.body.len();
                tickets.push(ticket);
                commands.push(command);
            }
        }
        (tickets, commands)
    }

    /// Everybody who waits; the node's own commands stay.
    pub(crate) fn take_clients(&mut self) -> impl Iterator<Item = Ticket> {
        let (clients, own): (VecDeque<_>, VecDeque<_>) =
            core::mem::take(&mut self.commands).into_iter().partition(|(ticket, _)| ticket.is_some());
        self.bytes = own.iter().map(|(_, command)| command.body.len()).sum();
        self.commands = own;
        clients.into_iter().filter_map(|(ticket, _)| ticket)
    }

    /// Everybody who waits; the queue is empty then.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Ticket> {
        self.bytes = 0;
        core::mem::take(&mut self.commands).into_iter().filter_map(|(ticket, _)| ticket)
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
            assert!(queue.push(Ticket(ticket), command(events)));
        }
        let sizes: Vec<usize> = core::iter::from_fn(|| {
            let (tickets, _) = queue.take_entry();
            (!tickets.is_empty()).then_some(tickets.len())
        })
        .collect();
        assert_eq!(sizes, [3, 1, 1]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn too_much_is_refused_and_nothing_is_lost() {
        let mut queue = Queue::default();
        let taken = (0..9000).filter(|ticket| queue.push(Ticket(*ticket), command(1))).count();
        assert_eq!(taken, REQUESTS_WAITING_MAX);
        assert_eq!(queue.take_all().count(), taken);
        assert!(queue.is_empty());
    }
}
