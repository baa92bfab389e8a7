//! Streams of change events: for each, a task that reads the history ahead of one client, within a limit.
//!
//! The task reads when the node reports new events; it never polls. It stops when the client leaves, when the
//! client takes nothing for too long, and when the server stops. The client continues later at the position
//! of the last event that it received.
//!
//! Streams yield to payments. Only one stream at a time reads a page of the history and encodes it in the
//! client's format ([`Pages`]), and only after its client has taken the page before. While the log grows,
//! each page is followed by a pause that is three times as long as the work on the page. The node reports
//! only rows that are committed, so a stream reads them without asking a quorum.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_api::token::EventsFrom;
use bezant_api::{ErrorCode, Failure, Scarce};
use bezant_runtime::{Consistency, Read};
use bezant_storage::{HistoryAnswer, HistoryQuery};
use bezant_types::{LogIndex, MovementFilter, MovementNumber, Nanos};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::context::RequestContext;
use crate::failure;
use crate::limits::{WATCH_BUFFER, WATCH_ROWS};
use crate::service::Service;
use crate::share::Taken;

/// While the log grows, reading pages takes one part of the time and leaves this many parts free.
const LEFT_PARTS: u32 = 3;
/// A shorter pause is postponed and added to the next: the system's timer is no finer.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// The lock that lets one stream at a time read a page.
#[derive(Debug, Default)]
pub(crate) struct Pages(Mutex<Pace>);

#[derive(Debug, Default)]
struct Pace {
    /// The last applied log index at the end of the last turn. When it differs at the end of the next turn,
    /// the log grows.
    applied: LogIndex,
    /// The pauses that are due and were postponed.
    owed: Duration,
}

impl Pace {
    /// The pause after a turn that took `took`; `None` when there is none, or when it is postponed.
    fn pause_after(&mut self, took: Duration, applied: LogIndex) -> Option<Duration> {
        let is_busy = self.applied != applied;
        self.applied = applied;
        self.owed = if is_busy { self.owed + took * LEFT_PARTS } else { Duration::ZERO };
        (self.owed >= PAUSE_MIN).then(|| std::mem::take(&mut self.owed))
    }
}

impl Pages {
    /// Runs `work` when it is this stream's turn.
    async fn turn<T>(&self, applied: impl Fn() -> LogIndex, work: impl Future<Output = T>) -> T {
        let mut pace = self.0.lock().await;
        let begun = Instant::now();
        let done = work.await;
        if let Some(pause) = pace.pause_after(begun.elapsed(), applied()) {
            tokio::time::sleep(pause).await;
        }
        done
    }
}

/// Streams change events from a position on, in pages that `write` encodes for the client, or only new
/// events. A position after the end is refused.
pub(crate) async fn watch<Item, Write, Written>(
    service: &Arc<Service>,
    from: &EventsFrom,
    context: &RequestContext,
    write: Write,
) -> Result<ReceiverStream<Result<Item, Failure>>, Failure>
where
    Item: Send + 'static,
    Write: Fn(HistoryAnswer) -> Written + Send + Sync + 'static,
    Written: Future<Output = Vec<Item>> + Send + 'static,
{
    // A node without a state fetches old rows from its peers. They would be sent as new events, and the end
    // of its own history is not the end of the cluster's.
    service.check_state()?;
    let from = match from {
        EventsFrom::At(position) => Some(service.row_at(position, context).await?),
        EventsFrom::Now => None,
    };
    let place = context.budget.stream_place()?;
    let count = service.handle.watch_movements();
    let from = from.unwrap_or_else(|| *count.borrow());
    let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
    let task = StreamTask { service: Arc::clone(service), next: from, count, sender, write, place };
    tokio::spawn(task.run());
    Ok(ReceiverStream::new(receiver))
}

/// The task of one stream.
struct StreamTask<Item, Write> {
    service: Arc<Service>,
    next: MovementNumber,
    count: watch::Receiver<MovementNumber>,
    sender: mpsc::Sender<Result<Item, Failure>>,
    write: Write,
    /// Returned to the budget when the stream ends.
    place: Taken,
}

