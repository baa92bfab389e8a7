//! Bounds: a change of one bound leaves the other one, every account has the bounds that it was given last,
//! and no transfer moves a balance beyond the bounds of that moment.

use std::collections::BTreeMap;

use bezant_codec::{Reader, result_from_bytes};
use bezant_ledger::{
    ChangeBounds, Event, ExtendedAccount, LedgerAnswer, LedgerQuery, Operation, SetBounds, TaggedAccount,
};
use bezant_rsm::{Command, StateMachine};
use bezant_types::{
    AccountId, Balances, Bounds, CreateTransferStatus as Status, LogIndex, Movement, MovementKind, Nanos,
};
use bytes::Bytes;

use super::once::transfers_of;

/// The bounds of all accounts that ever had any.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeMap<AccountId, Bounds>);

/// How these balances violate the bounds; `None` if they do not.
fn breach(bounds: Bounds, balances: &Balances, is_debit: bool) -> Option<&'static str> {
    let sum = |posted: u128, reserved: u128| i128::try_from(posted + reserved).unwrap_or(i128::MAX);
    if is_debit {
        let least = sum(balances.credits_posted, 0) - sum(balances.debits_posted, balances.debits_pending);
        (least < bounds.minimum).then_some("below its minimum")
    } else {
        let most = sum(balances.credits_posted, balances.credits_pending) - sum(balances.debits_posted, 0);
        (most > bounds.maximum).then_some("above its maximum")
    }
}

/// The events of a command that succeeded.
fn done<E: Event>(command: &Command, results: &[u8]) -> Vec<E> {
    let mut reader = Reader::new(&command.body);
    let events = results.as_chunks::<16>().0.iter().map_while(|result| {
        let is_done = result_from_bytes(result).status == Status::Created.number();
        E::from_reader(&mut reader).ok().map(|event| is_done.then_some(event))
    });
    events.flatten().collect()
}

impl Limits {
    fn of(&self, account: AccountId) -> Bounds {
        self.0.get(&account).copied().unwrap_or(Bounds::NONE)
    }

    /// Handles a command with its results. `place` is its entry, and the timestamp of its last event.
    /// `movements` are all movements of the entry.
    pub(super) fn handle(
        &mut self,
        place: (LogIndex, Nanos),
        command: &Command,
        results: &Bytes,
        movements: &[Movement],
    ) -> Result<(), String> {
        match Operation::from_number(command.operation) {
            Some(Operation::CreateAccountsExtended) => {
                for ExtendedAccount { account, bounds, .. } in done(command, results) {
                    self.0.insert(account.id, bounds);
                }
            }
            Some(Operation::CreateAccountsTagged) => {
                for TaggedAccount(ExtendedAccount { account, bounds, .. }) in done(command, results) {
                    self.0.insert(account.id, bounds);
                }
            }
            Some(Operation::SetBounds) => {
                for SetBounds { account_id, bounds } in done(command, results) {
                    self.0.insert(account_id, bounds);
                }
            }
            Some(Operation::ChangeBounds) => {
                for ChangeBounds { account_id, minimum, maximum } in done(command, results) {
                    let before = self.of(account_id);
                    let (minimum, maximum) =
                        (minimum.unwrap_or(before.minimum), maximum.unwrap_or(before.maximum));
                    self.0.insert(account_id, Bounds { minimum, maximum });
                }
            }
            _ => self.check_transfers(place, command, results, movements)?,
        }
        Ok(())
    }

    /// Checks that transfers which move or reserve money keep the bounds. Posts are not checked: they move
    /// money that was reserved within earlier bounds.
    fn check_transfers(
        &self,
        place: (LogIndex, Nanos),
        command: &Command,
        results: &Bytes,
        movements: &[Movement],
    ) -> Result<(), String> {
        let Some((transfers, results)) = transfers_of(place, command, results) else { return Ok(()) };
        for (transfer, result) in transfers.iter().zip(results.as_chunks::<16>().0) {
            if result_from_bytes(result).status != Status::Created.number() {
                continue;
            }
            let is_of_it = |movement: &&Movement| {
                movement.transfer.id == transfer.id && movement.kind != MovementKind::Expired
            };
            let Some(movement) = movements.iter().find(is_of_it) else {
                return Err(format!("transfer {} was created, but no movement shows it", transfer.id));
            };
            if !matches!(movement.kind, MovementKind::SinglePhase | MovementKind::Pending) {
                continue;
            }
            let Movement { transfer, debit, credit, .. } = movement;
            for (account, balances, is_debit) in
                [(transfer.debit_account_id, debit, true), (transfer.credit_account_id, credit, false)]
            {
                if let Some(what) = breach(self.of(account), balances, is_debit) {
                    return Err(format!("transfer {} left account {account} {what}", transfer.id));
                }
            }
        }
        Ok(())
    }

