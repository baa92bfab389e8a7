//! A group in a run: its clients, its operator, and what the checkers know of it.

use std::collections::BTreeMap;

use bezant_replica::Ticket;

use crate::client::{Call, Client};
use crate::operator::Operator;
use crate::record::Record;

/// Everything of a group that is not on a machine.
pub(crate) struct GroupRun {
    /// The number of members at the beginning: the nodes from 1 on.
    pub(super) first: u64,
    pub(super) operator: Operator,
    pub(super) clients: Vec<Client>,
    /// The client and the call of each ticket.
    pub(super) tickets: BTreeMap<Ticket, (usize, Call)>,
    pub(super) record: Record,
    /// The number of the group's events so far.
    pub(super) events: u64,
}

impl GroupRun {
    pub(super) fn new(first: u64, operator: Operator, clients: Vec<Client>) -> Self {
        Self { first, operator, clients, tickets: BTreeMap::new(), record: Record::default(), events: 0 }
    }
}
