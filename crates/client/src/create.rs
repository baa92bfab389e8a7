//! Writes: batches on the fast path, retried with the same ids until their outcome is known.
//!
//! What always holds: outcomes are in the order of the events; a chain of linked events travels in one
//! request; an event that an earlier try of the same call created has the outcome `created` with its first
//! timestamp; a chain that already exists exactly as it is sent has the outcome `exists` for each of its
//! events. When a call fails in the middle, calling again with the same events is safe: an event that was
//! created has the outcome `exists`.

use bezant_api::{settle, v1};
use bezant_codec::{Event, Operation, records, result_from_bytes};
use bezant_types::limits::{EVENTS_MAX, NAME_SIZE_MAX, REQUEST_SIZE_MAX, RESULT_SIZE};
use bezant_types::{
    Account, AccountChangeStatus, AccountFlags, AccountId, Asset, AssetStatus, Bounds, ChangeBounds,
    CreateAccountStatus, CreateTransferStatus, EventResult, ExpiryStatus, ExtendedAccount, ExtendedTransfer,
    SetBounds, SetExpiry, SetName, Transfer, TransferFlags, UnknownStatus, name_to_bytes,
};
use bytes::Bytes;

use crate::batch;
use crate::event::{AccountOutcome, NewAccount, NewTransfer, Outcome, TransferOutcome};
use crate::{Client, ClientError, convert};

/// The server's answer to a raw submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The log entry that carried the request.
    pub log_index: u64,
    /// 16 bytes an event, in order: timestamp u64, status u32, zero u32, little-endian.
    pub results: Bytes,
    /// The number of tries; 1 = the first one succeeded.
    pub attempts: u32,
}

impl Client {
    /// Creates accounts, in several requests when one cannot hold them. Returns an outcome for each account,
    /// in order.
    pub async fn create_accounts(&self, accounts: &[NewAccount]) -> Result<Vec<AccountOutcome>, ClientError> {
        let is_extended = accounts.iter().any(NewAccount::is_extended);
        let operation =
            if is_extended { Operation::CreateAccountsExtended } else { Operation::CreateAccounts };
        let is_linked = |index: usize| accounts[index].account.flags.contains(AccountFlags::LINKED);
        // A name that is too long is found before the first request is sent.
        let events = accounts.iter().map(extended_account).collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::with_capacity(accounts.len());
        for range in cut(operation, accounts.len(), is_linked)? {
            let outcomes = self.create_accounts_of_request(&events[range], operation).await;
            let call = |error| of_call(error, all.len(), || account_ids(&events));
            all.append(&mut outcomes.map_err(call)?);
        }
        Ok(all)
    }

    /// Creates transfers, in several requests when one cannot hold them. Returns an outcome for each
    /// transfer, in order.
    pub async fn create_transfers(
        &self,
        transfers: &[NewTransfer],
    ) -> Result<Vec<TransferOutcome>, ClientError> {
        let is_extended = transfers.iter().any(NewTransfer::is_extended);
        let operation =
            if is_extended { Operation::CreateTransfersExtended } else { Operation::CreateTransfers };
        let is_linked = |index: usize| transfers[index].transfer.flags.contains(TransferFlags::LINKED);
        let mut all = Vec::with_capacity(transfers.len());
        for range in cut(operation, transfers.len(), is_linked)? {
            let outcomes = self.create_transfers_of_request(&transfers[range], operation).await;
            let ids = || transfers.iter().map(|new| new.transfer.id.0).collect();
            let call = |error| of_call(error, all.len(), ids);
            all.append(&mut outcomes.map_err(call)?);
        }
        Ok(all)
    }

