//! A connection in TigerBeetle's protocol, to a Bezant or to a TigerBeetle.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bezant_codec::Batches;
use bezant_tigerbeetle::{Client, HEADER_SIZE, Header, Operation, Received, Release};
use bezant_types::ClientId;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// A connection with a session, and one request in flight.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: TcpStream,
    client: Client,
    reply: BytesMut,
}

impl Frames {
    /// Connects and opens a session. `number` is the client's number: each client of a process has another.
    pub(crate) async fn open(address: &str, cluster: u128, number: u64) -> Result<Self> {
        Self::open_on(Self::dial(address).await?, cluster, number, ANSWER_TIMEOUT).await
    }

    /// Connects, without a session.
    pub(crate) async fn dial(address: &str) -> Result<TcpStream> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("{address} cannot be reached"))?;
        stream.set_nodelay(true).context("the connection cannot be set up")?;
        Ok(stream)
    }

    /// Opens a session on a new connection; waits for at most `limit`. A server of another cluster does not
    /// answer, or closes the connection.
    pub(crate) async fn open_on(
        stream: TcpStream,
        cluster: u128,
        number: u64,
        limit: Duration,
    ) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = since.as_nanos() << 48 | u128::from(std::process::id()) << 16 | u128::from(number + 1);
        let mut frames =
            Self { stream, client: Client::new(ClientId(id), cluster, Release::OWN), reply: BytesMut::new() };
        let register = frames.client.register();
        frames.stream.write_all(&register).await.context("the session cannot be opened")?;
        frames.receive_within(limit).await.context("the session cannot be opened")?;
        Ok(frames)
    }

    /// The results of a request of one batch. `body` ends in the batch's trailer.
    pub(crate) async fn submit(&mut self, operation: Operation, body: &[u8]) -> Result<Bytes> {
        let reply = self.ask(operation, body).await?;
        let batches = Batches::decode(&reply, operation.result_size()).context("the reply is cut")?;
        ensure!(batches.count() == 1, "a reply of {} batches to a request of one", batches.count());
        Ok(reply.slice(..batches.payload().len()))
    }

    /// The body of the reply to a request, as it is.
    pub(crate) async fn ask(&mut self, operation: Operation, body: &[u8]) -> Result<Bytes> {
        let header = self.client.request(operation, body);
        let mut frame = Buf::chain(&header[..], body);
        self.stream.write_all_buf(&mut frame).await.context("the request cannot be sent")?;
        self.receive().await
    }

    /// The body of the reply to the request in flight. TigerBeetle's official clients would wait without end.
    async fn receive(&mut self) -> Result<Bytes> {
        self.receive_within(ANSWER_TIMEOUT).await
    }

    async fn receive_within(&mut self, limit: Duration) -> Result<Bytes> {
        timeout(limit, self.receive_reply()).await.with_context(|| {
            format!("no answer within {limit:?}: is this the right cluster, and does this replica lead it?")
        })?
    }

    async fn receive_reply(&mut self) -> Result<Bytes> {
        loop {
            let header = self.read(HEADER_SIZE).await?;
            let header = header.first_chunk().context("no header")?;
            let body_size = Header::read(header).context("the server sent no frame")?.body_size();
            let body = self.read(body_size).await?;
            if let Received::Reply(_) = self.client.receive(header, &body)? {
                return Ok(body);
            }
        }
    }

    async fn read(&mut self, size: usize) -> Result<Bytes> {
        self.reply.reserve(size.saturating_sub(self.reply.len()));
        while self.reply.len() < size {
            if self.stream.read_buf(&mut self.reply).await.context("the answer is cut")? == 0 {
                bail!("the server has closed the connection");
            }
        }
        Ok(self.reply.split_to(size).freeze())
    }
}
