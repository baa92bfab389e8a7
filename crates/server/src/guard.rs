//! Which requests the listener for gRPC and REST accepts. The server authenticates no clients, so the guard
//! protects the ledger from web pages and foreign host names.
//!
//! A browser reaches every listener that its machine reaches, and sends requests for pages of any origin. Four
//! checks, the same for gRPC and every path of REST, refuse the requests of foreign pages before their bodies
//! are read:
//!
//! - A write needs a content type that no page can send to another origin without a preflight.
//! - A foreign `Origin` or `Sec-Fetch-Site` is refused.
//! - A listener on loopback, or one with a list of hosts, accepts only its own host names. So an attacker gains
//!   nothing from a name that resolves to this machine (DNS rebinding).
//! - No answer carries a header of CORS.
//!
//! The guard also checks the head: it must name one host, and `Expect` nothing but `100-continue`.
//!
//! The guard finds the [`Principal`] of a request. A listener that other machines reach accepts a change of the
//! cluster only from the holder of the cluster's token.

mod hosts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use bezant_api::{ErrorCode, Failure};
use http::{HeaderMap, HeaderName, Method, Request, Version, header};

use self::hosts::{Host, host_of, is_same_origin};
pub use self::hosts::{HostName, HostNameError};
use crate::context::Principal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The secret that all nodes of a cluster share; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// Takes the content of the token's file, without the white space around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Compares in a time that depends on the length alone.
    fn is(&self, other: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differs = own.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other));
        own.len() == other.len() && std::hint::black_box(differs) == 0
    }
}

impl fmt::Debug for ClusterToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClusterToken(..)")
    }
}

/// What one listener accepts. See the module.
#[derive(Debug)]
pub(crate) struct Guard {
    /// True when only this machine reaches the listener.
    is_loopback: bool,
    /// Hosts that requests may name, besides those of loopback.
    allowed_hosts: Vec<HostName>,
    /// `None` on a standalone node.
    token: Option<ClusterToken>,
}

/// The permission to change the cluster: only [`Guard::permit_change`] grants it.
#[derive(Debug)]
#[must_use = "pass it to the change of the cluster"]
pub(crate) struct ChangePermit(());

impl Guard {
    pub(crate) fn new(
        address: SocketAddr,
        allowed_hosts: Vec<HostName>,
        token: Option<ClusterToken>,
    ) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self { is_loopback, allowed_hosts, token }
    }

    /// Refuses requests that must not be answered, by their heads alone.
    pub(crate) fn check<Body>(&self, request: &Request<Body>, is_grpc: bool) -> Result<(), Failure> {
        let (method, headers) = (request.method(), request.headers());
        if *method == Method::CONNECT || (is_grpc && *method != Method::POST) {
            return Err(Failure::new(ErrorCode::MethodNotAllowed, format!("{method} is not a method here")));
        }
        check_expectations(headers)?;
        let authority = authority(request)?;
        let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        self.check_host(authority)?;
        self.check_origin(headers, authority, is_read)?;
        if is_grpc || is_read { Ok(()) } else { check_is_json(headers) }
    }

    fn check_host(&self, authority: Option<&str>) -> Result<(), Failure> {
        // Every browser sends the host; only HTTP/1.0 may omit it.
        let Some(authority) = authority else { return Ok(()) };
        let has_list = self.is_loopback || !self.allowed_hosts.is_empty();
        if !has_list || host_of(authority).is_some_and(|host| self.is_own(&host)) {
            return Ok(());
        }
        Err(misdirected(authority))
    }

    fn is_own(&self, host: &Host<'_>) -> bool {
        host.is_loopback() || self.allowed_hosts.iter().any(|allowed| allowed.is(host))
    }

    /// Accepts what a page sends to its own origin, and a link of another page that the user follows. Refuses
    /// everything else that a page sends.
    fn check_origin(
        &self,
        headers: &HeaderMap,
        authority: Option<&str>,
        is_read: bool,
    ) -> Result<(), Failure> {
        let mut has_origin = false;
        for origin in headers.get_all(header::ORIGIN) {
            has_origin = true;
            let pair = origin.to_str().ok().zip(authority);
            if !pair.is_some_and(|(origin, authority)| is_same_origin(origin, authority)) {
                return Err(foreign());
            }
        }
        let mut sites = headers.get_all(&SEC_FETCH_SITE).iter();
        if sites.any(|site| site != "same-origin" && site != "none") && !(is_read && is_navigation(headers)) {
            return Err(foreign());
        }
        // A listener without a list of hosts accepts any name. If an attacker's name points here, the
        // attacker's page has the same origin. So a page may write only where the host is known or is an
        // address.
        let is_known = |host: Host<'_>| matches!(host, Host::Address(_)) || self.is_own(&host);
        match authority {
            Some(authority) if has_origin && !is_read && !host_of(authority).is_some_and(is_known) => {
                Err(misdirected(authority))
            }
            _ => Ok(()),
        }
    }

    /// Who sent a request with these headers.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Principal {
        if self.is_loopback {
            return Principal::Local;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        match (&self.token, given) {
            (_, None) => Principal::Anonymous,
            (Some(token), Some(given)) if token.is(given) => Principal::Operator,
            (_, Some(_)) => Principal::WrongToken,
        }
    }

    /// Checks whether a principal may change the cluster.
    ///
    /// A standalone node has no token and no cluster: it refuses every change later.
    pub(crate) fn permit_change(&self, by: Principal, is_alone: bool) -> Result<ChangePermit, Failure> {
        let text = match (&self.token, by) {
            (_, Principal::Local | Principal::Operator) => return Ok(ChangePermit(())),
            _ if is_alone => return Ok(ChangePermit(())),
            (Some(_), Principal::Anonymous) => {
                "send the cluster's token as `Authorization: Bearer TOKEN`, or say --token-file"
            }
            (Some(_), Principal::WrongToken) => "the token of the request is not that of the cluster",
            (None, _) => "the server was started without the cluster's token",
        };
        tracing::warn!(reason = text, "a change of the cluster was refused");
        Err(Failure::new(ErrorCode::TokenRequired, text))
    }
}

