//! The clients of the load. Each has its own connection and one request in flight, and fills the next request
//! while it waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_codec::{records, result_from_bytes};
use bezant_types::limits::{EVENTS_MAX, RESULT_SIZE};
use bezant_types::{CreateAccountStatus, CreateTransferStatus, TransferId};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::caller::Caller;
use crate::error::LoadError;
use crate::grpc::WINDOW_BYTES;
use crate::settings::Target;
use crate::wire::{Records, Wire};
use crate::workload::Load;

/// The largest reply to a query.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// Ids that are kept for the queries after the load.
const SAMPLE_MAX: usize = 4096;
/// The run fails when the server sends no answer for so long.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// A gRPC connection for queries and for the books.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The gRPC client.
    pub(crate) calls: LedgerClient<Channel>,
}

impl Connection {
    /// Connects once.
    async fn open(url: &str) -> Result<Self, LoadError> {
        let address = || url.to_owned();
        let channel = Endpoint::from_shared(address())
            .map_err(|error| LoadError::Address { address: address(), source: error.into() })?
            .connect_timeout(Duration::from_secs(5))
            .timeout(ANSWER_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .map_err(|error| LoadError::Unreachable { address: address(), source: error.into() })?;
        Ok(Self { calls: LedgerClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX) })
    }

    /// Connects to the first address that answers; `None` if `urls` is empty.
    pub(crate) async fn open_any(urls: &[String]) -> Result<Option<Self>, LoadError> {
        let Some((last, others)) = urls.split_last() else { return Ok(None) };
        for url in others {
            if let Ok(connection) = Self::open_retrying(url, Duration::from_secs(2)).await {
                return Ok(Some(connection));
            }
        }
        Self::open_retrying(last, Duration::from_secs(30)).await.map(Some)
    }

    /// Connects and waits for a first answer, for at most `timeout`.
    pub(crate) async fn open_retrying(url: &str, timeout: Duration) -> Result<Self, LoadError> {
        let start = Instant::now();
        loop {
            let answer = match Self::open(url).await {
                Ok(mut connection) => match connection.calls.get_books(v1::GetBooksRequest {}).await {
                    Ok(_) => return Ok(connection),
                    Err(status) => LoadError::Call(status.into()),
                },
                Err(error) => error,
            };
            if start.elapsed() > timeout {
                return Err(LoadError::NoAnswer { limit: timeout, source: answer.into() });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Creates the accounts of the load; an error when one of them is refused.
pub(crate) async fn create_accounts(load: &Load, wire: &mut Wire) -> Result<(), LoadError> {
    let batch = u64::try_from(EVENTS_MAX).unwrap_or(1);
    let mut first = 0;
    while first < load.accounts {
        let count = batch.min(load.accounts - first);
        let records = load.accounts_from(first, count);
        let results = wire.submit(Records::Accounts, records).await?;
        check_results(&results, count, |status| {
            Some(CreateAccountStatus::from_number(status).map_or("unknown status", CreateAccountStatus::name))
        })
        .map_err(|error| LoadError::Refused { what: "an account", source: error.into() })?;
        first += count;
    }
    Ok(())
}

/// The result of sending all transfers.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Time from the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Microseconds from a request to its answer.
    pub(crate) latencies: Histogram<u64>,
    /// Sum of the amounts, in minor units.
    pub(crate) amount_sum: u128,
    /// Ids of some of the transfers.
    pub(crate) sample: Vec<TransferId>,
    /// How often a request was repeated at another node.
    pub(crate) retries: u64,
}

/// How far a load has come. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

/// Shared by all clients: how many transfers have been taken to be sent, and how many are answered.
#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    answered: AtomicU64,
}

impl Progress {
    /// The transfers that are answered.
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }
}

/// Counts latencies from 1 microsecond to an hour.
pub(crate) fn histogram() -> Result<Histogram<u64>, LoadError> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(|error| LoadError::Histogram(error.into()))
}

/// Sends all transfers of the load; an error when one of them is refused.
pub(crate) async fn send_transfers(
    load: &Load,
    target: &Target,
    progress: &Progress,
) -> Result<Outcome, LoadError> {
    let mut connections = Vec::new();
    for number in 0..load.clients {
        connections.push(Caller::open(target, number).await?);
    }
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (number, connection) in (0..).zip(connections) {
        clients.spawn(send(load.clone(), number, connection, progress.clone()));
    }
    let total = tokio::select! {
        total = join(clients) => total?,
        () = stalled(progress) => return Err(LoadError::Stalled(ANSWER_TIMEOUT)),
    };
    let elapsed = start.elapsed();
    let ClientOutcome { latencies, amount_sum, sample, retries } = total;
    Ok(Outcome { elapsed, latencies, amount_sum, sample, retries })
}

