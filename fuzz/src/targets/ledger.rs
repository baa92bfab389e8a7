//! Records of the fast path, applied to a ledger. Arbitrary bytes never cause a panic. After every command
//! the books balance, and each event has a result. At the end the state is restored from its own checkpoint.
//!
//! An input is a list of commands: operation, number of records, switches, seconds that pass before the
//! command, and the records. Unless a switch prevents it, ids, ledgers and amounts are reduced to a few small
//! values, so that the records affect each other.

use bezant_codec::{Reader, put_trailer};
use bezant_ledger::{
    Creates, KeyedHead, Ledger, LedgerAnswer, LedgerQuery, LedgerTotals, Operation, SessionAnswer,
    SessionHead, SessionOutcome, ToCommand, ToKeyedCommand,
};
use bezant_rsm::{Command, Entry, SessionRequest, StateMachine};
use bezant_types::limits::{RECORD_SIZE, RESULT_SIZE};
use bezant_types::{
    ClientId, FetchKey, Fetched, FetchedTransfer, HistoryPosition, HistoryRows, LogIndex, Movement,
    MovementKind, MovementNumber, Nanos, Refusal, Resolution, SessionNumber, TransferId,
};
use bytes::Bytes;

use super::Target;

pub(super) const TARGET: Target =
    Target { name: "ledger", about: "records of the fast path, applied to a ledger", seeds, run };

/// Commands of an input, at most.
const COMMANDS_MAX: usize = 64;
/// Switch: records are not reduced.
const RAW: u8 = 1;
/// Switch: accounts and transfers are sent with a session, in two batches, and the request is repeated.
const SESSION: u8 = 4;
/// Switch: the records keep their timestamps, as imported events do.
const TIMESTAMPS: u8 = 2;
/// Switch: accounts and transfers are sent with an idempotency key.
const KEY: u8 = 8;
/// Bytes of an input for each event with tagged fields.
const TAGGED_SPACE: usize = 240;
/// The operations of clients; an input has their index in this list.
fn operations() -> impl Iterator<Item = Operation> {
    Operation::ALL.iter().copied().filter(|operation| operation.is_from_clients())
}

/// A record of 128 bytes with these ids, as 16-byte integers from offset 0.
fn record(ids: [u8; 6], timeout: u8, code: u8, flags: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    for (place, id) in ids.iter().enumerate() {
        bytes[place * 16] = *id;
    }
    bytes[108] = timeout;
    bytes[112] = 1;
    bytes[116] = code;
    bytes[118..120].copy_from_slice(&flags.to_le_bytes());
    bytes
}

fn command(operation: Operation, seconds: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(records.len()).unwrap_or(u8::MAX);
    let place = operations().position(|it| it == operation);
    let place = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
    [vec![place, count, 0, seconds], records.concat()].concat()
}

