//! A connection in TigerBeetle's protocol, to a Bezant or to a TigerBeetle.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bezant_codec::{Batches, DecodeError};
use bezant_tigerbeetle::{
    Client, ClientError, FrameError, HEADER_SIZE, Header, Operation, Received, Release,
};
use bezant_types::ClientId;
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a connection in TigerBeetle's protocol has no answer. The message of an error leaves out that of its
/// source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FramesError {
    /// No connection.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// The error of the connection.
        source: io::Error,
    },
    /// An option of the socket.
    #[error("the connection cannot be set up")]
    SetUp(#[source] io::Error),
    /// The request that opens the session was not answered.
    #[error("the session cannot be opened")]
    Session(#[source] Box<dyn Error + Send + Sync>),
    /// The connection broke before the request was sent.
    #[error("the request cannot be sent")]
    Send(#[source] io::Error),
    /// No answer in time. A server of another cluster, or a replica that does not lead, does not answer.
    #[error("no answer within {limit:?}: is this the right cluster, and does this replica lead it?")]
    NoAnswer {
        /// How long the client has waited.
        limit: Duration,
        /// The error of the timer.
        source: Elapsed,
    },
    /// The connection broke within an answer.
    #[error("the answer is cut")]
    AnswerCut(#[source] io::Error),
    /// The server has closed the connection.
    #[error("the server has closed the connection")]
    Closed,
    /// The bytes are no frame.
    #[error("the server sent no frame")]
    NoFrame(#[source] FrameError),
    /// The frame is not what this session waits for, or ends it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The reply has no trailer of batches.
    #[error("the reply is cut")]
    ReplyCut(#[source] DecodeError),
    /// The reply has another number of batches than the request.
    #[error("a reply of {0} batches to a request of one")]
    Batches(usize),
}

/// A connection with a session, and one request in flight.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
    client: Client,
    reply: BytesMut,
}

impl Frames {
    /// Connects and opens a session. `number` is the client's number: each client of a process has another.
    pub async fn open(address: &str, cluster: u128, number: u64) -> Result<Self, FramesError> {
        Self::open_on(Self::dial(address).await?, cluster, number, ANSWER_TIMEOUT).await
    }

    /// Connects, without a session.
    pub async fn dial(address: &str) -> Result<TcpStream, FramesError> {
        let stream = TcpStream::connect(address).await;
        let stream =
            stream.map_err(|source| FramesError::Unreachable { address: address.to_owned(), source })?;
        stream.set_nodelay(true).map_err(FramesError::SetUp)?;
        Ok(stream)
    }

    /// Opens a session on a new connection; waits for at most `limit`. A server of another cluster does not
    /// answer, or closes the connection.
    pub async fn open_on(
        stream: TcpStream,
        cluster: u128,
        number: u64,
        limit: Duration,
    ) -> Result<Self, FramesError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = since.as_nanos() << 48 | u128::from(std::process::id()) << 16 | u128::from(number + 1);
        let mut frames =
            Self { stream, client: Client::new(ClientId(id), cluster, Release::OWN), reply: BytesMut::new() };
        let register = frames.client.register();
        frames.stream.write_all(&register).await.map_err(|error| FramesError::Session(error.into()))?;
        frames.receive_within(limit).await.map_err(|error| FramesError::Session(error.into()))?;
        Ok(frames)
    }

    /// The results of a request of one batch. `body` ends in the batch's trailer.
    pub async fn submit(&mut self, operation: Operation, body: &[u8]) -> Result<Bytes, FramesError> {
        let reply = self.ask(operation, body).await?;
        let batches = Batches::decode(&reply, operation.result_size()).map_err(FramesError::ReplyCut)?;
        if batches.count() != 1 {
            return Err(FramesError::Batches(batches.count()));
        }
        Ok(reply.slice(..batches.payload().len()))
    }

    /// The body of the reply to a request, as it is.
    pub async fn ask(&mut self, operation: Operation, body: &[u8]) -> Result<Bytes, FramesError> {
        let header = self.client.request(operation, body);
        let mut frame = Buf::chain(&header[..], body);
        self.stream.write_all_buf(&mut frame).await.map_err(FramesError::Send)?;
        self.receive().await
    }

    /// The body of the reply to the request in flight. TigerBeetle's official clients would wait without end.
    async fn receive(&mut self) -> Result<Bytes, FramesError> {
        self.receive_within(ANSWER_TIMEOUT).await
    }

    async fn receive_within(&mut self, limit: Duration) -> Result<Bytes, FramesError> {
        let reply = timeout(limit, self.receive_reply()).await;
        reply.map_err(|source| FramesError::NoAnswer { limit, source })?
    }

    async fn receive_reply(&mut self) -> Result<Bytes, FramesError> {
        loop {
            let header = self.read(HEADER_SIZE).await?;
            let header = header.first_chunk().ok_or(FramesError::Closed)?;
            let body_size = Header::read(header).map_err(FramesError::NoFrame)?.body_size();
            let body = self.read(body_size).await?;
            if let Received::Reply(_) = self.client.receive(header, &body)? {
                return Ok(body);
            }
        }
    }

    async fn read(&mut self, size: usize) -> Result<Bytes, FramesError> {
        self.reply.reserve(size.saturating_sub(self.reply.len()));
        while self.reply.len() < size {
            if self.stream.read_buf(&mut self.reply).await.map_err(FramesError::AnswerCut)? == 0 {
                return Err(FramesError::Closed);
            }
        }
        Ok(self.reply.split_to(size).freeze())
    }
}
