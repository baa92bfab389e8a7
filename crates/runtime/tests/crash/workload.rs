//! The client's commands, and the answers that it received.

use std::collections::BTreeMap;

use bezant_codec::result_from_bytes;
use bezant_ledger::{Event, ExtendedAccount, Operation, SetBounds, ToCommand, name_to_bytes};
use bezant_rsm::Command;
use bezant_types::{
    Account, AccountFlags, AccountId, Bounds, CreateTransferStatus as Status, EventResult, LedgerNumber,
    Transfer, TransferFlags, TransferId,
};
use bytes::Bytes;

use crate::rig::{Failure, Rig};

pub(crate) const ACCOUNTS: u128 = 6;

/// One step of the client.
#[derive(Clone, Debug)]
enum Step {
    /// Commands that arrive together.
    Commands(Vec<Command>),
    /// A wait in seconds.
    Wait(u64),
}

pub(crate) struct Workload {
    steps: Vec<Step>,
    /// The first step without an answer.
    next: usize,
    /// Transfers as they were sent.
    pub(crate) sent: BTreeMap<TransferId, Transfer>,
    /// The first answer that the client received.
    pub(crate) answered: BTreeMap<TransferId, EventResult>,
    random: u64,
    next_id: u128,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        let mut workload = Self {
            steps: Vec::new(),
            next: 0,
            sent: BTreeMap::new(),
            answered: BTreeMap::new(),
            random: seed * 0x9e37_79b9 + 1,
            next_id: 1,
        };
        workload.steps.push(Step::Commands(vec![Self::accounts()]));
        for round in 0..12 {
            workload.add_round(round);
        }
        workload
    }

    /// Continues from the first step without an answer.
    pub(crate) fn run(&mut self, rig: &mut Rig) -> Result<(), Failure> {
        while let Some(step) = self.steps.get(self.next).cloned() {
            match step {
                Step::Commands(commands) => {
                    let results = rig.submit(&commands)?;
                    commands.iter().zip(results).for_each(|(command, results)| self.note(command, &results));
                }
                Step::Wait(seconds) => rig.wait(seconds)?,
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Sends everything again: every answer stays the same, and no balance changes.
    pub(crate) fn retry_all(&mut self, rig: &mut Rig, place: &str) {
        for step in &self.steps {
            let Step::Commands(commands) = step else { continue };
            let results = rig.submit(commands).expect("the disk is sound");
            let mut follows_link = false;
            for (transfer, result) in transfers(commands, &results) {
                let Some(answered) = self.answered.get(&transfer.id).copied() else { continue };
                let follows_existing =
                    std::mem::replace(&mut follows_link, transfer.flags.contains(TransferFlags::LINKED));
                if follows_existing && status(answered) == Status::Created {
                    // The first of the chain exists, which breaks the chain.
                    assert_eq!(status(result), Status::LinkedEventFailed, "{place}: {:?}", transfer.id);
                    continue;
                }
                let expected = match status(answered) {
                    Status::Created | Status::Exists => Status::Exists,
                    refused if refused.uses_up_id() || refused == Status::IdAlreadyFailed => {
                        Status::IdAlreadyFailed
                    }
                    refused => refused,
                };
                assert_eq!(
                    status(result),
                    expected,
                    "{place}: retry of {:?}, answered {answered:?}",
                    transfer.id
                );
                if expected == Status::Exists {
                    assert_eq!(result.timestamp, answered.timestamp, "{place}: {:?}", transfer.id);
                }
            }
        }
    }

    fn note(&mut self, command: &Command, results: &Bytes) {
        let mut links_existing = false;
        for (transfer, result) in transfers(std::slice::from_ref(command), std::slice::from_ref(results)) {
            let links_to_existing = std::mem::replace(
                &mut links_existing,
                transfer.flags.contains(TransferFlags::LINKED) && status(result) == Status::Exists,
            );
            // When a chain that exists is retried, the first result is `exists`, and the others tell nothing
            // new.
            if !(links_to_existing && status(result) == Status::LinkedEventFailed) {
                self.answered.entry(transfer.id).or_insert(result);
            }
        }
    }

    fn accounts() -> Command {
        let accounts: Vec<ExtendedAccount> = (1..=ACCOUNTS)
            .map(|id| ExtendedAccount {
                account: Account {
                    id: AccountId(id),
                    ledger: LedgerNumber(1),
                    code: 1,
                    // The last account has a limit, so that transfers are refused.
                    flags: if id == ACCOUNTS {
                        AccountFlags::DEBITS_MUST_NOT_EXCEED_CREDITS
                    } else {
                        AccountFlags::NONE
                    },
                    ..Account::default()
                },
                bounds: Bounds::NONE,
                name: name_to_bytes(&format!("account {id}")).expect("short"),
            })
            .collect();
        Operation::CreateAccountsExtended.command(Event::write_all(&accounts)).expect("well formed")
    }

    fn add_round(&mut self, round: u64) {
        let singles: Vec<Transfer> = (0..40).map(|_| self.transfer(TransferFlags::NONE)).collect();
        let chain = vec![self.transfer(TransferFlags::LINKED), self.transfer(TransferFlags::NONE)];
        let mut broken = vec![self.transfer(TransferFlags::LINKED), self.transfer(TransferFlags::NONE)];
        broken[1].debit_account_id = AccountId(99);
        self.sent.insert(broken[1].id, broken[1]);
        let mut pending: Vec<Transfer> = (0..4).map(|_| self.transfer(TransferFlags::PENDING)).collect();
        pending[2].timeout_seconds = 5;
        pending[3].timeout_seconds = 500;
        let resolve = vec![
            self.resolution(TransferFlags::POST_PENDING, pending[0].id),
            self.resolution(TransferFlags::VOID_PENDING, pending[1].id),
        ];
        self.sent.extend(pending.iter().map(|transfer| (transfer.id, *transfer)));
        let mut beyond = self.transfer(TransferFlags::NONE);
        beyond.debit_account_id = AccountId(ACCOUNTS);
        beyond.credit_account_id = AccountId(1);
        beyond.amount = 1 << 100;
        self.sent.insert(beyond.id, beyond);
        let bounds = SetBounds {
            account_id: AccountId(1),
            bounds: Bounds { minimum: -(i128::from(round) + 1) * 1_000_000, maximum: i128::MAX },
        };
        let bounds = Operation::SetBounds.command(Event::write_all(&[bounds])).expect("well formed");
        // Commands of one step are merged into one entry.
        self.steps.push(Step::Commands(vec![create(&singles), create(&chain), create(&broken), bounds]));
        self.steps.push(Step::Commands(vec![create(&pending)]));
        self.steps.push(Step::Commands(vec![create(&resolve), create(&[beyond])]));
        self.steps.push(Step::Wait(10));
        let late = self.resolution(TransferFlags::POST_PENDING, pending[2].id);
        self.steps.push(Step::Commands(vec![create(&[late])]));
    }

    fn transfer(&mut self, flags: TransferFlags) -> Transfer {
        let debit = self.next_random() % (ACCOUNTS - 1);
        let credit = (debit + 1 + self.next_random() % (ACCOUNTS - 2)) % (ACCOUNTS - 1);
        // Half of the ids grow, half are scattered.
        let id = if self.next_id.is_multiple_of(2) {
            self.next_id
        } else {
            self.next_random() << 64 | self.next_id
        };
        self.next_id += 1;
        let transfer = Transfer {
            id: TransferId(id),
            debit_account_id: AccountId(debit + 1),
            credit_account_id: AccountId(credit + 1),
            amount: 1 + self.next_random() % 100,
            ledger: LedgerNumber(1),
            code: 1,
            flags,
            ..Transfer::default()
        };
        self.sent.insert(transfer.id, transfer);
        transfer
    }

    fn resolution(&mut self, flags: TransferFlags, pending_id: TransferId) -> Transfer {
        let id = TransferId(self.next_id);
        self.next_id += 1;
        let amount = if flags.contains(TransferFlags::POST_PENDING) { u128::MAX } else { 0 };
        let transfer = Transfer { id, pending_id, amount, flags, ..Transfer::default() };
        self.sent.insert(id, transfer);
        transfer
    }

    fn next_random(&mut self) -> u128 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u128::from(self.random)
    }
}

pub(crate) fn status(result: EventResult) -> Status {
    Status::from_number(result.status).expect("a known status")
}

fn create(transfers: &[Transfer]) -> Command {
    Operation::CreateTransfers.command(Event::write_all(transfers)).expect("well formed")
}

/// Transfers and their results.
fn transfers(commands: &[Command], results: &[Bytes]) -> Vec<(Transfer, EventResult)> {
    commands
        .iter()
        .zip(results)
        .filter(|(command, _)| command.operation == Operation::CreateTransfers as u16)
        .flat_map(|(command, results)| {
            let records = command.body.as_chunks::<128>().0.iter().map(bezant_codec::transfer_from_bytes);
            records.zip(results.as_chunks::<16>().0.iter().map(result_from_bytes)).collect::<Vec<_>>()
        })
        .collect()
}