/// An import of a pending transfer with a timeout, and of its void after that timeout.
fn import(hold: Vec<u8>, void: Vec<u8>) -> Vec<u8> {
    let imported = |seconds: u8, mut record: Vec<u8>| {
        record[119] |= 1;
        record[120..].copy_from_slice(&(u64::from(seconds) * 1_000_000_000).to_le_bytes());
        let mut row = command(Operation::CreateTransfers, 3, &[record]);
        row[2] |= TIMESTAMPS;
        row
    };
    let pause = command(Operation::SetExpiry, 0, &[[vec![1], vec![0; 15]].concat()]);
    let run = command(Operation::SetExpiry, 0, &[vec![0; 16]]);
    [pause, imported(2, hold), imported(6, void), run].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let account = |id, flags| record([id, 0, 0, 0, 0, 0], 0, 1, flags);
    let transfer = |id, debit, credit, amount, flags| record([id, debit, credit, amount, 0, 0], 0, 1, flags);
    let resolve = |id, pending, amount, flags| record([id, 0, 0, amount, pending, 0], 0, 0, flags);
    let accounts = command(
        Operation::CreateAccounts,
        1,
        &[account(1, 0), account(2, 2), account(3, 4), account(4, 8), account(5, 1), account(6, 0)],
    );
    let expiring = record([9, 1, 2, 5, 0, 0], 2, 1, 2);
    let payments =
        [transfer(1, 1, 2, 7, 0), transfer(2, 2, 3, 3, 1), transfer(3, 3, 2, 1, 0), expiring.clone()];
    let two_phase =
        [transfer(4, 1, 2, 5, 2), resolve(5, 4, 3, 4), transfer(6, 1, 4, 9, 2 | 64), resolve(7, 6, 0, 8)];
    let balancing = [transfer(10, 2, 1, 15, 16), transfer(11, 1, 3, 15, 32), transfer(1, 1, 2, 7, 0)];
    let extended: Vec<u8> =
        [account(7, 0), vec![0; 31], vec![0x80], vec![0xff; 15], vec![0x7f, b'a'], vec![0; 80]].concat();
    let payment_after = [transfer(12, 1, 2, 1, 0), vec![7; 32]].concat();
    vec![
        [accounts.clone(), command(Operation::CreateTransfers, 0, &payments)].concat(),
        {
            let mut by_session =
                [accounts.clone(), command(Operation::CreateTransfers, 0, &two_phase)].concat();
            by_session[2] |= SESSION;
            let at = accounts.len() + 2;
            by_session[at] |= SESSION;
            by_session
        },
        [
            accounts.clone(),
            command(Operation::CreateTransfers, 3, &two_phase),
            command(Operation::CreateTransfers, KEY, &payments),
            command(Operation::CreateTransfers, KEY, &two_phase),
            command(Operation::CreateTransfers, 1, &balancing),
        ]
        .concat(),
        [
            accounts.clone(),
            command(Operation::CreateTransfers, 0, &payments),
            command(Operation::SetBounds, 9, &[vec![1; 48]]),
            command(Operation::ChangeBounds, 0, &[[vec![2; 48], vec![2], vec![0; 15]].concat()]),
        ]
        .concat(),
        [accounts.clone(), import(expiring, resolve(15, 9, 0, 8))].concat(),
        [
            accounts,
            command(Operation::CreateAccountsExtended, 0, &[extended]),
            command(Operation::CreateTransfersExtended, 0, &[payment_after]),
        ]
        .concat(),
        [
            command(Operation::CreateAccountsTagged, 0, &[with_name(b"bob"), vec![0; TAGGED_SPACE]]),
            command(Operation::CreateTransfersTagged, 0, &[with_name(b"bob"), vec![0; TAGGED_SPACE]]),
            command(Operation::SetName, 0, &[vec![b'x'; 80]]),
            command(
                Operation::RegisterAssets,
                0,
                &[[vec![1, 0, 0, 0, 2, 0, 0, 0, b'G'], vec![0; 23]].concat()],
            ),
        ]
        .concat(),
    ]
}

/// An account with a name as its only tagged field.
fn with_name(name: &[u8]) -> Vec<u8> {
    let size = u8::try_from(name.len()).unwrap_or(0);
    [&record([4, 0, 0, 0, 0, 0], 0, 1, 0)[..], &[size + 4, 0, 2, 0, size, 0], name].concat()
}

fn run(input: &[u8]) {
    let mut bench = Bench::default();
    let mut rest = input;
    for _ in 0..COMMANDS_MAX {
        let Some(([number, count, switches, seconds], tail)) = rest.split_first_chunk() else { break };
        let at = usize::from(*number) % operations().count();
        let Some(operation) = operations().nth(at) else { break };
        let size = operation.event_size();
        let space = if operation.is_tagged() { TAGGED_SPACE } else { size };
        let (records, tail) = tail.split_at(tail.len().min(usize::from(count % 32) * space));
        rest = tail;
        let sizes: Vec<usize> = operation.events(records).map(<[u8]>::len).collect();
        let mut body = records[..sizes.iter().sum()].to_vec();
        bench.time.0 += u64::from(*seconds) * 1_000_000_000;
        bench.expire();
        let movements = bench.movements();
        if switches & RAW == 0 {
            let mut events = &mut body[..];
            for size in sizes {
                let (event, after) = events.split_at_mut(size);
                shrink(operation, event, *switches, movements);
                events = after;
            }
        }
        if switches & KEY != 0 && operation.creates().is_some() {
            // There are few keys, and the witness depends on the command. So both retries and different
            // requests with a used key occur.
            let guard = TransferId(0x100 + u128::from(count >> 5));
            let witness = TransferId(0x200 + u128::from(count >> 5) * 2 + u128::from(seconds & 1));
            if let Ok(command) = (KeyedHead { guard, witness, operation }).command(&body) {
                bench.apply_keyed(command);
            }
        } else if switches & SESSION != 0 && size == RECORD_SIZE {
            bench.apply_by_session(operation, body);
        } else if let Ok(command) = operation.command(Bytes::from(body)) {
            bench.apply(command);
        }
    }
    bench.check_checkpoint();
}

