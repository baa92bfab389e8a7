//! Change events as they come: a task that reads the history ahead of one client, within a bound.
//!
//! The task reads when the node says that there is more, never in a loop over nothing. It stops when the
//! client leaves, when the client takes nothing for too long, and when the server stops; the client goes on
//! later at the position after the last one that it saw.

use std::sync::Arc;

use bezant_api::{ErrorCode, Failure};
use bezant_storage::HistoryQuery;
use bezant_types::{Movement, MovementFilter, MovementNumber, Nanos};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::desk::{Deadline, Desk};
use crate::limits::{WATCH_BUFFER, WATCH_ROWS};

/// A row and its place, or why the stream ends.
pub(crate) type Change = Result<(MovementNumber, Movement), Failure>;

/// Change events from a position on; without one, only what is new. A position after the end is refused.
pub(crate) async fn watch(
    desk: &Arc<Desk>,
    from: Option<MovementNumber>,
    deadline: Deadline,
) -> Result<ReceiverStream<Change>, Failure> {
    if let Some(from) = from {
        desk.check_position(from, deadline).await?;
    }
    let place = Arc::clone(&desk.watchers)
        .try_acquire_owned()
        .map_err(|_| Failure::overloaded("too many streams of change events", desk.limits.retry_after))?;
    let count = desk.handle.watch_movements();
    let from = from.unwrap_or_else(|| *count.borrow());
    let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
    let follower = Follower { desk: Arc::clone(desk), next: from, count, sender, place };
    tokio::spawn(follower.run());
    Ok(ReceiverStream::new(receiver))
}

struct Follower {
    desk: Arc<Desk>,
    next: MovementNumber,
    count: watch::Receiver<MovementNumber>,
    sender: mpsc::Sender<Change>,
    /// Given back when the stream ends.
    place: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self) {
        let watchers = &Arc::clone(&self.desk.metrics).watchers;
        watchers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut stopping = self.desk.stopping.subscribe();
        let failure = tokio::select! {
            failure = self.follow() => failure,
            _ = stopping.wait_for(|stopping| *stopping) => {
                Some(Failure::new(ErrorCode::Stopping, "the server is stopping: go on after the last position"))
            }
        };
        if let Some(failure) = failure {
            // A client that takes nothing will not take this either.
            drop(self.sender.try_send(Err(failure)));
        }
        watchers.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        drop(self.place);
    }

    /// Sends rows until the client leaves (`None`) or something fails.
    async fn follow(&mut self) -> Option<Failure> {
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
            let query = HistoryQuery::Movements(MovementFilter {
                from: self.next,
                timestamp_min: Nanos(0),
                timestamp_max: Nanos(0),
                limit: WATCH_ROWS,
            });
            let rows = match self.desk.history(query, None).await {
                Ok(rows) => rows,
                Err(failure) => return Some(failure),
            };
            for (position, row) in rows {
                let sent =
                    self.sender.send_timeout(Ok((position, row)), self.desk.limits.stall_timeout).await;
                match sent {
                    Ok(()) => self.next = MovementNumber(position.0 + 1),
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return None,
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                        let what = "the client takes no change events";
                        return Some(Failure::overloaded(what, self.desk.limits.retry_after));
                    }
                }
            }
        }
    }
}
