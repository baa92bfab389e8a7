//! A counter on three processes, of which any one may die.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bezant_member::{CallError, Freshness, Member, MemberHandle, MemberOptions, state_machine};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

state_machine! {
    /// The calls of a counter.
    trait Counter {
        /// Adds to the counter, and returns the sum.
        cmd add(by: u64) -> u64;
        /// The sum.
        qry value() -> u64;
    }
}

/// The state that every process has.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sum {
    value: u64,
}

impl Counter for Sum {
    fn add(&mut self, _context: &mut CounterContext<'_>, by: u64) -> u64 {
        self.value = self.value.wrapping_add(by);
        self.value
    }

    fn value(&self) -> u64 {
        self.value
    }
}

/// A process of the counter, and the handle of its calls.
type Process = Member<CounterMachine<Sum>>;
type Handle = CounterHandle<MemberHandle<CounterMachine<Sum>>>;

#[tokio::main]
async fn main() -> ExitCode {
    // A member logs by way of `tracing`.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    drop(writeln!(io::stderr(), "counter: {error}"));
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: counter FOLDER ADDRESS [ADDRESS OF ANOTHER]...".into());
    };
    let others: Vec<String> = arguments.collect();
    let options = MemberOptions::new(folder, address, "a token that only we know");
    let member: Process =
        if others.is_empty() { Member::seed(options).await? } else { Member::join(options, others).await? };
    print(format!("ready at {}", member.address()))?;
    let counter = CounterHandle::new(member.handle());
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["quit"] => break,
            ["status"] => print(status(&member))?,
            ["bench", seconds] => print(bench(&counter, seconds.parse()?).await?)?,
            _ => match call(&counter, &words).await {
                Ok(value) => print(value)?,
                Err(error) => print(format!("error: {error}"))?,
            },
        }
    }
    member.shutdown().await;
    Ok(())
}

async fn call(counter: &Handle, words: &[&str]) -> Result<u64, Box<dyn Error>> {
    Ok(match words {
        ["add", by] => counter.add(by.parse()?).await?,
        ["value"] => counter.value().await?,
        ["glance"] => counter.at(Freshness::Stale).value().await?,
        _ => return Err("write: add NUMBER, value, glance, status, bench SECONDS or quit".into()),
    })
}

fn print(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn status(member: &Process) -> String {
    let status = member.status();
    let nodes = status.nodes.iter().map(|node| {
        let leads = if status.leader == Some(node.node) { ", leads" } else { "" };
        format!("{} {:?}{leads}", node.address, node.part)
    });
    nodes.collect::<Vec<_>>().join("; ")
}

/// Adds 1 from 64 tasks at once.
async fn bench(counter: &Handle, seconds: u64) -> Result<String, Box<dyn Error>> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(add_until(counter.clone(), until))).collect();
    let mut invokes = 0;
    for task in tasks {
        invokes += task.await??;
    }
    let micros = u64::try_from(begin.elapsed().as_micros())?;
    Ok(format!("{} invokes a second", invokes * 1_000_000 / micros))
}

async fn add_until(counter: Handle, until: Instant) -> Result<u64, CallError> {
    let mut invokes = 0;
    while Instant::now() < until {
        counter.add(1).await?;
        invokes += 1;
    }
    Ok(invokes)
}
