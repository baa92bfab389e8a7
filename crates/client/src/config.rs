//! Settings of a client before it connects.

use std::fmt;
use std::time::Duration;

use bezant_api::token::SessionToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use crate::retry::Tries;
use crate::{Client, ClientError, RetryPolicy};

/// HTTP/2 flow-control window of a stream and of a connection, in bytes: four full requests.
const WINDOW_SIZE: u32 = 4 << 20;
/// Default limit of an answer, in bytes: more than 8,189 accounts with names take in protobuf.
const ANSWER_SIZE_MAX: usize = 16 << 20;
/// Interval of HTTP/2 keep-alive pings on a connection with open calls.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Timeout of a try of a client with one address: there is no other server to try sooner.
const ATTEMPT_SINGLE: Duration = Duration::from_secs(10);
/// Timeout of the first try of a client with several addresses, and of connecting to one of them. An
/// unresponsive node delays a call by no more than this. The later tries have longer timeouts, for an answer
/// that takes longer.
const ATTEMPT_FIRST: Duration = Duration::from_millis(500);

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
    /// `None` = the default for the number of addresses.
    attempt_timeout: Option<Duration>,
    connect_timeout: Duration,
    retry: RetryPolicy,
    answer_size_max: usize,
    reads: Reads,
    seen: SessionToken,
    token: Option<Token>,
}

/// A cluster's token; never printed.
#[derive(Clone)]
struct Token(String);

impl Token {
    fn header(&self) -> Result<MetadataValue<Ascii>, ClientError> {
        let header = format!("Bearer {}", self.0).parse::<MetadataValue<Ascii>>();
        let mut header = header.map_err(|_| ClientError::Token)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// How fresh the answers to reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reads {
    /// A read sees every write that was acknowledged to any client before the read began.
    #[default]
    Linearizable,
    /// Any node answers. An answer is never older than what this client has seen, its own writes included.
    Session,
    /// Any node answers from its present state; [`Client::take_age`] returns how old that was.
    Stale,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            deadline: Duration::from_secs(30),
            attempt_timeout: None,
            connect_timeout: Duration::from_secs(2),
            retry: RetryPolicy::default(),
            answer_size_max: ANSWER_SIZE_MAX,
            reads: Reads::default(),
            seen: SessionToken::default(),
            token: None,
        }
    }
}

impl ClientBuilder {
    /// Adds a server, as `http://HOST:PORT`. The client uses the first server that answers, and the next one
    /// when that one fails.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// How long a call may take with all its tries; the default is 30 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long a try may take before the next one begins, at the next address. A retry is safe, because an
    /// id exists at most once.
    ///
    /// The default is 10 s with one address. With several addresses it is 500 ms at first, and doubles after
    /// each try of the call that had no answer in time. So the client soon leaves an unresponsive server, and
    /// still waits for a slow answer.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// How long it may take to connect; the default is 2 s. With several addresses, each one first has at
    /// most 500 ms. They have the full time in a second round, when none of them answered in the first.
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

    /// How fresh answers must be; the default is [`Reads::Linearizable`].
    #[must_use]
    pub const fn reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Continues the session of another client: no answer is older than what that client has
    /// [seen](Client::seen). Used with [`Reads::Session`].
    #[must_use]
    pub fn seen(mut self, session: SessionToken) -> Self {
        self.seen = session;
        self
    }

    /// The cluster's token. It is sent only with changes of the cluster. A server that other machines can
    /// reach requires it. It is sent unencrypted, like everything else.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Limit of an answer in bytes; the default is 16 MiB.
    #[must_use]
    pub const fn answer_size_max(mut self, size: usize) -> Self {
        self.answer_size_max = size;
        self
    }

