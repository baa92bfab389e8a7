//! The connected client: which server a call is sent to, how often, and until when.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bezant_api::token::SessionToken;
use bezant_api::v1::ledger_client::LedgerClient;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::{Reads, Settings};
use crate::error::{open_reason, reason};
use crate::retry::{Tries, is_worth_another_try};
use crate::{ClientBuilder, ClientError};

/// The generated client of the ledger's service.
pub(crate) type Service = LedgerClient<Channel>;

/// A try that ends less than this before its timeout counts as timed out.
const TIMEOUT_SLACK: Duration = Duration::from_millis(5);

/// A connection to a Bezant ledger. Cheap to clone; clones share the connection.
///
/// ```no_run
/// # async fn example() -> Result<(), bezant_client::ClientError> {
/// use bezant_client::{Client, NewAccount, NewTransfer, ids::IdGenerator};
///
/// let client = Client::connect("http://127.0.0.1:7070").await?;
/// let ids = IdGenerator::new();
/// let (alice, bob) = (ids.account_id(), ids.account_id());
/// let euro = 978;
/// client.create_accounts(&[NewAccount::new(alice, euro, 1), NewAccount::new(bob, euro, 1)]).await?;
/// let payment = NewTransfer::new(ids.transfer_id(), alice, bob, 10_50, euro, 1);
/// for outcome in client.create_transfers(&[payment]).await? {
///     println!("{}: {}", outcome.status, outcome.status.meaning());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    services: Vec<Service>,
    /// Index of the service that answered last.
    current: AtomicUsize,
    /// What the answers have shown.
    seen: Mutex<SessionToken>,
    /// Age of the oldest answer to a stale read since the last [`Client::take_age`].
    age: Mutex<Option<Duration>>,
    /// The cluster's token, as the header of changes of the cluster.
    token: Option<MetadataValue<Ascii>>,
    settings: Settings,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// An answer and how many tries it took.
pub(crate) struct Answer<Reply> {
    pub(crate) reply: Reply,
    /// 1 = the first try succeeded.
    pub(crate) attempts: u32,
}

/// The end of a call without an answer.
struct Ended {
    error: ClientError,
    attempts: u32,
    /// Set when one of the tries may have been carried out: the reason of the last such try. The later tries
    /// were turned down before they were begun, so their reasons do not explain the open outcome.
    open: Option<String>,
}

impl Ended {
    /// The error of a write; `ids` are those of its events.
    fn into_error(self, ids: impl FnOnce() -> Vec<u128>) -> ClientError {
        let Self { error, attempts, open } = self;
        match open {
            Some(reason) => ClientError::OutcomeUnknown { ids: ids(), attempts, reason },
            None => error,
        }
    }
}

impl Client {
    /// Connects to the server at `address`, such as `http://127.0.0.1:7070`.
    pub async fn connect(address: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder().address(address).connect().await
    }

