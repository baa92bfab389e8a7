//! Writes: batches on the fast path, tried again with the same ids until their outcome is known.
//!
//! What always holds: outcomes stand in the order of the events; a chain of linked events travels in one
//! request; an event that an earlier try of the same call created answers `created` with its first
//! timestamp. When a call fails in the middle, calling again with the same events is safe: what was done
//! answers `exists`.

use bezant_api::v1;
use bezant_codec::{records, result_from_bytes};
use bezant_ledger::{
    ChangeBounds, Event, ExtendedAccount, ExtendedTransfer, Operation, SetBounds, SetName, name_to_bytes,
};
use bezant_types::limits::{EVENTS_MAX, NAME_SIZE_MAX, REQUEST_SIZE_MAX, RESULT_SIZE};
use bezant_types::{
    Account, AccountChangeStatus, AccountFlags, AccountId, Asset, AssetStatus, Bounds, CreateAccountStatus,
    CreateTransferStatus, EventResult, Transfer, TransferFlags, UnknownStatus,
};
use bytes::Bytes;

use crate::batch;
use crate::event::{AccountOutcome, NewAccount, NewTransfer, Outcome, TransferOutcome};
use crate::{Client, ClientError};

/// What the server answered to a raw submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The log entry that carried the request.
    pub log_index: u64,
    /// 16 bytes an event, in order: timestamp u64, status u32, zero u32, little-endian.
    pub results: Bytes,
    /// Tries that it took; 1 = the first one succeeded.
    pub attempts: u32,
}

impl Client {
    /// Creates accounts, in batches where they are many. One outcome an account, in order.
    pub async fn create_accounts(&self, accounts: &[NewAccount]) -> Result<Vec<AccountOutcome>, ClientError> {
        let is_extended = accounts.iter().any(NewAccount::is_extended);
        let operation =
            if is_extended { Operation::CreateAccountsExtended } else { Operation::CreateAccounts };
        let is_linked = |index: usize| accounts[index].account.flags.contains(AccountFlags::LINKED);
        let mut outcomes = Vec::with_capacity(accounts.len());
        for range in cut(operation, accounts.len(), is_linked)? {
            let batch = &accounts[range.clone()];
            let body = if is_extended {
                let extended = batch.iter().map(extended_account).collect::<Result<Vec<_>, _>>()?;
                Event::write_all(&extended)
            } else {
                Event::write_all(&batch.iter().map(|new| new.account).collect::<Vec<Account>>())
            };
            let answer = self.submit_raw(operation, body).await?;
            let mut batch_outcomes = outcomes_of(&answer, batch.len(), CreateAccountStatus::from_number)?;
            if answer.attempts > 1 {
                self.settle_accounts(batch, &mut batch_outcomes).await?;
            }
            outcomes.append(&mut batch_outcomes);
        }
        Ok(outcomes)
    }

    /// Creates transfers, in batches where they are many. One outcome a transfer, in order.
    pub async fn create_transfers(
        &self,
        transfers: &[NewTransfer],
    ) -> Result<Vec<TransferOutcome>, ClientError> {
        let is_extended = transfers.iter().any(NewTransfer::is_extended);
        let operation =
            if is_extended { Operation::CreateTransfersExtended } else { Operation::CreateTransfers };
        let is_linked = |index: usize| transfers[index].transfer.flags.contains(TransferFlags::LINKED);
        let mut outcomes = Vec::with_capacity(transfers.len());
        for range in cut(operation, transfers.len(), is_linked)? {
            let batch = &transfers[range.clone()];
            let body = if is_extended {
                Event::write_all(&batch.iter().map(extended_transfer).collect::<Vec<_>>())
            } else {
                Event::write_all(&batch.iter().map(|new| new.transfer).collect::<Vec<Transfer>>())
            };
            let answer = self.submit_raw(operation, body).await?;
            let mut batch_outcomes = outcomes_of(&answer, batch.len(), CreateTransferStatus::from_number)?;
            if answer.attempts > 1 {
                self.settle_transfers(batch, &mut batch_outcomes).await?;
            }
            outcomes.append(&mut batch_outcomes);
        }
        Ok(outcomes)
    }