    async fn create_accounts_of_request(
        &self,
        events: &[ExtendedAccount],
        operation: Operation,
    ) -> Result<Vec<AccountOutcome>, ClientError> {
        let is_extended = operation == Operation::CreateAccountsExtended;
        let body = if is_extended {
            Event::write_all(events)
        } else {
            Event::write_all(&events.iter().map(|event| event.account).collect::<Vec<Account>>())
        };
        let answer = self.submit_raw(operation, body).await?;
        let settled = self.settle_accounts(events, is_extended, &answer).await;
        let outcomes = settled.and_then(|results| outcomes(&results, CreateAccountStatus::from_number));
        let mut outcomes = outcomes.map_err(|error| unknown(&error, &answer, || account_ids(events)))?;
        for outcome in outcomes.iter_mut().filter(|_| answer.attempts > 1) {
            if outcome.status == CreateAccountStatus::Exists {
                outcome.status = CreateAccountStatus::Created;
            }
        }
        Ok(outcomes)
    }

    async fn create_transfers_of_request(
        &self,
        transfers: &[NewTransfer],
        operation: Operation,
    ) -> Result<Vec<TransferOutcome>, ClientError> {
        let events: Vec<Transfer> = transfers.iter().map(|new| new.transfer).collect();
        let body = if operation == Operation::CreateTransfersExtended {
            Event::write_all(&transfers.iter().map(extended_transfer).collect::<Vec<_>>())
        } else {
            Event::write_all(&events)
        };
        let answer = self.submit_raw(operation, body).await?;
        let settled = self.settle_transfers(&events, &answer).await;
        let outcomes = settled.and_then(|results| outcomes(&results, CreateTransferStatus::from_number));
        let mut outcomes = outcomes.map_err(|error| unknown(&error, &answer, || transfer_ids(&events)))?;
        for outcome in outcomes.iter_mut().filter(|_| answer.attempts > 1) {
            if outcome.status == CreateTransferStatus::Exists {
                outcome.status = CreateTransferStatus::Created;
            }
        }
        Ok(outcomes)
    }

    /// Creates one transfer, and returns with a refusal the server's message: the account, the rule, the
    /// amount that is available. The message is empty when the server has none. Slower than
    /// [`Self::create_transfers`]: for interactive use, not for large numbers of transfers.
    pub async fn create_transfer_explained(
        &self,
        new: &NewTransfer,
    ) -> Result<(TransferOutcome, String), ClientError> {
        let transfers = vec![convert::transfer_input(new)];
        let ids = || vec![new.transfer.id.0];
        let answer = self
            .call_write(v1::CreateTransfersRequest { transfers }, ids, |mut service, request| async move {
                service.create_transfers(request).await
            })
            .await?;
        let (mut outcome, detail) = explained(&answer.reply, CreateTransferStatus::from_number)?;
        if answer.attempts > 1 && outcome.status == CreateTransferStatus::Exists {
            outcome.status = CreateTransferStatus::Created;
        }
        Ok((outcome, detail))
    }

    /// Like [`Self::create_transfer_explained`], for an account.
    pub async fn create_account_explained(
        &self,
        new: &NewAccount,
    ) -> Result<(AccountOutcome, String), ClientError> {
        let accounts = vec![convert::account_input(new)];
        let ids = || vec![new.account.id.0];
        let answer = self
            .call_write(v1::CreateAccountsRequest { accounts }, ids, |mut service, request| async move {
                service.create_accounts(request).await
            })
            .await?;
        let (mut outcome, detail) = explained(&answer.reply, CreateAccountStatus::from_number)?;
        if answer.attempts > 1 && outcome.status == CreateAccountStatus::Exists {
            outcome.status = CreateAccountStatus::Created;
        }
        Ok((outcome, detail))
    }

    /// Sets the least and the greatest balance of an account, in minor units.
    pub async fn set_bounds(
        &self,
        account_id: AccountId,
        bounds: Bounds,
    ) -> Result<Outcome<AccountChangeStatus>, ClientError> {
        let body = Event::write_all(&[SetBounds { account_id, bounds }]);
        self.submit_one(Operation::SetBounds, body, AccountChangeStatus::from_number).await
    }

    /// Changes the least balance of an account, the greatest, or both, in minor units. `None` leaves a limit
    /// unchanged; `i128::MIN` and `i128::MAX` mean no limit.
    pub async fn change_bounds(
        &self,
        account_id: AccountId,
        minimum: Option<i128>,
        maximum: Option<i128>,
    ) -> Result<Outcome<AccountChangeStatus>, ClientError> {
        let body = Event::write_all(&[ChangeBounds { account_id, minimum, maximum }]);
        self.submit_one(Operation::ChangeBounds, body, AccountChangeStatus::from_number).await
    }

