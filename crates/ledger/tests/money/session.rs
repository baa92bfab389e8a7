//! Sessions: a request is applied once, its retry gets the same bytes, a linked chain ends with its batch,
//! and all of this survives a checkpoint.

use bezant_codec::{Batches, Reader, put_trailer, records, result_from_bytes};
use bezant_ledger::{
    Event, ExtendedAccount, Ledger, LedgerAnswer, LedgerQuery, Operation, SESSION_ANSWER_SIZE, SessionAnswer,
    SessionHead, SessionOutcome, SetExpiry, ToCommand, name_to_bytes,
};
use bezant_rsm::{Command, Context, Entry, SessionRequest, StateMachine};
use bezant_types::limits::{RECORD_SIZE, RESULT_SIZE, SESSIONS_MAX};
use bezant_types::{
    Account, AccountFlags, AccountId, Bounds, ClientId, CreateTransferStatus, EventResult, Fetched,
    LedgerNumber, LogIndex, Nanos, SessionNumber, Transfer, TransferFlags, TransferId,
};
use bytes::Bytes;

use crate::twin::read_checkpoint;

const CREATED: u32 = u32::MAX;

/// A ledger that never needs its history, because ids only grow.
#[derive(Debug, Default)]
struct Bench {
    ledger: Ledger,
    index: u64,
}

impl Bench {
    /// Applies a command in a separate entry. Returns its answer and the number of rows.
    fn apply(&mut self, command: Command) -> (Bytes, usize) {
        self.index += 1;
        let entry = Entry {
            time: Nanos(self.index * 1_000_000),
            commands: vec![command],
            checkpoint: false,
            rules: Ledger::RULES,
        };
        let entry = Entry::decode(&entry.encode()).unwrap();
        let found = Fetched::from(self.ledger.position());
        let mut applied = self.ledger.apply(LogIndex(self.index), &entry, found).unwrap();
        (applied.results.pop().unwrap(), applied.rows.movements.len() + applied.rows.refusals.len())
    }
}

/// A client like the official ones: it numbers its requests and names the previous reply.
#[derive(Clone, Copy, Debug)]
struct Client(SessionHead);

impl Client {
    fn open(bench: &mut Bench, id: u128) -> Self {
        let mut client = Self(SessionHead {
            request: SessionRequest {
                client: ClientId(id),
                release: 17,
                checksum: id,
                ..SessionRequest::default()
            },
            ..SessionHead::default()
        });
        let answer = read(&bench.apply(client.0.open()).0).0;
        assert_eq!(answer.outcome, SessionOutcome::Reply);
        client.0.request.session = SessionNumber(answer.index.0);
        client.0.request.parent = answer.context();
        client
    }

    /// The next request, with those batches.
    fn create(&mut self, operation: Operation, batches: &[&[Vec<u8>]]) -> Command {
        let mut events: Vec<u8> = batches.concat().concat();
        self.0.request.number += 1;
        self.0.request.checksum += 1_000;
        self.0.batches = u16::try_from(batches.len()).unwrap();
        self.0.operation = operation as u16;
        if batches.len() != 1 {
            let sizes: Vec<usize> = batches.iter().map(|batch| batch.len()).collect();
            put_trailer(&mut events, &sizes, RECORD_SIZE);
        }
        SessionHead::create(Bytes::from([&self.0.to_bytes()[..], &events].concat())).unwrap()
    }

    fn set_parent(&mut self, answer: &SessionAnswer) {
        self.0.request.parent = answer.context();
    }
}

fn read(bytes: &[u8]) -> (SessionAnswer, Vec<EventResult>) {
    let mut reader = Reader::new(bytes);
    let answer = SessionAnswer::from_reader(&mut reader).unwrap();
    let batches = Batches::decode(reader.rest(), RESULT_SIZE);
    let results = batches.map_or_else(|_| &[][..], |it| records::<RESULT_SIZE>(it.payload()).unwrap());
    (answer, results.iter().map(result_from_bytes).collect())
}

