//! A connection for the load, in either protocol: one request in flight, 16 bytes of result per event.

use bezant_api::v1;
use bezant_tigerbeetle::Operation;
use bytes::Bytes;

use crate::error::LoadError;
use crate::frames::Frames;
use crate::grpc::Grpc;
use crate::settings::Target;

/// All benchmarks of TigerBeetle's protocol use cluster 0.
const CLUSTER: u128 = 0;

/// The type of the records of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    Accounts,
    Transfers,
}

/// A connection in one of the two protocols.
#[derive(Debug)]
pub(crate) enum Wire {
    Grpc(Box<Grpc>),
    Frames(Box<Frames>),
}

impl Wire {
    /// Connects once. `number` is the client's number: each client of a run has another.
    pub(crate) async fn open(target: &Target, number: u64) -> Result<Self, LoadError> {
        Ok(match &target.frames {
            Some(address) => Self::Frames(Box::new(Frames::open(address, CLUSTER, number).await?)),
            None => Self::Grpc(Box::new(Grpc::open(target.of(number)).await?)),
        })
    }

    /// The results of a request; `body` is what the load made for this protocol.
    pub(crate) async fn submit(&mut self, records: Records, body: Bytes) -> Result<Bytes, LoadError> {
        match (self, records) {
            (Self::Grpc(grpc), Records::Accounts) => grpc.submit(v1::Operation::CreateAccounts, body).await,
            (Self::Grpc(grpc), Records::Transfers) => grpc.submit(v1::Operation::CreateTransfers, body).await,
            (Self::Frames(frames), Records::Accounts) => {
                Ok(frames.submit(Operation::CreateAccounts, &body).await?)
            }
            (Self::Frames(frames), Records::Transfers) => {
                Ok(frames.submit(Operation::CreateTransfers, &body).await?)
            }
        }
    }
}
