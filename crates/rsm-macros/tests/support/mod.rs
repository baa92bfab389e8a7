//! A service in memory, and the shop that the tests declare.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bezant_rsm::{
    Call, Caller, Event, Freshness, Service, UnknownCall, UnreadableAnswer, UnwritableCall, state_machine,
};
use bezant_types::{LogIndex, Nanos};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) title: String,
    pub(crate) stock: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Restocked { item: u32, stock: u32 },
    SoldOut(u32),
}

state_machine! {
    /// The stock of a shop.
    pub(crate) trait Catalog {
        /// Adds copies of an item; returns the new stock.
        cmd restock(item: u32, by: u32) -> u32;
        cmd sell(item: u32) -> Result<u32, String>;
        cmd close();
        qry lookup(item: u32) -> Option<Item>;
        qry mean_stock() -> f64;
        /// Changes of the stock.
        sub changes -> Change;
        sub closings -> u64;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shop {
    pub(crate) items: BTreeMap<u32, u32>,
    pub(crate) closed_at: Option<u64>,
}

impl Catalog for Shop {
    fn restock(&mut self, context: &mut CatalogContext<'_>, item: u32, by: u32) -> u32 {
        let stock = self.items.entry(item).or_default();
        *stock = stock.saturating_add(by);
        context.changes(&Change::Restocked { item, stock: *stock });
        *stock
    }

    fn sell(&mut self, context: &mut CatalogContext<'_>, item: u32) -> Result<u32, String> {
        let stock =
            self.items.get_mut(&item).filter(|stock| **stock > 0).ok_or_else(|| format!("no {item}"))?;
        *stock -= 1;
        if *stock == 0 {
            context.changes(&Change::SoldOut(item));
        }
        Ok(*stock)
    }

    fn close(&mut self, context: &mut CatalogContext<'_>) {
        self.closed_at = Some(context.time().0);
        context.closings(&context.index().0);
    }

    fn lookup(&self, item: u32) -> Option<Item> {
        self.items.get(&item).map(|stock| Item { title: format!("item {item}"), stock: *stock })
    }

    fn mean_stock(&self) -> f64 {
        let sum: u32 = self.items.values().sum();
        f64::from(sum) / self.items.values().map(|_| 1.0).sum::<f64>()
    }
}

/// One replica without a log: a command is applied at once.
#[derive(Debug)]
pub(crate) struct Local<S>(Arc<Mutex<Replica<S>>>);

#[derive(Debug)]
pub(crate) struct Replica<S> {
    pub(crate) service: S,
    pub(crate) index: u64,
    /// The events of all streams, each with the number of its stream.
    pub(crate) events: Vec<(u32, Event)>,
    pub(crate) freshness_seen: Vec<Freshness>,
    pub(crate) waiting: Vec<Waker>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LocalError;

impl fmt::Display for LocalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("refused")
    }
}

impl std::error::Error for LocalError {}

impl From<UnknownCall> for LocalError {
    fn from(_: UnknownCall) -> Self {
        Self
    }
}

impl From<UnreadableAnswer> for LocalError {
    fn from(_: UnreadableAnswer) -> Self {
        Self
    }
}

impl From<UnwritableCall> for LocalError {
    fn from(_: UnwritableCall) -> Self {
        Self
    }
}

impl<S> Clone for Local<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> Local<S> {
    pub(crate) fn new(service: S) -> Self {
        let (events, freshness_seen, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Replica { service, index: 0, events, freshness_seen, waiting })))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Replica<S>) -> T) -> T {
        look(&mut self.0.lock().expect("no test panicked with the lock"))
    }
}

impl<S: Service> Caller for Local<S> {
    type Error = LocalError;

    async fn invoke(&self, command: Bytes) -> Result<Bytes, LocalError> {
        self.with(|replica| {
            replica.index += 1;
            let mut call = Call::new(LogIndex(replica.index), Nanos(replica.index * 1_000));
            let answer = replica.service.invoke(&mut call, &command)?;
            for (stream, bytes) in call.into_events() {
                let number = replica.events.len() as u64 + 1;
                replica.events.push((stream, Event { number, bytes }));
            }
            replica.waiting.drain(..).for_each(Waker::wake);
            Ok(answer)
        })
    }

    async fn query(&self, query: Bytes, freshness: Freshness) -> Result<Bytes, LocalError> {
        self.with(|replica| {
            replica.freshness_seen.push(freshness);
            Ok(replica.service.query(&query)?)
        })
    }

    async fn next_event(&self, stream: u32, after: u64) -> Result<Event, LocalError> {
        poll_fn(|context| {
            self.with(|replica| {
                let found = replica.events.iter().find(|(of, event)| *of == stream && event.number > after);
                if let Some((_, event)) = found {
                    Poll::Ready(Ok(event.clone()))
                } else {
                    replica.waiting.push(context.waker().clone());
                    Poll::Pending
                }
            })
        })
        .await
    }
}

/// The result of a future that is ready at once; `None` when it waits.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("nothing to wait for")
}

pub(crate) fn shop() -> CatalogHandle<Local<CatalogMachine<Shop>>> {
    CatalogHandle::new(Local::new(CatalogMachine::new(Shop::default())))
}