    /// Sets the least and greatest balance of an account from now on, in minor units.
    pub async fn set_bounds(
        &self,
        account_id: AccountId,
        bounds: Bounds,
    ) -> Result<Outcome<AccountChangeStatus>, ClientError> {
        let body = Event::write_all(&[SetBounds { account_id, bounds }]);
        self.submit_one(Operation::SetBounds, body, AccountChangeStatus::from_number).await
    }

    /// Changes the least balance of an account, the greatest, or both, in minor units; `None` stays as it is, `i128::MIN`
    /// and `i128::MAX` are no limit.
    pub async fn change_bounds(
        &self,
        account_id: AccountId,
        minimum: Option<i128>,
        maximum: Option<i128>,
    ) -> Result<Outcome<AccountChangeStatus>, ClientError> {
        let body = Event::write_all(&[ChangeBounds { account_id, minimum, maximum }]);
        self.submit_one(Operation::ChangeBounds, body, AccountChangeStatus::from_number).await
    }

    /// Names an account that has no name.
    pub async fn set_name(
        &self,
        account_id: AccountId,
        name: &str,
    ) -> Result<Outcome<AccountChangeStatus>, ClientError> {
        let body = Event::write_all(&[SetName { account_id, name: name_bytes(name)? }]);
        self.submit_one(Operation::SetName, body, AccountChangeStatus::from_number).await
    }

    /// Gives a ledger its code and scale.
    pub async fn register_asset(&self, asset: Asset) -> Result<Outcome<AssetStatus>, ClientError> {
        let body = Event::write_all(&[asset]);
        self.submit_one(Operation::RegisterAssets, body, AssetStatus::from_number).await
    }

    /// Sends events as their bytes, at most 8,189 and 1 MiB, until the outcome is known. The layouts are
    /// those of [`Operation`].
    pub async fn submit_raw(&self, operation: Operation, records: Bytes) -> Result<Submitted, ClientError> {
        let message = v1::SubmitRequest { operation: i32::from(operation as u16), records };
        let answer =
            self.call(message, |mut service, request| async move { service.submit(request).await }).await?;
        Ok(Submitted {
            log_index: answer.reply.log_index,
            results: answer.reply.results,
            attempts: answer.attempts,
        })
    }

    async fn submit_one<Status>(
        &self,
        operation: Operation,
        body: Bytes,
        from_number: impl Fn(u32) -> Result<Status, UnknownStatus>,
    ) -> Result<Outcome<Status>, ClientError> {
        let answer = self.submit_raw(operation, body).await?;
        let outcome = outcomes_of(&answer, 1, from_number)?.pop();
        outcome.ok_or_else(|| ClientError::Protocol { reason: "an answer without a result".to_owned() })
    }

    /// Makes of `exists` what an earlier try of this call did. A chain that an earlier try created answers
    /// `exists` for its first event and `linked_event_failed` for the others: they are looked up.
    async fn settle_accounts(
        &self,
        batch: &[NewAccount],
        outcomes: &mut [AccountOutcome],
    ) -> Result<(), ClientError> {
        let is_linked = |index: usize| batch[index].account.flags.contains(AccountFlags::LINKED);
        for range in batch::chains(batch.len(), is_linked) {
            let chain = &mut outcomes[range.clone()];
            if !chain.iter().any(|outcome| outcome.status == CreateAccountStatus::Exists) {
                continue;
            }
            let ids: Vec<AccountId> = batch[range].iter().map(|new| new.account.id).collect();
            let found = self.lookup_accounts(&ids).await?;
            if found.len() == ids.len() {
                for (outcome, view) in chain.iter_mut().zip(&found) {
                    *outcome =
                        Outcome { status: CreateAccountStatus::Created, timestamp: view.account.timestamp };
                }
            }
        }
        for outcome in outcomes {
            if outcome.status == CreateAccountStatus::Exists {
                outcome.status = CreateAccountStatus::Created;
            }
        }
        Ok(())
    }

