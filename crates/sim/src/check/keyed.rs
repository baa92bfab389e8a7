//! Keys: a key belongs to one request. A retry gets the outcome of the first attempt, and a different request
//! with the key has no effect.

use std::collections::{BTreeMap, BTreeSet};

use bezant_codec::{Reader, result_from_bytes};
use bezant_ledger::Operation;
use bezant_rsm::Command;
use bezant_types::{CreateTransferStatus as Status, LogIndex, Nanos, TransferId};
use bytes::Bytes;

use super::once::transfers_of;

/// The head of a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// The same for all requests with a key.
    guard: TransferId,
    /// Different for every request.
    witness: TransferId,
    pub(super) operation: Operation,
}

impl Marks {
    /// The marks of a command; `None` if it has no key, or is a single transfer, whose id stands for the key.
    pub(super) fn of(command: &Command) -> Option<Self> {
        if command.operation != Operation::CreateKeyed as u16 {
            return None;
        }
        let mut reader = Reader::new(&command.body);
        let (guard, witness) = (TransferId(reader.u128().ok()?), TransferId(reader.u128().ok()?));
        let operation = Operation::from_number(reader.u16().ok()?)?;
        Some(Self { guard, witness, operation })
    }
}

/// The keys in the log so far.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// For each guard, the witness of the request that used the key first.
    requests: BTreeMap<TransferId, TransferId>,
    /// Ids of transfers without marks. The id of a single transfer with a key is the key's guard.
    tried: BTreeSet<TransferId>,
}

/// Checks a command with its results; `place` is its entry, and the timestamp of its last event.
pub(super) fn one_request_a_key(
    keys: &mut Keys,
    place: (LogIndex, Nanos),
    command: &Command,
    results: &Bytes,
) -> Result<(), String> {
    let is_created = |result: &[u8; 16]| result_from_bytes(result).status == Status::Created.number();
    let Some(Marks { guard, witness, .. }) = Marks::of(command) else {
        let Some((transfers, results)) = transfers_of(place, command, results) else { return Ok(()) };
        for (transfer, result) in transfers.iter().zip(results.as_chunks::<16>().0) {
            keys.tried.insert(transfer.id);
            if is_created(result) && keys.requests.contains_key(&transfer.id) {
                return Err(format!(
                    "transfer {} was created, but its id is a key that was used",
                    transfer.id
                ));
            }
        }
        return Ok(());
    };
    let is_done = !results.is_empty();
    match keys.requests.get(&guard) {
        None if is_done => {
            keys.requests.insert(guard, witness);
            Ok(())
        }
        None if keys.tried.contains(&guard) => Ok(()),
        None => Err(format!("key {guard} was refused, but no request had used it")),
        Some(first) if *first == witness && !is_done => Err(format!("a retry with key {guard} was refused")),
        Some(first) if *first == witness && results.as_chunks::<16>().0.iter().any(is_created) => {
            Err(format!("a retry with key {guard} had another effect"))
        }
        Some(first) if *first != witness && is_done => {
            Err(format!("two requests with key {guard} had an effect"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bezant_codec::result_to_bytes;
    use bezant_ledger::{Event, KeyedHead, ToCommand as _, ToKeyedCommand as _};
    use bezant_types::{EventResult, Transfer};

    use super::*;

    const PLACE: (LogIndex, Nanos) = (LogIndex(1), Nanos(9));

    fn transfers(count: usize) -> Bytes {
        Event::write_all(&vec![Transfer { id: TransferId(70), ..Transfer::default() }; count])
    }

    /// A request with that key and that content.
    fn keyed(guard: u128, witness: u128) -> Command {
        let (guard, witness) = (TransferId(guard), TransferId(witness));
        let head = KeyedHead { guard, witness, operation: Operation::CreateTransfers };
        head.command(&transfers(2)).unwrap()
    }

    /// A transfer without marks.
    fn single(id: u128) -> Command {
        let transfer = Transfer { id: TransferId(id), ..Transfer::default() };
        Operation::CreateTransfers.command(Event::write_all(&[transfer])).unwrap()
    }

    fn results(statuses: &[Status]) -> Bytes {
        let result = |status: &Status| EventResult { timestamp: Nanos(5), status: status.number() };
        statuses.iter().flat_map(|status| result_to_bytes(result(status))).collect()
    }

    /// The verdict on the last of these commands; the others pass.
    fn verdict(log: &[(Command, &[Status])]) -> Result<(), String> {
        let mut keys = Keys::default();
        let (last, before) = log.split_last().unwrap();
        let mut note = |(command, statuses): &(Command, &[Status])| {
            one_request_a_key(&mut keys, PLACE, command, &results(statuses))
        };
        before.iter().for_each(|one| note(one).unwrap());
        note(last)
    }

    #[test]
    fn a_key_that_is_used_twice_has_one_effect() {
        const DONE: &[Status] = &[Status::Created; 2];
        const FOUND: &[Status] = &[Status::Exists; 2];
        const NOTHING: &[Status] = &[];
        let first = (keyed(7, 1), DONE);
        assert_eq!(verdict(&[first.clone(), (keyed(7, 1), FOUND)]), Ok(()), "a retry");
        assert_eq!(verdict(&[first.clone(), (keyed(7, 2), NOTHING)]), Ok(()), "another request");
        assert_eq!(verdict(&[first.clone(), (keyed(8, 2), DONE)]), Ok(()), "another key");
        assert_eq!(verdict(&[(single(7), &DONE[..1]), (keyed(7, 2), NOTHING)]), Ok(()), "it has the key");
        assert_eq!(verdict(&[first.clone(), (single(7), &[Status::IdAlreadyFailed])]), Ok(()));
        for (last, what) in [
            ((keyed(7, 2), DONE), "two requests with key 7"),
            ((keyed(7, 2), FOUND), "two requests with key 7"),
            ((keyed(7, 1), &[Status::Exists, Status::Created][..]), "had another effect"),
            ((keyed(7, 1), NOTHING), "a retry with key 7 was refused"),
            ((keyed(9, 1), NOTHING), "no request had used it"),
            ((single(7), &DONE[..1]), "a key that was used"),
        ] {
            let verdict = verdict(&[first.clone(), last]);
            assert!(verdict.as_ref().is_err_and(|reason| reason.contains(what)), "{what}: {verdict:?}");
        }
    }
}
