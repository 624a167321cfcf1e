//! A client on the link of its real server: another real server, or the real server itself.
//!
//! It would be answered directly, not through this machine, and would not know who answers. So its packets reach the real
//! server from this machine's own address on that link, and the answers come back here.

use lb_common::{addr::Port, service::RealServer};

use crate::{connection::RealAddress, desk::Desk, ip::Ip, tables::Tables};

/// Whether the real server would answer the client directly.
#[inline(always)]
pub(crate) fn is_one<A: RealAddress>(client: A, server: &RealServer) -> bool {
    client.is_on_link(server)
}

/// Ports that connections begin from: not privileged, and below those that the kernel gives to this machine's own
/// (`ip_local_port_range` begins at 32768 unless it was changed).
const FIRST: u16 = 1024;
const PORTS: u16 = 32_768 - FIRST;

/// Ports tried. Of a half-used range a connection finds none in one of 256 cases, and then tries another real server.
const PROBES: u16 = 8;

/// Makes the packet that `desk.key` describes come from this machine: from its address on the real server's link and a port
/// from which no other connection reaches the real server. False when no such port was found.
#[inline(never)]
pub(crate) fn take_port<A: Ip + RealAddress, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    chosen: u32,
) -> bool {
    let Some(server) = tables.real_server(chosen) else { return false };
    desk.key.source = A::own(server);
    let datagram = &desk.arrival.datagram;
    let key = &datagram.key;
    // Multiplied by a part of the golden ratio, so that neighbouring ports of a client begin far apart.
    let hash = key.sum().wrapping_mul(0x9e37_79b1) >> 16;
    let start = (hash * u32::from(PORTS)) >> 16;
    for probe in 0..PROBES {
        let port = (start as u16).wrapping_add(probe) % PORTS;
        desk.key.source_port = Port::new(FIRST + port);
        desk.other_key = desk.key.reversed();
        let owner = if let Some(half) = tables.half_open(&desk.other_key) {
            half.connection.translated.reversed()
        } else if let Some(reply) = tables.connection(datagram.protocol, &desk.other_key) {
            reply.translated.reversed()
        } else {
            return true;
        };
        // What is left of this very connection gives way.
        if owner == *key {
            return true;
        }
    }
    false
}
