//! A packet for a virtual server without a connection: opens one, or ends here.

use lb_common::{
    addr::{Port, Protocol},
    connection::{NextHop, flags},
    counter::Row,
    limits::ATTEMPTS,
    mark::NOBODY,
    outcome::Outcome,
    service::{ServiceKey, virtual_server},
    tcp::{
        TcpState,
        header::{ACK, RST, SYN},
    },
};

use crate::{
    connection::{self, RealAddress},
    desk::Desk,
    headers::Ethernet,
    ip::Ip,
    mark::Question,
    packet::Packet,
    parse::Arrival,
    persistence,
    select::{self, Choice, Selection},
    tables::{Refused, Route, Tables},
};

/// Finds the virtual server and opens a connection to one of its real servers.
#[inline(never)]
pub(crate) fn for_service<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
    vip: bool,
) -> Outcome {
    let datagram = &desk.arrival.datagram;
    let key = &datagram.key;
    let index = service(tables, &desk.arrival, vip);
    if index == NOBODY {
        return Outcome::NoService;
    }
    let Some(server) = tables.virtual_server(index).copied() else { return Outcome::NoRealServer };
    if key.source == key.destination {
        return Outcome::Land;
    }
    if key.source.is_martian_source() {
        return Outcome::MartianSource;
    }
    if datagram.has_bad_flags() {
        return Outcome::BadTcpFlags;
    }
    if datagram.ttl <= 1 {
        return Outcome::TtlExpired;
    }
    let begins = datagram.protocol == Protocol::Udp || datagram.flags & (SYN | ACK) == SYN;
    // A reset of nothing, or an answer to a SYN that nobody sent, opens nothing.
    if !begins && (datagram.flags & (SYN | RST) != 0 || server.flags & virtual_server::ADOPT == 0) {
        return if server.flags & virtual_server::RESET != 0 {
            Outcome::Reset
        } else {
            Outcome::WithoutState
        };
    }
    let choice = if begins { Choice::Scheduled } else { Choice::Deterministic };
    let selection = Selection::new(index, &server, key, choice);
    let bytes = datagram.packet_length() as u64;
    let outcome = match open(packet, tables, desk, selection) {
        Ok(()) if begins => Outcome::NewConnection,
        Ok(()) => Outcome::Adopted,
        Err(Refusal::NoEntry) => Outcome::TableFull,
        Err(Refusal::NoRealServer) => return Outcome::NoRealServer,
        Err(Refusal::Collision) => return Outcome::Collision,
    };
    tables.count(desk.entry.real_server, Row::Requests, bytes);
    outcome
}

/// The virtual server on exactly this port of a VIP, else on any port, else that of the packet's mark; [`NOBODY`] without.
/// Not inlined: its keys would lie on the stack below everything that opening a connection calls.
#[inline(never)]
fn service<A: Ip, T: Tables<A>>(tables: &T, arrival: &Arrival<A>, vip: bool) -> u32 {
    let question = Question::about(arrival);
    if !vip {
        return tables.marked(&question);
    }
    let key = &arrival.datagram.key;
    let mut service = ServiceKey {
        address: key.destination,
        port: key.destination_port,
        protocol: arrival.datagram.protocol as u16,
    };
    if let Some(index) = tables.service(&service) {
        return index;
    }
    service.port = Port::ANY;
    tables.service(&service).unwrap_or_else(|| tables.marked(&question))
}

/// Why no connection was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// There is no room for entries; `desk.entry` says where the packet goes all the same.
    NoEntry,
    /// No real server takes it.
    NoRealServer,
    /// Its replies could not be told from another connection's.
    Collision,
}

/// Tries real servers until one takes the connection: both directions are in the tables and `desk.entry` is the packet's.
#[inline(always)]
fn open<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
    mut selection: Selection,
) -> Result<(), Refusal> {
    let mut refusal = Refusal::NoRealServer;
    let bound = if selection.persistent {
        persistence::bind(tables, desk, selection.index, selection.choice)
    } else {
        select::NONE
    };
    for attempt in 0..ATTEMPTS {
        selection.attempt = attempt;
        let chosen = if attempt == 0 && bound != select::NONE { bound } else { tables.choose(&selection) };
        if chosen == select::NONE {
            break;
        }
        if !point(tables, desk, chosen, selection.choice) {
            continue;
        }
        match add(packet, tables, desk) {
            Ok(()) => return Ok(()),
            Err(Refused::Exists) => refusal = Refusal::Collision,
            Err(Refused::Full) => return Err(Refusal::NoEntry),
        }
    }
    Err(refusal)
}

