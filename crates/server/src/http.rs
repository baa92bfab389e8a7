//! The HTTP handler of one connection: the guard checks every request, the budgets admit it or refuse it, and
//! gRPC or REST answers it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use bezant_api::Failure;
use bezant_api::v1::ledger_server::LedgerServer;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use tonic::service::Routes;
use tower::Service as _;

use crate::answer::{ANSWER_COST, Hold, STREAM_COST};
use crate::body::{Admission, Inbound, Outbound};
use crate::connection::{Activity, OpenRequest};
use crate::failure::{Refused, to_status, with_reason};
use crate::freshness::Freshness;
use crate::grpc::{self, GrpcLedger};
use crate::limits::Limits;
use crate::log_rate::LogRate;
use crate::metrics::{Api, Call};
use crate::place::Place;
use crate::service::Service;
use crate::share::Share;
use crate::upload::Upload;

/// The path prefix of the ledger's gRPC service.
const LEDGER_PATH: &str = "/bezant.v1.Ledger/";

/// gRPC calls with an endless answer.
const STREAMS: [&str; 4] = [
    "/bezant.v1.Ledger/WatchEvents",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Handles the requests of one connection.
#[derive(Debug)]
pub(crate) struct HttpHandler {
    common: Common,
    pub(crate) activity: Arc<Activity>,
    /// The share of the peer's address.
    share: Arc<Share>,
}

/// The state that all connections of a server share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) service: Arc<Service>,
    /// Limits the log lines about clients that violate HTTP/2.
    broken: Arc<LogRate>,
    limits: Arc<Limits>,
    ledger: LedgerServer<GrpcLedger>,
    standard: Routes,
    rest: Router,
}

impl Common {
    pub(crate) fn new(service: Arc<Service>, standard: Routes, rest: Router) -> Self {
        let limits = Arc::new(service.limits.clone());
        let ledger = grpc::ledger(Arc::clone(&service));
        Self { broken: Arc::default(), limits, ledger, standard, rest, service }
    }
}

impl HttpHandler {
    /// The handler of the connection that has this place.
    pub(crate) fn new(common: Common, place: &Place) -> Self {
        let activity = Arc::new(Activity::new(Arc::clone(&place.usage)));
        Self { common, activity, share: Arc::clone(&place.share) }
    }

    pub(crate) const fn service(&self) -> &Arc<Service> {
        &self.common.service
    }

    /// Limits the log lines about clients that violate HTTP/2.
    pub(crate) const fn broken(&self) -> &Arc<LogRate> {
        &self.common.broken
    }

    /// Counts a request that is not admitted, and makes its answer.
    fn refuse(&self, failure: Failure, is_grpc: bool, open: OpenRequest) -> Response<Outbound> {
        let api = if is_grpc { Api::Grpc } else { Api::Rest };
        self.service().metrics.call(api, Call::Other, Duration::ZERO, Some(&failure));
        if is_grpc {
            to_status(failure).into_http().map(|body| Outbound::grpc(body, open))
        } else {
            Refused(failure).into_response().map(|body| Outbound::rest(body, open))
        }
    }
}

/// The future of an answer.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Outbound>, Infallible>> + Send>>;

impl HyperService<Request<Incoming>> for HttpHandler {
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = OpenRequest::new(&self.activity);
        let is_grpc = grpc::is_grpc(request.headers());
        let version = request.version();
        let checked = self.service().guard.check(&request, is_grpc);
        let (head, body) = request.into_parts();
        let body = Upload::new(body, &head.headers, &self.activity, self.common.limits.linger_timeout);
        match checked {
            Ok(()) => self.answer(Request::from_parts(head, body), is_grpc, open),
            Err(failure) => {
                let mut response = self.refuse(failure, is_grpc, open);
                if version < Version::HTTP_2 {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}

impl HttpHandler {
    /// Admits or refuses a request that passed the guard, and lets gRPC or REST answer it.
    fn answer(&self, request: Request<Upload>, is_grpc: bool, mut open: OpenRequest) -> Answering {
        let is_stream = is_grpc && STREAMS.contains(&request.uri().path());
        let cost = if is_stream { STREAM_COST } else { ANSWER_COST };
        let common = &self.common;
        let admitted = Admission::new(&self.share).and_then(|admission| {
            let hold = Hold::new(&self.share, cost)?;
            let admission = Arc::new(admission);
            let (head, body) = request.into_parts();
            let asked = Freshness::of(&head.headers)?;
            let inbound = Inbound::new(body, Arc::clone(&admission), Arc::clone(&common.limits))?;
            Ok((admission, hold, asked, Request::from_parts(head, inbound)))
        });
        let (admission, hold, asked, request) = match admitted {
            Ok(admitted) => admitted,
            Err(failure) => {
                let response = self.refuse(failure, is_grpc, open);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let counted = InFlight::new(&common.service, admission);
        if !is_grpc {
            let mut rest = common.rest.clone();
            let request = request.map(axum::body::Body::new);
            return Box::pin(async move {
                let mut response = hold.scope(asked.scope(rest.call(request))).await?;
                asked.write_headers(&counted.service.handle, response.headers_mut());
                drop(counted);
                let kind = response.headers().get(header::CONTENT_TYPE);
                if kind.is_some_and(|kind| kind == "text/event-stream") {
                    open.mark_stream();
                    hold.mark_stream();
                } else if response.extensions().get::<SharedBody>().is_some() {
                    hold.set(0);
                } else if let Some(size) = response.body().size_hint().exact() {
                    hold.set(size_in_memory(size).saturating_sub(ANSWER_COST));
                }
                Ok(response.map(|body| Outbound::rest(body, open).held(hold)))
            });
        }
        if request.uri().path() == grpc::fast::PATH && !grpc::is_compressed(request.headers()) {
            let (head, body) = request.into_parts();
            let answer = grpc::fast::submit(Arc::clone(&common.service), head.headers, body, open);
            return Box::pin(async move {
                let mut response = hold.scope(asked.scope(answer)).await;
                asked.write_headers(&counted.service.handle, response.headers_mut());
                drop(counted);
                Ok(response.map(|body| body.held(hold)))
            });
        }
        if is_stream {
            open.mark_stream();
        }
        let request = request.map(|body| body.map_err(to_status));
        let path = request.uri().path().to_owned();
        if path.starts_with(LEDGER_PATH) {
            let answer = common.ledger.clone().call(request);
            return Box::pin(async move {
                let mut response = with_reason(hold.scope(asked.scope(answer)).await?, &path);
                asked.write_headers(&counted.service.handle, response.headers_mut());
                drop(counted);
                Ok(response.map(|body| Outbound::grpc(body, open).held(hold)))
            });
        }
        let mut standard = common.standard.clone();
        Box::pin(async move {
            let response = with_reason(hold.scope(standard.call(request)).await?, &path);
            drop(counted);
            Ok(response.map(|body| Outbound::grpc(body, open).held(hold)))
        })
    }
}

/// Marks a response whose body is memory that all such answers share: no answer counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedBody;

/// Bytes of memory that a body of `size` bytes takes: its buffer doubled as it was written.
fn size_in_memory(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2)
}

/// Counts a request while it is being answered.
#[derive(Debug)]
struct InFlight {
    service: Arc<Service>,
    _admission: Arc<Admission>,
}

impl InFlight {
    fn new(service: &Arc<Service>, admission: Arc<Admission>) -> Self {
        service.metrics.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self { service: Arc::clone(service), _admission: admission }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.service.metrics.requests.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
