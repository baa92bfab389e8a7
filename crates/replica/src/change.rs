//! Changes of the membership: requested at any node, made by the leader, answered when they are committed.
//!
//! A change is requested as a command with its own operation, so that it is forwarded, refused and answered
//! like any other command. The state machine never receives it: the engine makes a separate entry of it. Like
//! any command it may arrive late, and twice. So it names the member by its number and by the entry that
//! added it. A change that arrives after that member was removed has no effect on a later member with the
//! same number.

use alloc::vec::Vec;

use bezant_consensus::{Change, ChangeError, Engine, encode_outcome};
use bezant_rsm::{Command, StateMachine};
use bezant_types::{LogIndex, NodeId};
use bytes::{Bytes, BytesMut};

use crate::event::{Output, Refusal};
use crate::message::Outcome;
use crate::origin::{CHANGE_OPERATION, Origin};
use crate::replica::Replica;

/// The command that requests a change of the member that was added by the entry `since`. Its result is read
/// by [`bezant_consensus::decode_outcome`].
pub fn change_command(change: &Change, since: LogIndex) -> Command {
    let mut body = BytesMut::from(&since.0.to_le_bytes()[..]);
    body.extend_from_slice(&change.encode());
    Command { operation: CHANGE_OPERATION, events: 0, body: body.freeze() }
}

/// Reads the body of a change; `None` when a client may not request it.
fn decode(body: &[u8]) -> Option<(LogIndex, Change)> {
    let (since, change) = body.split_first_chunk()?;
    let change = Change::decode(change).filter(|change| *change != Change::Complete)?;
    Some((LogIndex(u64::from_le_bytes(*since)), change))
}

impl<M: StateMachine, E: Engine> Replica<M, E> {
    /// The other members.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let others = self.engine.members().nodes.iter().filter(|member| member.node != self.options.node);
        others.map(|member| member.node).collect()
    }

    /// Makes a change that a client requested. Only the leader calls this.
    pub(crate) fn handle_change(&mut self, origin: Origin, body: &Bytes) {
        let made = match decode(body) {
            None => Err(ChangeError::Unknown),
            Some((since, change)) => {
                let member = change.member().and_then(|node| self.engine.members().get(node));
                if member.is_some_and(|member| member.since != since) {
                    Err(ChangeError::Outdated)
                } else {
                    self.engine.change(change)
                }
            }
        };
        match made {
            Ok(Some(index)) => self.proposed = Some((index, None, alloc::vec![origin])),
            Ok(None) => self.answer_change(origin, Ok(())),
            Err(ChangeError::NotLeading) => self.refuse(origin, Refusal::NoLeader),
            Err(error) => self.answer_change(origin, Err(error)),
        }
        self.drain_engine();
    }

    pub(crate) fn answer_change(&mut self, origin: Origin, outcome: Result<(), ChangeError>) {
        let (index, time, results) = (self.applied, self.time, encode_outcome(outcome));
        match origin {
            Origin::Client(ticket) => {
                self.outputs.push_back(Output::Answer { ticket, index, time, events: 0, results });
            }
            Origin::Peer(node, number) => {
                self.send_outcome(node, number, Outcome::Done { index, time, results });
            }
            Origin::Own => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_the_member_by_its_entry() {
        let change = Change::Remove(NodeId(3));
        let command = change_command(&change, LogIndex(60));
        assert_eq!(decode(&command.body), Some((LogIndex(60), change)));
        assert_eq!(decode(&command.body[..7]), None);
        assert_eq!(decode(&change_command(&Change::Complete, LogIndex(0)).body), None, "the engine's own");
    }
}
