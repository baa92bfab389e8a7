//! Tests of a hosted service alone: its commands, and its checkpoint.

use super::*;
use bezant_rsm::Entry;

/// Adds up bytes, and emits each sum.
#[derive(Debug, Default)]
struct Sum(u64);

impl Service for Sum {
    fn invoke(&mut self, call: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall> {
        match command {
            [b'+', by] => {
                self.0 += u64::from(*by);
                call.emit(1, Bytes::copy_from_slice(&self.0.to_le_bytes()));
                Ok(Bytes::copy_from_slice(&self.0.to_le_bytes()))
            }
            [b'?'] => {
                call.emit(1, Bytes::new());
                Err(UnknownCall)
            }
            [b'L'] => Ok(Bytes::from(vec![0; ANSWER_SIZE_MAX + 1])),
            _ => panic!("a command that panics"),
        }
    }

    fn query(&self, query: &[u8]) -> Result<Bytes, UnknownCall> {
        match query {
            [b'='] => Ok(Bytes::copy_from_slice(&self.0.to_le_bytes())),
            [b'!'] => panic!("a query that panics"),
            _ => Err(UnknownCall),
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let bytes = checkpoint.try_into().map_err(|_| RestoreError { section: "sum" })?;
        Ok(Self(u64::from_le_bytes(bytes)))
    }
}

/// A machine and the index of its last entry.
#[derive(Default)]
struct Replica {
    machine: Hosted<Sum>,
    index: u64,
}

impl Replica {
    fn apply(&mut self, commands: Vec<Command>) -> Vec<(Verdict, Bytes)> {
        self.index += 1;
        let time = Nanos(self.index * 1_000);
        let entry = Entry { time, commands, checkpoint: false, rules: 0 };
        let found = Fetched::from(HistoryPosition::default());
        let applied = self.machine.apply(LogIndex(self.index), &entry, found).unwrap();
        assert!(applied.rows.movements.is_empty() && applied.rows.refusals.is_empty());
        applied.results.iter().map(|reply| Verdict::read(reply).unwrap()).collect()
    }

    fn open(&mut self) -> u64 {
        let replies = self.apply(vec![crate::command::open()]);
        u64::from_le_bytes(replies[0].1[..].try_into().unwrap())
    }

    fn sum(&self) -> u64 {
        self.machine.service().0
    }

    fn checkpoint(&mut self) -> Vec<u8> {
        self.machine.begin_checkpoint();
        let mut bytes = Vec::new();
        while let Some(piece) = self.machine.poll_checkpoint(10) {
            assert!(piece.len() <= 10);
            bytes.extend(piece);
        }
        bytes
    }
}

fn add(session: u64, number: u64, by: u8) -> Command {
    Head { session, number, oldest: 1 }.command(&[b'+', by])
}

#[test]
fn a_retry_is_done_once_and_has_the_first_answer() {
    let mut replica = Replica::default();
    let session = replica.open();
    let first = replica.apply(vec![add(session, 1, 5), add(session, 2, 7)]);
    assert_eq!(first[0], (Verdict::Done, Bytes::copy_from_slice(&5_u64.to_le_bytes())));
    let again = replica.apply(vec![add(session, 2, 7), add(session, 1, 5)]);
    assert_eq!(again, [first[1].clone(), first[0].clone()]);
    assert_eq!(replica.sum(), 12);
    let events = replica.machine.events.after(1, 0, 10).unwrap();
    assert_eq!(events.len(), 2, "no event is emitted twice");
}

#[test]
fn an_unknown_command_changes_nothing() {
    let mut replica = Replica::default();
    let session = replica.open();
    let unknown = Head { session, number: 1, oldest: 1 }.command(b"?");
    let torn = Command { operation: INVOKE, events: 1, body: Bytes::from_static(b"torn") };
    let other = Command { operation: 77, events: 1, body: Bytes::new() };
    let stranger = add(session + 1, 1, 5);
    let replies = replica.apply(vec![unknown, torn, other, stranger]);
    let verdicts: Vec<Verdict> = replies.into_iter().map(|(verdict, _)| verdict).collect();
    assert_eq!(verdicts, [Verdict::Unknown, Verdict::Unknown, Verdict::Unknown, Verdict::NoSession]);
    assert_eq!((replica.sum(), replica.machine.events.after(1, 0, 10).unwrap().len()), (0, 0));
}

#[test]
fn a_peer_forwards_one_event_at_a_time() {
    for command in [crate::command::open(), add(1, 1, 5)] {
        assert!(Hosted::<Sum>::accepts(&command));
        for events in [0, 2, u32::MAX] {
            assert!(!Hosted::<Sum>::accepts(&Command { events, ..command.clone() }), "{events}");
        }
    }
}

#[test]
fn an_answer_that_is_too_large_is_reported() {
    let mut replica = Replica::default();
    let session = replica.open();
    let replies = replica.apply(vec![Head { session, number: 1, oldest: 1 }.command(b"L")]);
    assert_eq!(replies[0].0, Verdict::TooLarge);
}

#[test]
fn each_command_of_an_entry_has_its_own_time() {
    #[derive(Debug, Default)]
    struct Times(Vec<u64>);
    impl Service for Times {
        fn invoke(&mut self, call: &mut Call, _: &[u8]) -> Result<Bytes, UnknownCall> {
            self.0.push(call.time().0);
            Ok(Bytes::new())
        }
        fn query(&self, _: &[u8]) -> Result<Bytes, UnknownCall> {
            Err(UnknownCall)
        }
        fn checkpoint(&self) -> Vec<u8> {
            Vec::new()
        }
        fn restore(_: &[u8]) -> Result<Self, RestoreError> {
            Ok(Self::default())
        }
    }
    let mut machine = Hosted::<Times>::default();
    let session = u64::from_le_bytes((1_u64 << 16).to_le_bytes());
    let commands = vec![crate::command::open(), add(session, 1, 0), add(session, 2, 0)];
    let entry = Entry { time: Nanos(100), commands, checkpoint: false, rules: 0 };
    machine.apply(LogIndex(1), &entry, Fetched::from(HistoryPosition::default())).unwrap();
    assert_eq!(machine.service().0, [99, 100]);
}

#[test]
fn a_checkpoint_restores_the_state_and_cuts_are_refused() {
    let mut replica = Replica::default();
    let session = replica.open();
    replica.apply(vec![add(session, 1, 5), add(session, 2, 7)]);
    let bytes = replica.checkpoint();
    let mut other = Replica { machine: Hosted::restore(&bytes).unwrap(), index: replica.index };
    assert_eq!(other.checkpoint(), bytes, "equal states give equal bytes");
    let again = other.apply(vec![add(session, 2, 7), add(session, 3, 1)]);
    assert_eq!(again[0].1, Bytes::copy_from_slice(&12_u64.to_le_bytes()), "sessions are restored");
    assert_eq!((other.sum(), other.machine.events.after(1, 2, 10).unwrap()[0].number), (13, 3));
    for size in 0..bytes.len() {
        assert!(Hosted::<Sum>::restore(&bytes[..size]).is_err(), "cut to {size}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(Hosted::<Sum>::restore(&longer).is_err());
}

#[test]
fn a_checkpoint_holds_the_state_at_its_beginning() {
    let mut replica = Replica::default();
    let session = replica.open();
    replica.apply(vec![add(session, 1, 5)]);
    let before = replica.checkpoint();
    replica.machine.begin_checkpoint();
    replica.apply(vec![add(session, 2, 7)]);
    let mut bytes = Vec::new();
    while let Some(piece) = replica.machine.poll_checkpoint(1 << 20) {
        bytes.extend(piece);
    }
    assert_eq!(bytes, before);
}

#[test]
fn a_panic_in_a_query_is_an_answer() {
    let replica = Replica::default();
    let ask = |machine: &Hosted<Sum>, question: &'static [u8]| {
        let HostedAnswer::Asked(answer) = machine.query(HostedQuery::Ask(Bytes::from_static(question)))
        else {
            panic!("it was asked")
        };
        answer
    };
    assert_eq!(ask(&replica.machine, b"!"), Err(AskError::Panicked));
    assert_eq!(ask(&replica.machine, b"."), Err(AskError::Unknown(UnknownCall)));
    assert_eq!(ask(&replica.machine, b"="), Ok(Bytes::copy_from_slice(&0_u64.to_le_bytes())));
}
