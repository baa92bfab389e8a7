//! `/v1/events`: change events in pages, and as an endless stream of server-sent events.
//!
//! The id of a server-sent event is its position, which is after the event. A client that reconnects sends it
//! as `Last-Event-ID`, as browsers do by themselves, and continues there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bezant_api::json::{ChangeReply, EventsPage, EventsQuery, Moment, Problem};
use bezant_api::token::{EventPosition, EventsFrom, LEDGER_GROUP, TokenError};
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
        let from = match first(service, &query, EventsFrom::At(EventPosition::START), context).await? {
            EventsFrom::At(position) => position,
            EventsFrom::Now => service.end_of_events(context).await?,
        };
        let filter = MovementFilter {
            from: service.row_at(&from, context).await?,
            timestamp_min: Nanos(0),
            timestamp_max: Nanos(0),
            // One more than the page has: it shows whether there are more.
            limit: limit + 1,
        };
        let mut rows = service.history(Rows::Movements(filter), context).await?;
        let page_size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > page_size;
        rows.truncate(page_size);
        let mut next = from;
        if let Some((last, _)) = rows.last() {
            next.move_after(LEDGER_GROUP, *last);
        }
        let ledgers = rows.iter().map(|(_, row)| row.transfer.ledger);
        let assets = service.assets_for(ledgers, context).await;
        let items = rows.iter().map(|(at, row)| ChangeReply::new(*at, row, &assets)).collect();
        json(StatusCode::OK, &EventsPage { items, next: next.to_string(), has_more })
    };
    Ok(service.observe(Api::Rest, Call::GetMovements, work).await?)
}

/// Follow change events as server-sent events
///
/// The id of an event is its position. Send it as `Last-Event-ID` or as `from` to resume after the event;
/// without either, only new events are sent.
#[utoipa::path(get, path = "/v1/events/stream", tag = "Events", operation_id = "stream_events",
    params(("from" = Option<String>, Query, description = "Where to begin: the `position` of an event, `start` or `now`"),
        ("since" = Option<Moment>, Query, description = "The first event at or after this moment, instead of `from`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received")),
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
            (None, _) => first(service, &query, EventsFrom::Now, context).await?,
            (Some(value), None) => received_up_to(value.as_bytes())?,
            (Some(_), Some(_)) => {
                let what = "the header Last-Event-ID is there more than once";
                return Err(Failure::new(ErrorCode::InvalidField, what));
            }
        };
        let (of_assets, of_stream) = (Arc::clone(service), context.of_stream());
        let write = move |rows| events_of(Arc::clone(&of_assets), rows, of_stream.clone());
        watch(service, &from, context, write).await
    };
    let changes = service.observe(Api::Rest, Call::WatchEvents, work).await?;
    let events =
        changes.map(|event| Ok::<_, Infallible>(event.unwrap_or_else(|failure| problem_of(&failure))));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Where an answer begins: with `since` the first event at or after that moment, or the next new event where
/// there is none.
async fn first(
    service: &Service,
    query: &EventsQuery,
    default: EventsFrom,
    context: &RequestContext,
) -> Result<EventsFrom, Failure> {
    let Some(since) = query.since()? else { return Ok(query.from.clone().unwrap_or(default)) };
    Ok(EventsFrom::At(service.events_since(since, context).await?))
}

/// The position up to which the client has received the events, from `Last-Event-ID`.
fn received_up_to(text: &[u8]) -> Result<EventsFrom, Failure> {
    std::str::from_utf8(text).unwrap_or_default().parse().map_err(|error: TokenError| {
        Failure::new(ErrorCode::InvalidField, format!("the header Last-Event-ID: {error}"))
    })
}

/// The rows of a page as server-sent events.
async fn events_of(service: Arc<Service>, rows: HistoryAnswer, context: RequestContext) -> Vec<Event> {
    let ledgers = rows.iter().map(|(_, row)| row.transfer.ledger);
    let assets = service.assets_for(ledgers, &context).await;
    let event = |(number, row): &(MovementNumber, Movement)| {
        let change = ChangeReply::new(*number, row, &assets);
        let data = serde_json::to_string(&change).unwrap_or_default();
        Event::default().id(change.position).event("change").data(data)
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
        let position = EventPosition::after(LEDGER_GROUP, MovementNumber(41));
        assert_eq!(position.next(LEDGER_GROUP), MovementNumber(42));
        assert_eq!(received_up_to(position.to_string().as_bytes()), Ok(EventsFrom::At(position)));
        for wrong in [&b"x"[..], b"", b"41", b"-1", b"\xff"] {
            assert_eq!(received_up_to(wrong).unwrap_err().code, ErrorCode::InvalidField);
        }
        assert!(
            received_up_to(b"41").unwrap_err().detail.ends_with("use the `position` of an event, or `start`")
        );
    }
}
