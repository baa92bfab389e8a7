//! The state machines that can be recovered: their rows and their fetches are those of the history.

use bezant_rsm::StateMachine;
use bezant_types::{FetchKey, Fetched, HistoryRows};

/// A state machine whose rows the history stores, or that has none. Its default is the state before the first
/// entry.
pub trait Machine:
    StateMachine<
        Key = FetchKey,
        Found = Fetched,
        Rows = HistoryRows,
        Query: Send + 'static,
        Answer: Send + 'static,
    > + Default
    + Send
    + 'static
{
}

impl<M> Machine for M where
    M: StateMachine<
            Key = FetchKey,
            Found = Fetched,
            Rows = HistoryRows,
            Query: Send + 'static,
            Answer: Send + 'static,
        > + Default
        + Send
        + 'static
{
}
