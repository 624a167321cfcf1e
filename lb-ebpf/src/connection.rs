//! The life of a connection: opened half, proven, closing.
//!
//! A TCP connection begins in the half-open table, which evicts, and moves to the established table, which does not,
//! only when its handshake is proven: the client acknowledges the sequence number of the real server's SYN-ACK. So a
//! flood of SYN or ACK packets from invented addresses never displaces a connection that is alive.

use lb_common::{
    addr::{Address, Port, Protocol, V4, V6},
    connection::{Connection, ConnectionKey, flags},
    service::{RealServer, real_server},
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::{
    checksum,
    desk::Desk,
    half_open,
    parse::Arrival,
    replies,
    tables::{Refused, Route, Tables},
};

/// The address of a real server, in the family of its virtual server.
pub trait RealAddress: Address {
    /// From [`RealServer::address`].
    fn of(server: &RealServer) -> Self;

    /// From [`RealServer::own`].
    fn own(server: &RealServer) -> Self;

    /// Whether it is on the link that the real server shares with this machine.
    fn is_on_link(self, server: &RealServer) -> bool;
}

impl RealAddress for V4 {
    #[inline(always)]
    fn of(server: &RealServer) -> Self {
        Self::from_wire(server.address[0])
    }

    #[inline(always)]
    fn own(server: &RealServer) -> Self {
        Self::from_wire(server.own[0])
    }

    #[inline(always)]
    fn is_on_link(self, server: &RealServer) -> bool {
        server.link[0] != 0 && (self.to_wire() ^ server.own[0]) & server.link[0] == 0
    }
}

impl RealAddress for V6 {
    #[inline(always)]
    fn of(server: &RealServer) -> Self {
        let [a, b, c, d] = server.address;
        Self::from_wire([a, b, c, d])
    }

    #[inline(always)]
    fn own(server: &RealServer) -> Self {
        let [a, b, c, d] = server.own;
        Self::from_wire([a, b, c, d])
    }

    #[inline(always)]
    fn is_on_link(self, server: &RealServer) -> bool {
        let (address, own, link) = (self.to_wire(), server.own, server.link);
        link[0] != 0
            && (address[0] ^ own[0]) & link[0] == 0
            && (address[1] ^ own[1]) & link[1] == 0
            && (address[2] ^ own[2]) & link[2] == 0
            && (address[3] ^ own[3]) & link[3] == 0
    }
}

/// Makes `translated` what a client's packet becomes on its way to `server`.
#[inline(always)]
pub fn to_real_server<A: RealAddress>(
    key: &ConnectionKey<A>,
    server: &RealServer,
    translated: &mut ConnectionKey<A>,
) {
    translated.source.copy_from(&key.source);
    translated.destination.copy_from(&A::of(server));
    translated.source_port = key.source_port;
    translated.destination_port = if server.port == Port::ANY { key.destination_port } else { server.port };
}

/// Makes `entry` turn `key` into `translated`; its route is still to be found.
#[inline(always)]
pub fn write<A: Address>(
    entry: &mut Connection<A>,
    key: &ConnectionKey<A>,
    translated: &ConnectionKey<A>,
    flags: u16,
    real_server: u32,
    now: u32,
) {
    entry.translated.copy_from(translated);
    entry.l3_delta = checksum::header_delta(key, translated);
    entry.l4_delta = checksum::delta(key, translated);
    entry.next_hop.mtu = 0;
    entry.flags = flags;
    entry.generation = 0;
    entry.last_seen = now;
    entry.real_server = real_server;
}

/// What the entry of one direction remembers of a segment.
#[inline(always)]
#[must_use]
pub const fn seen(tcp_flags: u8) -> u16 {
    (if tcp_flags & FIN != 0 { flags::FIN } else { 0 }) | (if tcp_flags & RST != 0 { flags::RST } else { 0 })
}

/// Removes both directions of a connection.
#[inline(always)]
pub(crate) fn remove<A: Address, T: Tables<A>>(
    tables: &mut T,
    protocol: Protocol,
    key: &ConnectionKey<A>,
    other_key: &ConnectionKey<A>,
) {
    tables.remove(protocol, key);
    tables.remove(protocol, other_key);
}

/// Copies the entry of the tuple on the desk there, from whatever table it is in; false when there is none.
#[inline(always)]
pub(crate) fn find<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let datagram = &desk.arrival.datagram;
    if let Some(entry) = tables.connection(datagram.protocol, &datagram.key) {
        desk.entry.copy_from(entry);
        return true;
    }
    match datagram.protocol {
        Protocol::Tcp => half_open::find(tables, desk),
        Protocol::Udp => replies::find(tables, desk),
    }
}

