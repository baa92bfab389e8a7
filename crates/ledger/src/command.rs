//! The commands that carry the events of clients into the log.
//!
//! The number of events of a command reserves its timestamps. If its body had more events than that, they would
//! take the timestamps of later commands, and break the order of accounts and movements. So both are compared
//! twice: by the leader before it proposes a command of a peer ([`count`]), and when the command is applied
//! ([`has_events`]). When it is applied, only the numbers are compared, and no limit: a limit may change, the
//! effect of an entry never does.

use bezant_codec::{DecodeError, KeyedHead, Operation, Reader};
use bezant_rsm::Command;
use bytes::Bytes;

use crate::session::SessionHead;

/// Makes the command of an operation. The bytes are checked here, before they are proposed, as far as their
/// shape goes: whether an event is right is decided when it is applied.
pub trait ToCommand {
    /// The command of a client with those events. An error when they are not a whole number of events, when
    /// there are none or too many, or when clients have no events of that operation.
    fn command(self, body: Bytes) -> Result<Command, DecodeError>;
}

impl ToCommand for Operation {
    fn command(self, body: Bytes) -> Result<Command, DecodeError> {
        Ok(Command { operation: self as u16, events: self.count(&body)?, body })
    }
}

/// Makes the command of a request with an idempotency key.
pub trait ToKeyedCommand {
    /// The command with those events. An error when they are not a whole number of events, when there are
    /// none or too many, or when the operation creates nothing.
    fn command(&self, events: &[u8]) -> Result<Command, DecodeError>;
}

impl ToKeyedCommand for KeyedHead {
    fn command(&self, events: &[u8]) -> Result<Command, DecodeError> {
        let (events, body) = self.body(events)?;
        Ok(Command { operation: Operation::CreateKeyed as u16, events, body })
    }
}

/// The number of events in the body of a command of a client. An error when the body is malformed, or when
/// clients have no such command.
pub(crate) fn count(command: &Command) -> Result<u32, DecodeError> {
    let body = &command.body;
    match Operation::from_number(command.operation).ok_or(DecodeError::Value)? {
        Operation::OpenSession | Operation::SessionReply => {
            SessionHead::from_reader(&mut Reader::new(body)).map(|_| 0)
        }
        Operation::SessionCreate => SessionHead::create(body.clone()).map(|command| command.events),
        Operation::CreateKeyed => {
            KeyedHead::decode(body).and_then(|(head, events)| head.operation.count(events))
        }
        operation => operation.count(body),
    }
}

/// True when `body` has that number of events of clients, so that each of them has its own timestamp.
pub(crate) fn has_events(operation: Operation, body: &[u8], events: u32) -> bool {
    if operation.is_tagged() {
        return operation.count(body) == Ok(events);
    }
    let size = u64::from(events).checked_mul(operation.event_size() as u64);
    size == Some(body.len() as u64)
}