/// Waits for all clients, and adds up their results.
async fn join(mut clients: JoinSet<Result<ClientOutcome, LoadError>>) -> Result<ClientOutcome, LoadError> {
    let mut total = ClientOutcome::new()?;
    while let Some(client) = clients.join_next().await {
        let client = client.map_err(LoadError::Client)??;
        total.latencies.add(&client.latencies).map_err(|error| LoadError::Histogram(error.into()))?;
        total.amount_sum += client.amount_sum;
        total.sample.extend(client.sample);
        total.retries += client.retries;
    }
    Ok(total)
}

#[derive(Debug)]
struct ClientOutcome {
    latencies: Histogram<u64>,
    amount_sum: u128,
    sample: Vec<TransferId>,
    retries: u64,
}

impl ClientOutcome {
    fn new() -> Result<Self, LoadError> {
        Ok(Self { latencies: histogram()?, amount_sum: 0, sample: Vec::new(), retries: 0 })
    }
}

/// One client: sends requests until the clients have taken all transfers.
async fn send(
    load: Load,
    client: u64,
    mut connection: Caller,
    progress: Progress,
) -> Result<ClientOutcome, LoadError> {
    let mut outcome = ClientOutcome::new()?;
    let sample_max = SAMPLE_MAX / usize::try_from(load.clients).unwrap_or(1) + 1;
    let mut generator = load.generator(client);
    let mut take = || {
        let first = progress.0.taken.fetch_add(load.batch, Ordering::Relaxed);
        let count = load.batch.min(load.transfers.checked_sub(first)?);
        (count > 0).then(|| (generator.batch(first, count), count))
    };
    let mut next = take();
    while let Some(((records, id), count)) = next {
        let start = Instant::now();
        let call = connection.submit(records);
        // The call is polled first: the next request is made while this one is on its way.
        let (results, following) = tokio::join!(biased; call, async { take() });
        let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        outcome.latencies.saturating_record(elapsed.max(1));
        let (results, is_retried) = results?;
        check_results(&results, count, |status| {
            // An earlier try has created it.
            let is_done = is_retried && status == CreateTransferStatus::Exists.number();
            (!is_done).then(|| {
                CreateTransferStatus::from_number(status).map_or("unknown status", CreateTransferStatus::name)
            })
        })
        .map_err(|error| LoadError::Refused { what: "a transfer", source: error.into() })?;
        if outcome.sample.len() < sample_max {
            outcome.sample.push(id);
        }
        progress.0.answered.fetch_add(count, Ordering::Relaxed);
        next = following;
    }
    outcome.amount_sum = generator.amount_sum;
    outcome.retries = connection.retries;
    Ok(outcome)
}

/// An error unless there is one result for each of `count` events, and each is `created` or a status for
/// which `name` returns `None`.
fn check_results(
    results: &[u8],
    count: u64,
    name: impl Fn(u32) -> Option<&'static str>,
) -> Result<(), LoadError> {
    let results = records::<RESULT_SIZE>(results).map_err(LoadError::ResultsCut)?;
    if u64::try_from(results.len()).ok() != Some(count) {
        return Err(LoadError::ResultCount { events: count, results: results.len() });
    }
    for (number, result) in results.iter().enumerate() {
        let status = result_from_bytes(result).status;
        if status != u32::MAX
            && let Some(name) = name(status)
        {
            return Err(LoadError::Event { number, name, status });
        }
    }
    Ok(())
}

/// Returns when no answer has come for [`ANSWER_TIMEOUT`].
async fn stalled(progress: &Progress) {
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < ANSWER_TIMEOUT {
        ticks.tick().await;
        let answered = progress.answered();
        if answered != seen {
            (seen, since) = (answered, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use bezant_codec::result_to_bytes;
    use bezant_types::{EventResult, Nanos};

    use super::*;

    fn results(statuses: &[u32]) -> Vec<u8> {
        let result = |status: &u32| result_to_bytes(EventResult { timestamp: Nanos(1), status: *status });
        statuses.iter().flat_map(result).collect()
    }

    #[test]
    fn only_created_counts() {
        let name = |_: u32| Some("exceeds_credits");
        check_results(&results(&[u32::MAX, u32::MAX]), 2, name).unwrap();
        let refusal = check_results(&results(&[u32::MAX, 54]), 2, name).unwrap_err();
        assert_eq!(refusal.to_string(), "event 1 of its request: exceeds_credits (54)");
        check_results(&results(&[u32::MAX, 54]), 2, |status| (status != 54).then_some("?")).unwrap();
        check_results(&results(&[u32::MAX]), 2, name).unwrap_err();
        check_results(&results(&[u32::MAX])[..15], 1, name).unwrap_err();
    }
}
