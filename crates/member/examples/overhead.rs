//! The cost that a member adds to its node. 64 tasks send commands through `Member`; then 64 tasks send them
//! through the bare handle of a node whose machine does nothing. Prints the processor time of the whole
//! process for each command.
//!
//!     cargo run --release -p bezant-member --example overhead -- [SECONDS [FOLDER]]

use std::error::Error;
use std::future::Future;
use std::io::{Write, stdout};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_member::{Bytes, Call, LogIndex, Member, MemberOptions, Nanos, NodeId};
use bezant_member::{RestoreError, Service, UnknownCall};
use bezant_rsm::{Applied, Command, Entry, Prefetch, Progress, StateMachine};
use bezant_runtime::{ClusterOptions, Handle, Options, start_member};
use bezant_types::{FetchKey, Fetched, HistoryPosition, HistoryRows};
use rustix::thread::ClockId;

const TASKS: usize = 64;
const TOKEN: &str = "a token for this measurement";

/// Answers each command with itself.
#[derive(Debug, Default)]
struct Echo(Nanos);

impl Service for Echo {
    fn invoke(&mut self, _: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall> {
        Ok(Bytes::copy_from_slice(command))
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

impl StateMachine for Echo {
    type Key = FetchKey;
    type Found = Fetched;
    type Rows = HistoryRows;
    type Query = ();
    type Answer = ();

    fn time(&self) -> Nanos {
        self.0
    }

    fn position(&self) -> HistoryPosition {
        HistoryPosition::default()
    }

    fn prefetch(&self, _: &Entry) -> Prefetch<FetchKey> {
        Prefetch { keys: Vec::new(), position: HistoryPosition::default() }
    }

    fn apply(&mut self, _: LogIndex, entry: &Entry, _: Fetched) -> Option<Applied<HistoryRows>> {
        self.0 = entry.time;
        let results = entry.commands.iter().map(|command| Bytes::copy_from_slice(&command.body)).collect();
        Some(Applied { results, rows: HistoryRows::default() })
    }

    fn due(&self, _: Nanos) -> Option<Command> {
        None
    }

    fn due_at(&self) -> Option<Nanos> {
        None
    }

    fn query_step(&self, (): ()) -> Progress<(), ()> {
        Progress::Done(())
    }

    fn begin_checkpoint(&mut self) {}

    fn poll_checkpoint(&mut self, _: usize) -> Option<Vec<u8>> {
        None
    }

    fn restore(_: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self::default())
    }
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Calls from all tasks until the time is over; prints the cost of a call.
async fn measure<F, C>(name: &str, seconds: u64, call: C) -> Result<u64, Box<dyn Error>>
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn() -> F + Clone + Send + Sync + 'static,
{
    let (begin, processor) = (Instant::now(), processor_time());
    let until = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while Instant::now() < until {
                    call().await;
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await?;
    }
    let nanos = u64::try_from(processor_time().saturating_sub(processor).as_nanos())? / calls.max(1);
    let rate = calls * 1_000_000 / u64::try_from(begin.elapsed().as_micros())?;
    writeln!(stdout(), "{name}: {rate} a second, {nanos} ns of processor time each")?;
    Ok(nanos)
}

fn bare(folder: &Path) -> Result<bezant_runtime::Running<Echo>, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let cluster = ClusterOptions {
        node: NodeId(1),
        token: TOKEN.to_owned(),
        nodes: vec![(NodeId(1), listener.local_addr()?.to_string())],
        engine: None,
        join: Vec::new(),
        give_up: Arc::default(),
        listener,
        growth: None,
    };
    Ok(start_member(&Options::new(folder.join("bare")), cluster)?)
}

async fn execute(handle: Handle<Echo>) {
    let command = Command { operation: 1, events: 1, body: Bytes::from_static(&[7; 8]) };
    let deadline = Some(Instant::now() + Duration::from_secs(10));
    while handle.execute(command.clone(), deadline).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let running = bare(folder.path())?;
    let options = MemberOptions::new(folder.path().join("member"), "127.0.0.1:0", TOKEN);
    let member: Member<Echo> = Member::seed(options).await?;
    member.invoke(&[7; 8]).await?;
    execute(running.handle()).await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let handle = running.handle();
        without.push(measure("node alone", seconds, move || execute(handle.clone())).await?);
        let handle = member.handle();
        let invoke = move || {
            let handle = handle.clone();
            async move {
                let answered = handle.invoke(&[7; 8]).await;
                assert!(answered.is_ok(), "{answered:?}");
            }
        };
        with.push(measure("member", seconds, invoke).await?);
    }
    without.sort_unstable();
    with.sort_unstable();
    let (without, with) = (i64::try_from(without[1])?, i64::try_from(with[1])?);
    writeln!(stdout(), "a member adds {} ns to a command (medians of 3)", with - without)?;
    member.shutdown().await;
    running.stop();
    Ok(())
}
