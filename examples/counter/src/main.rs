//! A counter that any of three processes may die with.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use bezant_member::{Bytes, Call, CallError, Freshness, Member, MemberHandle, MemberOptions};
use bezant_member::{RestoreError, Service, UnknownCall};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// The state that every process has.
#[derive(Debug, Default)]
struct Counter {
    value: u64,
}

impl Service for Counter {
    /// The one command: what is to be added, 8 bytes. Answers the sum.
    fn invoke(&mut self, _call: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall> {
        let by = command.try_into().map_err(|_| UnknownCall)?;
        self.value = self.value.wrapping_add(u64::from_le_bytes(by));
        Ok(Bytes::copy_from_slice(&self.value.to_le_bytes()))
    }

    /// The one question, which has no bytes.
    fn query(&self, query: &[u8]) -> Result<Bytes, UnknownCall> {
        if query.is_empty() {
            Ok(Bytes::copy_from_slice(&self.value.to_le_bytes()))
        } else {
            Err(UnknownCall)
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.value.to_le_bytes().to_vec()
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let bytes = checkpoint.try_into().map_err(|_| RestoreError { section: "counter" })?;
        Ok(Self { value: u64::from_le_bytes(bytes) })
    }
}

/// Reads an answer.
fn number(answer: &[u8]) -> u64 {
    answer.try_into().map_or(0, u64::from_le_bytes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: counter FOLDER ADDRESS [ADDRESS OF ANOTHER]...".into());
    };
    let others: Vec<String> = arguments.collect();
    let options = MemberOptions::new(folder, address, "a token that only we know");
    let member: Member<Counter> =
        if others.is_empty() { Member::seed(options).await? } else { Member::join(options, others).await? };
    say(format!("ready at {}", member.address()))?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["quit"] => break,
            ["status"] => say(status(&member))?,
            ["bench", seconds] => say(bench(&member, seconds.parse()?).await?)?,
            _ => match call(&member, &words).await {
                Ok(value) => say(value)?,
                Err(error) => say(format!("error: {error}"))?,
            },
        }
    }
    member.shutdown().await;
    Ok(())
}

async fn call(member: &Member<Counter>, words: &[&str]) -> Result<u64, Box<dyn Error>> {
    let answer = match words {
        ["add", by] => member.invoke(&by.parse::<u64>()?.to_le_bytes()).await?,
        ["value"] => member.query(&[], Freshness::Linearizable).await?,
        ["glance"] => member.query(&[], Freshness::Stale).await?,
        _ => return Err("write: add NUMBER, value, glance, status, bench SECONDS or quit".into()),
    };
    Ok(number(&answer))
}

fn say(words: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{words}")
}

fn status(member: &Member<Counter>) -> String {
    let status = member.status();
    let nodes = status.nodes.iter().map(|node| {
        let leads = if status.leader == Some(node.node) { ", leads" } else { "" };
        format!("{} {:?}{leads}", node.address, node.part)
    });
    nodes.collect::<Vec<_>>().join("; ")
}

/// Adds 1 from 64 tasks at once.
async fn bench(member: &Member<Counter>, seconds: u64) -> Result<String, Box<dyn Error>> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(add_until(member.handle(), until))).collect();
    let mut invokes = 0;
    for task in tasks {
        invokes += task.await??;
    }
    let micros = u64::try_from(begin.elapsed().as_micros())?;
    Ok(format!("{} invokes a second", invokes * 1_000_000 / micros))
}

async fn add_until(counter: MemberHandle<Counter>, until: Instant) -> Result<u64, CallError> {
    let mut invokes = 0;
    while Instant::now() < until {
        counter.invoke(&1_u64.to_le_bytes()).await?;
        invokes += 1;
    }
    Ok(invokes)
}