/// Reduces ids, amounts and codes to small values, so that the records of one input affect each other. A
/// pause names the current number of movements, unless a switch asks for another number.
fn shrink(operation: Operation, record: &mut [u8], switches: u8, movements: u64) {
    let ids = match operation.creates() {
        Some(Creates::Transfers) => 5,
        Some(Creates::Accounts) => 1,
        None => usize::from(!matches!(operation, Operation::RegisterAssets | Operation::SetExpiry)),
    };
    if operation == Operation::SetExpiry {
        record[0] &= 1;
        record[1..].fill(0);
        if record[0] == 1 && switches & SESSION == 0 {
            record[8..].copy_from_slice(&movements.to_le_bytes());
        }
    }
    for id in record.chunks_exact_mut(16).take(ids) {
        id[1..].fill(0);
        id[0] &= 0x0f;
    }
    if let Some(fields) = record.get_mut(104..128).filter(|_| ids != 0) {
        fields[1..4].fill(0);
        fields[5..8].fill(0);
        fields[9..12].fill(0);
        fields[8] &= 1;
        fields[13] = 0;
        fields[15] &= 1;
        if switches & TIMESTAMPS == 0 {
            fields[16..].fill(0);
        }
        if operation.creates() == Some(Creates::Accounts) {
            fields[4] = 0;
        }
    }
    if operation == Operation::CreateAccounts {
        record[16..80].fill(0);
    }
}

/// A ledger and the rows of its history.
#[derive(Debug, Default)]
struct Bench {
    ledger: Ledger,
    time: Nanos,
    index: u64,
    movements: Vec<Movement>,
    refusals: Vec<Refusal>,
    /// The head of the last request of the only session.
    head: SessionHead,
}

