//! Change events: every movement in commit order, then new ones as they are committed.
//!
//! The stream keeps the position after the last event, so after a broken connection it continues from there:
//! no event is returned twice and none is left out. Whether one is missing shows in the numbers of the
//! events, which have no gaps within a group.

use std::collections::BTreeMap;
use std::fmt;

use bezant_api::v1;
use bezant_types::{GroupId, Movement, MovementNumber, Nanos};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use crate::retry::Tries;
use crate::{Client, ClientError, Position, convert};

/// A movement in the change events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeEvent {
    /// The group that has the row.
    pub group: GroupId,
    /// The number of the row in the history of its group, counted from 0 without gaps.
    pub number: MovementNumber,
    /// The position after the event.
    pub position: Position,
    /// What was applied.
    pub movement: Movement,
}

/// A page of change events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsPage {
    /// The events, in commit order.
    pub events: Vec<ChangeEvent>,
    /// The position at which the next page begins.
    pub next: Position,
    /// True when more events exist already.
    pub has_more: bool,
}

/// Change events from a position on, without end.
///
/// ```no_run
/// # async fn example(client: bezant_client::Client) -> Result<(), bezant_client::ClientError> {
/// use bezant_client::Position;
///
/// let mut events = client.events(&Position::start()).await?;
/// loop {
///     let event = events.next().await?;
///     let transfer = &event.movement.transfer;
///     println!("{} moved {}; continue at {}", transfer.id, transfer.amount, event.position);
/// }
/// # }
/// ```
pub struct Events {
    client: Client,
    /// After the last event.
    position: Position,
    /// The number of the next row of each group of which an event was returned.
    next: BTreeMap<GroupId, MovementNumber>,
    stream: Option<Streaming<v1::ChangeEvent>>,
    /// Failures since the last event.
    breaks: Tries,
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_connected = self.stream.is_some();
        let mut debug = formatter.debug_struct("Events");
        debug.field("position", &self.position).field("is_connected", &is_connected).finish_non_exhaustive()
    }
}

impl Client {
    /// Change events from a position on. A position after the end is [`ClientError::PositionAfterEnd`]. With
    /// [`Position::now`], an event that is committed before this call returns may be left out.
    pub async fn events(&self, from: &Position) -> Result<Events, ClientError> {
        // A stream that breaks before its first event continues where it began, so `now` is made a position.
        let position = if *from == Position::now() {
            self.events_page(from, Nanos(0), Nanos(0), 1).await?.next
        } else {
            from.clone()
        };
        let (next, breaks) = (BTreeMap::new(), Tries::default());
        let mut events = Events { client: self.clone(), position, next, stream: None, breaks };
        events.connect().await?;
        Ok(events)
    }

    /// One page of change events from a position on and within a range of time, both ends inclusive. A time
    /// of 0 means no end, a limit of 0 means 2,730. The next position of a page without events is `from`, or
    /// with `timestamp_min` the place of the first event that is not earlier, where that is later.
    pub async fn events_page(
        &self,
        from: &Position,
        timestamp_min: Nanos,
        timestamp_max: Nanos,
        limit: u32,
    ) -> Result<EventsPage, ClientError> {
        let message = v1::GetMovementsRequest {
            from: from.to_string(),
            limit,
            timestamp_min: timestamp_min.0,
            timestamp_max: timestamp_max.0,
            ..v1::GetMovementsRequest::default()
        };
        let answer = self
            .call(message, |mut service, request| async move { service.get_movements(request).await })
            .await?;
        convert::events_page(&answer.reply)
    }
}

impl Events {
    /// The position after the last event.
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// The next event. Waits for it without a limit while a server can be reached. Cancelling the wait loses
    /// no event. After an error the next call continues from the same position.
    pub async fn next(&mut self) -> Result<ChangeEvent, ClientError> {
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

    /// Accepts the event with the expected number in its group; `None` for an earlier one. Any number is
    /// expected of the first event of a group.
    fn accept(&mut self, event: &v1::ChangeEvent) -> Result<Option<ChangeEvent>, ClientError> {
        let event = convert::change_event(event)?;
        let number = event.number;
        let expected = self.next.get(&event.group).copied().unwrap_or(number);
        if number < expected {
            return Ok(None);
        }
        if number > expected {
            self.stream = None;
            let reason =
                format!("received event {number} of group {} instead of event {expected}", event.group);
            return Err(ClientError::Protocol { reason });
        }
        self.next.insert(event.group, MovementNumber(number.0.saturating_add(1)));
        self.position.clone_from(&event.position);
        Ok(Some(event))
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
            let request =
                Request::new(v1::WatchEventsRequest { from: self.position.to_string(), from_number: None });
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
