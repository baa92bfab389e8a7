//! A connection of the benchmark's in TigerBeetle's protocol: to this server's door for it, or to a TigerBeetle.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bezant_codec::{Batches, account_from_bytes, put_trailer, records};
use bezant_tigerbeetle::operation::ID_SIZE;
use bezant_tigerbeetle::{Client, HEADER_SIZE, Header, Operation, Received, Release};
use bezant_types::ClientId;
use bezant_types::limits::{EVENTS_MAX, RECORD_SIZE, RESULT_SIZE};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clients::Outcome;
use super::load::Load;

/// All benchmarks of this protocol use cluster 0.
const CLUSTER: u128 = 0;

/// A connection with a session.
#[derive(Debug)]
pub(super) struct Frames {
    stream: TcpStream,
    client: Client,
    reply: BytesMut,
}

impl Frames {
    /// Connects and opens a session; `number` tells the clients of a run apart.
    pub(super) async fn open(address: &str, number: u64) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("{address} cannot be reached"))?;
        stream.set_nodelay(true).context("the connection cannot be set up")?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = since.as_nanos() << 48 | u128::from(std::process::id()) << 16 | u128::from(number + 1);
        let mut frames =
            Self { stream, client: Client::new(ClientId(id), CLUSTER, Release::OWN), reply: BytesMut::new() };
        let register = frames.client.register();
        frames.stream.write_all(&register).await.context("the session cannot be opened")?;
        frames.receive().await.context("the session cannot be opened")?;
        Ok(frames)
    }

    /// The results of a request of one batch, whose body ends in its trailer.
    pub(super) async fn submit(&mut self, operation: Operation, body: &[u8]) -> Result<Bytes> {
        let header = self.client.request(operation, body);
        self.stream
            .write_all_buf(&mut Buf::chain(&header[..], body))
            .await
            .context("the request cannot be sent")?;
        let reply = self.receive().await?;
        let batches = Batches::decode(&reply, operation.result_size()).context("the reply is cut")?;
        ensure!(batches.count() == 1, "a reply of {} batches to a request of one", batches.count());
        Ok(reply.slice(..batches.payload().len()))
    }

    /// The body of the reply to the request in flight.
    async fn receive(&mut self) -> Result<Bytes> {
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

    /// An error unless the accounts of the load hold exactly what was sent, and debits equal credits.
    pub(super) async fn check(&mut self, load: &Load, outcome: &Outcome) -> Result<()> {
        let (mut count, mut debits, mut credits) = (0_u64, 0_u128, 0_u128);
        let numbers: Vec<u64> = (0..load.accounts).collect();
        for numbers in numbers.chunks(EVENTS_MAX) {
            let mut body = Vec::with_capacity((numbers.len() + 1) * ID_SIZE);
            for number in numbers {
                body.extend_from_slice(&load.account_id(*number).0.to_le_bytes());
            }
            put_trailer(&mut body, &[numbers.len()], ID_SIZE);
            let found = self.submit(Operation::LookupAccounts, &body).await.context("no accounts")?;
            for account in records::<RECORD_SIZE>(&found).context("the accounts are cut")? {
                let account = account_from_bytes(account);
                count += 1;
                debits += account.debits_posted;
                credits += account.credits_posted;
            }
        }
        let expected = (load.accounts, outcome.amount_sum, outcome.amount_sum);
        let found = (count, debits, credits);
        ensure!(
            found == expected,
            "the accounts are not what was sent (accounts, debits, credits): expected {expected:?}, found {found:?}"
        );
        Ok(())
    }
}

const _: () =
    assert!(Operation::CreateTransfers.result_size() == RESULT_SIZE, "results are those of every door");