impl Bench {
    /// Applies the commands that are due, as a leader does.
    fn expire(&mut self) {
        while let Some(command) = self.ledger.due(self.time) {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) {
        let is_answered = command.operation != Operation::Expire as u16;
        let events = usize::try_from(command.events).expect("invariant: at most 8189 events");
        let size: usize = self.apply_any(command).iter().map(Bytes::len).sum();
        assert!(!is_answered || size == events * RESULT_SIZE, "{size} bytes of results for {events} events");
    }

    /// Applies a request with a key. A different request with the same key has an empty answer and changes
    /// nothing.
    fn apply_keyed(&mut self, command: Command) {
        let events = usize::try_from(command.events).expect("invariant: at most 8189 events");
        let rows = self.position();
        let size: usize = self.apply_any(command).iter().map(Bytes::len).sum();
        let is_refused = size == 0 && self.position() == rows;
        assert!(is_refused || size == events * RESULT_SIZE, "{size} bytes of results for {events} events");
    }

    /// Applies a request of the only session twice: the second time it must get the same answer and add no
    /// row.
    fn apply_by_session(&mut self, operation: Operation, mut body: Vec<u8>) {
        if self.head.request.client.0 == 0 {
            self.head.request =
                SessionRequest { client: ClientId(1), release: 1, ..SessionRequest::default() };
            self.take_answer(self.head.open());
        }
        let events = body.len() / RECORD_SIZE;
        put_trailer(&mut body, &[events / 2, events - events / 2], RECORD_SIZE);
        self.head.request.number += 1;
        self.head.request.checksum += 1;
        let head = SessionHead { batches: 2, operation: operation as u16, ..self.head };
        let body = Bytes::from([&head.to_bytes()[..], &body].concat());
        let command = SessionHead::create(body).expect("two batches of whole records");
        let first = self.take_answer(command.clone());
        let rows = self.position();
        assert_eq!(self.apply_any(command), [first], "a retry gets the same bytes");
        assert_eq!(self.position(), rows, "a retry adds no row");
    }

    /// Applies a new request and sets session and parent of the next one from its reply.
    fn take_answer(&mut self, command: Command) -> Bytes {
        let reply = self.apply_any(command).pop().expect("an answer");
        let answer = SessionAnswer::from_reader(&mut Reader::new(&reply)).expect("an answer's head");
        assert_eq!(answer.outcome, SessionOutcome::Reply, "the request is the next one");
        if self.head.request.session.0 == 0 {
            self.head.request.session = SessionNumber(answer.index.0);
        }
        self.head.request.parent = answer.context();
        reply
    }

    fn apply_any(&mut self, command: Command) -> Vec<Bytes> {
        self.time.0 += u64::from(command.events) + 1;
        self.index += 1;
        let entry =
            Entry { time: self.time, commands: vec![command], checkpoint: false, rules: Ledger::RULES };
        let keys = self.ledger.prefetch(&entry).keys;
        let found = self.fetch(&keys);
        let applied = self.ledger.apply(LogIndex(self.index), &entry, found);
        let applied = applied.expect("the window covers a fetch of the latest rows");
        let HistoryRows { movements, refusals } = applied.rows;
        self.movements.extend_from_slice(&movements);
        self.refusals.extend_from_slice(&refusals);
        assert!(
            self.movements.is_sorted_by(|one, next| one.timestamp < next.timestamp),
            "timestamps grow strictly"
        );
        self.check_books();
        applied.results
    }

    fn check_books(&self) {
        let LedgerAnswer::Books(books) = self.ledger.query(LedgerQuery::Books) else {
            panic!("the answer is to another query");
        };
        assert!(books.ledgers.iter().all(LedgerTotals::is_balanced), "the books balance: {books:?}");
        assert_eq!(books.history, self.position(), "every row was returned");
    }

    fn movements(&self) -> u64 {
        self.position().movements
    }

    fn position(&self) -> HistoryPosition {
        let count = |size| u64::try_from(size).expect("invariant: rows are few");
        HistoryPosition { movements: count(self.movements.len()), refusals: count(self.refusals.len()) }
    }

    /// Replaces the history on disk.
    fn fetch(&self, keys: &[FetchKey]) -> Fetched {
        let mut fetched = Fetched::from(self.position());
        for key in keys {
            match key {
                FetchKey::Transfer(id) => {
                    let is_it = |row: &&Movement| row.transfer.id == *id && row.kind != MovementKind::Expired;
                    let refused = self.refusals.iter().find(|refusal| refusal.id == *id);
                    fetched.transfers.extend(refused.map(|refusal| FetchedTransfer::Refused(*refusal)));
                    fetched.transfers.extend(
                        (0..)
                            .zip(&self.movements)
                            .find(|(_, row)| is_it(row))
                            .map(|(number, row)| FetchedTransfer::Applied(MovementNumber(number), *row)),
                    );
                }
                FetchKey::Resolution(id) => {
                    let resolved = self.movements.iter().find(|row| match row.kind {
                        MovementKind::Posted | MovementKind::Voided => row.transfer.pending_id == *id,
                        MovementKind::Expired => row.transfer.id == *id,
                        MovementKind::SinglePhase | MovementKind::Pending => false,
                    });
                    let resolution = resolved.map(|row| Resolution { pending_id: *id, kind: row.kind });
                    fetched.resolutions.extend(resolution);
                }
                FetchKey::Timestamp(time) => {
                    let is_taken = self.movements.iter().any(|row| row.timestamp == *time);
                    fetched.timestamps.extend(is_taken.then_some(*time));
                }
            }
        }
        fetched
    }

    /// A restored ledger must have the same books and write the same checkpoint.
    fn check_checkpoint(&mut self) {
        let bytes = checkpoint(&mut self.ledger);
        let mut restored = Ledger::restore(&bytes).expect("a ledger can read its own checkpoint");
        assert_eq!(
            restored.query(LedgerQuery::Books),
            self.ledger.query(LedgerQuery::Books),
            "the same books"
        );
        assert_eq!(checkpoint(&mut restored), bytes, "the same state has the same bytes");
    }
}

fn checkpoint(ledger: &mut Ledger) -> Vec<u8> {
    ledger.begin_checkpoint();
    std::iter::from_fn(|| ledger.poll_checkpoint(4096)).flatten().collect()
}
