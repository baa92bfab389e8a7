//! Failures of calls as gRPC and REST return them, and the conversion of the node's errors to failures.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use bezant_api::json::Problem;
use bezant_api::{ErrorCode, Failure, Scarce};
use bezant_codec::{DecodeError, Operation};
use bezant_runtime::{ExecuteError, ReadError};
use http::{HeaderValue, StatusCode, header};
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::limits::BODY_SIZE_MAX;

/// The value of `domain` in gRPC's `ErrorInfo`.
const ERROR_DOMAIN: &str = "bezant";

/// The most ids that gRPC's `ErrorInfo` lists of a write whose outcome is unknown. They travel in trailers,
/// which many clients limit to 8 KiB. The client sent all of the ids, so it can do without the rest.
const UNKNOWN_IDS_MAX: usize = 64;

/// Converts the node's error for a write.
pub(crate) fn of_write(error: &ExecuteError) -> Failure {
    let detail = error.to_string();
    match error {
        ExecuteError::Overloaded { retry_after } => {
            let (retry_after, scarce) = (Some(*retry_after), Some(Scarce::Node));
            Failure { retry_after, scarce, ..Failure::new(ErrorCode::Overloaded, detail) }
        }
        ExecuteError::ReadOnly { .. } => Failure::new(ErrorCode::ReadOnly, detail),
        ExecuteError::NotTaken { .. } => {
            Failure { is_nothing_done: true, ..Failure::new(ErrorCode::ReadOnly, detail) }
        }
        ExecuteError::DeadlineExceeded => Failure::new(ErrorCode::DeadlineExceeded, detail),
        ExecuteError::Stopping => Failure::new(ErrorCode::Stopping, detail),
        ExecuteError::NoLeader | ExecuteError::FirstStart(_) => Failure::new(ErrorCode::NoLeader, detail),
        ExecuteError::Interrupted => Failure::new(ErrorCode::Interrupted, detail),
        _ => Failure::new(ErrorCode::Internal, detail),
    }
}

/// Converts the node's error for a read.
pub(crate) fn of_read(error: &ReadError) -> Failure {
    let detail = error.to_string();
    match error {
        ReadError::Overloaded { retry_after } => {
            let (retry_after, scarce) = (Some(*retry_after), Some(Scarce::Node));
            Failure { retry_after, scarce, ..Failure::new(ErrorCode::Overloaded, detail) }
        }
        ReadError::Damaged { .. } => Failure::new(ErrorCode::HistoryDamaged, detail),
        ReadError::DeadlineExceeded => Failure::new(ErrorCode::DeadlineExceeded, detail),
        ReadError::Stopping => Failure::new(ErrorCode::Stopping, detail),
        ReadError::NoLeader | ReadError::FirstStart(_) => Failure::new(ErrorCode::NoLeader, detail),
        ReadError::NoState { .. } => Failure::new(ErrorCode::NoState, detail),
        _ => Failure::new(ErrorCode::Internal, detail),
    }
}

/// The failure for records that do not decode.
pub(crate) fn of_records(error: DecodeError, operation: Operation) -> Failure {
    let size = if operation.is_tagged() {
        format!("with their tagged fields, in a message of at most {BODY_SIZE_MAX} bytes")
    } else {
        format!("of {} bytes each", operation.event_size())
    };
    let detail = format!("{error}: send 1 to 8189 records {size}, one after the other");
    Failure::new(ErrorCode::InvalidRecords, detail)
}

/// The failure for a case that only a fault of the server can cause; it is logged.
pub(crate) fn internal(what: &str) -> Failure {
    tracing::error!(what, "a fault of the server");
    Failure::new(ErrorCode::Internal, format!("a fault of the server: {what}"))
}

