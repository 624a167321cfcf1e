//! The life of a connection: opened half, proven, closing.
//!
//! A TCP connection begins in the half-open table, which evicts, and moves to the established table, which does not,
//! only when its handshake is proven: the client acknowledges the sequence number of the real server's SYN-ACK. So a
//! flood of SYN or ACK packets from invented addresses never displaces a connection that is alive.

use lb_common::{
    addr::{Address, Port, Protocol, V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop, flags},
    service::{RealServer, real_server},
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::{
    checksum,
    tables::{Refused, Route, Tables},
};

/// The address of a real server, in the family of its virtual server.
pub trait RealAddress: Address {
    /// From [`RealServer::address`].
    fn of(server: &RealServer) -> Self;
}

impl RealAddress for V4 {
    #[inline(always)]
    fn of(server: &RealServer) -> Self {
        Self::from_wire(server.address[0])
    }
}

impl RealAddress for V6 {
    #[inline(always)]
    fn of(server: &RealServer) -> Self {
        Self::from_wire(server.address)
    }
}

/// What a client's packet becomes on its way to `server`.
#[inline(always)]
#[must_use]
pub fn to_real_server<A: RealAddress>(key: &ConnectionKey<A>, server: &RealServer) -> ConnectionKey<A> {
    ConnectionKey {
        source: key.source,
        destination: A::of(server),
        source_port: key.source_port,
        destination_port: if server.port == Port::ANY { key.destination_port } else { server.port },
    }
}

/// An entry that turns `key` into `translated`; its route is still to be found.
#[inline(always)]
#[must_use]
pub fn entry<A: Address>(
    key: &ConnectionKey<A>,
    translated: &ConnectionKey<A>,
    flags: u16,
    real_server: u32,
    now: u32,
) -> Connection<A> {
    Connection {
        translated: *translated,
        l3_delta: checksum::header_delta(key, translated),
        l4_delta: checksum::delta(key, translated),
        next_hop: NextHop::default(),
        flags,
        generation: 0,
        last_seen: now,
        real_server,
    }
}

/// What the entry of one direction remembers of a segment.
#[inline(always)]
#[must_use]
pub const fn seen(tcp_flags: u8) -> u16 {
    (if tcp_flags & FIN != 0 { flags::FIN } else { 0 }) | (if tcp_flags & RST != 0 { flags::RST } else { 0 })
}

/// Removes both directions of a connection.
#[inline(always)]
pub fn remove<A: Address, T: Tables<A>>(
    tables: &mut T,
    protocol: Protocol,
    key: &ConnectionKey<A>,
    translated: &ConnectionKey<A>,
) {
    tables.remove(protocol, key);
    tables.remove(protocol, &translated.reversed());
}

/// Removes both directions of an unproven connection.
#[inline(always)]
pub fn remove_half_open<A: Address, T: Tables<A>>(
    tables: &mut T,
    key: &ConnectionKey<A>,
    translated: &ConnectionKey<A>,
) {
    tables.remove_half_open(key);
    tables.remove_half_open(&translated.reversed());
}

/// What became of an entry that was verified against the current state.
#[derive(Clone, Copy, Debug)]
pub enum Verified {
    /// It holds; this is its route, and whether that may be cached.
    Alive(NextHop, bool),
    /// Its real server is gone and its packets go to another one.
    Gone,
}

/// Verifies an entry of another generation: is its real server still there, and what is the route now? `learned` is the
/// way back that the entry has so far, used when the kernel does not know the neighbour.
#[inline(never)]
pub fn verify<A: Address, T: Tables<A>>(
    tables: &mut T,
    protocol: Protocol,
    entry: &Connection<A>,
    interface: u32,
) -> Verified {
    let gone = |server: &RealServer| {
        server.flags & real_server::PRESENT == 0 || server.flags & real_server::RESCHEDULE != 0
    };
    if tables.real_server(entry.real_server).is_none_or(gone) {
        return Verified::Gone;
    }
    let reply = entry.flags & flags::REPLY != 0;
    match tables.route(protocol, &entry.translated, interface) {
        Route::Via(next_hop) => Verified::Alive(next_hop, true),
        // The client was heard on the way the entry has learned; that is as good as a neighbour entry.
        Route::NeighbourUnknown if reply && entry.next_hop.mtu != 0 => Verified::Alive(entry.next_hop, true),
        Route::NeighbourUnknown => Verified::Alive(NextHop::default(), false),
        Route::NotForwarded => Verified::Alive(NextHop::default(), true),
    }
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

/// How far a packet brings an unproven connection. `server_sequence` is that of the SYN-ACK, once it was seen.
#[inline(always)]
#[must_use]
pub fn progress(
    entry_flags: u16,
    server_sequence: Option<u32>,
    tcp_flags: u8,
    acknowledgment: u32,
) -> Progress {
    let reply = entry_flags & flags::REPLY != 0;
    let adopted = entry_flags & flags::ADOPTED != 0;
    match (reply, tcp_flags & (SYN | RST)) {
        // A connection taken over in the middle is proven by the real server going along with it.
        (true, 0) if adopted => Progress::Proven,
        (true, SYN) if tcp_flags & ACK != 0 => Progress::Answered,
        (false, 0) if tcp_flags & ACK != 0 => match server_sequence {
            // Acknowledges the SYN-ACK, or data that came with or after it, up to the first window.
            Some(sequence) if acknowledgment.wrapping_sub(sequence).wrapping_sub(1) < FIRST_WINDOW => {
                Progress::Proven
            }
            _ => Progress::None,
        },
        _ => Progress::None,
    }
}

/// Bytes a real server can have sent before the client's first acknowledgment: an unscaled window (RFC 9293).
const FIRST_WINDOW: u32 = 1 << 16;

/// Moves both directions of a connection to the established table.
#[inline(always)]
pub fn promote<A: Address, T: Tables<A>>(
    tables: &mut T,
    key: &ConnectionKey<A>,
    one: &Connection<A>,
    other: &Connection<A>,
) -> Result<(), Refused> {
    let other_key = one.translated.reversed();
    tables.insert(Protocol::Tcp, &other_key, other)?;
    if let Err(refused) = tables.insert(Protocol::Tcp, key, one) {
        tables.remove(Protocol::Tcp, &other_key);
        return Err(refused);
    }
    remove_half_open(tables, key, &one.translated);
    if let Some(load) = tables.load(one.real_server) {
        load.active = load.active.wrapping_add(1);
        load.inactive = load.inactive.saturating_sub(1);
    }
    Ok(())
}

/// An unproven connection around an entry.
#[inline(always)]
#[must_use]
pub const fn half<A: Copy>(connection: Connection<A>) -> HalfOpen<A> {
    HalfOpen { connection, server_sequence: 0 }
}
