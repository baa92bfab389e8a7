//! Places in the change events.

use std::fmt;
use std::str::FromStr;

use bezant_api::token::{EventPosition, EventsFrom, LEDGER_GROUP, TokenError};
use bezant_types::MovementNumber;

/// A place in the change events, as opaque text: the server makes it, and a program stores it and sends it
/// back. It begins with the first event, with the next new one, or after an event
/// ([`ChangeEvent::position`](crate::ChangeEvent)). Equal texts are equal places; one place may have two texts,
/// as `start` has.
///
/// ```
/// use bezant_client::Position;
///
/// let stored = Position::start().to_string();
/// assert_eq!(stored.parse(), Ok(Position::start()));
/// assert!("41".parse::<Position>().is_err(), "a number, as in version 0.1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position(String);

impl Position {
    /// Before all events.
    pub fn start() -> Self {
        Self("start".to_owned())
    }

    /// Before the next new event: only what happens from now on.
    pub fn now() -> Self {
        Self("now".to_owned())
    }

    /// A position as a server sent it.
    pub(crate) const fn of_server(text: String) -> Self {
        Self(text)
    }

    /// The position before a row of the ledger's history.
    pub(crate) fn of_row(number: MovementNumber) -> Self {
        Self(EventPosition::of(LEDGER_GROUP, number).to_string())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Position {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        text.parse::<EventsFrom>().map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}
