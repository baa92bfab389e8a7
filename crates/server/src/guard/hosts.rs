//! Names and addresses of hosts, as requests and settings write them.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A host name or address that a listener accepts, with any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// In lower case, without a final dot.
    Name(String),
    Address(IpAddr),
}

/// A text that is neither a host name nor an address.
#[derive(Debug, Error)]
#[error(
    "'{0}' is not a host: write a name or an address, without a port, such as ledger.example or 10.0.0.7"
)]
pub struct HostNameError(String);

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self(Kind::Address(IpAddr::V6(address).to_canonical())));
        }
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        match host_of(text).filter(|_| !has_port) {
            Some(Host::Name(name)) => Ok(Self(Kind::Name(name.to_ascii_lowercase()))),
            Some(Host::Address(address)) => Ok(Self(Kind::Address(address))),
            None => Err(HostNameError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        text.parse()
    }
}

impl HostName {
    pub(super) fn is(&self, host: &Host<'_>) -> bool {
        match (&self.0, host) {
            (Kind::Name(own), Host::Name(name)) => own.eq_ignore_ascii_case(name),
            (Kind::Address(own), Host::Address(address)) => own == address,
            _ => false,
        }
    }
}

/// The host of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host<'text> {
    /// Without a final dot.
    Name(&'text str),
    /// An IPv4 address that was mapped to IPv6 is stored as IPv4.
    Address(IpAddr),
}

impl Host<'_> {
    /// True for hosts that always mean this machine: a name below `localhost` cannot be registered.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => {
                let start = name.len().saturating_sub("localhost".len());
                let (below, last) = name.split_at_checked(start).unwrap_or(("", ""));
                last.eq_ignore_ascii_case("localhost") && (below.is_empty() || below.ends_with('.'))
            }
        }
    }
}

/// The host of `HOST` or `HOST:PORT`; `None` when the text is neither.
pub(super) fn host_of(authority: &str) -> Option<Host<'_>> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        (Host::Address(IpAddr::V6(address).to_canonical()), port)
    } else {
        let colon = authority.find(':').unwrap_or(authority.len());
        let (name, port) = authority.split_at_checked(colon)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_name = !name.is_empty() && name.bytes().all(is_of_name);
        let host = name.parse().map_or(Host::Name(name), |address| Host::Address(IpAddr::V4(address)));
        (is_name.then_some(host)?, port)
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
    is_port.then_some(host)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// True when a page of `origin` was served under `authority`.
///
/// A proxy that terminates TLS forwards the host and not the scheme. So the default port is that of the
/// origin's scheme.
pub(super) fn is_same_origin(origin: &str, authority: &str) -> bool {
    let Some((scheme, own)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without_port = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    without_port(own) == without_port(authority)
}