/// Makes `desk.entry` lead to a real server; false when that takes no connection. Not inlined: its memory on the stack is
/// needed only before the next choice.
#[inline(never)]
fn point<A: Ip + RealAddress, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    chosen: u32,
    choice: Choice,
) -> bool {
    let Some(real) = tables.real_server(chosen).copied() else { return false };
    if tables.load(chosen).is_some_and(|load| select::is_full(&real, load)) {
        return false;
    }
    let arrival = &desk.arrival;
    let key = &arrival.datagram.key;
    desk.key = connection::to_real_server(key, &real);
    let adopted = if choice == Choice::Deterministic { flags::ADOPTED } else { 0 };
    connection::write(&mut desk.entry, key, &desk.key, adopted, chosen, arrival.now);
    match tables.route(arrival.datagram.protocol, &desk.key, arrival.interface, &mut desk.entry.next_hop) {
        Route::Via | Route::NotForwarded => desk.entry.generation = arrival.generation,
        // The kernel resolves it; the next packet asks again.
        Route::NeighbourUnknown => {}
    }
    true
}

/// Adds both directions of `desk.entry`, the reply first: if that is refused, nothing was added.
#[inline(never)]
fn add<A: Ip, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Result<(), Refused> {
    desk.other_key = desk.entry.translated.reversed();
    if is_taken(tables, desk) {
        return Err(Refused::Exists);
    }
    let arrival = &desk.arrival;
    let protocol = arrival.datagram.protocol;
    let key = &arrival.datagram.key;
    desk.key = key.reversed();
    let reply_flags = desk.entry.flags | flags::REPLY;
    let other = &mut desk.other.connection;
    connection::write(other, &desk.other_key, &desk.key, reply_flags, desk.entry.real_server, arrival.now);
    learn_way_back(packet, tables, arrival.interface, &mut other.next_hop);
    desk.other.server_sequence = 0;
    match protocol {
        Protocol::Tcp => {
            tables.insert_half_open(&desk.other_key, &desk.other)?;
            desk.other.connection.copy_from(&desk.entry);
            if let Err(refused) = tables.insert_half_open(key, &desk.other) {
                tables.remove_half_open(&desk.other_key);
                return Err(refused);
            }
        }
        Protocol::Udp => {
            tables.insert(protocol, &desk.other_key, &desk.other.connection)?;
            if let Err(refused) = tables.insert(protocol, key, &desk.entry) {
                tables.remove(protocol, &desk.other_key);
                return Err(refused);
            }
        }
    }
    tables.count(desk.entry.real_server, Row::Opened, arrival.datagram.packet_length() as u64);
    if let Some(load) = tables.load(desk.entry.real_server) {
        match protocol {
            Protocol::Tcp => load.inactive = load.inactive.wrapping_add(1),
            Protocol::Udp => load.active = load.active.wrapping_add(1),
        }
    }
    Ok(())
}

/// Whether replies from the chosen real server are already another connection's: another VIP in front of the same real
/// server, and a client that uses one port for both. What is left of this connection itself, or of one that is closing, is
/// removed.
#[inline(always)]
fn is_taken<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let protocol = desk.arrival.datagram.protocol;
    let key = &desk.arrival.datagram.key;
    if protocol == Protocol::Tcp
        && let Some(half) = tables.half_open(&desk.other_key)
    {
        if half.connection.translated.reversed() != *key {
            return true;
        }
        tables.remove_half_open(&desk.other_key);
    }
    let Some(reply) = tables.connection(protocol, &desk.other_key) else { return false };
    let reply_flags = reply.flags;
    desk.key = reply.translated.reversed();
    if desk.key != *key
        && let Some(owner) = tables.connection(protocol, &desk.key)
        && (protocol == Protocol::Udp || !TcpState::of(owner.flags, reply_flags).gives_way_to_syn())
    {
        return true;
    }
    connection::remove(tables, protocol, &desk.key, &desk.other_key);
    false
}

/// Back to whoever sent the frame: for as long as the kernel does not know the client's neighbour.
#[inline(always)]
fn learn_way_back<A: Ip, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &T,
    index: u32,
    next_hop: &mut NextHop,
) {
    if let (Some(interface), Some(ethernet)) = (tables.interface(index), packet.get::<Ethernet>(0)) {
        for word in 0..3 {
            next_hop.destination.0[word] = ethernet.source[word];
            next_hop.source.0[word] = interface.mac.0[word];
        }
        next_hop.interface = index as u16;
        next_hop.vlan = 0;
        next_hop.mtu = interface.mtu;
    }
}