    /// Checks the accounts' bounds after an entry.
    pub(super) fn check_accounts(&self, ledger: &bezant_ledger::Ledger) -> Result<(), String> {
        let query = LedgerQuery::Accounts(self.0.keys().copied().collect());
        let LedgerAnswer::Accounts(views) = ledger.query(query) else {
            return Err("a query of accounts had another answer".to_owned());
        };
        if views.len() != self.0.len() {
            return Err("an account with bounds does not exist".to_owned());
        }
        match views.iter().find(|view| view.bounds != self.of(view.account.id)) {
            Some(view) => Err(format!("account {} has other bounds than it was given", view.account.id)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bezant_codec::result_to_bytes;
    use bezant_ledger::ToCommand as _;
    use bezant_types::{EventResult, Transfer, TransferId};

    use super::*;

    const PLACE: (LogIndex, Nanos) = (LogIndex(1), Nanos(9));

    fn results(is_done: bool) -> Bytes {
        let status = if is_done { Status::Created } else { Status::ExceedsCredits };
        Bytes::copy_from_slice(&result_to_bytes(EventResult { timestamp: Nanos(5), status: status.number() }))
    }

    fn change(minimum: Option<i128>, maximum: Option<i128>) -> Command {
        let change = ChangeBounds { account_id: AccountId(1), minimum, maximum };
        Operation::ChangeBounds.command(Event::write_all(&[change])).unwrap()
    }

    /// The verdict on a payment after which account 1 has these debits and account 2 these credits.
    fn pay(limits: &mut Limits, debits: u128, credits: u128) -> Result<(), String> {
        let transfer = Transfer {
            id: TransferId(7),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            ..Transfer::default()
        };
        let mut movement = bezant_codec::movement_from_bytes(&[0; bezant_codec::MOVEMENT_SIZE])
            .expect("zeros are a movement");
        movement.transfer = transfer;
        movement.debit.debits_posted = debits;
        movement.credit.credits_pending = credits;
        let command = Operation::CreateTransfers.command(Event::write_all(&[transfer])).unwrap();
        limits.handle(PLACE, &command, &results(true), &[movement])
    }

    #[test]
    fn a_change_of_one_bound_leaves_the_other() {
        let mut limits = Limits::default();
        let set = |limits: &mut Limits, minimum, maximum, is_done| {
            limits.handle(PLACE, &change(minimum, maximum), &results(is_done), &[]).unwrap();
        };
        assert_eq!(pay(&mut limits, 900, 900), Ok(()), "no bounds");
        set(&mut limits, Some(-50), None, true);
        set(&mut limits, None, Some(70), true);
        set(&mut limits, Some(0), None, false);
        assert_eq!(limits.of(AccountId(1)), Bounds { minimum: -50, maximum: 70 });
        assert_eq!(pay(&mut limits, 50, 900), Ok(()));
        assert!(pay(&mut limits, 51, 0).unwrap_err().contains("left account 1 below its minimum"));
        let bounds = Bounds { minimum: 0, maximum: 30 };
        let change = SetBounds { account_id: AccountId(2), bounds };
        let command = Operation::SetBounds.command(Event::write_all(&[change])).unwrap();
        limits.handle(PLACE, &command, &results(true), &[]).unwrap();
        assert_eq!(pay(&mut limits, 50, 30), Ok(()));
        assert!(pay(&mut limits, 50, 31).unwrap_err().contains("left account 2 above its maximum"));
        let unseen = Operation::CreateTransfers.command(Event::write_all(&[Transfer::default()])).unwrap();
        assert!(limits.handle(PLACE, &unseen, &results(true), &[]).is_err());
    }
}
