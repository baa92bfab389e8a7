//! What clients do: they send requests, ask another node when none answers, and record the answers.

use bezant_ledger::LedgerAnswer;
use bezant_replica::{Consistency, Input, Output, Ticket};
use bezant_rsm::StateMachine;
use bezant_storage::HistoryAnswer;
use bezant_types::{LogIndex, NodeId};

use super::{CALL_TIMEOUT, Event, MILLI, World};
use crate::bug::FlawedLedger;
use crate::client::{Call, Wanted};
use crate::record::{Acknowledged, Seen, Shown};
use crate::workload::query;

impl World {
    /// A client sends a new request, or repeats one to another node after a timeout.
    pub(super) fn wake(&mut self, client: usize) {
        let time = self.time;
        if self.has_rewinds {
            self.clients[client].drop_lost_session(time);
        }
        if self.clients[client].call.is_none() {
            if !self.is_asking {
                return;
            }
            let movements =
                self.hosts.values().filter_map(|host| Some(host.replica()?.machine().position().movements));
            let movements = movements.max().unwrap_or(0);
            let wanted = self.clients[client].next_request(time, movements);
            self.clients[client].call = Some(Call { wanted, since: time, ticket: Ticket(0), asked: None });
        }
        self.try_call(client);
        self.wake_at(time + CALL_TIMEOUT, client);
    }

    pub(super) fn try_call(&mut self, client: usize) {
        let Some(call) = &mut self.clients[client].call else { return };
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        call.ticket = ticket;
        // Like the real client, it does not ask the same node twice in a row.
        let nodes: Vec<NodeId> =
            self.nodes.iter().copied().filter(|node| Some(*node) != call.asked).collect();
        let node = self.random.pick(&nodes).copied().unwrap_or(NodeId(1));
        call.asked = Some(node);
        let call = call.clone();
        self.tickets.insert(ticket, (client, call));
        let at = self.time + self.random.between(20_000, MILLI);
        self.at(at, Event::Ask { node, ticket });
    }

    pub(super) fn ask(&mut self, node: NodeId, ticket: Ticket) -> Result<(), String> {
        let Some((client, call)) = self.tickets.get(&ticket) else { return Ok(()) };
        if self.hosts.get(&node).is_none_or(|host| !host.is_up()) {
            // No process accepts the connection, so the client tries again at once.
            let client = *client;
            if self.clients[client].call.as_ref().is_some_and(|now| now.ticket == ticket) {
                let at = self.time + self.random.between(MILLI, 10 * MILLI);
                self.wake_at(at, client);
            }
            return Ok(());
        }
        let input = match &call.wanted {
            Wanted::Write(command) => Input::Request { ticket, command: command.clone() },
            Wanted::Read(consistency) => Input::Query { ticket, query: query(), consistency: *consistency },
            Wanted::ReadHistory(consistency, ids) => {
                let (consistency, ids) = (*consistency, ids.clone());
                self.host(node).ask_history(ticket, ids);
                Input::Barrier { ticket, consistency }
            }
        };
        self.give(node, None, input)
    }

    /// A client receives an answer. Late answers to earlier attempts count as well.
    pub(super) fn handle_answer(&mut self, ticket: Ticket, output: Output<FlawedLedger>) {
        let Some((client, call)) = self.tickets.remove(&ticket) else { return };
        let is_current = self.clients[client].call.as_ref().is_some_and(|now| now.since == call.since);
        let (since, at) = (call.since, self.time);
        match (call.wanted, output) {
            (Wanted::Write(command), Output::Answer { index, time, results, .. }) => {
                if is_current {
                    self.clients[client].handle_results(&command, &results, at);
                }
                self.record.acknowledged.push(Acknowledged { since, at, command, index, time, results });
                self.end_call(client, index, is_current);
            }
            (Wanted::Read(consistency), Output::QueryAnswer { index, answer, .. }) => {
                let LedgerAnswer::Accounts(accounts) = answer else {
                    self.broken = Some("a query of accounts had another answer".to_owned());
                    return;
                };
                self.clients[client].workload.see(&accounts);
                self.record.seen.push(Seen { since, at, consistency, index, accounts });
                let counts = consistency != Consistency::Stale;
                self.end_call(client, if counts { index } else { LogIndex(0) }, is_current);
            }
            // Refused: the client tries another node a little later.
            _ if is_current => {
                let at = self.time + self.random.between(10 * MILLI, 100 * MILLI);
                self.wake_at(at, client);
            }
            _ => {}
        }
    }

    /// A client receives rows of the history.
    pub(super) fn handle_history(&mut self, ticket: Ticket, index: LogIndex, rows: HistoryAnswer) {
        let Some((client, call)) = self.tickets.remove(&ticket) else { return };
        let Wanted::ReadHistory(consistency, ids) = call.wanted else { return };
        let is_current = self.clients[client].call.as_ref().is_some_and(|now| now.since == call.since);
        let (since, at) = (call.since, self.time);
        self.record.shown.push(Shown { since, at, consistency, index, ids, rows });
        let counts = consistency != Consistency::Stale;
        self.end_call(client, if counts { index } else { LogIndex(0) }, is_current);
    }

    pub(super) fn end_call(&mut self, client: usize, index: LogIndex, is_current: bool) {
        let pause = self.random.between(MILLI, 60 * MILLI);
        let known = &mut self.clients[client];
        known.seen = known.seen.max(index);
        if is_current {
            known.done += 1;
            known.call = None;
            self.wake_at(self.time + pause, client);
        }
    }
}
