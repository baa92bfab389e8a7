//! The commands that carry the events of clients into the log.

use bezant_codec::{DecodeError, KeyedHead, Operation};
use bezant_rsm::Command;
use bytes::Bytes;

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