impl<Item, Write, Written> StreamTask<Item, Write>
where
    Write: Fn(HistoryAnswer) -> Written,
    Written: Future<Output = Vec<Item>>,
{
    async fn run(mut self) {
        let watchers = &Arc::clone(&self.service.metrics).watchers;
        watchers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut stopping = self.service.stopping.subscribe();
        let failure = tokio::select! {
            failure = self.send_rows() => failure,
            _ = stopping.wait_for(|stopping| *stopping) => {
                let detail = "the server is stopping: continue at the last position";
                Some(Failure::new(ErrorCode::Stopping, detail))
            }
        };
        if let Some(failure) = failure {
            // A client that takes no events will not take this either.
            drop(self.sender.try_send(Err(failure)));
        }
        watchers.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        drop(self.place);
    }

    /// Sends rows until the client leaves (`None`) or an error ends the stream.
    async fn send_rows(&mut self) -> Option<Failure> {
        loop {
            let is_more = |count: &MovementNumber| *count > self.next;
            tokio::select! {
                changed = self.count.wait_for(is_more) => {
                    if changed.is_err() {
                        return Some(Failure::new(ErrorCode::Stopping, "the node is stopping"));
                    }
                }
                () = self.sender.closed() => return None,
            }
            let page = {
                let handle = &self.service.handle;
                let turn = self.service.pages.turn(|| *handle.watch_applied().borrow(), self.page());
                tokio::select! {
                    page = turn => page,
                    () = self.sender.closed() => return None,
                }
            };
            match page {
                Ok((next, items)) => {
                    if let Err(ended) = self.send(items).await {
                        return ended;
                    }
                    self.next = next;
                }
                Err(failure) => return Some(failure),
            }
        }
    }

    /// Reads the next page; also returns the number of the row after it.
    async fn page(&self) -> Result<(MovementNumber, Vec<Item>), Failure> {
        let query = HistoryQuery::Movements(MovementFilter {
            from: self.next,
            timestamp_min: Nanos(0),
            timestamp_max: Nanos(0),
            limit: WATCH_ROWS,
        });
        let read = self.service.handle.query_history_at(query, Consistency::Stale, None).await;
        let Read { answer: rows, .. } = read.map_err(|error| failure::of_read(&error))?;
        let next = rows.last().map_or(self.next, |(number, _)| MovementNumber(number.0 + 1));
        Ok((next, (self.write)(rows).await))
    }

    /// Sends a page and waits until the client has taken it. An error ends the stream: `None` when the client
    /// left, else what to report to it.
    async fn send(&self, items: Vec<Item>) -> Result<(), Option<Failure>> {
        let stall_timeout = self.service.limits.stall_timeout;
        let sending = async {
            let places = self.sender.reserve_many(items.len()).await?;
            places.zip(items).for_each(|(place, item)| place.send(Ok(item)));
            self.sender.reserve_many(WATCH_BUFFER).await.map(drop)
        };
        match tokio::time::timeout(stall_timeout, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(None),
            Err(_) => {
                let what = "the client takes no change events: continue at the last position";
                Err(Some(Failure::overloaded(Scarce::Streams, what, self.service.limits.retry_after)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_take_a_quarter_of_the_time_while_payments_run() {
        let mut pace = Pace::default();
        let millis = Duration::from_millis;
        assert_eq!(pace.pause_after(millis(5), LogIndex(0)), None, "the log does not grow");
        assert_eq!(pace.pause_after(millis(5), LogIndex(1)), Some(millis(15)));
        let short = Duration::from_micros(500);
        assert_eq!(pace.pause_after(short, LogIndex(2)), None);
        assert_eq!(pace.pause_after(short, LogIndex(3)), Some(millis(3)), "short pauses are added up");
        assert_eq!(pace.pause_after(short, LogIndex(4)), None);
        assert_eq!(pace.pause_after(short, LogIndex(4)), None, "a pause is dropped when the log is idle");
        assert_eq!(pace.pause_after(short, LogIndex(5)), None);
    }

    #[tokio::test]
    async fn one_stream_at_a_time_reads_a_page() {
        let pages = Pages::default();
        let first = pages.turn(|| LogIndex(0), std::future::pending::<()>());
        let second = pages.turn(|| LogIndex(0), async { 2 });
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        tokio::select! {
            biased;
            () = first.as_mut() => panic!("it does not end"),
            _ = second.as_mut() => panic!("the second reads beside the first"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        assert_eq!(second.await, 2, "a stream that ends lets the next one read");
    }
}