    /// Settings to change before connecting.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(
        channels: Vec<Channel>,
        current: usize,
        seen: SessionToken,
        token: Option<MetadataValue<Ascii>>,
        settings: Settings,
    ) -> Self {
        let services = channels
            .into_iter()
            .map(|channel| {
                LedgerClient::new(channel)
                    .max_decoding_message_size(settings.answer_size_max)
                    .max_encoding_message_size(settings.answer_size_max)
            })
            .collect();
        Self {
            shared: Arc::new(Shared {
                services,
                current: AtomicUsize::new(current),
                seen: Mutex::new(seen),
                age: Mutex::new(None),
                token,
                settings,
            }),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The header with the cluster's token; `None` when none was set.
    pub(crate) fn token(&self) -> Option<&MetadataValue<Ascii>> {
        self.shared.token.as_ref()
    }

    /// The service that answered last, and its index.
    pub(crate) fn service(&self) -> (usize, Service) {
        let index = self.shared.current.load(Ordering::Relaxed);
        (index, self.shared.services[index].clone())
    }

    /// Makes the next server current, unless another call has already left the one at `failed_index`.
    pub(crate) fn fail_over(&self, failed_index: usize) {
        let next = (failed_index + 1) % self.shared.services.len();
        // Two calls that fail at the same time store the same `next`, which does no harm.
        if self.shared.current.load(Ordering::Relaxed) == failed_index {
            self.shared.current.store(next, Ordering::Relaxed);
        }
    }

    /// Sends a read until a try has a final answer or the deadline passes.
    pub(crate) async fn call<Message, Reply, Sending>(
        &self,
        message: Message,
        send: impl Fn(Service, Request<Message>) -> Sending,
    ) -> Result<Answer<Reply>, ClientError>
    where
        Message: Clone,
        Sending: Future<Output = Result<Response<Reply>, Status>>,
    {
        self.send(message, send).await.map_err(|ended| ended.error)
    }

    /// The same for a write. When it ends without an outcome, the error has the ids of its events.
    pub(crate) async fn call_write<Message, Reply, Sending>(
        &self,
        message: Message,
        ids: impl FnOnce() -> Vec<u128>,
        send: impl Fn(Service, Request<Message>) -> Sending,
    ) -> Result<Answer<Reply>, ClientError>
    where
        Message: Clone,
        Sending: Future<Output = Result<Response<Reply>, Status>>,
    {
        self.send(message, send).await.map_err(|ended| ended.into_error(ids))
    }

    /// The same for a change of the cluster. A refusal is a final answer even when an earlier try left its
    /// outcome open: it describes the cluster as it is now.
    pub(crate) async fn call_change<Message, Reply, Sending>(
        &self,
        message: Message,
        ids: impl FnOnce() -> Vec<u128>,
        send: impl Fn(Service, Request<Message>) -> Sending,
    ) -> Result<Answer<Reply>, ClientError>
    where
        Message: Clone,
        Sending: Future<Output = Result<Response<Reply>, Status>>,
    {
        self.send(message, send).await.map_err(|ended| {
            let is_answer = matches!(
                ended.error,
                ClientError::FailedPrecondition { .. }
                    | ClientError::NotFound { .. }
                    | ClientError::Invalid { .. }
                    | ClientError::Denied { .. }
            );
            if is_answer { ended.error } else { ended.into_error(ids) }
        })
    }

    async fn send<Message, Reply, Sending>(
        &self,
        message: Message,
        send: impl Fn(Service, Request<Message>) -> Sending,
    ) -> Result<Answer<Reply>, Ended>
    where
        Message: Clone,
        Sending: Future<Output = Result<Response<Reply>, Status>>,
    {
        let deadline = Instant::now() + self.settings().deadline;
        let mut tries = Tries::default();
        let mut open = None;
        loop {
            tries.count += 1;
            let (index, service) = self.service();
            let begun = Instant::now();
            let left = deadline.saturating_duration_since(begun);
            let timeout = self.settings().attempts.timeout(&tries).min(left);
            let mut request = Request::new(message.clone());
            request.set_timeout(timeout);
            self.request_freshness(&mut request);
            let status = match tokio::time::timeout(timeout, send(service, request)).await {
                Ok(Ok(response)) => {
                    self.note(&response);
                    return Ok(Answer { reply: response.into_inner(), attempts: tries.count });
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {} ms", timeout.as_millis())),
            };
            // The server and the transport end the call at the same timeout, and report it as a status.
            let is_timeout = begun.elapsed() + TIMEOUT_SLACK >= timeout;
            if tries.turn_after(&status, is_timeout) {
                self.fail_over(index);
            }
            open = open_reason(&status).or(open);
            if let Err(error) = self.pause_before_another(tries.count, deadline, &status).await {
                return Err(Ended { error, attempts: tries.count, open });
            }
        }
    }

    /// Age of the oldest answer to a [stale](Reads::Stale) read since the last call of this method. The age
    /// is the time between the answer and the last moment at which its node had applied everything that its
    /// leader had reported as committed. `None` when there was no such answer, or none whose age is known.
    pub fn take_age(&self) -> Option<Duration> {
        self.shared.age.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the answers have shown so far. A session continues from it, also in another client
    /// ([`ClientBuilder::seen`]).
    pub fn seen(&self) -> SessionToken {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds the headers that say how fresh the answer must be.
    fn request_freshness<Message>(&self, request: &mut Request<Message>) {
        let read = match self.settings().reads {
            Reads::Linearizable => return,
            Reads::Session => "session",
            Reads::Stale => "stale",
        };
        let metadata = request.metadata_mut();
        metadata.insert("bezant-read", MetadataValue::from_static(read));
        if let Ok(session) = MetadataValue::try_from(self.seen().to_string()) {
            metadata.insert("bezant-session", session);
        }
    }

    /// Records the session and the age that the answer carries.
    fn note<Reply>(&self, response: &Response<Reply>) {
        let text = |name| response.metadata().get(name).and_then(|text| text.to_str().ok());
        if let Some(session) = text("bezant-session").and_then(|text| text.parse().ok()) {
            self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).merge(&session);
        }
        if let Some(millis) = text("bezant-age-ms").and_then(|text| text.parse().ok()) {
            let mut age = self.shared.age.lock().unwrap_or_else(PoisonError::into_inner);
            *age = (*age).max(Some(Duration::from_millis(millis)));
        }
    }

    /// Waits before the next try; an error when there is none.
    pub(crate) async fn pause_before_another(
        &self,
        attempts: u32,
        deadline: Instant,
        status: &Status,
    ) -> Result<(), ClientError> {
        if !is_worth_another_try(status) {
            return Err(ClientError::from_status(status));
        }
        let policy = self.settings().retry;
        let wait: Duration = policy.wait_after(attempts, status);
        let is_too_late = Instant::now() + wait >= deadline;
        if is_too_late || !policy.allows_another(attempts) {
            return Err(ClientError::DeadlineExceeded { attempts, reason: reason(status) });
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
