//! A stream of events as values of one type, read one after the other and resumed by a number.

use core::fmt;
use core::marker::PhantomData;

use serde_core::de::DeserializeOwned;

use crate::{Caller, Event, UnknownCall, UnreadableAnswer, export};

/// Reads the events of one stream of a service, in the order of the log.
///
/// It holds nothing but its position: it may be dropped, and begun again elsewhere and later behind the last event that
/// was worked on. So each event is seen at least once, and exactly once by whoever keeps the position together with
/// what came of the event.
pub struct Subscription<C, T> {
    caller: C,
    stream: u32,
    position: u64,
    /// Its events are made, not kept.
    events: PhantomData<fn() -> T>,
}

impl<C: Caller, T: DeserializeOwned> Subscription<C, T> {
    /// To a stream, behind the event of that number; 0 for all that are still there.
    pub const fn new(caller: C, stream: u32, after: u64) -> Self {
        Self { caller, stream, position: after, events: PhantomData }
    }

    /// The number of the last event that came; resume behind it.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next event; waits until there is one. When the future is dropped before it is ready, nothing is lost.
    ///
    /// # Errors
    /// As [`Caller::next_event`] does, and when the event's bytes are not of this type; then the position stays, until
    /// [`skip`](Self::skip) goes past it.
    pub async fn next(&mut self) -> Result<T, C::Error> {
        let event = self.event().await?;
        let value = export::decode(&event.bytes).map_err(|UnknownCall| UnreadableAnswer)?;
        self.position = event.number;
        Ok(value)
    }

    /// Goes past the next event, whatever it is, one that cannot be read say; its number. Waits until there is one.
    ///
    /// # Errors
    /// As [`Caller::next_event`] does.
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