    /// Connects to the first server that answers.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let endpoints =
            self.addresses.iter().map(|address| self.endpoint(address)).collect::<Result<Vec<_>, _>>()?;
        let token = self.token.as_ref().map(Token::header).transpose()?;
        let settings = Settings {
            deadline: self.deadline,
            attempts: match self.attempt_timeout {
                Some(timeout) => Attempts::Equal(timeout),
                None if endpoints.len() == 1 => Attempts::Equal(ATTEMPT_SINGLE),
                None => Attempts::Doubling(ATTEMPT_FIRST),
            },
            retry: self.retry,
            answer_size_max: self.answer_size_max,
            reads: self.reads,
        };
        let is_alone = endpoints.len() == 1;
        let short = if is_alone { self.connect_timeout } else { self.connect_timeout.min(ATTEMPT_FIRST) };
        let mut found = first_that_answers(&endpoints, short).await;
        // A second round with the full timeout, for servers that are slow to connect.
        if matches!(found, Err(Unanswered { is_slow: true, .. })) && self.connect_timeout > short {
            found = first_that_answers(&endpoints, self.connect_timeout).await;
        }
        let current = found.map_err(|unanswered| match unanswered.reason {
            None => ClientError::NoAddress,
            Some(reason) => ClientError::Unreachable { addresses: self.addresses.join(", "), reason },
        })?;
        let channels = endpoints.iter().map(Endpoint::connect_lazy).collect();
        Ok(Client::new(channels, current, self.seen, token, settings))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|source| ClientError::Address { address: address.to_owned(), source })?;
        // Without a scheme it is http. With https the caller expects encryption, which is not implemented.
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

/// Why no server answers.
struct Unanswered {
    /// The reason of the last server; `None` when there is no address.
    reason: Option<String>,
    /// True when connecting to one of them timed out.
    is_slow: bool,
}

/// The index of the first server that accepts a connection within `timeout`.
async fn first_that_answers(endpoints: &[Endpoint], timeout: Duration) -> Result<usize, Unanswered> {
    let mut unanswered = Unanswered { reason: None, is_slow: false };
    for (index, endpoint) in endpoints.iter().enumerate() {
        match tokio::time::timeout(timeout, endpoint.connect()).await {
            Ok(Ok(_)) => return Ok(index),
            Ok(Err(error)) => unanswered.reason = Some(innermost(&error)),
            Err(_) => {
                unanswered.reason = Some(format!("no connection within {} ms", timeout.as_millis()));
                unanswered.is_slow = true;
            }
        }
    }
    Err(unanswered)
}

/// Timeouts of the tries of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// The same timeout for each try.
    Equal(Duration),
    /// The timeout of the first try. It doubles after each try that had no answer in time, and not after a
    /// refusal: a server that refuses at once has taken no time.
    Doubling(Duration),
}

impl Attempts {
    /// The timeout of the next try. The caller also limits it to the deadline of the call.
    pub(crate) fn timeout(self, tries: &Tries) -> Duration {
        match self {
            Self::Equal(timeout) => timeout,
            Self::Doubling(first) => first.saturating_mul(1 << tries.timeouts.min(20)),
        }
    }
}

/// What a connected client needs of its builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Time limit of a call with all its tries.
    pub(crate) deadline: Duration,
    /// Timeouts of its tries.
    pub(crate) attempts: Attempts,
    /// When to try again.
    pub(crate) retry: RetryPolicy,
    /// Limit of an answer in bytes.
    pub(crate) answer_size_max: usize,
    /// How fresh answers must be.
    pub(crate) reads: Reads,
}

/// The text of the first cause, such as "connection refused" instead of "transport error".
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
    fn timeouts_of_tries_double() {
        let attempts = Attempts::Doubling(ATTEMPT_FIRST);
        let after = |timeouts| Tries { timeouts, count: timeouts + 7, ..Tries::default() };
        let millis: Vec<u128> =
            (0..5).map(|timeouts| attempts.timeout(&after(timeouts)).as_millis()).collect();
        assert_eq!(millis, [500, 1000, 2000, 4000, 8000]);
        assert!(attempts.timeout(&after(1 << 30)) > Duration::from_hours(1), "no overflow");
        assert_eq!(Attempts::Equal(ATTEMPT_SINGLE).timeout(&after(7)), ATTEMPT_SINGLE);
    }

    /// A listener that accepts connections and never answers, like an unresponsive node.
    async fn unresponsive() -> (tokio::net::TcpListener, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (listener, address)
    }

    #[tokio::test]
    async fn a_client_with_several_addresses_leaves_an_unresponsive_one_soon() {
        let ((_one, first), (_two, second)) = (unresponsive().await, unresponsive().await);
        let builder = Client::builder().address(first.clone()).deadline(Duration::from_millis(1_200));
        let tries = async |builder: ClientBuilder| match builder.connect().await.unwrap().books().await {
            Err(ClientError::DeadlineExceeded { attempts, .. }) => attempts,
            other => panic!("no server answers: {other:?}"),
        };
        assert_eq!(tries(builder.clone()).await, 1);
        assert_eq!(tries(builder.address(second)).await, 2, "500 ms, then the rest of the deadline");
    }

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
