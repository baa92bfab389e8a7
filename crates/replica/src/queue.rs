//! Commands that wait for a place in an entry, in order of arrival, within limits. Changes of the membership
//! wait in a separate list, because they are not part of an entry's commands.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bezant_rsm::{Command, Entry};
use bezant_types::limits::{
    ENTRY_EVENTS_MAX, ENTRY_REQUESTS_MAX, ENTRY_SIZE_MAX, REQUEST_BYTES_WAITING_MAX, REQUESTS_WAITING_MAX,
};

use crate::forwards;
use crate::origin::{CHANGE_OPERATION, Origin};

/// Ticks after which a command that is in no entry yet is refused. A forwarded command must be refused before
/// its sender gives it up. Otherwise the client would not be told that nothing was done.
const WAIT_TICKS_MAX: u64 = 300;

/// Bytes of an entry that its commands leave free: more than its head.
const ENTRY_HEAD_SIZE_MAX: usize = 64;

const _: () =
    assert!(WAIT_TICKS_MAX < forwards::TICKS_MAX, "the leader must refuse before the sender gives up");

/// A command, its origin, and the tick of its arrival.
type Waiting = (Origin, Command, u64);

/// The waiting commands and changes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    commands: VecDeque<Waiting>,
    changes: VecDeque<Waiting>,
    /// Bytes of the bodies of both lists.
    bytes: usize,
}

impl Queue {
    /// True when no command waits for a place in an entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// True when no command and no change waits.
    pub(crate) fn has_none(&self) -> bool {
        self.commands.is_empty() && self.changes.is_empty()
    }

    /// Adds a command at tick `now`. Returns false and changes nothing when the limits are reached.
    #[must_use]
    pub(crate) fn push(&mut self, origin: Origin, command: Command, now: u64) -> bool {
        let size = command.body.len();
        let count = self.commands.len() + self.changes.len();
        if count >= REQUESTS_WAITING_MAX || self.bytes + size > REQUEST_BYTES_WAITING_MAX {
            return false;
        }
        self.bytes += size;
        self.of(&command).push_back((origin, command, now));
        true
    }

    /// The list in which such a command waits.
    fn of(&mut self, command: &Command) -> &mut VecDeque<Waiting> {
        if command.operation == CHANGE_OPERATION { &mut self.changes } else { &mut self.commands }
    }

    /// Adds a command in front, whatever the limits: the replica's own, or one that must wait again.
    pub(crate) fn push_first(&mut self, origin: Origin, command: Command, now: u64) {
        self.bytes += command.body.len();
        self.of(&command).push_front((origin, command, now));
    }

    /// Removes the first change, or else the first command, to forward it.
    pub(crate) fn pop(&mut self) -> Option<(Origin, Command)> {
        self.pop_change().or_else(|| self.pop_command())
    }

    /// Removes the first change of the membership.
    pub(crate) fn pop_change(&mut self) -> Option<(Origin, Command)> {
        let (origin, command, _) = self.changes.pop_front()?;
        self.bytes -= command.body.len();
        Some((origin, command))
    }

    fn pop_command(&mut self) -> Option<(Origin, Command)> {
        let (origin, command, _) = self.commands.pop_front()?;
        self.bytes -= command.body.len();
        Some((origin, command))
    }

    /// Removes as many commands as an entry may merge.
    pub(crate) fn take_entry(&mut self) -> (Vec<Origin>, Vec<Command>) {
        let mut origins = Vec::new();
        let mut commands = Vec::new();
        let (mut events, mut size) = (0, 0);
        while let Some((_, command, _)) = self.commands.front() {
            events += command.events as usize;
            size += Entry::command_size(command.body.len());
            let fits = fit(events, size) && commands.len() < ENTRY_REQUESTS_MAX;
            if !fits && !commands.is_empty() {
                break;
            }
            if let Some((origin, command)) = self.pop_command() {
                origins.push(origin);
                commands.push(command);
            }
        }
        (origins, commands)
    }

