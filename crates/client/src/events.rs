//! Change events: every movement in commit order, then new ones as they are committed.
//!
//! The stream keeps the position of the next event, so after a broken connection it continues from there: no
//! event is returned twice and none is left out.

use std::fmt;

use bezant_api::v1;
use bezant_types::{Movement, MovementNumber};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use crate::retry::Tries;
use crate::{Client, ClientError, convert};

/// Change events from a position on, without end.
///
/// ```no_run
/// # async fn example(client: bezant_client::Client) -> Result<(), bezant_client::ClientError> {
/// use bezant_client::MovementNumber;
///
/// let mut events = client.events(Some(MovementNumber(0))).await?;
/// loop {
///     let (position, movement) = events.next().await?;
///     println!("{position}: {} moved {}", movement.transfer.id, movement.transfer.amount);
/// }
/// # }
/// ```
pub struct Events {
    client: Client,
    next: MovementNumber,
    stream: Option<Streaming<v1::ChangeEvent>>,
    /// Failures since the last event.
    breaks: Tries,
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_connected = self.stream.is_some();
        let mut debug = formatter.debug_struct("Events");
        debug.field("next", &self.next).field("is_connected", &is_connected).finish_non_exhaustive()
    }
}

impl Client {
    /// Change events from position `from` on; `None` = only events from now on. A position after the end is
    /// [`ClientError::PositionAfterEnd`].
    pub async fn events(&self, from: Option<MovementNumber>) -> Result<Events, ClientError> {
        let next = match from {
            Some(from) => from,
            None => MovementNumber(self.books().await?.history.movements),
        };
        let mut events = Events { client: self.clone(), next, stream: None, breaks: Tries::default() };
        events.connect().await?;
        Ok(events)
    }
}

impl Events {
    /// The position of the next event.
    pub const fn position(&self) -> MovementNumber {
        self.next
    }

    /// The next event. Waits for it without a limit while a server can be reached. Cancelling the wait loses
    /// no event. After an error the next call continues from the same position.
    pub async fn next(&mut self) -> Result<(MovementNumber, Movement), ClientError> {
        loop {
            self.connect().await?;
            let Some(stream) = &mut self.stream else { continue };
            let status = match stream.message().await {
                Ok(Some(event)) => {
                    self.breaks = Tries::default();
                    match self.accept(&event)? {
                        Some(event) => return Ok(event),
                        None => continue,
                    }
                }
                Ok(None) => Status::unavailable("the server ended the stream"),
                Err(status) => status,
            };
            self.stream = None;
            self.breaks.count = self.breaks.count.saturating_add(1);
            let (index, _) = self.client.service();
            if self.breaks.turn_after(&status, false) {
                self.client.fail_over(index);
            }
            let deadline = Instant::now() + self.client.settings().deadline;
            self.client.pause_before_another(self.breaks.count, deadline, &status).await?;
        }
    }

    /// Accepts the event at the expected position; `None` for an earlier one.
    fn accept(&mut self, event: &v1::ChangeEvent) -> Result<Option<(MovementNumber, Movement)>, ClientError> {
        let (number, movement) = convert::change_event(event)?;
        if number < self.next {
            return Ok(None);
        }
        if number > self.next {
            self.stream = None;
            let reason = format!("received event {number} instead of event {}", self.next);
            return Err(ClientError::Protocol { reason });
        }
        self.next = MovementNumber(number.0.saturating_add(1));
        Ok(Some((number, movement)))
    }

    /// Opens the stream unless it is open. Tries until the deadline of a call.
    async fn connect(&mut self) -> Result<(), ClientError> {
        if self.stream.is_some() {
            return Ok(());
        }
        let settings = *self.client.settings();
        let deadline = Instant::now() + settings.deadline;
        let mut tries = Tries::default();
        loop {
            tries.count += 1;
            let (index, mut service) = self.client.service();
            let request = Request::new(v1::WatchEventsRequest { from: Some(self.next.0) });
            let timeout = settings.attempts.timeout(&tries);
            let opening = tokio::time::timeout(timeout, service.watch_events(request));
            let (status, is_timeout) = match opening.await {
                Ok(Ok(response)) => {
                    self.stream = Some(response.into_inner());
                    return Ok(());
                }
                Ok(Err(status)) => (status, false),
                Err(_) => (Status::deadline_exceeded("no answer in time"), true),
            };
            if tries.turn_after(&status, is_timeout) {
                self.client.fail_over(index);
            }
            self.client.pause_before_another(tries.count, deadline, &status).await?;
        }
    }
}
