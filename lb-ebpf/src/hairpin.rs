//! A client on the link of its real server: another real server, or the real server itself.
//!
//! It would be answered directly, not through this machine, and would not know who answers. So its packets reach the real
//! server from this machine's own address on that link, and the answers come back here.

use lb_common::{addr::Port, service::RealServer};

use crate::{connection::RealAddress, desk::Desk, ip::Ip};

/// Ports that connections begin from: not privileged, and below those that the kernel gives to this machine's own
/// (`ip_local_port_range` begins at 32768 unless it was changed).
const FIRST: u16 = 1024;
const PORTS: u16 = 32_768 - FIRST;

/// Makes the packet that `desk.key` describes come from this machine: from its address on the real server's link, and a port
/// that depends on the client and on the attempt. That the port is free is seen when the entries are added: when a hundredth
/// of all ports leads to the real server, one connection in 100 million finds none in four attempts.
#[inline(always)]
pub(crate) fn translate<A: Ip + RealAddress>(desk: &mut Desk<A>, server: &RealServer, attempt: u32) {
    // Multiplied by a part of the golden ratio, so that neighbouring ports of a client begin far apart.
    let hash = (desk.arrival.datagram.key.sum() ^ attempt << 13).wrapping_mul(0x9e37_79b1) >> 16;
    desk.key.source.copy_from(&A::own(server));
    desk.key.source_port = Port::new(FIRST + ((hash * u32::from(PORTS)) >> 16) as u16);
}
