//! A client of the load: it goes on at another node of the cluster when the one that it talks to cannot, with the same
//! ids, as any client would. How often it had to is part of the figures.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use super::Target;
use super::grpc::Away;
use super::wire::{Records, Wire};

/// The first try; it doubles with every try of a request that has no answer, so that slow ones are not starved.
const ATTEMPT_FIRST: Duration = Duration::from_millis(500);
/// Between two tries.
const WAIT: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Caller {
    target: Target,
    number: u64,
    /// How often it has turned to another node.
    turns: u64,
    /// `None` when it has to connect again.
    wire: Option<Wire>,
    /// Tries behind the first ones.
    pub(super) retries: u64,
}

impl Caller {
    /// Connects; `number` tells the clients of a run apart.
    pub(super) async fn open(target: &Target, number: u64) -> Result<Self> {
        let mut caller = Self { target: target.clone(), number, turns: 0, wire: None, retries: 0 };
        for _ in 1..target.urls.len() {
            if caller.connect().await.is_ok() {
                return Ok(caller);
            }
            caller.turns += 1;
        }
        caller.connect().await?;
        Ok(caller)
    }

    async fn connect(&mut self) -> Result<&mut Wire> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(&self.target, self.number + self.turns).await?,
        };
        Ok(self.wire.insert(wire))
    }

    async fn try_once(&mut self, body: Bytes) -> Result<Bytes> {
        self.connect().await?.submit(Records::Transfers, body).await
    }

    /// The results of a request, and whether it was tried more than once: what an earlier try has done exists then.
    /// Who waits must bound the time.
    pub(super) async fn submit(&mut self, body: Bytes) -> Result<(Bytes, bool)> {
        if !self.target.is_cluster() {
            return Ok((self.try_once(body).await?, false));
        }
        let mut timeout = ATTEMPT_FIRST;
        let mut is_first = true;
        loop {
            match tokio::time::timeout(timeout, self.try_once(body.clone())).await {
                Ok(Ok(results)) => return Ok((results, !is_first)),
                Ok(Err(error)) if self.wire.is_some() && !error.is::<Away>() => return Err(error),
                Ok(Err(_)) => {}
                Err(_) => timeout = timeout.saturating_mul(2),
            }
            is_first = false;
            self.retries += 1;
            self.turns += 1;
            self.wire = None;
            tokio::time::sleep(WAIT).await;
        }
    }
}
