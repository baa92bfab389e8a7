//! Names and addresses of hosts, as a request or a setting writes them.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A host that a listener answers for: a name or an address, on whichever port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// In lower case, without a dot at its end.
    Name(String),
    Address(IpAddr),
}

/// A text that names no host.
#[derive(Debug, Error)]
#[error("'{0}' is no host: write a name or an address, without a port, such as ledger.example or 10.0.0.7")]
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
    /// Without a dot at its end.
    Name(&'text str),
    /// One of IPv4 is never written as one of IPv6 here.
    Address(IpAddr),
}

impl Host<'_> {
    /// True for what never leaves this machine: nobody can register a name below `localhost`.
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

/// The host of `HOST` or `HOST:PORT`; `None` when it is neither.
pub(super) fn host_of(authority: &str) -> Option<Host<'_>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (Host::Address(IpAddr::V6(address).to_canonical()), port)
        }
        None => {
            let colon = authority.find(':').unwrap_or(authority.len());
            let (name, port) = authority.split_at_checked(colon)?;
            let name = name.strip_suffix('.').unwrap_or(name);
            let is_name = !name.is_empty() && name.bytes().all(is_of_name);
            let host = name.parse().map_or(Host::Name(name), |address| Host::Address(IpAddr::V4(address)));
            (is_name.then_some(host)?, port)
        }
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
/// A proxy that adds encryption hands on the host and not the scheme: the default port of the origin's own counts.
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
