//! Reports a linked chain that is sent again as existing.
//!
//! The ledger processes a chain up to its first event that is not created. So a chain that exists already
//! returns `exists` for its first event and `linked_event_failed` for all others. That looks like a refusal:
//! a client that treats it as one pays twice. Where every event of such a chain is recorded exactly as it was
//! sent, each event gets `exists` with its first timestamp. In every other case the results stay as they are:
//! the request created no event of the chain, and the ledger's results show which event failed.
//!
//! Used wherever results are typed: REST, gRPC and the client. The results of the fast path and of
//! TigerBeetle's protocol are the ledger's own. Pure; the caller reads the records.

use std::collections::HashMap;
use std::ops::Range;

use bezant_types::{
    AccountFlags, AccountId, AccountView, CreateAccountStatus, CreateTransferStatus, EventResult, Transfer,
    TransferFlags, TransferId,
};
use bezant_types::{ExtendedAccount, compare_accounts, compare_transfers};

/// The chains of two or more events among `count` events; `is_linked` is true for an event that is linked to
/// the next.
fn chains(count: usize, is_linked: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut chains = Vec::new();
    let mut begin = 0;
    for index in 0..count {
        if !is_linked(index) || index + 1 == count {
            if index > begin {
                chains.push(begin..index + 1);
            }
            begin = index + 1;
        }
    }
    chains
}

/// The chains whose results are those of a chain that exists already.
fn candidates(
    results: &[EventResult],
    [exists, failed]: [u32; 2],
    is_linked: impl Fn(usize) -> bool,
) -> Vec<Range<usize>> {
    let mut chains = chains(results.len(), is_linked);
    chains.retain(|chain| match &results[chain.clone()] {
        [first, others @ ..] => first.status == exists && others.iter().all(|other| other.status == failed),
        [] => false,
    });
    chains
}

fn transfer_chains(sent: &[Transfer], results: &[EventResult]) -> Vec<Range<usize>> {
    let numbers = [CreateTransferStatus::Exists.number(), CreateTransferStatus::LinkedEventFailed.number()];
    candidates(results, numbers, |at| {
        sent.get(at).is_some_and(|transfer| transfer.flags.contains(TransferFlags::LINKED))
    })
}

fn account_chains(sent: &[ExtendedAccount], results: &[EventResult]) -> Vec<Range<usize>> {
    let numbers = [CreateAccountStatus::Exists.number(), CreateAccountStatus::LinkedEventFailed.number()];
    candidates(results, numbers, |at| {
        sent.get(at).is_some_and(|event| event.account.flags.contains(AccountFlags::LINKED))
    })
}

