//! The gRPC service `bezant.v1.Ledger`, and the standard services for health and reflection.

pub(crate) mod fast;
mod health;
mod read;
mod watch;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bezant_api::{Failure, v1};
use bezant_types::limits::REQUEST_SIZE_MAX;
use http::HeaderMap;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_server::HealthServer;
use v1::ledger_server::{Ledger, LedgerServer};

use crate::books;
use crate::calls::with_calls;
use crate::context::{Deadline, RequestContext};
use crate::failure::to_status;
use crate::limits::Limits;
use crate::metrics::{Api, Call};
use crate::service::Service;

/// The most bytes of an answer: several times the size of 8189 accounts with long names.
const ANSWER_SIZE_MAX: usize = 64 << 20;

/// The implementation of `bezant.v1.Ledger` for one request. tonic decodes the message and calls a method of
/// it, which finds the context here.
#[derive(Debug)]
pub(crate) struct GrpcLedger {
    service: Arc<Service>,
    context: RequestContext,
}

/// Makes the ledger's gRPC service for one request.
pub(crate) fn ledger(service: Arc<Service>, context: RequestContext) -> LedgerServer<GrpcLedger> {
    let size_max = service.limits.body_size_max.max(REQUEST_SIZE_MAX);
    LedgerServer::new(GrpcLedger { service, context })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(size_max)
        .max_encoding_message_size(ANSWER_SIZE_MAX)
}

/// Makes the health service for one request.
pub(crate) fn health(service: Arc<Service>, context: RequestContext) -> HealthServer<health::Health> {
    HealthServer::new(health::Health { service, context }).accept_compressed(CompressionEncoding::Gzip)
}

/// Makes the reflection services, which need neither the ledger nor a request's context.
pub(crate) fn reflection() -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(builder().build_v1()?).add_service(builder().build_v1alpha()?).prepare())
}

/// The deadline of a call that arrives now: `grpc-timeout` later, within the limits.
pub(crate) fn deadline(headers: &HeaderMap, limits: &Limits) -> Deadline {
    let timeout = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    Instant::now().checked_add(timeout.unwrap_or(limits.deadline_default).min(limits.deadline_max))
}

/// Parses `grpc-timeout`: up to 8 digits and a unit. `None` when the text is invalid.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// True for a request of gRPC, to any of its services.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(http::header::CONTENT_TYPE) else { return false };
    let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    [&b"application/grpc"[..], b"application/grpc+proto"].contains(&essence.trim_ascii_end())
}

/// True when the messages of the call may be compressed.
pub(crate) fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity")
}

impl GrpcLedger {
    /// Runs the work of a call, counts the memory of its reply (`size` bytes encoded), counts the call, and
    /// turns a failure into a gRPC status.
    async fn call<Output>(
        &self,
        call: Call,
        work: impl Future<Output = Result<Output, Failure>>,
        size: impl FnOnce(&Output) -> usize,
    ) -> Result<Response<Output>, Status> {
        let work = async {
            let reply = work.await?;
            // The message, and the buffer that it is encoded into, which may be twice as large.
            self.context.budget.raise(size(&reply).saturating_mul(3));
            Ok(reply)
        };
        self.service.observe(Api::Grpc, call, work).await.map(Response::new).map_err(to_status)
    }
}

macro_rules! ledger_service {
    ($($method:ident($request:ident) -> $reply:ident = $call:ident $module:ident,)+) => {
        #[async_trait]
        impl Ledger for GrpcLedger {
            $(async fn $method(
                &self,
                request: Request<v1::$request>,
            ) -> Result<Response<v1::$reply>, Status> {
                let work = $module::$method(&self.service, request.into_inner(), &self.context);
                self.call(Call::$call, work, prost::Message::encoded_len).await
            })+

            type WatchEventsStream = watch::ChangeStream;

            async fn watch_events(
                &self,
                request: Request<v1::WatchEventsRequest>,
            ) -> Result<Response<watch::ChangeStream>, Status> {
                let work = watch::watch_events(&self.service, request.into_inner(), &self.context);
                self.call(Call::WatchEvents, work, |_| 0).await
            }
        }
    };
}

with_calls!(ledger_service);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_requests_are_recognized_by_their_content_type() {
        let is = |kind: &'static str| {
            is_grpc(&HeaderMap::from_iter([(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_static(kind),
            )]))
        };
        for own in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is(own), "{own}");
        }
        for other in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/grpc+json",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn timeouts_are_parsed_as_the_protocol_defines() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("2H"), Some(Duration::from_hours(2)));
        for wrong in ["", "m", "1", "1x", "-1S", "123456789S", "1µ"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }
}