fn statuses(bytes: &[u8]) -> Vec<u32> {
    read(bytes).1.iter().map(|result| result.status).collect()
}

fn account(id: u128) -> Account {
    Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() }
}

fn transfer(id: u128, amount: u128, flags: TransferFlags) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount,
        ledger: LedgerNumber(1),
        code: 1,
        flags,
        ..Transfer::default()
    }
}

fn event<E: Event>(event: E) -> Vec<u8> {
    E::write_all(&[event]).to_vec()
}

fn payment(id: u128) -> Vec<u8> {
    event(transfer(id, 5, TransferFlags::NONE))
}

/// A ledger with the accounts 1 and 2, and the client whose session created them.
fn bench_with_accounts() -> (Bench, Client) {
    let mut bench = Bench::default();
    let mut client = Client::open(&mut bench, 77);
    let accounts = client.create(Operation::CreateAccounts, &[&[event(account(1))], &[event(account(2))]]);
    let answer = bench.apply(accounts).0;
    assert_eq!(statuses(&answer), [CREATED, CREATED]);
    client.set_parent(&read(&answer).0);
    (bench, client)
}

fn debits_posted(ledger: &Ledger) -> u128 {
    let LedgerAnswer::Accounts(views) = ledger.query(LedgerQuery::Accounts(vec![AccountId(1)])) else {
        panic!("the answer is to another query");
    };
    views[0].account.debits_posted
}

#[test]
fn batches_of_a_request_get_consecutive_timestamps() {
    let (mut bench, mut client) = bench_with_accounts();
    let command = client.create(Operation::CreateTransfers, &[&[payment(1), payment(2)], &[], &[payment(3)]]);
    let answer = bench.apply(command).0;
    let sizes: Vec<usize> =
        Batches::decode(&answer[SESSION_ANSWER_SIZE..], RESULT_SIZE).unwrap().sizes().collect();
    assert_eq!(sizes, [2, 0, 1], "as many batches as the request had");
    let (answer, results) = read(&answer);
    let last = bench.index * 1_000_000;
    let expected =
        [last - 2, last - 1, last].map(|time| EventResult { timestamp: Nanos(time), status: CREATED });
    assert_eq!(results, expected);
    assert_eq!((answer.index.0, answer.time.0), (bench.index, last), "the reply has the last event's time");
}

#[test]
fn a_session_follows_the_common_model_while_expiry_is_paused() {
    let (mut bench, mut client) = bench_with_accounts();
    let pending = TransferFlags::PENDING.union(TransferFlags::IMPORTED);
    let hold = |id, timestamp, timeout_seconds| {
        let transfer = transfer(id, 5, pending);
        event(Transfer { timestamp: Nanos(timestamp), timeout_seconds, ..transfer })
    };
    let first = bench.index * 1_000_000 + 1;
    let pause = SetExpiry::write_all(&[SetExpiry::Paused { movements: 0 }]);
    let pause = Operation::SetExpiry.command(pause).unwrap();
    bench.apply(pause);
    let command = client.create(Operation::CreateTransfers, &[&[hold(1, first, 1), hold(1, first, 0)]]);
    let answer = bench.apply(command).0;
    let refused = CreateTransferStatus::ImportedEventTimeoutMustBeZero.number();
    assert_eq!(statuses(&answer), [refused, CREATED]);
    client.set_parent(&read(&answer).0);
    let kept = Operation::CreateTransfers.command(Bytes::from(hold(2, first + 1, 1))).unwrap();
    let (answer, rows) = bench.apply(kept);
    assert_eq!((&answer[8..12], rows), (&[0xff; 4][..], 1), "without a session the timeout is accepted");
}