    /// Pauses the expiry of imported pending transfers if the ledger has exactly `movements` movements; with
    /// another number the status is `movements_differ`, and nothing is changed. For an import: during the
    /// pause, imported pending transfers may have a timeout, and an imported post or void may come after that
    /// timeout. Overdue transfers expire when the pause ends: by [`resume_expiry`](Self::resume_expiry), or
    /// by the next transfer event that is not imported, even if it is refused.
    pub async fn pause_expiry(&self, movements: u64) -> Result<Outcome<ExpiryStatus>, ClientError> {
        self.set_expiry(SetExpiry::Paused { movements }).await
    }

    /// Ends the pause of expiry, also one that another client began. Without a pause nothing changes.
    pub async fn resume_expiry(&self) -> Result<Outcome<ExpiryStatus>, ClientError> {
        self.set_expiry(SetExpiry::Runs).await
    }

    async fn set_expiry(&self, change: SetExpiry) -> Result<Outcome<ExpiryStatus>, ClientError> {
        let body = Event::write_all(&[change]);
        self.submit_one(Operation::SetExpiry, body, ExpiryStatus::from_number).await
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
        let message = v1::SubmitRequest { operation: i32::from(operation as u16), records: records.clone() };
        let ids = || operation.ids(&records);
        let answer = self
            .call_write(message, ids, |mut service, request| async move { service.submit(request).await })
            .await?;
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
        let outcome = outcomes(&results_of(&answer, 1)?, from_number)?.pop();
        outcome.ok_or_else(|| ClientError::Protocol { reason: "an answer without a result".to_owned() })
    }

    /// The results of a request, with `exists` for the events of a chain that already exists: see [`settle`].
    async fn settle_accounts(
        &self,
        sent: &[ExtendedAccount],
        is_extended: bool,
        answer: &Submitted,
    ) -> Result<Vec<EventResult>, ClientError> {
        let mut results = results_of(answer, sent.len())?;
        let ids = settle::accounts_to_read(sent, &results);
        if !ids.is_empty() {
            settle::settle_accounts(sent, is_extended, &mut results, &self.lookup_accounts(&ids).await?);
        }
        Ok(results)
    }

    /// Like [`Self::settle_accounts`], for transfers.
    async fn settle_transfers(
        &self,
        sent: &[Transfer],
        answer: &Submitted,
    ) -> Result<Vec<EventResult>, ClientError> {
        let mut results = results_of(answer, sent.len())?;
        let ids = settle::transfers_to_read(sent, &results);
        if !ids.is_empty() {
            let found: Vec<_> = self.lookup_transfers(&ids).await?.iter().map(|view| view.transfer).collect();
            settle::settle_transfers(sent, &mut results, &found);
        }
        Ok(results)
    }
}

/// The single outcome of a typed call, and the server's message on it.
fn explained<Status>(
    reply: &v1::EventsReply,
    from_number: impl Fn(u32) -> Result<Status, UnknownStatus>,
) -> Result<(Outcome<Status>, String), ClientError> {
    let protocol = |reason: String| ClientError::Protocol { reason };
    let [result] = &*reply.results else {
        return Err(protocol("an answer without its one result".to_owned()));
    };
    let status = from_number(result.status).map_err(|error| protocol(error.to_string()))?;
    Ok((Outcome { status, timestamp: bezant_types::Nanos(result.timestamp) }, result.detail.clone()))
}

/// The error of a write whose answer cannot be read: its outcome is not known.
fn unknown(error: &ClientError, answer: &Submitted, ids: impl FnOnce() -> Vec<u128>) -> ClientError {
    ClientError::OutcomeUnknown { ids: ids(), attempts: answer.attempts, reason: error.to_string() }
}

