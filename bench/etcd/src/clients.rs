//! The clients: each with its own connection and one write in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::LoadArgs;
use crate::cluster::Cluster;
use crate::etcd::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::etcd::kv_client::KvClient;
use crate::etcd::request_op::Request;
use crate::etcd::response_op::Response;
use crate::etcd::{
    Compare, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use crate::keys::{self, Keys};

/// How long a client tries to find out the outcome of a write before the run fails.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client waits after a call that ended without an answer.
const PAUSE: Duration = Duration::from_millis(10);

/// The results of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From the first write to the last answer.
    pub(crate) elapsed: Duration,
    /// Microseconds from the first attempt of a write to its success, one for each write.
    pub(crate) latencies: Histogram<u64>,
    /// Comparisons that failed, because another client was first.
    pub(crate) refused: u64,
    /// Calls that ended without an answer.
    pub(crate) errors: u64,
}

impl Outcome {
    fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, 3_600_000_000, 3).context("no histogram")?;
        Ok(Self { elapsed: Duration::ZERO, latencies, refused: 0, errors: 0 })
    }
}

/// The state that all clients share.
#[derive(Debug)]
struct Run {
    writes: u64,
    taken: AtomicU64,
    begun: Instant,
    time_max: Duration,
    value_size: usize,
    /// A number that makes the values of this run different from those of other runs.
    number: u64,
}

impl Run {
    fn new(args: &LoadArgs) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            writes: args.writes,
            taken: AtomicU64::new(0),
            begun: Instant::now(),
            time_max: Duration::from_secs(args.seconds_max),
            value_size: args.value_bytes.into(),
            number: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// The number of the next write; `None` when all writes were taken or the time is over.
    fn take(&self) -> Option<u64> {
        let write = self.taken.fetch_add(1, Ordering::Relaxed);
        (write < self.writes && self.begun.elapsed() < self.time_max).then_some(write)
    }
}

/// Lets all clients write until the load is done or its time is over; an error when one of them fails.
pub(crate) async fn write(args: &LoadArgs, cluster: &Cluster, keys: &Keys) -> Result<Outcome> {
    let mut connections = Vec::new();
    for client in 0..usize::try_from(args.clients)? {
        connections.push(cluster.connect_to(args.to, client).await?);
    }
    let run = Arc::new(Run::new(args));
    let mut clients = JoinSet::new();
    for (client, calls) in connections.into_iter().enumerate() {
        let client = Client { number: client, calls, keys: keys.clone(), outcome: Outcome::new()? };
        clients.spawn(client.write_all(Arc::clone(&run)));
    }
    let mut total = Outcome::new()?;
    while let Some(client) = clients.join_next().await {
        let client = client.context("a client failed")??;
        total.latencies.add(&client.latencies).context("latencies cannot be added")?;
        total.refused += client.refused;
        total.errors += client.errors;
    }
    total.elapsed = run.begun.elapsed();
    Ok(total)
}

/// One client.
#[derive(Debug)]
struct Client {
    number: usize,
    calls: KvClient<Channel>,
    keys: Keys,
    outcome: Outcome,
}

impl Client {
    async fn write_all(mut self, run: Arc<Run>) -> Result<Outcome> {
        while let Some(write) = run.take() {
            let value = keys::value(run.value_size, run.number, write, self.number);
            let begun = Instant::now();
            self.write(self.keys.choose(self.number, write), value).await?;
            let elapsed = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.outcome.latencies.saturating_record(elapsed.max(1));
        }
        Ok(self.outcome)
    }

    /// Puts a unique value under a key. Each attempt has an effect only if the key still has the revision
    /// that was seen last.
    async fn write(&mut self, key: usize, value: Bytes) -> Result<()> {
        let name = keys::name(key);
        let begun = Instant::now();
        loop {
            let request = swap(name.clone(), self.keys.revision(key), value.clone());
            let found = match self.calls.txn(request).await {
                Ok(reply) => match Swapped::of(reply.into_inner())? {
                    Swapped::Yes(revision) => {
                        self.keys.learn(key, revision);
                        return Ok(());
                    }
                    Swapped::No(found) => {
                        self.outcome.refused += 1;
                        found
                    }
                },
                Err(status) => {
                    self.pass_over(status, begun).await?;
                    self.read(&name, begun).await?
                }
            };
            let found = found.unwrap_or_default();
            self.keys.learn(key, found.mod_revision);
            // The value is there, so an attempt without an answer was done.
            if found.value == value {
                return Ok(());
            }
        }
    }

    /// Reads a key, and repeats that until there is an answer.
    async fn read(&mut self, name: &Bytes, begun: Instant) -> Result<Option<KeyValue>> {
        loop {
            match self.calls.range(read(name.clone())).await {
                Ok(reply) => return Ok(reply.into_inner().kvs.pop()),
                Err(status) => self.pass_over(status, begun).await?,
            }
        }
    }

    /// Counts a call that ended without an answer, and waits. Returns an error when another attempt cannot
    /// succeed.
    async fn pass_over(&mut self, status: Status, begun: Instant) -> Result<()> {
        self.outcome.errors += 1;
        if !may_pass(status.code()) || begun.elapsed() > OUTCOME_TIMEOUT {
            bail!("status {}: {}", i32::from(status.code()), status.message());
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// True for the codes of a leader change, a broken connection or a timeout. The call may have been done or
/// not, and another call may succeed.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}

/// One round trip: compares the key's revision and puts the value, or reads the key if the comparison fails.
fn swap(key: Bytes, revision: i64, value: Bytes) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    };
    let put = Request::RequestPut(PutRequest { key: key.clone(), value });
    let range = Request::RequestRange(read(key));
    TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(put) }],
        failure: vec![RequestOp { request: Some(range) }],
    }
}

fn read(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq)]
enum Swapped {
    /// The comparison was true; the revision of the write.
    Yes(i64),
    /// The comparison failed; the present value of the key, if the key exists.
    No(Option<KeyValue>),
}

impl Swapped {
    fn of(reply: TxnResponse) -> Result<Self> {
        if reply.succeeded {
            let revision = reply.header.context("the answer has no header")?.revision;
            return Ok(Self::Yes(revision));
        }
        let mut responses = reply.responses;
        match responses.pop().and_then(|operation| operation.response) {
            Some(Response::ResponseRange(RangeResponse { mut kvs, .. })) => Ok(Self::No(kvs.pop())),
            None => bail!("the answer does not contain the value of the key"),
        }
    }
}

#[cfg(test)]
mod tests;
