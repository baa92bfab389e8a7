//! Exactly once: one id has one outcome, whatever is retried, re-routed, re-elected or restored.

use std::collections::BTreeMap;

use bezant_codec::{result_from_bytes, transfer_from_bytes};
use bezant_ledger::Operation;
use bezant_rsm::Command;
use bezant_types::{CreateTransferStatus as Status, TransferId};
use bytes::Bytes;

/// Outcomes by id, over the whole log.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    created: BTreeMap<TransferId, u64>,
}

/// Notes what the log says of a command.
pub(crate) fn one_outcome_an_id(
    outcomes: &mut Outcomes,
    command: &Command,
    results: &Bytes,
) -> Result<(), String> {
    if command.operation != Operation::CreateTransfers as u16 {
        return Ok(());
    }
    let transfers = command.body.as_chunks::<128>().0.iter().map(transfer_from_bytes);
    for (transfer, result) in transfers.zip(results.as_chunks::<16>().0) {
        let result = result_from_bytes(result);
        let id = transfer.id;
        if result.status == Status::Created.number() {
            if let Some(first) = outcomes.created.insert(id, result.timestamp.0) {
                return Err(format!("transfer {id} was created twice, at {first} and {}", result.timestamp));
            }
        } else if result.status == Status::Exists.number()
            && outcomes.created.get(&id) != Some(&result.timestamp.0)
        {
            return Err(format!("transfer {id} is said to exist since {}, and does not", result.timestamp));
        }
    }
    Ok(())
}
