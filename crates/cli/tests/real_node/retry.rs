//! The client when answers get lost: a proxy between it and a real node cuts the connection when the answer
//! to a write comes back. The write is done, and its client has no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::node::Node;
use bezant_client::ids::IdGenerator;
use bezant_client::{
    AccountFlags, AccountId, Client, CreateAccountStatus, CreateTransferStatus, NewAccount, NewTransfer,
    Position, TransferFlags,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EURO: u32 = 978;
/// The answer to a write of 100 events has 1,600 bytes; everything else that a server sends is smaller.
const ANSWER_SIZE_MIN: usize = 1_000;
const EVENTS: u128 = 100;

/// Passes bytes on; when armed, it drops the next large answer and cuts the connection.
struct Proxy {
    url: String,
    is_armed: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let is_armed = Arc::new(AtomicBool::new(false));
        let (server, armed) = (server.trim_start_matches("http://").to_owned(), Arc::clone(&is_armed));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the node runs");
                tokio::spawn(pass(client, server, Arc::clone(&armed)));
            }
        });
        Self { url, is_armed }
    }

    fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    fn has_cut(&self) -> bool {
        !self.is_armed.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: TcpStream, is_armed: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let size = from_server.read(&mut buffer).await?;
            let is_cut = size >= ANSWER_SIZE_MIN && is_armed.swap(false, Ordering::SeqCst);
            if size == 0 || is_cut {
                return Ok::<(), std::io::Error>(());
            }
            to_client.write_all(&buffer[..size]).await?;
        }
    };
    // Both halves of both connections end together.
    tokio::select! {
        result = up => result.unwrap_or_default(),
        result = down => result.unwrap_or_default(),
    }
}

/// True for all events of a chain but the last.
fn linked(index: u128) -> bool {
    index + 1 < EVENTS
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let proxy = Proxy::start(&node.url).await;
    let client = Client::connect(&proxy.url).await.expect("the node answers");
    let ids = IdGenerator::new();

    for is_chain in [false, true] {
        let accounts: Vec<NewAccount> = (0..EVENTS)
            .map(|index| {
                let flags = if is_chain && linked(index) { AccountFlags::LINKED } else { AccountFlags::NONE };
                NewAccount::new(ids.account_id(), EURO, 1).flags(flags)
            })
            .collect();
        proxy.arm();
        let outcomes = client.create_accounts(&accounts).await.expect("the outcome becomes known");
        assert!(proxy.has_cut(), "the answer was dropped");
        assert!(
            outcomes.iter().all(|outcome| outcome.status == CreateAccountStatus::Created),
            "{outcomes:?}"
        );

        let (from, to) = (accounts[0].account.id, accounts[1].account.id);
        let transfers: Vec<NewTransfer> = (0..EVENTS)
            .map(|index| {
                let flags =
                    if is_chain && linked(index) { TransferFlags::LINKED } else { TransferFlags::NONE };
                NewTransfer::new(ids.transfer_id(), from, to, 1, EURO, 1).flags(flags)
            })
            .collect();
        proxy.arm();
        let outcomes = client.create_transfers(&transfers).await.expect("the outcome becomes known");
        assert!(proxy.has_cut(), "the answer was dropped");
        assert!(
            outcomes.iter().all(|outcome| outcome.status == CreateTransferStatus::Created),
            "{outcomes:?}"
        );
        let all: Vec<_> = transfers.iter().map(|new| new.transfer.id).collect();
        let recorded = client.lookup_transfers(&all).await.expect("a look-up");
        let timestamps: Vec<_> = outcomes.iter().map(|outcome| outcome.timestamp).collect();
        assert_eq!(recorded.iter().map(|found| found.transfer.timestamp).collect::<Vec<_>>(), timestamps);
        let view = client.lookup_accounts(&[from]).await.expect("a look-up");
        assert_eq!(view[0].account.debits_posted, EVENTS, "each was done once");
    }
}

#[tokio::test]
async fn a_chain_that_exists_in_part_is_not_created() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let client = Client::connect(&node.url).await.expect("the node answers");
    let account = |id| NewAccount::new(AccountId(id), EURO, 1);
    let first = account(1).flags(AccountFlags::LINKED);
    let outcomes = client.create_accounts(&[first.clone(), account(2)]).await.expect("an answer");
    assert!(outcomes.iter().all(|outcome| outcome.status == CreateAccountStatus::Created), "{outcomes:?}");
    let again = client.create_accounts(&[first, account(3)]).await.expect("an answer");
    let statuses: Vec<_> = again.iter().map(|outcome| outcome.status).collect();
    assert_eq!(statuses, [CreateAccountStatus::Exists, CreateAccountStatus::LinkedEventFailed]);
}

#[tokio::test]
async fn a_chain_of_an_earlier_call_exists() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let client = Client::connect(&node.url).await.expect("the node answers");
    client
        .create_accounts(&[1, 2].map(|id| NewAccount::new(AccountId(id), EURO, 1)))
        .await
        .expect("accounts");
    let chain: Vec<NewTransfer> = (0..EVENTS)
        .map(|index| {
            let flags = if linked(index) { TransferFlags::LINKED } else { TransferFlags::NONE };
            let id = bezant_client::TransferId(100 + index);
            NewTransfer::new(id, AccountId(1), AccountId(2), 1, EURO, 1).flags(flags)
        })
        .collect();
    let first = client.create_transfers(&chain).await.expect("an answer");
    let again = client.create_transfers(&chain).await.expect("an answer");
    assert!(again.iter().all(|outcome| outcome.status == CreateTransferStatus::Exists), "{again:?}");
    assert!(first.iter().zip(&again).all(|(first, again)| first.timestamp == again.timestamp));
    let mut other = chain.clone();
    other[1].transfer.amount = 2;
    let refused = client.create_transfers(&other).await.expect("an answer");
    assert_eq!(refused[0].status, CreateTransferStatus::Exists);
    assert!(refused[1..].iter().all(|outcome| outcome.status == CreateTransferStatus::LinkedEventFailed));
}

#[tokio::test]
async fn events_go_on_after_a_broken_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let proxy = Proxy::start(&node.url).await;
    let direct = Client::connect(&node.url).await.expect("the node answers");
    let watcher = Client::connect(&proxy.url).await.expect("the node answers");
    let accounts = [1, 2].map(|id| NewAccount::new(AccountId(id), EURO, 1));
    direct.create_accounts(&accounts).await.expect("accounts");
    let ids = IdGenerator::new();
    let mut events = watcher.events(&Position::start()).await.expect("a stream");
    for round in 0..5 {
        let batch: Vec<_> = (0..EVENTS)
            .map(|_| NewTransfer::new(ids.transfer_id(), AccountId(1), AccountId(2), 1, EURO, 1))
            .collect();
        proxy.arm();
        direct.create_transfers(&batch).await.expect("transfers");
        for (at, new) in (0..).zip(&batch) {
            let event = events.next().await.expect("an event");
            assert_eq!(u128::from(event.number.0), round * EVENTS + at, "none twice, none left out");
            assert_eq!(event.movement.transfer.id, new.transfer.id);
            assert_eq!(events.position(), &event.position);
        }
        assert!(proxy.has_cut(), "the stream broke");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let client = Client::builder().address("http://127.0.0.1:1").address(&node.url).connect().await;
    assert_eq!(client.expect("the second answers").books().await.expect("books").accounts, 0);
    let error = Client::connect("http://127.0.0.1:1").await.expect_err("no server is there");
    assert!(error.is_unavailable(), "{error}");
}
