//! The two kinds of rows of an import: accounts and transfers.

use std::collections::BTreeMap;

use bezant_client::{
    AccountFlags, AccountId, ClientError, CreateAccountStatus, CreateTransferStatus, NewAccount, NewTransfer,
    TransferFlags,
};
use bezant_types::limits::EVENTS_MAX;

use super::explain;
use super::fields::Fields;
use super::input;
use super::units::Context;
use crate::session::Session;

/// The most accounts with names or bounds that one request carries.
const NAMED_ACCOUNTS_MAX: usize = 4096;

/// The outcome of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The row was created by this import.
    Created,
    /// The row existed before, with the same fields.
    Existed,
    /// The ledger refused it.
    Refused {
        /// The name of the status.
        status: &'static str,
        /// The meaning of the status.
        meaning: &'static str,
        /// The exact case; `None` = the status alone is complete, or the case could not be read.
        detail: Option<String>,
    },
}

impl Answer {
    const fn refused(status: &'static str, meaning: &'static str, detail: Option<String>) -> Self {
        Self::Refused { status, meaning, detail }
    }
}

/// An account or a transfer, as a row of an import creates it.
pub(crate) trait Event: Sized {
    /// The fields of a row.
    const FIELDS: &'static [&'static str];

    /// Parses a row. `names` are the accounts that the input refers to by name.
    fn read(
        fields: &Fields,
        context: Context<'_>,
        names: &BTreeMap<String, AccountId>,
    ) -> Result<Self, String>;

    /// True of a row that succeeds or fails together with the next one.
    fn is_linked_row(fields: &Fields) -> Result<bool, String>;

    /// The same, for an event that was parsed.
    fn is_linked(&self) -> bool;

    /// The id in the row.
    fn id(&self) -> u128;

    /// The most events of one chain that a request with `events` can carry.
    fn chain_size_max<'event>(events: impl Iterator<Item = &'event Self>) -> usize
    where
        Self: 'event;

    /// Creates the events; returns one answer per event, in order.
    async fn create(session: &Session, events: &[Self]) -> Result<Vec<Answer>, ClientError>;
}

impl Event for NewAccount {
    const FIELDS: &'static [&'static str] = input::ACCOUNT_FIELDS;

    fn read(
        fields: &Fields,
        context: Context<'_>,
        _names: &BTreeMap<String, AccountId>,
    ) -> Result<Self, String> {
        input::account(fields, context)
    }

    fn is_linked_row(fields: &Fields) -> Result<bool, String> {
        Ok(input::account_flags(fields)?.contains(AccountFlags::LINKED))
    }

    fn is_linked(&self) -> bool {
        self.account.flags.contains(AccountFlags::LINKED)
    }

    fn id(&self) -> u128 {
        self.account.id.0
    }

    fn chain_size_max<'event>(mut events: impl Iterator<Item = &'event Self>) -> usize {
        let has_more = |new: &Self| !new.name.is_empty() || !new.bounds.is_none();
        if events.any(has_more) { NAMED_ACCOUNTS_MAX } else { EVENTS_MAX }
    }

    async fn create(session: &Session, events: &[Self]) -> Result<Vec<Answer>, ClientError> {
        let outcomes = session.client.create_accounts(events).await?;
        let refused = events.iter().zip(&outcomes).enumerate().filter(|(_, (_, outcome))| !outcome.is_done());
        let refused: Vec<_> = refused.map(|(at, (event, outcome))| (at, event, outcome.status)).collect();
        let mut cases = explain::accounts(session, &refused).await;
        let answers = outcomes.iter().enumerate().map(|(at, outcome)| match outcome.status {
            CreateAccountStatus::Created => Answer::Created,
            _ if outcome.is_done() => Answer::Existed,
            status => Answer::refused(status.name(), status.meaning(), cases.remove(&at)),
        });
        Ok(answers.collect())
    }
}

impl Event for NewTransfer {
    const FIELDS: &'static [&'static str] = input::TRANSFER_FIELDS;

    fn read(
        fields: &Fields,
        context: Context<'_>,
        names: &BTreeMap<String, AccountId>,
    ) -> Result<Self, String> {
        input::transfer(fields, context, names)
    }

    fn is_linked_row(fields: &Fields) -> Result<bool, String> {
        Ok(input::transfer_flags(fields)?.contains(TransferFlags::LINKED))
    }

    fn is_linked(&self) -> bool {
        self.transfer.flags.contains(TransferFlags::LINKED)
    }

    fn id(&self) -> u128 {
        self.transfer.id.0
    }

    fn chain_size_max<'event>(_events: impl Iterator<Item = &'event Self>) -> usize {
        EVENTS_MAX
    }

    async fn create(session: &Session, events: &[Self]) -> Result<Vec<Answer>, ClientError> {
        let outcomes = session.client.create_transfers(events).await?;
        let refused = events.iter().zip(&outcomes).enumerate().filter(|(_, (_, outcome))| !outcome.is_done());
        let refused: Vec<_> = refused.map(|(at, (event, outcome))| (at, event, outcome.status)).collect();
        let mut cases = explain::transfers(session, &refused).await;
        let answers = outcomes.iter().enumerate().map(|(at, outcome)| match outcome.status {
            CreateTransferStatus::Created => Answer::Created,
            _ if outcome.is_done() => Answer::Existed,
            status => Answer::refused(status.name(), status.meaning(), cases.remove(&at)),
        });
        Ok(answers.collect())
    }
}