/// The failure as a gRPC status with rich details.
pub(crate) fn to_status(failure: Failure) -> Status {
    let ids: Vec<_> = failure.unknown_ids.iter().take(UNKNOWN_IDS_MAX).map(u128::to_string).collect();
    let of_unknown = [("ids", ids.join(",")), ("events", failure.unknown_ids.len().to_string())];
    let of_unknown = of_unknown.into_iter().filter(|_| !ids.is_empty());
    let of_end = failure.end.as_ref().map(|end| ("end", end.to_string()));
    let of_nothing = failure.is_nothing_done.then(|| ("done", "nothing".to_owned()));
    let metadata: HashMap<_, _> =
        of_unknown.chain(of_end).chain(of_nothing).map(|(name, value)| (name.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(failure.code.name(), ERROR_DOMAIN, metadata);
    if !failure.violations.is_empty() {
        let fields = failure
            .violations
            .into_iter()
            .map(|violation| FieldViolation::new(violation.field, violation.description));
        details.set_bad_request(fields.collect::<Vec<_>>());
    }
    if failure.retry_after.is_some() {
        details.set_retry_info(failure.retry_after);
    }
    Status::with_error_details(failure.code.grpc_code(), failure.detail, details)
}

/// Adds a stable code to a response in which tonic itself refused the request: tonic has no such codes.
///
/// The standard services (health, reflection) keep their own errors.
pub(crate) fn with_reason(
    response: http::Response<tonic::body::Body>,
    path: &str,
) -> http::Response<tonic::body::Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if response.headers().contains_key("grpc-accept-encoding") && status.code() == tonic::Code::Unimplemented
    {
        // Unknown compression: the response must stay as the protocol defines it.
        return response;
    }
    let is_standard = path.starts_with("/grpc.");
    let has_reason = status.code() == tonic::Code::Ok || !status.details().is_empty();
    let failure = match status.code() {
        _ if has_reason => return response,
        tonic::Code::Unimplemented if status.message().is_empty() => {
            let detail =
                format!("there is no call {path}: ask the reflection service, or see bezant.v1.Ledger");
            Failure::new(ErrorCode::RouteNotFound, detail)
        }
        // tonic uses `ResourceExhausted` for a message that is too large after decompression.
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted if !is_standard => {
            Failure::new(ErrorCode::RequestTooLarge, status.message())
        }
        // tonic could not decode the message: an internal fault of the server would carry its own code.
        tonic::Code::Internal | tonic::Code::Unimplemented if !is_standard => {
            let detail = format!("the message cannot be read: {}", status.message());
            Failure::new(ErrorCode::InvalidMessage, detail)
        }
        _ => return response,
    };
    to_status(failure).into_http()
}

/// A failure that a REST handler returns, encoded as problem+json.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Failure);

impl<Error: Into<Failure>> From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = problem(&Problem::from(&self.0));
        if self.0.code == ErrorCode::TokenRequired {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.0.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

/// A problem as an HTTP response.
pub(crate) fn problem(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bezant_api::Violation;

    use super::*;

    #[test]
    fn errors_of_the_node_become_the_matching_codes() {
        let overloaded = ExecuteError::Overloaded { retry_after: Duration::from_millis(50) };
        let status = to_status(of_write(&overloaded));
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let details = status.get_error_details();
        let wait = details.retry_info().and_then(|info| info.retry_delay);
        assert_eq!(wait, Some(Duration::from_millis(50)));
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("overloaded"));
        let response = Refused(of_write(&overloaded)).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");

        let pairs = [
            (of_write(&ExecuteError::ReadOnly { reason: "full".into() }), tonic::Code::Unavailable, 503),
            (of_write(&ExecuteError::DeadlineExceeded), tonic::Code::DeadlineExceeded, 504),
            (of_write(&ExecuteError::Stopping), tonic::Code::Unavailable, 503),
            (of_read(&ReadError::Damaged { reason: "page 7".into() }), tonic::Code::DataLoss, 500),
        ];
        for (failure, grpc, http) in pairs {
            assert_eq!((failure.code.grpc_code(), failure.code.http_status()), (grpc, http), "{failure}");
        }
    }

    #[test]
    fn a_write_that_did_not_start_has_no_unknown_ids() {
        let of = |error: &ExecuteError| of_write(error).of_events([7]);
        let begun = of(&ExecuteError::ReadOnly { reason: "full".into() });
        let refused = of(&ExecuteError::NotTaken { reason: "the clock".into() });
        assert_eq!((begun.code, refused.code), (ErrorCode::ReadOnly, ErrorCode::ReadOnly));
        assert_eq!((&*begun.unknown_ids, &*refused.unknown_ids), (&[7][..], &[][..]));
        let done = |failure| {
            let details = to_status(failure).get_error_details();
            details.error_info().and_then(|info| info.metadata.get("done").cloned())
        };
        assert_eq!((done(begun), done(refused)), (None, Some("nothing".to_owned())));
    }

    #[test]
    fn fields_are_named_in_both_protocols() {
        let failure = Failure::from(Violation::new("transfers[0].code", "is at most 65535"));
        let details = to_status(failure).get_error_details();
        let field = details.bad_request().and_then(|request| request.field_violations.first().cloned());
        assert_eq!(field.map(|field| field.field), Some("transfers[0].code".to_owned()));
    }
}
