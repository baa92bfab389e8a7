//! Who may ask: what keeps web pages and strangers' names away from a ledger that authenticates no client.
//!
//! A browser on the machine reaches every listener that the machine reaches, and sends what a page from anywhere
//! tells it to. Four checks, the same for gRPC and every path of REST, keep such a page out before anything is read:
//! a write has a content type that no page can send to another origin unasked; a foreign `Origin` or
//! `Sec-Fetch-Site` is refused; a listener on loopback, or one with a list of hosts, answers for its own hosts alone,
//! so that a name which an attacker points at this machine (DNS rebinding) is of no use; and no answer carries a
//! header of CORS. The head is checked as well: one host, and nothing expected that is not done.
//!
//! A listener that other machines reach takes a change of the cluster only with the cluster's token.

mod hosts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use bezant_api::{ErrorCode, Failure};
use http::{HeaderMap, HeaderName, Method, Request, Version, header};

use self::hosts::{Host, host_of, is_same_origin};
pub use self::hosts::{HostName, HostNameError};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The token that all nodes of a cluster know; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// The token as its file has it, without the white space around it.
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

/// What one listener takes. See the module.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Only this machine reaches the listener.
    is_loopback: bool,
    /// Hosts that are answered for, beside those of loopback.
    allowed_hosts: Vec<HostName>,
    /// `None` on a node that is alone.
    token: Option<ClusterToken>,
}

/// That a request may change the cluster: only [`Guard::permit_change`] gives it.
#[derive(Debug)]
#[must_use = "a change of the cluster takes it"]
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

    /// Refuses what is not to be answered, by its head alone.
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
        // Any browser says which host it means; only HTTP/1.0 may leave it out.
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

    /// A page may ask what it came from, and a link from elsewhere may be followed; nothing else.
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
        // A listener without a list of hosts answers for any name. A name that an attacker points here makes his page
        // one of the same origin, so a page may write only where the host is known, or is an address.
        let is_known = |host: Host<'_>| matches!(host, Host::Address(_)) || self.is_own(&host);
        match authority {
            Some(authority) if has_origin && !is_read && !host_of(authority).is_some_and(is_known) => {
                Err(misdirected(authority))
            }
            _ => Ok(()),
        }
    }

    /// Whether a request with these headers may change the cluster.
    ///
    /// A node that is alone has no token and no cluster: it refuses every change later, by itself.
    pub(crate) fn permit_change(&self, headers: &HeaderMap, is_alone: bool) -> Result<ChangePermit, Failure> {
        if self.is_loopback || is_alone {
            return Ok(ChangePermit(()));
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let text = match (&self.token, given) {
            (Some(token), Some(given)) if token.is(given) => return Ok(ChangePermit(())),
            (Some(_), None) => {
                "send the cluster's token as `Authorization: Bearer TOKEN`, or say --token-file"
            }
            (Some(_), Some(_)) => "the token of the request is not that of the cluster",
            (None, _) => "the server was started without the cluster's token",
        };
        tracing::warn!(reason = text, "a change of the cluster was refused");
        Err(Failure::new(ErrorCode::TokenRequired, text))
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The host that the request names; `None` only in HTTP/1.0.
fn authority<Body>(request: &Request<Body>) -> Result<Option<&str>, Failure> {
    let invalid = |text: &str| Failure::new(ErrorCode::InvalidRequest, text);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str()).transpose();
    let host = host.map_err(|_| invalid("the header Host is no host"))?;
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
            Err(invalid("the header Host is no host"))
        }
        None if request.version() > Version::HTTP_10 => Err(invalid("the header Host is missing")),
        authority => Ok(authority),
    }
}

/// What a request may expect of a server is that it says `100 Continue` before the body; chunks are not negotiated.
fn check_expectations(headers: &HeaderMap) -> Result<(), Failure> {
    let is_continue = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(header::EXPECT).iter().all(is_continue) {
        let text = "the header Expect is 100-continue, or is not there";
        return Err(Failure::new(ErrorCode::ExpectationFailed, text));
    }
    let codings = headers.get_all(header::TE).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        let text = "the header TE names chunked, which is always understood and never asked for";
        return Err(Failure::new(ErrorCode::InvalidRequest, text));
    }
    Ok(())
}

/// A browser asks a server of another origin before it sends this type, and the server never agrees.
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

/// Somebody follows a link or types an address: the page that the browser shows then is none of the page before it.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, text: &str| headers.get(name).is_some_and(|value| value == text);
    is(&SEC_FETCH_MODE, "navigate") && is(&SEC_FETCH_DEST, "document")
}

fn foreign() -> Failure {
    let text = "a web page of another origin sent this, and no page but the server's own may ask";
    Failure::new(ErrorCode::ForbiddenOrigin, text)
}

fn misdirected(authority: &str) -> Failure {
    let text = format!(
        "this listener does not answer for '{authority}': use its address, or start it with --allowed-hosts"
    );
    Failure::new(ErrorCode::MisdirectedRequest, text)
}