/// The error of a call of which earlier requests answered the first `answered` events. Those events may
/// exist, whatever the error of the later request is, and their outcomes are lost with the error.
fn of_call(error: ClientError, answered: usize, ids: impl FnOnce() -> Vec<u128>) -> ClientError {
    if answered == 0 {
        return error;
    }
    let (attempts, reason) = match error {
        ClientError::OutcomeUnknown { attempts, reason, .. }
        | ClientError::DeadlineExceeded { attempts, reason } => (attempts, reason),
        error => (1, error.to_string()),
    };
    let reason = format!("the first {answered} events were answered, and then: {reason}");
    ClientError::OutcomeUnknown { ids: ids(), attempts, reason }
}

fn account_ids(events: &[ExtendedAccount]) -> Vec<u128> {
    events.iter().map(|event| event.account.id.0).collect()
}

fn transfer_ids(events: &[Transfer]) -> Vec<u128> {
    events.iter().map(|event| event.id.0).collect()
}

/// Limit of the events in a request of that operation: at most 8,189 events and at most 1 MiB.
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
fn results_of(answer: &Submitted, count: usize) -> Result<Vec<EventResult>, ClientError> {
    let protocol = |reason: String| ClientError::Protocol { reason };
    let results = records::<RESULT_SIZE>(&answer.results).map_err(|error| protocol(error.to_string()))?;
    if results.len() != count {
        return Err(protocol(format!("{} results for {count} events", results.len())));
    }
    Ok(results.iter().map(result_from_bytes).collect())
}

fn outcomes<Status>(
    results: &[EventResult],
    from_number: impl Fn(u32) -> Result<Status, UnknownStatus>,
) -> Result<Vec<Outcome<Status>>, ClientError> {
    let outcome = |EventResult { timestamp, status }: &EventResult| {
        let status = from_number(*status);
        status
            .map(|status| Outcome { status, timestamp: *timestamp })
            .map_err(|error| ClientError::Protocol { reason: error.to_string() })
    };
    results.iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bezant_types::Nanos;

    #[test]
    fn a_request_holds_the_greatest_number_of_events() {
        assert_eq!(events_max(Operation::CreateTransfers), 8189);
        assert_eq!(events_max(Operation::CreateTransfersExtended), 6553);
        assert_eq!(events_max(Operation::CreateAccountsExtended), 4096);
    }

    #[test]
    fn results_are_read_and_counted() {
        let created = EventResult { timestamp: Nanos(7), status: u32::MAX };
        let results = Bytes::copy_from_slice(&bezant_codec::result_to_bytes(created));
        let answer = Submitted { log_index: 1, results, attempts: 1 };
        let results = results_of(&answer, 1).unwrap();
        let outcomes = outcomes(&results, CreateTransferStatus::from_number).unwrap();
        assert_eq!(outcomes, [Outcome { status: CreateTransferStatus::Created, timestamp: Nanos(7) }]);
        assert!(results_of(&answer, 2).is_err(), "a result is missing");
    }

    #[test]
    fn a_long_name_is_refused_before_it_is_sent() {
        assert!(matches!(name_bytes(&"x".repeat(65)), Err(ClientError::NameTooLong { .. })));
        assert!(name_bytes(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn a_failure_after_the_first_request_leaves_all_outcomes_unknown() {
        let errors = || {
            let reason = || "no answer".to_owned();
            [
                ClientError::Unreachable { addresses: "a".to_owned(), reason: reason() },
                ClientError::DeadlineExceeded { attempts: 3, reason: reason() },
                ClientError::Invalid { reason: reason() },
                ClientError::OutcomeUnknown { ids: vec![3], attempts: 2, reason: reason() },
            ]
        };
        for error in errors() {
            let error = of_call(error, 2, || vec![1, 2, 3]);
            assert_eq!(error.unknown_ids(), [1, 2, 3], "{error}");
            assert!(error.to_string().contains("the first 2 events were answered, and then: "), "{error}");
            assert!(!error.to_string().contains("nothing was changed"), "{error}");
        }
        for error in errors() {
            let before = error.to_string();
            let error = of_call(error, 0, || unreachable!("no request was answered"));
            assert_eq!(error.to_string(), before);
        }
    }
}
