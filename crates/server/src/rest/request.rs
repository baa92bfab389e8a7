//! What a handler extracts from a request: context, key, account, id, parameters, body.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::RequestPartsExt;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bezant_api::idempotency::{IdKind, KEY_SIZE_MAX, event_id};
use bezant_api::json::parse_query;
use bezant_api::{AccountReference, ErrorCode, Failure};
use bezant_types::TransferId;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::body::collect;
use crate::context::{Deadline, RequestContext};
use crate::failure::{Refused, internal};
use crate::limits::Limits;
use crate::service::Service;

/// The headers that set the deadline; the first one in this order counts.
const TIMEOUT_HEADERS: [&str; 2] = ["request-timeout", "x-request-timeout"];

/// What every handler of `/v1` needs.
#[derive(Debug)]
pub(crate) struct RestRequest {
    pub(crate) service: Arc<Service>,
    pub(crate) context: RequestContext,
    /// The value of the header `Idempotency-Key`.
    pub(super) key: Option<String>,
}

impl RestRequest {
    /// An id for an event that brings none: the event at `position` of `count` in the request.
    pub(super) fn id(&self, kind: IdKind, position: usize, count: usize) -> u128 {
        match &self.key {
            Some(key) => event_id(kind, key, position, count),
            None => self.service.fresh_id(),
        }
    }
}

impl FromRequestParts<Arc<Service>> for RestRequest {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Refused> {
        let context = parts.extensions.remove::<RequestContext>();
        let mut context = context.ok_or_else(|| internal("a request has no context"))?;
        context.deadline = deadline(&parts.headers, &service.limits)?;
        Ok(Self { service: Arc::clone(service), context, key: key(&parts.headers)? })
    }
}

/// The deadline of a call that arrives now: the timeout in its headers later, within the limits.
fn deadline(headers: &HeaderMap, limits: &Limits) -> Result<Deadline, Failure> {
    let Some(value) = TIMEOUT_HEADERS.iter().find_map(|name| headers.get(*name)) else {
        return Ok(limits.default_deadline());
    };
    let timeout = value.to_str().ok().and_then(parse_timeout).ok_or_else(|| {
        let detail = "the header Request-Timeout is seconds, such as 5, or milliseconds, such as 250ms";
        Failure::new(ErrorCode::InvalidField, detail)
    })?;
    Ok(Instant::now().checked_add(timeout.min(limits.deadline_max)))
}

/// Parses `5`, `5s` or `250ms`.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, to_duration): (_, fn(u64) -> Duration) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, Duration::from_millis)
    } else {
        (text.strip_suffix('s').unwrap_or(text), Duration::from_secs)
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number).map(to_duration)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let detail = "the header Idempotency-Key is there more than once: send one key";
        return Err(Failure::new(ErrorCode::InvalidField, detail));
    }
    let key = value.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_SIZE_MAX);
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let detail = format!("the header Idempotency-Key is 1 to {KEY_SIZE_MAX} visible ASCII characters");
        Failure::new(ErrorCode::InvalidField, detail)
    })
}

/// The account in a path, by id or by name.
#[derive(Debug)]
pub(super) struct Account(pub(super) AccountReference);

impl FromRequestParts<Arc<Service>> for Account {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Refused> {
        let text = path_text(parts).await?;
        AccountReference::from_text(&text).map(Self).ok_or_else(|| invalid_path(&text).into())
    }
}

/// The transfer in a path.
#[derive(Debug)]
pub(super) struct Transfer(pub(super) TransferId);

impl FromRequestParts<Arc<Service>> for Transfer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Refused> {
        let text = path_text(parts).await?;
        match AccountReference::from_text(&text) {
            Some(AccountReference::Id(id)) => Ok(Self(TransferId(id.0))),
            _ => Err(invalid_path(&text).into()),
        }
    }
}

async fn path_text(parts: &mut Parts) -> Result<String, Failure> {
    let path = parts.extract::<Path<String>>().await;
    path.map(|Path(text)| text).map_err(|_| {
        let path = parts.uri.path();
        let detail = format!("the bytes of {path} are not UTF-8: write a name in UTF-8, percent-encoded");
        Failure::new(ErrorCode::InvalidField, detail)
    })
}

fn invalid_path(text: &str) -> Failure {
    let detail = format!("'{text}' is no id: an id is digits, at most 2^128 - 2");
    Failure::new(ErrorCode::InvalidField, detail)
}

/// The parsed query string.
#[derive(Debug)]
pub(super) struct Parameters<Query>(pub(super) Query);

impl<Query: DeserializeOwned> FromRequestParts<Arc<Service>> for Parameters<Query> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Refused> {
        Ok(Self(parse_query(parts.uri.query().unwrap_or(""))?))
    }
}

/// A JSON body that is not parsed yet; the guard has checked its content type.
#[derive(Debug)]
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest<Arc<Service>> for JsonBody {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Arc<Service>) -> Result<Self, Refused> {
        Ok(Self(collect(request.into_body().map_err(failure_of)).await?))
    }
}

/// The failure of a body, unwrapped from axum's error.
fn failure_of(error: axum::Error) -> Failure {
    match error.into_inner().downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(error) => Failure::new(ErrorCode::InvalidMessage, format!("the body broke off: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_accepted_and_two_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(key(&headers), Ok(None));
        headers.append("idempotency-key", http::HeaderValue::from_static("a"));
        assert_eq!(key(&headers), Ok(Some("a".to_owned())));
        headers.append("idempotency-key", http::HeaderValue::from_static("b"));
        assert_eq!(key(&headers).unwrap_err().code, ErrorCode::InvalidField);
    }

    #[test]
    fn timeouts_are_seconds_or_milliseconds() {
        assert_eq!(parse_timeout("5"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "s", "ms", "-1", "+1", "1.5", "5m", "99999999999999999999"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }
}
