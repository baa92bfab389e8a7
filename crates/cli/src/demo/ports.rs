//! Addresses for nodes that are killed and started again. The system lends high ports to outgoing connections: it may
//! lend the one of a node that is down just then. So these are below.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const PORT_FIRST: u16 = 10_000;
/// Linux lends from 32,768 on, others from 49,152 on.
const PORTS: u32 = 22_000;
/// Ports between the places where two processes begin to look.
const STRIDE: u32 = 20;

/// An address of this machine that nobody listens on, and that is given once by this process.
pub(crate) fn free_address() -> io::Result<String> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let place =
            std::process::id().wrapping_mul(STRIDE).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = PORT_FIRST + u16::try_from(place % PORTS).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(format!("{}:{port}", Ipv4Addr::LOCALHOST));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free port from {PORT_FIRST} to {}", u32::from(PORT_FIRST) + PORTS - 1),
    ))
}
