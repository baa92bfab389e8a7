//! A well-behaved client: it makes one payment after the other and measures how long each takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bezant_api::v1;
use bezant_api::v1::ledger_client::LedgerClient;
use bezant_codec::transfer_to_bytes;
use bezant_types::{AccountId, LedgerNumber, Transfer, TransferId};
use tonic::transport::Channel;

/// The most transfers that fit in a call.
const BATCH: u128 = 8189;

pub(crate) struct Payer {
    client: LedgerClient<Channel>,
    last_id: u128,
}

impl Payer {
    pub(crate) async fn connect(to: SocketAddr, last_id: u128) -> Self {
        let client = LedgerClient::connect(format!("http://{to}")).await.unwrap();
        Self { client, last_id }
    }

    /// Makes `count` payments in one call, from account 1 to account 2.
    async fn pay_at_once(&mut self, count: u128) {
        let first = self.last_id + 1;
        self.last_id += count;
        let transfer = |id| Transfer {
            id: TransferId(id),
            debit_account_id: AccountId(1),
            credit_account_id: AccountId(2),
            amount: 1,
            ledger: LedgerNumber(978),
            code: 1,
            ..Transfer::default()
        };
        let records: Vec<u8> =
            (first..=self.last_id).flat_map(|id| transfer_to_bytes(&transfer(id))).collect();
        let request = v1::SubmitRequest { operation: 2, records: records.into() };
        let reply = self.client.submit(request).await.expect("a payment is accepted").into_inner();
        let created = reply.results.as_chunks::<16>().0.iter().filter(|result| result[8..12] == [0xff; 4]);
        assert_eq!(created.count() as u128, count, "all are created");
    }

    /// Makes a history of at least `count` movements.
    pub(crate) async fn make_history(&mut self, count: u128) {
        for _ in 0..count.div_ceil(BATCH) {
            self.pay_at_once(BATCH).await;
        }
    }

    /// Pays for `time`; returns the duration of each payment.
    pub(crate) async fn pay_for(&mut self, time: Duration) -> Vec<Duration> {
        let begun = Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < time {
            let payment = Instant::now();
            self.pay_at_once(1).await;
            took.push(payment.elapsed());
        }
        took
    }

    /// Makes `count` payments; returns the duration of each.
    pub(crate) async fn pay(&mut self, count: usize) -> Vec<Duration> {
        let mut took = Vec::new();
        for _ in 0..count {
            let payment = Instant::now();
            self.pay_at_once(1).await;
            took.push(payment.elapsed());
        }
        took
    }
}