/// The token in the value `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The host that the request names; `None` only in HTTP/1.0.
fn authority<Body>(request: &Request<Body>) -> Result<Option<&str>, Failure> {
    let invalid = |text: &str| Failure::new(ErrorCode::InvalidRequest, text);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str()).transpose();
    let host = host.map_err(|_| invalid("the header Host is not a host"))?;
    if hosts.next().is_some() {
        return Err(invalid("the header Host is there more than once"));
    }
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    if let (Some(target), Some(host)) = (target, host)
        && !target.eq_ignore_ascii_case(host)
    {
        return Err(invalid("the target of the request and its header Host name different hosts"));
    }
    match target.or(host) {
        Some(authority) if authority.is_empty() || authority.contains('@') => {
            Err(invalid("the header Host is not a host"))
        }
        None if request.version() > Version::HTTP_10 => Err(invalid("the header Host is missing")),
        authority => Ok(authority),
    }
}

/// A request may expect `100 Continue` and nothing else. `TE` must not name `chunked`, which is never
/// negotiated.
fn check_expectations(headers: &HeaderMap) -> Result<(), Failure> {
    let is_continue = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(header::EXPECT).iter().all(is_continue) {
        let text = "the header Expect is 100-continue, or is not there";
        return Err(Failure::new(ErrorCode::ExpectationFailed, text));
    }
    let codings = headers.get_all(header::TE).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        let text = "the header TE names chunked, which is always supported and never negotiated";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    }
    Ok(())
}

/// Before a browser sends this content type to another origin, it sends a preflight, which this server always
/// refuses.
fn check_is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().map(|kind| kind.to_str().unwrap_or("?"));
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") && kinds.next().is_none() {
        return Ok(());
    }
    let what = if essence.is_empty() { "none".to_owned() } else { format!("'{essence}'") };
    let detail =
        format!("the content type is {what}: send `Content-Type: application/json`, once, with every write");
    Err(Failure::new(ErrorCode::UnsupportedMediaType, detail))
}

/// True when the user follows a link or types an address: the browser then shows a new document, which the
/// page before cannot read.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, text: &str| headers.get(name).is_some_and(|value| value == text);
    is(&SEC_FETCH_MODE, "navigate") && is(&SEC_FETCH_DEST, "document")
}

fn foreign() -> Failure {
    let text = "a web page of another origin sent this: only pages of this server may send requests to it";
    Failure::new(ErrorCode::ForbiddenOrigin, text)
}

fn misdirected(authority: &str) -> Failure {
    let text = format!(
        "this listener does not accept '{authority}': use its address, or start it with --allowed-hosts"
    );
    Failure::new(ErrorCode::MisdirectedRequest, text)
}
