//! The clients of the load. Each has its own connection and one request in flight, and fills the next request
//! while it waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_codec::{records, result_from_bytes};
use bezant_types::limits::{EVENTS_MAX, RESULT_SIZE};
use bezant_types::{CreateAccountStatus, CreateTransferStatus, TransferId};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::Target;
use super::caller::Caller;
use super::grpc::WINDOW_BYTES;
use super::load::Load;
use super::wire::{Records, Wire};

/// The largest reply to a query.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// Ids that are kept for the queries after the load.
const SAMPLE_MAX: usize = 4096;
/// The run fails when the server sends no answer for so long.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// A gRPC connection for queries and for the books.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The gRPC client.
    pub(super) calls: LedgerClient<Channel>,
}

impl Connection {
    /// Connects once.
    async fn open(url: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("{url} is no address"))?
            .connect_timeout(Duration::from_secs(5))
            .timeout(ANSWER_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .with_context(|| format!("{url} cannot be reached"))?;
        Ok(Self { calls: LedgerClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX) })
    }

    /// Connects to the first address that answers; `None` if `urls` is empty.
    pub(super) async fn open_any(urls: &[String]) -> Result<Option<Self>> {
        let Some((last, others)) = urls.split_last() else { return Ok(None) };
        for url in others {
            if let Ok(connection) = Self::open_retrying(url, Duration::from_secs(2)).await {
                return Ok(Some(connection));
            }
        }
        Self::open_retrying(last, Duration::from_secs(30)).await.map(Some)
    }

    /// Connects and waits for a first answer, for at most `timeout`.
    pub(super) async fn open_retrying(url: &str, timeout: Duration) -> Result<Self> {
        let start = Instant::now();
        loop {
            let answer = match Self::open(url).await {
                Ok(mut connection) => match connection.calls.get_books(v1::GetBooksRequest {}).await {
                    Ok(_) => return Ok(connection),
                    Err(status) => anyhow::Error::from(status),
                },
                Err(error) => error,
            };
            if start.elapsed() > timeout {
                return Err(answer).with_context(|| format!("no answer within {timeout:?}"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Creates the accounts of the load; an error when one of them is refused.
pub(super) async fn create_accounts(load: &Load, wire: &mut Wire) -> Result<()> {
    let batch = u64::try_from(EVENTS_MAX).unwrap_or(1);
    let mut first = 0;
    while first < load.accounts {
        let count = batch.min(load.accounts - first);
        let records = load.accounts_from(first, count);
        let results = wire.submit(Records::Accounts, records).await?;
        check_results(&results, count, |status| {
            Some(CreateAccountStatus::from_number(status).map_or("unknown status", CreateAccountStatus::name))
        })
        .context("an account was refused")?;
        first += count;
    }
    Ok(())
}

/// The result of sending all transfers.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Time from the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Microseconds from a request to its answer.
    pub(super) latencies: Histogram<u64>,
    /// Sum of the amounts, in minor units.
    pub(super) amount_sum: u128,
    /// Ids of some of the transfers.
    pub(super) sample: Vec<TransferId>,
    /// How often a request was repeated at another node.
    pub(super) retries: u64,
}

/// Shared by all clients: how many transfers have been taken to be sent, and how many are answered.
#[derive(Debug, Default)]
struct Progress {
    taken: AtomicU64,
    answered: AtomicU64,
}

/// Sends all transfers of the load; an error when one of them is refused.
pub(super) async fn send_transfers(load: &Load, target: &Target) -> Result<Outcome> {
    let mut connections = Vec::new();
    for number in 0..load.clients {
        connections.push(Caller::open(target, number).await?);
    }
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (number, connection) in (0..).zip(connections) {
        clients.spawn(send(load.clone(), number, connection, Arc::clone(&progress)));
    }
    let total = tokio::select! {
        total = join(clients) => total?,
        () = watch(&progress, load.transfers) => bail!("the server has answered nothing for {ANSWER_TIMEOUT:?}"),
    };
    let elapsed = start.elapsed();
    let ClientOutcome { latencies, amount_sum, sample, retries } = total;
    Ok(Outcome { elapsed, latencies, amount_sum, sample, retries })
}

/// Waits for all clients, and adds up their results.
async fn join(mut clients: JoinSet<Result<ClientOutcome>>) -> Result<ClientOutcome> {
    let mut total = ClientOutcome::new()?;
    while let Some(client) = clients.join_next().await {
        let client = client.context("a client failed")??;
        total.latencies.add(&client.latencies).context("latencies cannot be added")?;
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
    fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, 3_600_000_000, 3).context("no histogram")?;
        Ok(Self { latencies, amount_sum: 0, sample: Vec::new(), retries: 0 })
    }
}

/// One client: sends requests until the clients have taken all transfers.
async fn send(
    load: Load,
    client: u64,
    mut connection: Caller,
    progress: Arc<Progress>,
) -> Result<ClientOutcome> {
    let mut outcome = ClientOutcome::new()?;
    let sample_max = SAMPLE_MAX / usize::try_from(load.clients).unwrap_or(1) + 1;
    let mut generator = load.generator(client);
    let mut take = || {
        let first = progress.taken.fetch_add(load.batch, Ordering::Relaxed);
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
        .context("a transfer was refused")?;
        if outcome.sample.len() < sample_max {
            outcome.sample.push(id);
        }
        progress.answered.fetch_add(count, Ordering::Relaxed);
        next = following;
    }
    outcome.amount_sum = generator.amount_sum;
    outcome.retries = connection.retries;
    Ok(outcome)
}

/// An error unless there is one result for each of `count` events, and each is `created` or a status for
/// which `name` returns `None`.
fn check_results(results: &[u8], count: u64, name: impl Fn(u32) -> Option<&'static str>) -> Result<()> {
    let results = records::<RESULT_SIZE>(results).context("the results are cut")?;
    if u64::try_from(results.len()).ok() != Some(count) {
        bail!("{count} events have {} results", results.len());
    }
    for (number, result) in results.iter().enumerate() {
        let status = result_from_bytes(result).status;
        if status != u32::MAX
            && let Some(name) = name(status)
        {
            bail!("event {number} of its request: {name} ({status})");
        }
    }
    Ok(())
}

/// Draws the progress of the load on a terminal; returns when no answer has come for [`ANSWER_TIMEOUT`].
async fn watch(progress: &Progress, transfers: u64) {
    let bar = ProgressBar::new(transfers);
    let style = ProgressStyle::with_template(
        "{bar:30} {percent:>3} % {human_pos} of {human_len} transfers {per_sec} {eta}",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < ANSWER_TIMEOUT {
        ticks.tick().await;
        let answered = progress.answered.load(Ordering::Relaxed);
        if answered != seen {
            (seen, since) = (answered, Instant::now());
        }
        bar.set_position(answered);
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
