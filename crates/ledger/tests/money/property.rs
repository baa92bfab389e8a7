//! Random batches against the model: few accounts, few ids, extreme values, all kinds of events mixed.
//!
//! A case is a list of steps, so that a failure shrinks to the few steps that cause it. Requests are merged
//! into entries at random. The rows that an entry needs are fetched some entries before it is applied, from a
//! history that lags. Checkpoints are written meanwhile, and each restored ledger replaces the running one.

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

/// A step of a case.
#[derive(Clone, Debug)]
enum Step {
    /// A log entry of these requests, `gap` nanoseconds after the previous one. Its rows are fetched at once,
    /// from a history that lags by `lag` rows. It is applied when more than `ahead` entries wait.
    Entry {
        gap: u64,
        requests: Vec<Request>,
        lag: u64,
        ahead: usize,
        /// The number of the entry's rules: 0 or the newest.
        rules: u8,
    },
    /// The expiry step that the ledger proposes, if any.
    Due,
    /// An expiry step of that many events, proposed or not.
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

/// Runs steps on the twin.
struct Driver {
    twin: Twin,
    time: u64,
    waiting: VecDeque<Fetching>,
    sent: Sent,
    /// Events that may be sent again.
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

    /// Applies waiting entries until at most `left` of them are left.
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

/// Two start times: one shortly after time 0, and one so close to the greatest timestamp that long timeouts
/// exceed it.
const STARTS: [u64; 2] = [10_000_000_000, (1 << 63) - 4_000_000_000_000_000_000];

/// Statuses that no batch here can cause.
const OUT_OF_REACH: [&str; 4] =
    ["fencing_token_stale", "shard_unavailable", "too_many_pending", "idempotency_key_used"];

#[test]
fn random_batches_match_the_model() {
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
    assert!(missing.len() <= 3, "the batches are not varied enough: no event got {missing:?}");
}