/// What has become of the real server of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Alive,
    /// Its connections give way to new ones.
    Gone,
    /// Its connections end with a reset.
    Reset,
}

/// Verifies an entry of another generation: is its real server still there, and what is the route now?
#[inline(always)]
pub(crate) fn renew<A: Address, T: Tables<A>>(
    tables: &mut T,
    arrival: &Arrival<A>,
    entry: &mut Connection<A>,
) -> Standing {
    if entry.generation == arrival.generation {
        return Standing::Alive;
    }
    let Some(server) = tables.real_server(entry.real_server) else { return Standing::Gone };
    if server.flags & real_server::PRESENT == 0 || server.flags & real_server::RESCHEDULE != 0 {
        return Standing::Gone;
    }
    if server.flags & real_server::RESET != 0 {
        // Datagrams have no reset; the next ones go to another real server.
        return if arrival.datagram.protocol == Protocol::Tcp { Standing::Reset } else { Standing::Gone };
    }
    let learned = entry.flags & (flags::REPLY | flags::SOURCE_NAT) != 0 && entry.next_hop.mtu != 0;
    entry.generation = arrival.generation;
    match tables.route(arrival.datagram.protocol, &entry.translated, arrival.interface, &mut entry.next_hop) {
        Route::Via => {}
        // The client was heard on the way the entry has learned; that is as good as a neighbour entry. And from this
        // machine's own address the kernel would not take the packet.
        Route::NeighbourUnknown if learned => {}
        // The kernel resolves it; the next packet asks again.
        Route::NeighbourUnknown => {
            entry.next_hop.mtu = 0;
            entry.generation = 0;
        }
        Route::NotForwarded => entry.next_hop.mtu = 0,
    }
    Standing::Alive
}

/// What a packet does to an unproven connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new.
    None,
    /// The real server has answered the SYN.
    Answered,
    /// Both ends have been heard: it is a connection.
    Proven,
}

/// How far a packet brings an unproven connection. `server_sequence` is that of the SYN-ACK, if the flags of the other
/// direction say that it was seen.
#[inline(always)]
#[must_use]
pub fn progress(
    entry_flags: u16,
    tcp_flags: u8,
    acknowledgment: u32,
    other_flags: u16,
    server_sequence: u32,
) -> Progress {
    let reply = entry_flags & flags::REPLY != 0;
    let adopted = entry_flags & flags::ADOPTED != 0;
    match (reply, tcp_flags & (SYN | RST)) {
        // A connection taken over in the middle is proven by the real server going along with it.
        (true, 0) if adopted => Progress::Proven,
        (true, SYN) if tcp_flags & ACK != 0 => Progress::Answered,
        // Acknowledges the SYN-ACK, or data that came with or after it, up to the first window.
        (false, 0)
            if tcp_flags & ACK != 0
                && other_flags & flags::SYN_ACK != 0
                && acknowledgment.wrapping_sub(server_sequence).wrapping_sub(1) < FIRST_WINDOW =>
        {
            Progress::Proven
        }
        _ => Progress::None,
    }
}

/// Bytes a real server can have sent before the client's first acknowledgment: an unscaled window (RFC 9293).
const FIRST_WINDOW: u32 = 1 << 16;

/// Adds both directions of a connection to the established table; the half-open ones stay.
#[inline(always)]
pub(crate) fn promote<A: Address, T: Tables<A>>(
    tables: &mut T,
    key: &ConnectionKey<A>,
    entry: &Connection<A>,
    other_key: &ConnectionKey<A>,
    other: &Connection<A>,
) -> Result<(), Refused> {
    tables.insert(Protocol::Tcp, other_key, other)?;
    if let Err(refused) = tables.insert(Protocol::Tcp, key, entry) {
        tables.remove(Protocol::Tcp, other_key);
        return Err(refused);
    }
    if let Some(load) = tables.load(entry.real_server) {
        load.active = load.active.wrapping_add(1);
        load.inactive = load.inactive.saturating_sub(1);
    }
    Ok(())
}