    /// The same for transfers.
    async fn settle_transfers(
        &self,
        batch: &[NewTransfer],
        outcomes: &mut [TransferOutcome],
    ) -> Result<(), ClientError> {
        let is_linked = |index: usize| batch[index].transfer.flags.contains(TransferFlags::LINKED);
        for range in batch::chains(batch.len(), is_linked) {
            let chain = &mut outcomes[range.clone()];
            if !chain.iter().any(|outcome| outcome.status == CreateTransferStatus::Exists) {
                continue;
            }
            let ids: Vec<_> = batch[range].iter().map(|new| new.transfer.id).collect();
            let found = self.lookup_transfers(&ids).await?;
            if found.len() == ids.len() {
                for (outcome, found) in chain.iter_mut().zip(&found) {
                    let timestamp = found.transfer.timestamp;
                    *outcome = Outcome { status: CreateTransferStatus::Created, timestamp };
                }
            }
        }
        for outcome in outcomes {
            if outcome.status == CreateTransferStatus::Exists {
                outcome.status = CreateTransferStatus::Created;
            }
        }
        Ok(())
    }
}

/// Events of one request of that operation: at most 8,189 of them, and at most 1 MiB.
const fn events_max(operation: Operation) -> usize {
    let by_size = REQUEST_SIZE_MAX / operation.event_size();
    if by_size < EVENTS_MAX { by_size } else { EVENTS_MAX }
}

fn cut(
    operation: Operation,
    count: usize,
    is_linked: impl Fn(usize) -> bool,
) -> Result<Vec<std::ops::Range<usize>>, ClientError> {
    let events_max = events_max(operation);
    batch::cut(count, events_max, is_linked)
        .map_err(|error| ClientError::ChainTooLong { first_index: error.first_index, events_max })
}

fn extended_account(new: &NewAccount) -> Result<ExtendedAccount, ClientError> {
    Ok(ExtendedAccount { account: new.account, bounds: new.bounds, name: name_bytes(&new.name)? })
}

const fn extended_transfer(new: &NewTransfer) -> ExtendedTransfer {
    ExtendedTransfer { transfer: new.transfer, prev_hash: new.prev_hash }
}

fn name_bytes(name: &str) -> Result<[u8; NAME_SIZE_MAX], ClientError> {
    name_to_bytes(name).ok_or_else(|| ClientError::NameTooLong { name: name.to_owned() })
}

/// Reads the results of a request with `count` events.
fn outcomes_of<Status>(
    answer: &Submitted,
    count: usize,
    from_number: impl Fn(u32) -> Result<Status, UnknownStatus>,
) -> Result<Vec<Outcome<Status>>, ClientError> {
    let protocol = |reason: String| ClientError::Protocol { reason };
    let results = records::<RESULT_SIZE>(&answer.results).map_err(|error| protocol(error.to_string()))?;
    if results.len() != count {
        return Err(protocol(format!("{} results for {count} events", results.len())));
    }
    let outcome = |bytes: &[u8; RESULT_SIZE]| {
        let EventResult { timestamp, status } = result_from_bytes(bytes);
        from_number(status).map(|status| Outcome { status, timestamp })
    };
    results.iter().map(|bytes| outcome(bytes).map_err(|error| protocol(error.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::Nanos;

    #[test]
    fn requests_hold_what_the_limits_allow() {
        assert_eq!(events_max(Operation::CreateTransfers), 8189);
        assert_eq!(events_max(Operation::CreateTransfersExtended), 6553);
        assert_eq!(events_max(Operation::CreateAccountsExtended), 4096);
    }

    #[test]
    fn results_are_read_and_counted() {
        let created = EventResult { timestamp: Nanos(7), status: u32::MAX };
        let results = Bytes::copy_from_slice(&bezant_codec::result_to_bytes(created));
        let answer = Submitted { log_index: 1, results, attempts: 1 };
        let outcomes = outcomes_of(&answer, 1, CreateTransferStatus::from_number).unwrap();
        assert_eq!(outcomes, [Outcome { status: CreateTransferStatus::Created, timestamp: Nanos(7) }]);
        assert!(outcomes_of(&answer, 2, CreateTransferStatus::from_number).is_err(), "one is missing");
    }

    #[test]
    fn a_long_name_is_refused_before_it_is_sent() {
        assert!(matches!(name_bytes(&"x".repeat(65)), Err(ClientError::NameTooLong { .. })));
        assert!(name_bytes(&"x".repeat(64)).is_ok());
    }
}
