//! Exactly once: an id has one outcome, whatever retries, changes of node, elections and restores happen.

use std::collections::BTreeMap;

use bezant_codec::{Reader, result_from_bytes, transfer_from_bytes};
use bezant_ledger::{
    Creates, KEYED_HEAD_SIZE, Operation, SESSION_ANSWER_SIZE, SESSION_HEAD_SIZE, SessionAnswer,
    SessionOutcome,
};
use bezant_rsm::Command;
use bezant_types::{CreateTransferStatus as Status, LogIndex, Nanos, Transfer, TransferId};
use bytes::Bytes;

use super::keyed::Marks;

/// When each created id was created, over the whole log.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    created: BTreeMap<TransferId, u64>,
}

/// The transfers of a command, and the bytes of their results. `None` for a command without transfers, and
/// for a retry within a session, which gets the reply of the first attempt. `place` is the entry, and the
/// timestamp of the command's last event.
pub(super) fn transfers_of<'results>(
    place: (LogIndex, Nanos),
    command: &Command,
    results: &'results Bytes,
) -> Option<(Vec<Transfer>, &'results [u8])> {
    let (operation, head, answer) = match Operation::from_number(command.operation)? {
        operation if operation.creates() == Some(Creates::Transfers) => (operation, 0, 0),
        Operation::SessionCreate => (Operation::CreateTransfers, SESSION_HEAD_SIZE, SESSION_ANSWER_SIZE),
        // A different request with a used key has no results.
        Operation::CreateKeyed if is_of_transfers(command) && !results.is_empty() => {
            (Operation::CreateTransfers, KEYED_HEAD_SIZE, 0)
        }
        _ => return None,
    };
    if answer > 0 {
        let answer = SessionAnswer::from_reader(&mut Reader::new(results)).ok()?;
        if answer.outcome != SessionOutcome::Reply || (answer.index, answer.time) != place {
            return None;
        }
    }
    let events = operation.events(command.body.get(head..)?);
    let transfers = events.filter_map(|event| event.first_chunk()).map(transfer_from_bytes).collect();
    Some((transfers, results.get(answer..)?))
}

/// True for a request with a key that has plain transfers.
fn is_of_transfers(command: &Command) -> bool {
    Marks::of(command).is_some_and(|marks| marks.operation == Operation::CreateTransfers)
}

/// Checks a command with its results; `place` is its entry, and the timestamp of its last event.
pub(crate) fn one_outcome_an_id(
    outcomes: &mut Outcomes,
    place: (LogIndex, Nanos),
    command: &Command,
    results: &Bytes,
) -> Result<(), String> {
    let Some((transfers, results)) = transfers_of(place, command, results) else { return Ok(()) };
    for (transfer, result) in transfers.iter().zip(results.as_chunks::<16>().0) {
        let result = result_from_bytes(result);
        let id = transfer.id;
        if result.status == Status::Created.number() {
            if let Some(first) = outcomes.created.insert(id, result.timestamp.0) {
                return Err(format!("transfer {id} was created twice, at {first} and {}", result.timestamp));
            }
        } else if result.status == Status::Exists.number()
            && outcomes.created.get(&id) != Some(&result.timestamp.0)
        {
            return Err(format!(
                "transfer {id} got the result that it exists since {}, but it does not",
                result.timestamp
            ));
        }
    }
    Ok(())
}
