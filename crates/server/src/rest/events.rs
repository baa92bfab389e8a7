//! `/v1/events`: change events in pages, and as an endless stream of server-sent events.
//!
//! The id of a server-sent event is its position. A client that reconnects sends it as `Last-Event-ID`, as
//! browsers do by themselves, and continues after it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bezant_api::json::{ChangeReply, EventsPage, EventsQuery, Moment, Problem};
use bezant_api::{ErrorCode, Failure, Violation};
use bezant_storage::{HistoryAnswer, HistoryQuery as Rows};
use bezant_types::{Movement, MovementFilter, MovementNumber, Nanos};
use http::{HeaderMap, StatusCode, header};
use tokio_stream::StreamExt;

use super::json;
use super::request::{Parameters, RestRequest};
use crate::changes::watch;
use crate::context::RequestContext;
use crate::failure::Refused;
use crate::metrics::{Api, Call};
use crate::service::Service;

type Answer = Result<Response, Refused>;

/// An idle stream sends a comment after this time, so that proxies and the stall timeout do not close it.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// List change events, in commit order
///
/// With `Accept: text/event-stream` it is the stream of `/v1/events/stream`.
#[utoipa::path(get, path = "/v1/events", tag = "Events", operation_id = "list_events", params(EventsQuery),
    responses(
        (status = 200, description = "A page", body = EventsPage),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    request: RestRequest,
    headers: HeaderMap,
    parameters: Parameters<EventsQuery>,
) -> Answer {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if accept.contains("text/event-stream") {
        return stream(request, headers, parameters).await;
    }
    let Parameters(query) = parameters;
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let limit = query.limit()?;
        let filter = MovementFilter {
            from: MovementNumber(first(service, &query, context).await?.unwrap_or(0)),
            timestamp_min: Nanos(0),
            timestamp_max: Nanos(0),
            // One more than the page has: it shows whether there are more.
            limit: limit + 1,
        };
        service.check_position(filter.from, context).await?;
        let mut rows = service.history(Rows::Movements(filter), context).await?;
        let page_size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > page_size;
        rows.truncate(page_size);
        let next = rows.last().map_or(filter.from.0, |(position, _)| position.0 + 1);
        let ledgers = rows.iter().map(|(_, row)| row.transfer.ledger);
        let assets = service.assets_for(ledgers, context).await;
        let items = rows.iter().map(|(at, row)| ChangeReply::new(*at, row, &assets)).collect();
        json(StatusCode::OK, &EventsPage { items, next, has_more })
    };
    Ok(service.observe(Api::Rest, Call::GetMovements, work).await?)
}

/// Follow change events as server-sent events
///
/// The id of an event is its position. Resume with `Last-Event-ID` (continues after it) or `from`; without
/// either, only new events are sent.
#[utoipa::path(get, path = "/v1/events/stream", tag = "Events", operation_id = "stream_events",
    params(("from" = Option<u64>, Query, description = "The first position wanted"),
        ("since" = Option<Moment>, Query, description = "The first event at or after this moment, instead of `from`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last position received")),
    responses(
        (status = 200, description = "Events named `change`, with a ChangeReply as data", body = ChangeReply, content_type = "text/event-stream"),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn stream(
    request: RestRequest,
    headers: HeaderMap,
    Parameters(query): Parameters<EventsQuery>,
) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        if query.limit.is_some() {
            let what = "a stream has no limit: ask /v1/events for pages";
            let violations = vec![Violation::new("limit", what)];
            return Err(Failure { violations, ..Failure::new(ErrorCode::InvalidQuery, what) });
        }
        let mut received = headers.get_all("last-event-id").iter();
        let from = match (received.next(), received.next()) {
            (None, _) => first(service, &query, context).await?,
            (Some(value), None) => Some(after(value.as_bytes())?),
            (Some(_), Some(_)) => {
                let what = "the header Last-Event-ID is there more than once";
                return Err(Failure::new(ErrorCode::InvalidField, what));
            }
        };
        let (of_assets, of_stream) = (Arc::clone(service), context.of_stream());
        let write = move |rows| events_of(Arc::clone(&of_assets), rows, of_stream.clone());
        watch(service, from.map(MovementNumber), context, write).await
    };
    let changes = service.observe(Api::Rest, Call::WatchEvents, work).await?;
    let events =
        changes.map(|event| Ok::<_, Infallible>(event.unwrap_or_else(|failure| problem_of(&failure))));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Position of the first event of an answer: with `since` the first event at or after that moment, or the
/// next new event where there is none.
async fn first(
    service: &Service,
    query: &EventsQuery,
    context: &RequestContext,
) -> Result<Option<u64>, Failure> {
    let Some(since) = query.since()? else { return Ok(query.from) };
    let from = MovementNumber(0);
    let filter = MovementFilter { from, timestamp_min: since, timestamp_max: Nanos(0), limit: 1 };
    // Read before the rows, so that an event between the two reads is in the rows.
    let end = service.books(context).await?.history.movements;
    let rows = service.history(Rows::Movements(filter), context).await?;
    Ok(Some(rows.first().map_or(end, |(position, _)| position.0)))
}

/// The position after the last one that the client received.
fn after(text: &[u8]) -> Result<u64, Failure> {
    let position = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    position.and_then(|position| position.checked_add(1)).ok_or_else(|| {
        Failure::new(ErrorCode::InvalidField, "the header Last-Event-ID is the position of an event: digits")
    })
}

/// The rows of a page as server-sent events.
async fn events_of(service: Arc<Service>, rows: HistoryAnswer, context: RequestContext) -> Vec<Event> {
    let ledgers = rows.iter().map(|(_, row)| row.transfer.ledger);
    let assets = service.assets_for(ledgers, &context).await;
    let event = |(position, row): &(MovementNumber, Movement)| {
        let data = serde_json::to_string(&ChangeReply::new(*position, row, &assets));
        Event::default().id(position.to_string()).event("change").data(data.unwrap_or_default())
    };
    rows.iter().map(event).collect()
}

/// The last event of a stream: why it ends.
fn problem_of(failure: &Failure) -> Event {
    let data = serde_json::to_string(&Problem::from(failure));
    Event::default().event("problem").data(data.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_continues_after_the_last_event() {
        assert_eq!(after(b"41"), Ok(42));
        for wrong in [&b"x"[..], b"", b"18446744073709551615", b"-1", b"\xff"] {
            assert_eq!(after(wrong).unwrap_err().code, ErrorCode::InvalidField);
        }
    }
}
