//! A client of the load. When a node of a cluster fails or cannot serve a request, the client repeats the
//! request with the same ids at another node, as any client would. The number of retries is part of the
//! figures.

use std::time::Duration;

use bytes::Bytes;

use crate::error::LoadError;
use crate::settings::Target;
use crate::wire::{Records, Wire};

/// Timeout of the first try. It doubles with every try that gets no answer, so that slow requests succeed,
/// too.
const ATTEMPT_FIRST: Duration = Duration::from_millis(500);
/// The pause between two tries.
const WAIT: Duration = Duration::from_millis(10);

/// A client of the load; see the module.
#[derive(Debug)]
pub(crate) struct Caller {
    target: Target,
    number: u64,
    /// How often the client has switched to another node.
    turns: u64,
    /// `None` when the client has to connect again.
    wire: Option<Wire>,
    /// Tries after the first one, over all requests.
    pub(crate) retries: u64,
}

impl Caller {
    /// Connects. `number` is the client's number: each client of a run has another.
    pub(crate) async fn open(target: &Target, number: u64) -> Result<Self, LoadError> {
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

    async fn connect(&mut self) -> Result<&mut Wire, LoadError> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(&self.target, self.number + self.turns).await?,
        };
        Ok(self.wire.insert(wire))
    }

    async fn try_once(&mut self, body: Bytes) -> Result<Bytes, LoadError> {
        self.connect().await?.submit(Records::Transfers, body).await
    }

    /// The results of a request, and whether it was tried more than once: an earlier try may have created its
    /// events. At a cluster it retries without end: the caller must bound the time.
    pub(crate) async fn submit(&mut self, body: Bytes) -> Result<(Bytes, bool), LoadError> {
        if !self.target.is_cluster() {
            return Ok((self.try_once(body).await?, false));
        }
        let mut timeout = ATTEMPT_FIRST;
        let mut is_first = true;
        loop {
            match tokio::time::timeout(timeout, self.try_once(body.clone())).await {
                Ok(Ok(results)) => return Ok((results, !is_first)),
                Ok(Err(error)) if self.wire.is_some() && !error.is_retryable() => return Err(error),
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
