//! The HTTP handler of one connection. The guard checks every request, and the budgets admit it or refuse it.
//! An admitted request gets its [`RequestContext`], and gRPC or REST answers it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use bezant_api::Failure;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use tonic::service::Routes;
use tower::Service as _;

use crate::answer::{ANSWER_COST, AnswerMemory, STREAM_COST};
use crate::body::{Admission, Inbound, Outbound};
use crate::connection::{Activity, OpenRequest};
use crate::context::{RequestBudget, RequestContext};
use crate::failure::{Refused, to_status, with_reason};
use crate::freshness::Freshness;
use crate::grpc;
use crate::limits::Limits;
use crate::log_rate::LogRate;
use crate::metrics::{Api, Call};
use crate::place::Place;
use crate::service::Service;
use crate::share::Share;
use crate::upload::Upload;

/// The path prefix of the ledger's gRPC service.
const LEDGER_PATH: &str = "/bezant.v1.Ledger/";
/// The path prefix of the standard health service.
const HEALTH_PATH: &str = "/grpc.health.v1.Health/";

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
    reflection: Routes,
    rest: Router,
}

impl Common {
    pub(crate) fn new(service: Arc<Service>, reflection: Routes, rest: Router) -> Self {
        let limits = Arc::new(service.limits.clone());
        Self { broken: Arc::default(), limits, reflection, rest, service }
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
        let (request, admitted) = match self.admit(request, is_grpc, is_stream) {
            Ok(admitted) => admitted,
            Err(failure) => {
                let response = self.refuse(failure, is_grpc, open);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        if is_stream {
            open.mark_stream();
        }
        match request.uri().path() {
            _ if !is_grpc => rest(self.common.rest.clone(), request, admitted, open),
            grpc::fast::PATH if !grpc::is_compressed(request.headers()) => submit(request, admitted, open),
            path if path.starts_with(LEDGER_PATH) => ledger(request, admitted, open),
            path if path.starts_with(HEALTH_PATH) => health(request, admitted, open),
            _ => reflection(self.common.reflection.clone(), request, admitted, open),
        }
    }

    /// Admits a request, and makes its context.
    fn admit(
        &self,
        request: Request<Upload>,
        is_grpc: bool,
        is_stream: bool,
    ) -> Result<(Request<Inbound>, Admitted), Failure> {
        let (service, limits) = (&self.common.service, &self.common.limits);
        let admission = Arc::new(Admission::new(&self.share)?);
        let memory = AnswerMemory::new(&self.share, if is_stream { STREAM_COST } else { ANSWER_COST })?;
        let (head, body) = request.into_parts();
        let context = RequestContext {
            budget: RequestBudget::Answer(Arc::clone(&memory)),
            freshness: Freshness::of(&head.headers)?,
            principal: service.guard.principal(&head.headers),
            deadline: if is_grpc {
                grpc::deadline(&head.headers, limits)
            } else {
                // The handlers of `/v1` read the header that sets another one; the other paths ignore it.
                limits.default_deadline()
            },
        };
        let inbound = Inbound::new(body, Arc::clone(&admission), Arc::clone(limits))?;
        let counted = InFlight::new(service, admission);
        Ok((Request::from_parts(head, inbound), Admitted { context, memory, counted }))
    }
}

/// A request that was admitted, until its answer is made.
#[derive(Debug)]
struct Admitted {
    context: RequestContext,
    /// The memory of the answer, which is also the budget of the context.
    memory: Arc<AnswerMemory>,
    counted: InFlight,
}

impl Admitted {
    fn service(&self) -> &Arc<Service> {
        &self.counted.service
    }

    /// Writes into an answer of the ledger how fresh it is.
    fn write_freshness<Body>(&self, response: &mut Response<Body>) {
        self.context.freshness.write_headers(&self.service().handle, response.headers_mut());
    }

    /// Ends the request: from here on only the memory of its answer counts, until that is sent.
    fn end(self, response: Response<Outbound>) -> Response<Outbound> {
        response.map(|body| body.counted_in(self.memory))
    }
}

/// Answers a request of REST.
fn rest(
    mut router: Router,
    request: Request<Inbound>,
    admitted: Admitted,
    mut open: OpenRequest,
) -> Answering {
    let mut request = request.map(axum::body::Body::new);
    // The router is made once for all requests, so the context can reach a handler only with its request.
    request.extensions_mut().insert(admitted.context.clone());
    Box::pin(async move {
        let mut response = router.call(request).await?;
        admitted.write_freshness(&mut response);
        let kind = response.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind == "text/event-stream") {
            open.mark_stream();
            admitted.memory.mark_stream();
        } else if response.extensions().get::<SharedBody>().is_some() {
            admitted.memory.set(0);
        } else if let Some(size) = response.body().size_hint().exact() {
            admitted.memory.set(size_in_memory(size).saturating_sub(ANSWER_COST));
        }
        Ok(admitted.end(response.map(|body| Outbound::rest(body, open))))
    })
}

/// Answers a call of `Submit`.
fn submit(request: Request<Inbound>, admitted: Admitted, open: OpenRequest) -> Answering {
    let body = request.into_body();
    Box::pin(async move {
        let mut response = grpc::fast::submit(admitted.service(), &admitted.context, body, open).await;
        admitted.write_freshness(&mut response);
        Ok(admitted.end(response))
    })
}

/// Answers any other call of the ledger's gRPC service.
fn ledger(request: Request<Inbound>, admitted: Admitted, open: OpenRequest) -> Answering {
    let path = request.uri().path().to_owned();
    let mut service = grpc::ledger(Arc::clone(admitted.service()), admitted.context.clone());
    let answer = service.call(request.map(|body| body.map_err(to_status)));
    Box::pin(async move {
        let mut response = with_reason(answer.await?, &path);
        admitted.write_freshness(&mut response);
        Ok(admitted.end(response.map(|body| Outbound::grpc(body, open))))
    })
}

/// Answers a call of the standard health service.
fn health(request: Request<Inbound>, admitted: Admitted, open: OpenRequest) -> Answering {
    let path = request.uri().path().to_owned();
    let mut service = grpc::health(Arc::clone(admitted.service()), admitted.context.clone());
    let answer = service.call(request.map(|body| body.map_err(to_status)));
    Box::pin(async move {
        let response = with_reason(answer.await?, &path);
        Ok(admitted.end(response.map(|body| Outbound::grpc(body, open))))
    })
}

/// Answers a call of the standard reflection services, or of a service that does not exist.
fn reflection(
    mut routes: Routes,
    request: Request<Inbound>,
    admitted: Admitted,
    open: OpenRequest,
) -> Answering {
    let path = request.uri().path().to_owned();
    let request = request.map(|body| body.map_err(to_status));
    Box::pin(async move {
        let response = with_reason(routes.call(request).await?, &path);
        Ok(admitted.end(response.map(|body| Outbound::grpc(body, open))))
    })
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
