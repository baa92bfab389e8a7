//! Measures the time that the code of `state_machine!` takes for a call: encoding, decoding, applying a
//! command that adds a number, and returning its answer.
//!
//! ```sh
//! cargo run --release -p bezant-rsm-macros --example call_overhead
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fmt;
use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bezant_rsm::{
    Call, Caller, Event, Freshness, Service, UnknownCall, UnreadableAnswer, UnwritableCall, state_machine,
};
use bezant_types::{LogIndex, Nanos};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

const CALLS: u64 = 5_000_000;

state_machine! {
    trait Counter {
        cmd add(slot: u32, by: u64) -> u64;
        cmd note(text: String) -> u64;
        qry total(slot: u32) -> u64;
        sub sums -> u64;
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Totals(Vec<u64>);

impl Counter for Totals {
    fn add(&mut self, _: &mut CounterContext<'_>, slot: u32, by: u64) -> u64 {
        let total = &mut self.0[slot as usize];
        *total = total.wrapping_add(by);
        *total
    }

    fn note(&mut self, context: &mut CounterContext<'_>, text: String) -> u64 {
        context.sums(&self.0[0]);
        text.len() as u64
    }

    fn total(&self, slot: u32) -> u64 {
        self.0[slot as usize]
    }
}

/// Runs the machine under a lock, so that only the macro's code and the lock are measured.
#[derive(Clone, Debug)]
struct Direct(Arc<Mutex<CounterMachine<Totals>>>);

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl From<UnknownCall> for Refused {
    fn from(_: UnknownCall) -> Self {
        Self
    }
}

impl From<UnreadableAnswer> for Refused {
    fn from(_: UnreadableAnswer) -> Self {
        Self
    }
}

impl From<UnwritableCall> for Refused {
    fn from(_: UnwritableCall) -> Self {
        Self
    }
}

impl Caller for Direct {
    type Error = Refused;

    async fn invoke(&self, command: Bytes) -> Result<Bytes, Refused> {
        let mut call = Call::new(LogIndex(1), Nanos(1));
        let answer = self.0.lock().expect("invariant: one thread").invoke(&mut call, &command)?;
        black_box(call.into_events());
        Ok(answer)
    }

    async fn query(&self, query: Bytes, _: Freshness) -> Result<Bytes, Refused> {
        Ok(self.0.lock().expect("invariant: one thread").query(&query)?)
    }

    async fn next_event(&self, _: u32, _: u64) -> Result<Event, Refused> {
        Err(Refused)
    }
}

fn main() {
    let machine = CounterMachine::new(Totals(vec![0; 16]));
    let counter = CounterHandle::new(Direct(Arc::new(Mutex::new(machine))));
    measure("cmd add(slot: u32, by: u64) -> u64", |number| now(counter.add((number % 16) as u32, number)));
    let text = "a text of forty letters, more or less...";
    measure("cmd note(text: String) -> u64, one event", |_| now(counter.note(text.to_owned())));
    measure("qry total(slot: u32) -> u64", |number| now(counter.total((number % 16) as u32)));
}

fn measure(name: &str, mut run: impl FnMut(u64) -> Result<u64, Refused>) {
    let start = Instant::now();
    for number in 0..CALLS {
        black_box(run(black_box(number)).expect("invariant: the call is known"));
    }
    println!("{name:<42} {:>5} ns a call", start.elapsed().as_nanos() / u128::from(CALLS));
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing to wait for"),
    }
}
