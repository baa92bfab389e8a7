//! Addresses for nodes that are killed and started again. The system assigns high ports to outgoing
//! connections, and could assign the port of a node that is down. So the ports of the nodes are below that
//! range.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const PORT_FIRST: u16 = 10_000;
/// Number of ports in the range. Linux assigns ports from 32,768 on, other systems from 49,152 on.
const PORTS: u32 = 22_000;
/// Distance between the first ports that two processes with successive ids try.
const STRIDE: u32 = 20;

/// An address of this machine on which no process listens. This process returns each address only once.
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
