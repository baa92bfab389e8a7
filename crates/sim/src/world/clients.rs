//! What clients do: they send requests, ask another node when none answers, and record the answers.

use bezant_ledger::LedgerAnswer;
use bezant_replica::{Consistency, Input, Output, Ticket};
use bezant_rsm::StateMachine;
use bezant_storage::HistoryAnswer;
use bezant_types::{GroupId, LogIndex, NodeId};

use super::{CALL_TIMEOUT, Event, MILLI, World};
use crate::bug::FlawedLedger;
use crate::client::{Call, Wanted};
use crate::machine::ReplicaId;
use crate::record::{Acknowledged, Seen, Shown};
use crate::workload::query;

impl World {
    /// A client sends a new request, or repeats one to another node after a timeout.
    pub(super) fn wake(&mut self, group: GroupId, client: usize) {
        let time = self.time;
        if self.has_rewinds {
            self.group(group).clients[client].drop_lost_session(time);
        }
        if self.group(group).clients[client].call.is_none() {
            if !self.is_asking {
                return;
            }
            if let Some(until) = self.idle_until() {
                let at = until + self.random.between(0, 60 * MILLI);
                return self.wake_at(at, group, client);
            }
            let replicas = self.machines.values().filter_map(|machine| machine.replica(group));
            let movements = replicas.map(|replica| replica.machine().position().movements);
            let movements = movements.max().unwrap_or(0);
            let wanted = self.group(group).clients[client].next_request(time, movements);
            self.group(group).clients[client].call =
                Some(Call { wanted, since: time, ticket: Ticket(0), asked: None });
        }
        self.try_call(group, client);
        self.wake_at(time + CALL_TIMEOUT, group, client);
    }

    pub(super) fn try_call(&mut self, group: GroupId, client: usize) {
        let Some(run) = self.groups.get_mut(&group) else { return };
        let Some(call) = &mut run.clients[client].call else { return };
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        call.ticket = ticket;
        // Like the real client, it does not ask the same node twice in a row.
        let nodes: Vec<NodeId> =
            self.nodes.iter().copied().filter(|node| Some(*node) != call.asked).collect();
        let node = self.random.pick(&nodes).copied().unwrap_or(NodeId(1));
        call.asked = Some(node);
        let call = call.clone();
        run.tickets.insert(ticket, (client, call));
        let at = self.time + self.random.between(20_000, MILLI);
        self.at(at, Event::Ask { replica: ReplicaId { node, group }, ticket });
    }

    pub(super) fn ask(&mut self, replica: ReplicaId, ticket: Ticket) -> Result<(), String> {
        let ReplicaId { node, group } = replica;
        let Some((client, call)) = self.group(group).tickets.get(&ticket).cloned() else { return Ok(()) };
        if self.machines.get(&node).is_none_or(|machine| !machine.is_up()) {
            // No process accepts the connection, so the client tries again at once.
            if self.group(group).clients[client].call.as_ref().is_some_and(|now| now.ticket == ticket) {
                let at = self.time + self.random.between(MILLI, 10 * MILLI);
                self.wake_at(at, group, client);
            }
            return Ok(());
        }
        let input = match call.wanted {
            Wanted::Write(command) => Input::Request { ticket, command },
            Wanted::Read(consistency) => Input::Query { ticket, query: query(), consistency },
            Wanted::ReadHistory(consistency, ids) => {
                self.slot(replica).ask_history(ticket, ids);
                Input::Barrier { ticket, consistency }
            }
        };
        self.give(replica, None, input)
    }

    /// A client receives an answer. Late answers to earlier attempts count as well.
    pub(super) fn handle_answer(&mut self, group: GroupId, ticket: Ticket, output: Output<FlawedLedger>) {
        let Some((client, call)) = self.group(group).tickets.remove(&ticket) else { return };
        let is_current =
            self.group(group).clients[client].call.as_ref().is_some_and(|now| now.since == call.since);
        let (since, at) = (call.since, self.time);
        match (call.wanted, output) {
            (Wanted::Write(command), Output::Answer { index, time, results, .. }) => {
                if is_current {
                    self.group(group).clients[client].handle_results(&command, &results, at);
                }
                self.group(group).record.acknowledged.push(Acknowledged {
                    since,
                    at,
                    command,
                    index,
                    time,
                    results,
                });
                self.end_call(group, client, index, is_current);
            }
            (Wanted::Read(consistency), Output::QueryAnswer { index, answer, .. }) => {
                let LedgerAnswer::Accounts(accounts) = answer else {
                    self.broken = Some("a query of accounts had another answer".to_owned());
                    return;
                };
                self.group(group).clients[client].workload.see(&accounts);
                self.group(group).record.seen.push(Seen { since, at, consistency, index, accounts });
                let counts = consistency != Consistency::Stale;
                self.end_call(group, client, if counts { index } else { LogIndex(0) }, is_current);
            }
            // Refused: the client tries another node a little later.
            _ if is_current => {
                let at = self.time + self.random.between(10 * MILLI, 100 * MILLI);
                self.wake_at(at, group, client);
            }
            _ => {}
        }
    }

    /// A client receives rows of the history.
    pub(super) fn handle_history(
        &mut self,
        group: GroupId,
        ticket: Ticket,
        index: LogIndex,
        rows: HistoryAnswer,
    ) {
        let Some((client, call)) = self.group(group).tickets.remove(&ticket) else { return };
        let Wanted::ReadHistory(consistency, ids) = call.wanted else { return };
        let is_current =
            self.group(group).clients[client].call.as_ref().is_some_and(|now| now.since == call.since);
        let (since, at) = (call.since, self.time);
        self.group(group).record.shown.push(Shown { since, at, consistency, index, ids, rows });
        let counts = consistency != Consistency::Stale;
        self.end_call(group, client, if counts { index } else { LogIndex(0) }, is_current);
    }

    fn end_call(&mut self, group: GroupId, client: usize, index: LogIndex, is_current: bool) {
        let pause = self.random.between(MILLI, 60 * MILLI);
        let known = &mut self.group(group).clients[client];
        known.seen = known.seen.max(index);
        if is_current {
            known.done += 1;
            known.call = None;
            self.wake_at(self.time + pause, group, client);
        }
    }
}
