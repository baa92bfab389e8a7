//! What can be set before connecting.

use std::time::Duration;

use tonic::transport::Endpoint;

use crate::{Client, ClientError, RetryPolicy};

/// Bytes that a stream or a connection may carry before the receiver has to confirm: four full requests.
const WINDOW_SIZE: u32 = 4 << 20;
/// An answer of this size at the most: 8,189 accounts with names in protobuf and room to spare.
const ANSWER_SIZE_MAX: usize = 16 << 20;
/// How often a silent connection is asked whether it still is one.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Settings of a client; [`Client::builder`] begins one.
///
/// ```no_run
/// # async fn example() -> Result<(), bezant_client::ClientError> {
/// use std::time::Duration;
/// use bezant_client::Client;
///
/// let client = Client::builder()
///     .address("http://10.0.0.1:7070")
///     .address("http://10.0.0.2:7070")
///     .deadline(Duration::from_secs(5))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    addresses: Vec<String>,
    deadline: Duration,
    attempt_timeout: Duration,
    connect_timeout: Duration,
    retry: RetryPolicy,
    answer_size_max: usize,
    reads: Reads,
}

/// How fresh the answers to questions must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reads {
    /// They show everything that was acknowledged, to anybody, before the question.
    #[default]
    Linearizable,
    /// Any node answers, and never shows less than this client has seen before, its own writes included.
    Session,
    /// Any node answers with what it has.
    Stale,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            retry: RetryPolicy::default(),
            answer_size_max: ANSWER_SIZE_MAX,
            reads: Reads::default(),
        }
    }
}

impl ClientBuilder {
    /// One more server, as `http://HOST:PORT`. The first that answers is used; when it fails, the next.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// How long a call may take with all its tries. 30 s unless set.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one try may take before the next begins. 10 s unless set.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How long a connection may take to come about. 2 s unless set.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// When to try again.
    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How fresh answers must be. Linearizable unless set.
    #[must_use]
    pub const fn reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Bytes of an answer at the most. 16 MiB unless set.
    #[must_use]
    pub const fn answer_size_max(mut self, size: usize) -> Self {
        self.answer_size_max = size;
        self
    }

    /// Connects to the first server that answers.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let endpoints =
            self.addresses.iter().map(|address| self.endpoint(address)).collect::<Result<Vec<_>, _>>()?;
        let settings = Settings {
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            retry: self.retry,
            answer_size_max: self.answer_size_max,
            reads: self.reads,
        };
        let (mut current, mut last_reason) = (None, None);
        for (index, endpoint) in endpoints.iter().enumerate() {
            match endpoint.connect().await {
                Ok(_) => {
                    current = Some(index);
                    break;
                }
                Err(error) => last_reason = Some(innermost(&error)),
            }
        }
        let Some(current) = current else {
            let reason = last_reason.ok_or(ClientError::NoAddress)?;
            return Err(ClientError::Unreachable { addresses: self.addresses.join(", "), reason });
        };
        let channels = endpoints.iter().map(Endpoint::connect_lazy).collect();
        Ok(Client::new(channels, current, settings))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|source| ClientError::Address { address: address.to_owned(), source })?;
        // Without a scheme it is http. Over https a caller counts on encryption, which is not there.
        if endpoint.uri().scheme_str().is_some_and(|scheme| scheme != "http") {
            return Err(ClientError::Scheme { address: address.to_owned() });
        }
        endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_SIZE)
            .initial_connection_window_size(WINDOW_SIZE)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_while_idle(false)
            .user_agent(concat!("bezant-client/", env!("CARGO_PKG_VERSION")))
            .map_err(|source| ClientError::Address { address: address.to_owned(), source })
    }
}

/// What a connected client needs of its builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Of a call with all its tries.
    pub(crate) deadline: Duration,
    /// Of one try.
    pub(crate) attempt_timeout: Duration,
    /// When to try again.
    pub(crate) retry: RetryPolicy,
    /// Bytes of an answer at the most.
    pub(crate) answer_size_max: usize,
    /// How fresh answers must be.
    pub(crate) reads: Reads,
}

/// The words of the first cause: "connection refused" rather than "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_asks_for_encryption_is_refused() {
        let builder = Client::builder();
        for plain in ["http://127.0.0.1:7070", "HTTP://h:1"] {
            assert!(builder.endpoint(plain).is_ok(), "{plain}");
        }
        for other in ["https://127.0.0.1:7070", "ftp://h:1"] {
            assert!(matches!(builder.endpoint(other), Err(ClientError::Scheme { .. })), "{other}");
        }
        assert!(matches!(builder.endpoint("http://"), Err(ClientError::Address { .. })));
    }
}