/// The transfers that [`settle_transfers`] needs; none for nearly all requests.
pub fn transfers_to_read(sent: &[Transfer], results: &[EventResult]) -> Vec<TransferId> {
    let chains = transfer_chains(sent, results);
    let events = chains.into_iter().flat_map(|chain| &sent[chain]);
    let mut ids: Vec<_> =
        events.flat_map(|event| [event.id, event.pending_id]).filter(|id| id.0 != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Sets the results of a chain to `exists` where it was recorded before exactly as it was sent. `found` are
/// the transfers of [`transfers_to_read`] that exist.
pub fn settle_transfers(sent: &[Transfer], results: &mut [EventResult], found: &[Transfer]) {
    let found: HashMap<TransferId, &Transfer> = found.iter().map(|it| (it.id, it)).collect();
    let recorded = |event: &Transfer| {
        let existing = found.get(&event.id)?;
        if event.pending_id.0 != 0 && !found.contains_key(&event.pending_id) {
            return None;
        }
        let pending = |id| found.get(&id).map_or_else(Transfer::default, |pending| **pending);
        let status = compare_transfers(event, existing, pending);
        (status == CreateTransferStatus::Exists).then_some(existing.timestamp)
    };
    for chain in transfer_chains(sent, results) {
        let times: Option<Vec<_>> = sent[chain.clone()].iter().map(recorded).collect();
        for (result, timestamp) in results[chain].iter_mut().zip(times.unwrap_or_default()) {
            *result = EventResult { timestamp, status: CreateTransferStatus::Exists.number() };
        }
    }
}

/// The accounts that [`settle_accounts`] needs; none for nearly all requests.
pub fn accounts_to_read(sent: &[ExtendedAccount], results: &[EventResult]) -> Vec<AccountId> {
    let chains = account_chains(sent, results);
    chains.into_iter().flat_map(|chain| &sent[chain]).map(|event| event.account.id).collect()
}

/// The same as [`settle_transfers`], for accounts. `is_extended`: the request carried bounds and names.
pub fn settle_accounts(
    sent: &[ExtendedAccount],
    is_extended: bool,
    results: &mut [EventResult],
    found: &[AccountView],
) {
    let found: HashMap<AccountId, &AccountView> = found.iter().map(|it| (it.account.id, it)).collect();
    let recorded = |event: &ExtendedAccount| {
        let existing = found.get(&event.account.id)?;
        let status = compare_accounts(event, is_extended, existing);
        (status == CreateAccountStatus::Exists).then_some(existing.account.timestamp)
    };
    for chain in account_chains(sent, results) {
        let times: Option<Vec<_>> = sent[chain.clone()].iter().map(recorded).collect();
        for (result, timestamp) in results[chain].iter_mut().zip(times.unwrap_or_default()) {
            *result = EventResult { timestamp, status: CreateAccountStatus::Exists.number() };
        }
    }
}

#[cfg(test)]
mod tests {
    use bezant_types::Nanos;

    use super::*;

    const EXISTS: u32 = CreateTransferStatus::Exists.number();
    const FAILED: u32 = CreateTransferStatus::LinkedEventFailed.number();

    fn transfer(id: u128, is_linked: bool) -> Transfer {
        let flags = if is_linked { TransferFlags::LINKED } else { TransferFlags::NONE };
        Transfer { id: TransferId(id), amount: 5, flags, ..Transfer::default() }
    }

    fn results(statuses: &[u32]) -> Vec<EventResult> {
        statuses.iter().map(|status| EventResult { timestamp: Nanos(1), status: *status }).collect()
    }

    fn recorded(sent: &Transfer) -> Transfer {
        Transfer { timestamp: Nanos(100 + u64::try_from(sent.id.0).unwrap()), ..*sent }
    }

    #[test]
    fn chains_are_found() {
        let linked = |flags: &'static [u8]| move |index: usize| flags.get(index) == Some(&1);
        assert_eq!(chains(7, linked(&[0, 1, 0, 1, 1, 0, 0])), vec![1..3, 3..6]);
        assert_eq!(chains(5, linked(&[1, 0, 0, 1, 1])), vec![0..2, 3..5]);
        assert_eq!(chains(2, linked(&[0, 0])), vec![]);
    }

    #[test]
    fn a_chain_that_is_recorded_as_it_was_sent_exists() {
        let sent = [transfer(1, true), transfer(2, false), transfer(3, true), transfer(4, false)];
        let mut answer = results(&[EXISTS, FAILED, u32::MAX, u32::MAX]);
        assert_eq!(transfers_to_read(&sent, &answer), [TransferId(1), TransferId(2)]);
        settle_transfers(&sent, &mut answer, &[recorded(&sent[0]), recorded(&sent[1])]);
        let settled: Vec<_> = answer.iter().map(|result| (result.status, result.timestamp.0)).collect();
        assert_eq!(settled, [(EXISTS, 101), (EXISTS, 102), (u32::MAX, 1), (u32::MAX, 1)]);
    }

    #[test]
    fn a_chain_with_a_missing_or_different_event_stays_refused() {
        let sent = [transfer(1, true), transfer(2, false)];
        let other = Transfer { amount: 6, ..recorded(&sent[1]) };
        for found in [vec![recorded(&sent[0])], vec![recorded(&sent[0]), other]] {
            let mut answer = results(&[EXISTS, FAILED]);
            settle_transfers(&sent, &mut answer, &found);
            assert_eq!(answer, results(&[EXISTS, FAILED]));
        }
        // A chain with an event that fails for another reason never exists.
        for refused in [[FAILED, EXISTS], [EXISTS, 54], [FAILED, 54]] {
            assert!(transfers_to_read(&sent, &results(&refused)).is_empty(), "{refused:?}");
        }
    }

    #[test]
    fn a_post_is_compared_using_its_pending_transfer() {
        let pending = Transfer { user_data_64: 9, flags: TransferFlags::PENDING, ..transfer(7, false) };
        let flags = TransferFlags::POST_PENDING.union(TransferFlags::LINKED);
        let post = Transfer { amount: u128::MAX, pending_id: pending.id, flags, ..transfer(1, true) };
        let sent = [post, transfer(2, false)];
        let found = [
            recorded(&pending),
            Transfer { amount: 5, user_data_64: 9, ..recorded(&post) },
            recorded(&sent[1]),
        ];
        let mut answer = results(&[EXISTS, FAILED]);
        assert!(transfers_to_read(&sent, &answer).contains(&pending.id));
        settle_transfers(&sent, &mut answer, &found[1..]);
        assert_eq!(answer[1].status, FAILED, "a post cannot be compared without its pending transfer");
        settle_transfers(&sent, &mut answer, &found);
        assert_eq!(answer[1].status, EXISTS);
    }

    #[test]
    fn accounts_are_compared_with_name_and_bounds() {
        let sent: Vec<ExtendedAccount> = [(1, AccountFlags::LINKED), (2, AccountFlags::NONE)]
            .into_iter()
            .map(|(id, flags)| ExtendedAccount {
                account: bezant_types::Account { id: AccountId(id), flags, ..Default::default() },
                bounds: bezant_types::Bounds::NONE,
                name: [0; 64],
            })
            .collect();
        let view = |event: &ExtendedAccount| AccountView { account: event.account, ..AccountView::default() };
        let mut found: Vec<_> = sent.iter().map(view).collect();
        let statuses =
            [CreateAccountStatus::Exists.number(), CreateAccountStatus::LinkedEventFailed.number()];
        let mut answer = results(&statuses);
        assert_eq!(accounts_to_read(&sent, &answer), [AccountId(1), AccountId(2)]);
        found[1].name = "other".to_owned();
        settle_accounts(&sent, true, &mut answer, &found);
        assert_eq!(answer, results(&statuses));
        settle_accounts(&sent, false, &mut answer, &found);
        assert!(answer.iter().all(|result| result.status == CreateAccountStatus::Exists.number()));
    }
}