    /// Removes the commands with such an origin; the others stay in order.
    pub(crate) fn take(&mut self, is_taken: impl Fn(Origin) -> bool) -> Vec<Origin> {
        self.take_some(|origin, _| is_taken(origin))
    }

    /// Removes the commands that have waited too long at tick `now`, except the replica's own.
    pub(crate) fn take_expired(&mut self, now: u64) -> Vec<Origin> {
        self.take_some(|origin, since| origin != Origin::Own && since + WAIT_TICKS_MAX <= now)
    }

    fn take_some(&mut self, is_taken: impl Fn(Origin, u64) -> bool) -> Vec<Origin> {
        let mut taken = Vec::new();
        for waiting in [&mut self.changes, &mut self.commands] {
            waiting.retain(|(origin, command, since)| {
                let is_taken = is_taken(*origin, *since);
                if is_taken {
                    taken.push(*origin);
                    self.bytes -= command.body.len();
                }
                !is_taken
            });
        }
        taken
    }
}

/// True when an entry can hold that command. An engine does not take an entry above the limits.
pub(crate) fn fits(command: &Command) -> bool {
    fit(command.events as usize, Entry::command_size(command.body.len()))
}

const fn fit(events: usize, size: usize) -> bool {
    events <= ENTRY_EVENTS_MAX && size <= ENTRY_SIZE_MAX - ENTRY_HEAD_SIZE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ticket;
    use bytes::Bytes;

    fn command(events: u32) -> Command {
        Command { operation: 1, events, body: Bytes::from(alloc::vec![0; events as usize * 128]) }
    }

    #[test]
    fn small_commands_merge_and_large_ones_stand_alone() {
        let mut queue = Queue::default();
        for (ticket, events) in [(1, 8000), (2, 100), (3, 89), (4, 1), (5, 8189)] {
            assert!(queue.push(Origin::Client(Ticket(ticket)), command(events), 0));
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
    fn changes_wait_apart_and_count_towards_the_limits() {
        let mut queue = Queue::default();
        let change =
            || Command { operation: CHANGE_OPERATION, events: 0, body: Bytes::from_static(b"change") };
        for (ticket, command) in [(1, command(1)), (2, change()), (3, command(2)), (4, change())] {
            assert!(queue.push(Origin::Client(Ticket(ticket)), command, 0));
        }
        let (origins, commands) = queue.take_entry();
        assert_eq!(origins, [1, 3].map(|ticket| Origin::Client(Ticket(ticket))));
        assert!(commands.iter().all(|command| command.operation != CHANGE_OPERATION) && queue.is_empty());
        assert_eq!(queue.pop_change().map(|(origin, _)| origin), Some(Origin::Client(Ticket(2))));
        assert_eq!(
            queue.pop().map(|(origin, _)| origin),
            Some(Origin::Client(Ticket(4))),
            "a forwarded change"
        );
        assert_eq!((queue.pop(), queue.bytes), (None, 0));
    }

    #[test]
    fn too_much_is_refused_and_nothing_is_lost() {
        let mut queue = Queue::default();
        let taken =
            (0..9000).filter(|ticket| queue.push(Origin::Client(Ticket(*ticket)), command(1), 0)).count();
        assert_eq!(taken, REQUESTS_WAITING_MAX);
        assert_eq!(queue.take(|_| true).len(), taken);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn expired_commands_are_removed_except_the_replicas_own() {
        let mut queue = Queue::default();
        queue.push_first(Origin::Own, command(1), 0);
        assert!(queue.push(Origin::Client(Ticket(1)), command(1), 0));
        assert!(queue.push(Origin::Client(Ticket(2)), command(1), 1));
        assert_eq!(queue.take_expired(WAIT_TICKS_MAX - 1), []);
        assert_eq!(queue.take_expired(WAIT_TICKS_MAX), [Origin::Client(Ticket(1))]);
        assert_eq!(queue.take_entry().0, [Origin::Own, Origin::Client(Ticket(2))]);
        assert_eq!(queue.bytes, 0);
    }
}