#[test]
fn a_chain_does_not_reach_into_the_next_batch() {
    let (mut bench, mut client) = bench_with_accounts();
    let linked = |id| event(transfer(id, 5, TransferFlags::LINKED));
    let command = client.create(
        Operation::CreateTransfers,
        &[&[payment(1), linked(2)], &[payment(3)], &[linked(4), payment(4), payment(5)], &[payment(6)]],
    );
    let open = CreateTransferStatus::LinkedEventChainOpen.number();
    let failed = CreateTransferStatus::LinkedEventFailed.number();
    let different = CreateTransferStatus::ExistsWithDifferentFlags.number();
    let answer = bench.apply(command).0;
    assert_eq!(statuses(&answer), [CREATED, open, CREATED, failed, different, CREATED, CREATED]);
}

#[test]
fn a_retry_gets_the_same_bytes_even_after_a_checkpoint() {
    let (mut bench, mut client) = bench_with_accounts();
    let command = client.create(Operation::CreateTransfers, &[&[payment(1)]]);
    let (first, rows) = bench.apply(command.clone());
    assert_eq!((statuses(&first), rows), (vec![CREATED], 1));
    assert_eq!(bench.apply(command.clone()), (first.clone(), 0));

    for piece_size in [1, 64, 1 << 20] {
        let checkpoint = read_checkpoint(&mut bench.ledger, piece_size);
        bench.ledger = Ledger::restore(&checkpoint).unwrap();
        assert_eq!(read_checkpoint(&mut bench.ledger, piece_size), checkpoint);
        assert_eq!(bench.apply(command.clone()), (first.clone(), 0), "pieces of {piece_size}");
    }
    assert_eq!(debits_posted(&bench.ledger), 5);
}

#[test]
fn a_checkpoint_has_the_sessions_from_its_start() {
    let (mut bench, mut client) = bench_with_accounts();
    let command = client.create(Operation::CreateTransfers, &[&[payment(1)]]);
    let first = bench.apply(command.clone()).0;
    client.set_parent(&read(&first).0);
    bench.ledger.begin_checkpoint();
    let mut bytes = bench.ledger.poll_checkpoint(64).unwrap();
    let later = client.create(Operation::CreateTransfers, &[&[payment(2)]]);
    bench.apply(later);
    bytes.extend(std::iter::from_fn(|| bench.ledger.poll_checkpoint(64)).flatten());
    let mut restored = Bench { ledger: Ledger::restore(&bytes).unwrap(), index: bench.index };
    assert_eq!(restored.apply(command), (first, 0));
}

#[test]
fn the_reply_to_a_read_is_stored_for_retries() {
    let (mut bench, client) = bench_with_accounts();
    let mut request = client.0;
    request.request.number += 1;
    request.request.checksum += 1;
    let reply = |found: &[u8]| SessionHead::reply(Bytes::from([&request.to_bytes()[..], found].concat()));
    let (first, rows) = bench.apply(reply(b"first result"));
    assert_eq!((&first[SESSION_ANSWER_SIZE..], rows), (&b"first result"[..], 0));
    let (again, _) = bench.apply(reply(b"later result"));
    assert_eq!(again, first);
    let ask = |bench: &Bench, request| match bench.ledger.query(LedgerQuery::Session(request)) {
        LedgerAnswer::Session(answer) => answer,
        other => panic!("the answer is to another query: {other:?}"),
    };
    assert_eq!(ask(&bench, request.request), Some(first), "a query returns the stored reply");
    // The client may have received this reply, or a reply that never reached the log. Its next request is the
    // same.
    let next = SessionRequest { number: request.request.number + 1, checksum: 99, ..request.request };
    assert_eq!(ask(&bench, next), None, "the request must be executed");
    let unknown = ask(&bench, SessionRequest { client: ClientId(1), ..next }).unwrap();
    assert_eq!(read(&unknown).0.outcome, SessionOutcome::NoSession);
}

