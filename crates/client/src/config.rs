//! What can be set before connecting.

use std::fmt;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use crate::retry::Tries;
use crate::{Client, ClientError, RetryPolicy};

/// Bytes that a stream or a connection may carry before the receiver has to confirm: four full requests.
const WINDOW_SIZE: u32 = 4 << 20;
/// An answer of this size at the most: 8,189 accounts with names in protobuf and room to spare.
const ANSWER_SIZE_MAX: usize = 16 << 20;
/// How often a silent connection is asked whether it still is one.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A try of a client with one address: nobody else could answer sooner.
const ATTEMPT_OF_ONE: Duration = Duration::from_secs(10);
/// The first try of a client with several addresses, and of connecting to one of them. A node that sleeps or is cut
/// off takes no longer than that of anybody's time; an answer that takes longer is waited for by the tries behind it.
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
    /// `None`: as the number of addresses asks for.
    attempt_timeout: Option<Duration>,
    connect_timeout: Duration,
    retry: RetryPolicy,
    answer_size_max: usize,
    reads: Reads,
    seen: u64,
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

/// How fresh the answers to questions must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reads {
    /// They show everything that was acknowledged, to anybody, before the question.
    #[default]
    Linearizable,
    /// Any node answers, and never shows less than this client has seen before, its own writes included.
    Session,
    /// Any node answers with what it has; [`Client::take_age`] says how old that was.
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
            seen: 0,
            token: None,
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

    /// How long every try may take before the next begins, at the next address. Trying again is safe: ids make it so.
    ///
    /// Unless set, it is 10 s with one address. With several it is 500 ms at first, and doubles after every try of
    /// a call that had no answer: who does not answer is left soon, and an answer that takes long is waited for all the same.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// How long a connection may take to come about. 2 s unless set. Of several addresses, each is given 500 ms at the
    /// most before the next is tried, and all of it only when none was faster.
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

    /// Goes on with the session of another client: nothing is shown that is older than what that one had
    /// [seen](Client::seen). Counts with [`Reads::Session`].
    #[must_use]
    pub const fn seen(mut self, index: u64) -> Self {
        self.seen = index;
        self
    }

    /// The cluster's token, sent with changes of the cluster alone: a server that other machines reach asks for it.
    /// It travels as it is, like everything else.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
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
        let token = self.token.as_ref().map(Token::header).transpose()?;
        let settings = Settings {
            deadline: self.deadline,
            attempts: match self.attempt_timeout {
                Some(timeout) => Attempts::Equal(timeout),
                None if endpoints.len() == 1 => Attempts::Equal(ATTEMPT_OF_ONE),
                None => Attempts::Doubling(ATTEMPT_FIRST),
            },
            retry: self.retry,
            answer_size_max: self.answer_size_max,
            reads: self.reads,
        };
        let is_alone = endpoints.len() == 1;
        let short = if is_alone { self.connect_timeout } else { self.connect_timeout.min(ATTEMPT_FIRST) };
        let mut found = first_that_answers(&endpoints, short).await;
        // Once more for those that are merely slow.
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

/// Why no server answers.
struct Unanswered {
    /// The last one's; `None` where there is no address.
    reason: Option<String>,
    /// One of them was given up because it took too long.
    is_slow: bool,
}

/// The index of the first that takes a connection within that time.
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

/// How long the tries of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    /// Each so long.
    Equal(Duration),
    /// So long at first, and twice as long after each that nobody has answered in time: a server that turns a try down
    /// at once has taken nothing of it.
    Doubling(Duration),
}

impl Attempts {
    /// Of the next try. The deadline of the call bounds it further.
    pub(crate) fn timeout(self, tries: &Tries) -> Duration {
        match self {
            Self::Equal(timeout) => timeout,
            Self::Doubling(first) => first.saturating_mul(1 << tries.silences.min(20)),
        }
    }
}

/// What a connected client needs of its builder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Of a call with all its tries.
    pub(crate) deadline: Duration,
    /// Of its tries.
    pub(crate) attempts: Attempts,
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
    fn tries_double_until_the_deadline_of_the_call_ends_them() {
        let attempts = Attempts::Doubling(ATTEMPT_FIRST);
        let after = |silences| Tries { silences, count: silences + 7, ..Tries::default() };
        let millis: Vec<u128> =
            (0..5).map(|silences| attempts.timeout(&after(silences)).as_millis()).collect();
        assert_eq!(millis, [500, 1000, 2000, 4000, 8000]);
        assert!(attempts.timeout(&after(1 << 30)) > Duration::from_hours(1), "no overflow");
        assert_eq!(Attempts::Equal(ATTEMPT_OF_ONE).timeout(&after(7)), ATTEMPT_OF_ONE);
    }

    /// Takes connections, and answers nothing: what a node looks like that sleeps.
    async fn sleeper() -> (tokio::net::TcpListener, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (listener, address)
    }

    #[tokio::test]
    async fn of_several_a_silent_one_is_left_soon_and_of_one_it_is_not() {
        let ((_one, first), (_two, second)) = (sleeper().await, sleeper().await);
        let builder = Client::builder().address(first.clone()).deadline(Duration::from_millis(1_200));
        let tries = async |builder: ClientBuilder| match builder.connect().await.unwrap().books().await {
            Err(ClientError::DeadlineExceeded { attempts, .. }) => attempts,
            other => panic!("nobody can answer: {other:?}"),
        };
        assert_eq!(tries(builder.clone()).await, 1);
        assert_eq!(tries(builder.address(second)).await, 2, "half a second, and what is left of the time");
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
