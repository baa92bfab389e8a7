//! A machine that counts events: enough to see what was applied, and in which order.

use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, RestoreError, StateMachine};
use bezant_types::{HistoryPosition, LogIndex, Nanos};
use bytes::Bytes;

/// The operation that needs a row of the history.
pub(crate) const WITH_ROW: u16 = 2;
/// The operation of the machine's own deadline, which an event of operation 4 sets to 2000.
const DEADLINE: u16 = 3;
const SETS_DEADLINE: u16 = 4;

#[derive(Debug, Default)]
pub(crate) struct Counter {
    time: Nanos,
    events: u64,
    due_at: Option<Nanos>,
    cut: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Found;

impl From<HistoryPosition> for Found {
    fn from(_: HistoryPosition) -> Self {
        Self
    }
}

impl StateMachine for Counter {
    type Key = u64;
    type Found = Found;
    type Rows = u64;
    type Query = ();
    type Answer = u64;

    fn time(&self) -> Nanos {
        self.time
    }

    fn position(&self) -> HistoryPosition {
        HistoryPosition { movements: self.events, refusals: 0 }
    }

    fn prefetch(&self, entry: &Entry) -> Prefetch<u64> {
        let needing = entry.commands.iter().filter(|command| command.operation == WITH_ROW);
        Prefetch { keys: needing.map(|_| 7).collect(), position: self.position() }
    }

    fn apply(&mut self, _: LogIndex, entry: &Entry, _: Found) -> Option<Applied<u64>> {
        assert!(entry.time.0 >= self.time.0 + entry.events(), "timestamps are unique");
        self.time = entry.time;
        self.events += entry.events();
        for command in &entry.commands {
            match command.operation {
                SETS_DEADLINE => self.due_at = Some(Nanos(2_000)),
                DEADLINE => self.due_at = None,
                _ => {}
            }
        }
        let results = entry.commands.iter().map(|command| command.body.clone()).collect();
        Some(Applied { results, rows: self.events })
    }

    fn due(&self, now: Nanos) -> Option<Command> {
        let is_due = self.due_at.is_some_and(|moment| moment <= now);
        is_due.then(|| Command { operation: DEADLINE, events: 1, body: Bytes::new() })
    }

    fn due_at(&self) -> Option<Nanos> {
        self.due_at
    }

    fn query_step(&self, (): ()) -> Progress<(), u64> {
        Progress::Done(self.events)
    }

    fn begin_checkpoint(&mut self) {
        self.cut = Some([self.time.0.to_le_bytes(), self.events.to_le_bytes()].concat());
    }

    fn poll_checkpoint(&mut self, _: usize) -> Option<Vec<u8>> {
        self.cut.take()
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let (words, []) = checkpoint.as_chunks::<8>() else { return Err(RestoreError { section: "size" }) };
        let [time, events] = words else { return Err(RestoreError { section: "size" }) };
        let (time, events) = (Nanos(u64::from_le_bytes(*time)), u64::from_le_bytes(*events));
        Ok(Self { time, events, due_at: None, cut: None })
    }
}
