//! The clients against a store in memory that loses answers.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request as Call, Response as Answer};

use super::*;
use crate::Target;
use crate::etcd::kv_server::{Kv, KvServer};
use crate::etcd::maintenance_server::{Maintenance, MaintenanceServer};
use crate::etcd::{ResponseHeader, ResponseOp, StatusRequest, StatusResponse};

/// The fate of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The attempt is lost: it is not done and has no answer.
    Lost,
    /// Done, and the answer is lost.
    Unheard,
    /// Refused for a permanent reason.
    Full,
}

/// A store with one member, which is the leader.
#[derive(Debug)]
struct Store {
    fate: fn(i64) -> Fate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    attempts: i64,
    revision: i64,
    rows: HashMap<Bytes, KeyValue>,
}

impl State {
    fn header(&self) -> ResponseHeader {
        ResponseHeader { member_id: 5, revision: self.revision }
    }

    fn swap(&mut self, request: &TxnRequest) -> TxnResponse {
        let [compare] = &request.compare[..] else { panic!("one comparison") };
        assert_eq!((compare.result(), compare.target()), (CompareResult::Equal, CompareTarget::Mod));
        let row = self.rows.get(&compare.key).cloned();
        let revision = row.as_ref().map_or(0, |row| row.mod_revision);
        if compare.target_union == Some(TargetUnion::ModRevision(revision)) {
            let Some(Request::RequestPut(put)) = request.success[0].request.clone() else { panic!("a put") };
            self.revision += 1;
            let version = row.map_or(0, |row| row.version) + 1;
            let row =
                KeyValue { key: put.key.clone(), mod_revision: self.revision, version, value: put.value };
            self.rows.insert(put.key, row);
            return TxnResponse { header: Some(self.header()), succeeded: true, responses: Vec::new() };
        }
        let range = RangeResponse { header: Some(self.header()), kvs: row.into_iter().collect() };
        let response = ResponseOp { response: Some(Response::ResponseRange(range)) };
        TxnResponse { header: Some(self.header()), succeeded: false, responses: vec![response] }
    }
}

#[tonic::async_trait]
impl Kv for Store {
    async fn range(&self, request: Call<RangeRequest>) -> Result<Answer<RangeResponse>, Status> {
        let request = request.into_inner();
        let state = self.state.lock().unwrap();
        let is_in = |key: &Bytes| {
            if request.range_end.is_empty() { *key == request.key } else { *key < request.range_end }
        };
        let kvs = state.rows.values().filter(|row| is_in(&row.key)).cloned().collect();
        Ok(Answer::new(RangeResponse { header: Some(state.header()), kvs }))
    }

    async fn txn(&self, request: Call<TxnRequest>) -> Result<Answer<TxnResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.attempts += 1;
        let lost = || Status::unavailable("the leader changed");
        match (self.fate)(state.attempts) {
            Fate::Answered => Ok(Answer::new(state.swap(&request.into_inner()))),
            Fate::Lost => Err(lost()),
            Fate::Unheard => {
                state.swap(&request.into_inner());
                Err(lost())
            }
            Fate::Full => Err(Status::resource_exhausted("no space")),
        }
    }
}

#[tonic::async_trait]
impl Maintenance for Store {
    async fn status(&self, _: Call<StatusRequest>) -> Result<Answer<StatusResponse>, Status> {
        let header = Some(self.state.lock().unwrap().header());
        Ok(Answer::new(StatusResponse { header, version: "3".to_owned(), leader: 5 }))
    }
}

/// Writes 300 times with 8 clients. Returns the checked outcome, and the number of writes that the store has
/// done.
async fn run(keys: Option<u64>, fate: fn(i64) -> Fate) -> Result<(Outcome, i64)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let store = Arc::new(Store { fate, state: Mutex::default() });
    let server = Server::builder()
        .add_service(KvServer::from_arc(Arc::clone(&store)))
        .add_service(MaintenanceServer::from_arc(Arc::clone(&store)));
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let args = LoadArgs {
        server: vec![url],
        writes: 300,
        clients: 8,
        keys,
        value_bytes: 24,
        to: Target::All,
        seconds_max: 60,
        json: false,
    };
    let cluster = Cluster::wait(&args.server).await?;
    let mut connection = cluster.connect_to(Target::Leader, 0).await?;
    let keys = Keys::read(&mut connection, &args).await?;
    let outcome = write(&args, &cluster, &keys).await?;
    keys.check(&mut connection, &outcome).await?;
    server.abort();
    let done = store.state.lock().unwrap().revision;
    Ok((outcome, done))
}

#[tokio::test]
async fn own_keys_are_never_refused() {
    let (outcome, done) = run(None, |_| Fate::Answered).await.unwrap();
    assert_eq!((outcome.latencies.len(), outcome.refused, outcome.errors, done), (300, 0, 0, 300));
}

#[tokio::test]
async fn an_attempt_without_an_answer_is_not_done_twice() {
    let fate = |attempt| match attempt % 10 {
        0 => Fate::Lost,
        5 => Fate::Unheard,
        _ => Fate::Answered,
    };
    let (outcome, done) = run(None, fate).await.unwrap();
    assert_eq!((outcome.latencies.len(), outcome.refused, done), (300, 0, 300));
    assert!(outcome.errors > 30, "{}", outcome.errors);
}

#[tokio::test]
async fn a_shared_key_counts_the_acknowledged_writes() {
    let (outcome, done) = run(Some(1), |_| Fate::Answered).await.unwrap();
    assert_eq!((outcome.latencies.len(), outcome.errors, done), (300, 0, 300));
}

#[tokio::test]
async fn a_permanent_refusal_ends_the_run() {
    let fate = |attempt| if attempt == 20 { Fate::Full } else { Fate::Answered };
    let error = run(None, fate).await.unwrap_err();
    assert_eq!(error.to_string(), "status 8: no space");
}

#[test]
fn a_request_has_the_bytes_of_the_protocol() {
    use prost::Message;
    // Compare { target: MOD (field 2), key (3), mod_revision (6) }; EQUAL is 0 and left out.
    let compare = [&[0x10, 2, 0x1a, 1, b'k', 0x30, 7][..]].concat();
    let put = [0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
    let range = [0x0a, 3, 0x0a, 1, b'k'];
    let bytes = [&[0x0a, 7][..], &compare, &[0x12, 8], &put, &[0x1a, 5], &range].concat();
    assert_eq!(swap("k".into(), 7, "v".into()).encode_to_vec(), bytes);
}
