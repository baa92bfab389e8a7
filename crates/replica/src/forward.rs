//! Commands of this node's clients that were sent to the leader, until their outcome comes back.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_rsm::Command;
use bezant_types::limits::{REQUEST_BYTES_WAITING_MAX, REQUESTS_WAITING_MAX};

use crate::Ticket;
use crate::message::ForwardNumber;

/// Ticks after which the outcome of a forwarded command counts as unknown: the message or its answer was lost.
pub(crate) const TICKS_MAX: u64 = 500;

/// Ticks for which nothing is sent to a leader that says that it does not lead: it is asked again, and not in a circle.
const DENIED_TICKS: u64 = 3;

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) ticket: Ticket,
    pub(crate) command: Command,
    sent_at: u64,
}

/// All commands on their way.
#[derive(Debug)]
pub(crate) struct Forwards {
    incarnation: u64,
    last_number: u64,
    commands: BTreeMap<u64, Forwarded>,
    bytes: usize,
    /// The tick from which on commands are sent again.
    sends_from: u64,
}

impl Forwards {
    pub(crate) const fn new(incarnation: u64) -> Self {
        Self { incarnation, last_number: 0, commands: BTreeMap::new(), bytes: 0, sends_from: 0 }
    }

    /// True while another command may be sent at tick `now`.
    pub(crate) fn has_room(&self, now: u64) -> bool {
        self.sends_from <= now
            && self.commands.len() < REQUESTS_WAITING_MAX
            && self.bytes < REQUEST_BYTES_WAITING_MAX
    }

    /// Takes a command that is sent at tick `now`; its number.
    pub(crate) fn push(&mut self, ticket: Ticket, command: Command, now: u64) -> ForwardNumber {
        self.last_number += 1;
        self.bytes += command.body.len();
        self.commands.insert(self.last_number, Forwarded { ticket, command, sent_at: now });
        ForwardNumber { incarnation: self.incarnation, number: self.last_number }
    }

    /// The command whose outcome came; `None` for an earlier incarnation's, and for one that nobody waits for any more.
    pub(crate) fn take(&mut self, number: ForwardNumber) -> Option<Forwarded> {
        if number.incarnation != self.incarnation {
            return None;
        }
        let forwarded = self.commands.remove(&number.number)?;
        self.bytes -= forwarded.command.body.len();
        Some(forwarded)
    }

    /// Whoever was taken for the leader said at tick `now` that it does not lead.
    pub(crate) const fn handle_denied(&mut self, now: u64) {
        self.sends_from = now + DENIED_TICKS;
    }

    /// Everybody whose outcome will not come any more: the leader is another.
    pub(crate) fn take_all(&mut self) -> Vec<Ticket> {
        self.bytes = 0;
        self.sends_from = 0;
        core::mem::take(&mut self.commands).into_values().map(|forwarded| forwarded.ticket).collect()
    }

    /// Everybody who has waited too long at tick `now`.
    pub(crate) fn take_late(&mut self, now: u64) -> Vec<Ticket> {
        let mut late = Vec::new();
        while let Some(first) = self.commands.first_entry()
            && first.get().sent_at + TICKS_MAX <= now
        {
            let forwarded = first.remove();
            self.bytes -= forwarded.command.body.len();
            late.push(forwarded.ticket);
        }
        late
    }
}
