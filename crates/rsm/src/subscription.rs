//! A subscription: the events of a stream as values of one type, read in order and resumed by number.

use core::fmt;
use core::marker::PhantomData;

use serde_core::de::DeserializeOwned;

use crate::{Caller, Event, UnknownCall, UnreadableAnswer, export};

/// Reads the events of one stream of a service, in the order of the log.
///
/// Its only state is its position. A subscriber may drop it and start a new one later, on any node, after the
/// last event that it processed. So a subscriber gets each event at least once. It processes each event
/// exactly once when it stores the position together with the effect of the event.
pub struct Subscription<C, T> {
    caller: C,
    stream: u32,
    position: u64,
    /// `fn() -> T`: a subscription produces values of `T` and does not contain one.
    events: PhantomData<fn() -> T>,
}

impl<C: Caller, T: DeserializeOwned> Subscription<C, T> {
    /// Subscribes to the events of a stream after the number `after`; 0 for all events that are still kept.
    pub const fn new(caller: C, stream: u32, after: u64) -> Self {
        Self { caller, stream, position: after, events: PhantomData }
    }

    /// The number of the last event that was returned or skipped. Pass it as `after` to resume.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next event; waits until there is one. Dropping the future before it is ready loses no event.
    ///
    /// # Errors
    /// Those of [`Caller::next_event`], and when the event's bytes are not of this type. Then the position
    /// does not change until [`skip`](Self::skip) skips the event.
    pub async fn next(&mut self) -> Result<T, C::Error> {
        let event = self.event().await?;
        let value = export::decode(&event.bytes).map_err(|UnknownCall| UnreadableAnswer)?;
        self.position = event.number;
        Ok(value)
    }

    /// Skips the next event without reading it, for example one that cannot be read, and returns its number.
    /// Waits until there is one.
    ///
    /// # Errors
    /// Those of [`Caller::next_event`].
    pub async fn skip(&mut self) -> Result<u64, C::Error> {
        self.position = self.event().await?.number;
        Ok(self.position)
    }

    async fn event(&self) -> Result<Event, C::Error> {
        let event = self.caller.next_event(self.stream, self.position).await?;
        if event.number > self.position { Ok(event) } else { Err(UnreadableAnswer.into()) }
    }
}

impl<C, T> fmt::Debug for Subscription<C, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, position, .. } = self;
        formatter
            .debug_struct("Subscription")
            .field("stream", stream)
            .field("position", position)
            .finish_non_exhaustive()
    }
}
