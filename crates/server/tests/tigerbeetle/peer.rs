//! A client on a socket, and the records that tests send.

use std::time::Duration;

use bezant_codec::{
    Batches, account_from_bytes, account_to_bytes, put_trailer, records, result_from_bytes,
    transfer_from_bytes, transfer_to_bytes,
};
use bezant_tigerbeetle::{Client, ClientError, HEADER_SIZE, Header, Operation, Received, Release, Reply};
use bezant_types::{
    Account, AccountId, ClientId, CreateTransferStatus, EventResult, LedgerNumber, Transfer, TransferId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::Server;

/// The most time that any step may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client with a connection.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) stream: TcpStream,
    /// The last request, as it was sent.
    pub(crate) request: Vec<u8>,
    /// The last reply, as it came.
    pub(crate) reply: Vec<u8>,
}

impl Peer {
    /// Connects and sends nothing.
    pub(crate) async fn connect(server: &Server, id: u128, release: Release) -> Self {
        let client = Client::new(ClientId(id), 0, release);
        let stream = TcpStream::connect(server.tigerbeetle).await.unwrap();
        Self { client, stream, request: Vec::new(), reply: Vec::new() }
    }

    /// Connects and opens a session.
    pub(crate) async fn open(server: &Server, id: u128) -> Self {
        let mut peer = Self::connect(server, id, Release::OWN).await;
        let register = peer.client.register();
        peer.exchange(register).await.unwrap();
        let limit = u32::from_le_bytes(*peer.body().first_chunk().unwrap());
        assert_eq!((peer.body().len(), limit), (64, 1_048_320));
        peer
    }

    /// Continues its session on a new connection.
    pub(crate) async fn reconnect(&mut self, server: &Server) {
        self.stream = TcpStream::connect(server.tigerbeetle).await.unwrap();
    }

    /// The body of the last reply.
    pub(crate) fn body(&self) -> &[u8] {
        &self.reply[HEADER_SIZE..]
    }

    /// Makes the frame of a request, which then counts as in flight.
    pub(crate) fn frame(&mut self, operation: Operation, body: &[u8]) -> Vec<u8> {
        [&self.client.request(operation, body)[..], body].concat()
    }

    /// Sends a frame and reads the next one as its reply.
    pub(crate) async fn exchange(&mut self, request: Vec<u8>) -> Result<Reply, ClientError> {
        self.stream.write_all(&request).await.unwrap();
        self.request = request;
        self.take_reply().await
    }

    /// Reads the next frame as the reply to the request in flight.
    pub(crate) async fn take_reply(&mut self) -> Result<Reply, ClientError> {
        loop {
            self.reply = self.next_frame().await.expect("the server answers");
            let header = self.reply.first_chunk().unwrap();
            if let Received::Reply(reply) = self.client.receive(header, &self.reply[HEADER_SIZE..])? {
                return Ok(reply);
            }
        }
    }

    /// Sends the last request again; returns the next frame.
    pub(crate) async fn resend(&mut self) -> Vec<u8> {
        self.stream.write_all(&self.request).await.unwrap();
        self.next_frame().await.expect("the server answers")
    }

    /// The next frame; `None` when the server closes the connection.
    pub(crate) async fn next_frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut frame = vec![0; HEADER_SIZE];
            self.stream.read_exact(&mut frame).await.ok()?;
            let body_size = Header::read(frame.first_chunk().unwrap()).unwrap().body_size();
            frame.resize(HEADER_SIZE + body_size, 0);
            self.stream.read_exact(&mut frame[HEADER_SIZE..]).await.ok()?;
            Some(frame)
        };
        tokio::time::timeout(TIMEOUT, read).await.expect("the server answers or closes")
    }

    /// Sends a request in batches; returns the payload of each batch of the reply.
    pub(crate) async fn call(&mut self, operation: Operation, batches: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let request = self.frame(operation, &body(operation, batches));
        self.exchange(request).await.unwrap();
        let found = Batches::decode(self.body(), operation.result_size()).unwrap();
        assert_eq!(found.count(), batches.len(), "as many batches as were sent");
        found.iter().map(<[u8]>::to_vec).collect()
    }

    /// Creates accounts in one batch.
    pub(crate) async fn create_accounts(&mut self, accounts: &[Account]) -> Vec<EventResult> {
        let events = accounts.iter().flat_map(account_to_bytes).collect();
        results(&self.call(Operation::CreateAccounts, &[events]).await[0])
    }

    /// Creates transfers in one batch.
    pub(crate) async fn create_transfers(&mut self, transfers: &[Transfer]) -> Vec<EventResult> {
        let events = transfers.iter().flat_map(transfer_to_bytes).collect();
        results(&self.call(Operation::CreateTransfers, &[events]).await[0])
    }

    /// Creates the accounts 1 and 2.
    pub(crate) async fn two_accounts(&mut self) {
        let results = self.create_accounts(&[account(1), account(2)]).await;
        assert_eq!(statuses(&results), [CREATED, CREATED]);
    }

    /// Looks up accounts by id.
    pub(crate) async fn lookup_accounts(&mut self, ids: &[u128]) -> Vec<Account> {
        accounts(&self.call(Operation::LookupAccounts, &[ids_to_bytes(ids)]).await[0])
    }
}

pub(crate) const CREATED: u32 = CreateTransferStatus::Created.number();

/// The body of a request.
pub(crate) fn body(operation: Operation, batches: &[Vec<u8>]) -> Vec<u8> {
    let size = operation.event_size();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.len() / size).collect();
    let mut body = batches.concat();
    put_trailer(&mut body, &sizes, size);
    body
}

pub(crate) fn account(id: u128) -> Account {
    Account { id: AccountId(id), ledger: LedgerNumber(978), code: 1, ..Account::default() }
}

pub(crate) fn transfer(id: u128, amount: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount,
        ledger: LedgerNumber(978),
        code: 1,
        ..Transfer::default()
    }
}

pub(crate) fn ids_to_bytes(ids: &[u128]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

pub(crate) fn results(bytes: &[u8]) -> Vec<EventResult> {
    records(bytes).unwrap().iter().map(result_from_bytes).collect()
}

pub(crate) fn statuses(results: &[EventResult]) -> Vec<u32> {
    results.iter().map(|result| result.status).collect()
}

pub(crate) fn accounts(bytes: &[u8]) -> Vec<Account> {
    records(bytes).unwrap().iter().map(account_from_bytes).collect()
}

pub(crate) fn transfers(bytes: &[u8]) -> Vec<Transfer> {
    records(bytes).unwrap().iter().map(transfer_from_bytes).collect()
}
