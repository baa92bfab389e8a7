//! Commands of this node's clients that were forwarded to the leader, until their outcome arrives.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bezant_rsm::Command;
use bezant_types::limits::{REQUEST_BYTES_WAITING_MAX, REQUESTS_WAITING_MAX};

use crate::event::Ticket;
use crate::message::ForwardNumber;

/// Ticks after which the outcome of a forwarded command counts as unknown: the message or its answer was
/// lost.
pub(crate) const TICKS_MAX: u64 = 500;

/// Ticks without forwarding after a node answered that it does not lead. Without them this replica would ask
/// it again in a tight loop.
const DENIED_TICKS: u64 = 3;

/// A forwarded command.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) ticket: Ticket,
    pub(crate) command: Command,
    sent_at: u64,
}

/// All forwarded commands that have no outcome yet.
#[derive(Debug)]
pub(crate) struct Forwards {
    incarnation: u64,
    last_number: u64,
    commands: BTreeMap<u64, Forwarded>,
    bytes: usize,
    /// No command is sent before this tick.
    sends_from: u64,
}

impl Forwards {
    pub(crate) const fn new(incarnation: u64) -> Self {
        Self { incarnation, last_number: 0, commands: BTreeMap::new(), bytes: 0, sends_from: 0 }
    }

    /// True when every forwarded command has its outcome.
    pub(crate) fn has_none(&self) -> bool {
        self.commands.is_empty()
    }

    /// True while another command may be forwarded at tick `now`.
    pub(crate) fn has_capacity(&self, now: u64) -> bool {
        self.sends_from <= now
            && self.commands.len() < REQUESTS_WAITING_MAX
            && self.bytes < REQUEST_BYTES_WAITING_MAX
    }

    /// Records a command that is forwarded at tick `now`, and returns its number.
    pub(crate) fn push(&mut self, ticket: Ticket, command: Command, now: u64) -> ForwardNumber {
        self.last_number += 1;
        self.bytes += command.body.len();
        self.commands.insert(self.last_number, Forwarded { ticket, command, sent_at: now });
        ForwardNumber { incarnation: self.incarnation, number: self.last_number }
    }

    /// Removes and returns the command of an outcome. `None` if an earlier incarnation sent the command, or
    /// if it was given up.
    pub(crate) fn take(&mut self, number: ForwardNumber) -> Option<Forwarded> {
        if number.incarnation != self.incarnation {
            return None;
        }
        let forwarded = self.commands.remove(&number.number)?;
        self.bytes -= forwarded.command.body.len();
        Some(forwarded)
    }

    /// The supposed leader answered at tick `now` that it does not lead.
    pub(crate) const fn handle_denied(&mut self, now: u64) {
        self.sends_from = now + DENIED_TICKS;
    }

    /// Removes all commands: the leader changed, so their outcomes will not arrive.
    pub(crate) fn take_all(&mut self) -> Vec<Ticket> {
        self.bytes = 0;
        self.sends_from = 0;
        core::mem::take(&mut self.commands).into_values().map(|forwarded| forwarded.ticket).collect()
    }

    /// Removes the commands that have waited too long at tick `now`.
    pub(crate) fn take_expired(&mut self, now: u64) -> Vec<Ticket> {
        let mut expired = Vec::new();
        while let Some(first) = self.commands.first_entry()
            && first.get().sent_at + TICKS_MAX <= now
        {
            let forwarded = first.remove();
            self.bytes -= forwarded.command.body.len();
            expired.push(forwarded.ticket);
        }
        expired
    }
}