#[test]
fn a_request_outside_its_session_gets_the_reason() {
    let (mut bench, mut client) = bench_with_accounts();
    let command = client.create(Operation::CreateTransfers, &[&[payment(1)]]);
    let mut outcome = |head: SessionHead| {
        let body = [&head.to_bytes()[..], &payment(1)].concat();
        let (answer, rows) = bench.apply(SessionHead::create(Bytes::from(body)).unwrap());
        assert_eq!((answer.len(), rows), (SESSION_ANSWER_SIZE, 0));
        read(&answer).0.outcome
    };
    let with = |change: fn(&mut SessionRequest)| {
        let mut head = client.0;
        change(&mut head.request);
        head
    };
    assert_eq!(outcome(with(|it| it.client.0 += 1)), SessionOutcome::NoSession);
    assert_eq!(outcome(with(|it| it.session.0 -= 1)), SessionOutcome::SessionTooLow);
    assert_eq!(outcome(with(|it| it.session.0 += 1)), SessionOutcome::Ignored);
    assert_eq!(outcome(with(|it| it.release += 1)), SessionOutcome::ReleaseMismatch);
    assert_eq!(outcome(with(|it| it.parent = Context(1))), SessionOutcome::Ignored);
    assert_eq!(outcome(with(|it| it.number -= 1)), SessionOutcome::Ignored);
    assert_eq!(statuses(&bench.apply(command).0), [CREATED], "the valid request is still executed");
}

#[test]
fn the_least_recently_used_session_is_evicted() {
    let (mut bench, mut client) = bench_with_accounts();
    for id in 0..SESSIONS_MAX as u128 {
        Client::open(&mut bench, 1_000 + id);
    }
    let command = client.create(Operation::CreateTransfers, &[&[payment(1)]]);
    assert_eq!(read(&bench.apply(command).0).0.outcome, SessionOutcome::NoSession);
    assert_eq!(debits_posted(&bench.ledger), 0);
}

#[test]
fn bounds_refuse_a_session_with_the_nearest_common_status() {
    let mut bench = Bench::default();
    let bounded = |id, minimum, maximum| ExtendedAccount {
        account: Account { flags: AccountFlags::NONE, ..account(id) },
        bounds: Bounds { minimum, maximum },
        name: name_to_bytes("").unwrap(),
    };
    let accounts = ExtendedAccount::write_all(&[bounded(1, -10, i128::MAX), bounded(2, i128::MIN, 7)]);
    let created = bench.apply(Operation::CreateAccountsExtended.command(accounts).unwrap()).0;
    assert_eq!(created.len(), 2 * RESULT_SIZE);
    let mut client = Client::open(&mut bench, 77);
    let pay = |id, amount| event(transfer(id, amount, TransferFlags::NONE));
    let command = client.create(
        Operation::CreateTransfers,
        &[&[pay(1, 11), pay(2, 8), pay(3, 7), event(transfer(4, 4, TransferFlags::PENDING)), pay(1, 11)]],
    );
    let minimum = CreateTransferStatus::ExceedsCredits.number();
    let maximum = CreateTransferStatus::ExceedsDebits.number();
    let used_up = CreateTransferStatus::IdAlreadyFailed.number();
    assert_eq!(statuses(&bench.apply(command).0), [minimum, maximum, CREATED, minimum, used_up]);
}

#[test]
fn a_payment_of_a_session_ends_a_pause_of_expiry() {
    let (mut bench, mut client) = bench_with_accounts();
    let pause = SetExpiry::write_all(&[SetExpiry::Paused { movements: 0 }]);
    bench.apply(Operation::SetExpiry.command(pause).unwrap());
    let is_paused = |bench: &Bench| bench.ledger.query(LedgerQuery::ExpiryIsPaused);
    assert_eq!(is_paused(&bench), LedgerAnswer::ExpiryIsPaused(true));
    let command = client.create(Operation::CreateTransfers, &[&[payment(1)]]);
    assert_eq!(statuses(&bench.apply(command).0), [CREATED]);
    assert_eq!(is_paused(&bench), LedgerAnswer::ExpiryIsPaused(false));
}
