//! Random batches against the model: few accounts, few ids, values at the edges, everything mixed.
//!
//! What is drawn is a list of steps, so that a failure shrinks to the few that matter. Requests are put in
//! entries by chance, an entry is fetched for some time before it is applied, from a history that lags
//! behind; checkpoints are cut in between, and the restored ledger takes the place of the old one.

mod draw;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use bezant_ledger::{Ledger, Operation};
use bezant_rsm::{Command, Entry, StateMachine};
use bezant_types::{CreateAccountStatus, CreateTransferStatus, Nanos};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::twin::{Fetching, Results, Twin};
use draw::{Request, Sent};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A log entry of these requests, so long after the one before it. It is fetched for at once, from a
    /// history that lags so many rows behind, and applied when `ahead` more are waiting.
    Entry {
        gap: u64,
        requests: Vec<Request>,
        lag: u64,
        ahead: usize,
        /// That of the first version, or the newest.
        rules: u8,
    },
    /// The expiry step that the ledger asks for.
    Due,
    /// An expiry step of so many events, asked for or not.
    Expire(u32),
    BeginCheckpoint,
    PollCheckpoint(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![6 => Just(0), 3 => Just(1_000_000_000), 1 => Just(3_000_000_000), 1 => 1..50_u64];
    let requests = prop::collection::vec(draw::request(), 1..4);
    let lag = prop_oneof![3 => Just(0), 1 => 0..30_u64];
    let rules = prop_oneof![1 => Just(0), 2 => Just(Ledger::RULES)];
    let entry = (gap, requests, lag, 0..4_usize, rules)
        .prop_map(|(gap, requests, lag, ahead, rules)| Step::Entry { gap, requests, lag, ahead, rules });
    let step = prop_oneof![
        20 => entry,
        2 => Just(Step::Due),
        1 => (1..4_u32).prop_map(Step::Expire),
        1 => Just(Step::BeginCheckpoint),
        4 => (0..600_usize).prop_map(Step::PollCheckpoint),
    ];
    prop::collection::vec(step, 1..60)
}

/// What drives the twin.
struct Driver {
    twin: Twin,
    time: u64,
    waiting: VecDeque<Fetching>,
    sent: Sent,
    /// Operation and status of each result so far.
    seen: BTreeSet<(u16, u32)>,
}

impl Driver {
    fn new(start: u64) -> Self {
        Self {
            twin: Twin::default(),
            time: start,
            waiting: VecDeque::new(),
            sent: Sent::default(),
            seen: BTreeSet::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Entry { gap, requests, lag, ahead, rules } => {
                    let mut commands = Vec::new();
                    self.time += gap;
                    for request in requests {
                        let command = request.command(self.time, &mut self.sent, &self.twin.model);
                        self.time += u64::from(command.events);
                        commands.push(command);
                    }
                    let time = Nanos(self.time);
                    let entry = Entry { time, commands, checkpoint: false, rules: *rules };
                    let fetching = self.twin.fetch(&entry, *lag);
                    self.waiting.push_back(fetching);
                    self.apply_until(*ahead);
                }
                Step::Due => {
                    self.apply_until(0);
                    if let Some(command) = self.twin.ledger.due(Nanos(self.time)) {
                        self.expire(command);
                    }
                }
                Step::Expire(events) => {
                    self.apply_until(0);
                    let operation = Operation::Expire as u16;
                    self.expire(Command { operation, events: *events, body: Bytes::new() });
                }
                Step::BeginCheckpoint => self.twin.begin_checkpoint(),
                Step::PollCheckpoint(size) => self.twin.poll_checkpoint(*size),
            }
        }
        self.apply_until(0);
        self.twin.begin_checkpoint();
        let restored_count = self.twin.restored_count;
        while self.twin.restored_count == restored_count {
            self.twin.poll_checkpoint(100);
        }
    }

    fn expire(&mut self, command: Command) {
        self.time += u64::from(command.events);
        self.twin.submit(Nanos(self.time), vec![command]);
    }

    /// Applies waiting entries until only so many are left.
    fn apply_until(&mut self, left: usize) {
        while self.waiting.len() > left
            && let Some(fetching) = self.waiting.pop_front()
        {
            let operations: Vec<u16> = fetching.entry.commands.iter().map(|it| it.operation).collect();
            let results: Results = self.twin.apply(fetching);
            for (operation, results) in operations.into_iter().zip(results) {
                self.seen.extend(results.iter().map(|result| (operation, result.status)));
            }
        }
    }
}

/// Near the beginning of time, and so near to its end that long timeouts lie past it.
const STARTS: [u64; 2] = [10_000_000_000, (1 << 63) - 4_000_000_000_000_000_000];

/// Statuses of either operation that no batch here can bring about.
const OUT_OF_REACH: [&str; 4] =
    ["fencing_token_stale", "shard_unavailable", "too_many_pending", "idempotency_key_used"];

#[test]
fn random_batches_do_what_the_model_does() {
    let seen = RefCell::new(BTreeSet::new());
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let cases_from_environment = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let config = Config { cases: cases_from_environment.unwrap_or(config.cases), ..config };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&(prop::sample::select(&STARTS[..]), steps()), |(start, steps)| {
        let mut driver = Driver::new(start);
        driver.run(&steps);
        seen.borrow_mut().extend(driver.seen);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    let has = |operations: [u16; 2], status| operations.iter().any(|it| seen.contains(&(*it, status)));
    let accounts = CreateAccountStatus::REFUSALS.iter().filter(|it| !has([1, 3], it.number()));
    let transfers = CreateTransferStatus::REFUSALS.iter().filter(|it| !has([2, 4], it.number()));
    let missing: Vec<&str> = accounts
        .map(|it| it.name())
        .chain(transfers.map(|it| it.name()))
        .filter(|name| !OUT_OF_REACH.contains(name))
        .collect();
    assert!(missing.len() <= 3, "the batches are too tame: nothing answered {missing:?}");
}
