//! A packet for a virtual server without a connection: opens one, or ends here.

mod add;

use lb_common::{
    addr::{Port, Protocol},
    connection::flags,
    counter::Row,
    limits::ATTEMPTS,
    mark::NOBODY,
    outcome::Outcome,
    service::{ServiceKey, virtual_server},
    tcp::header::{ACK, RST, SYN},
};

use crate::{
    connection::{self, RealAddress},
    desk::Desk,
    hairpin,
    headers::Ethernet,
    ip::Ip,
    mark::{self, Question},
    ownership,
    packet::Packet,
    parse::{Arrival, Datagram},
    persistence, pressure,
    select::{self, Choice, Selection},
    tables::{Route, Tables},
};

pub use self::add::{Added, add};

/// Opens a connection to one of the virtual server's real servers.
#[inline(never)]
pub(crate) fn for_service<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
    index: u32,
) -> Outcome {
    let datagram = &desk.arrival.datagram;
    let key = &datagram.key;
    if !ownership::is_owned(tables, key.destination, desk.arrival.now) {
        return ownership::refuse(tables, &desk.arrival, &mut desk.entry.next_hop);
    }
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
        return Outcome::TimeExceeded;
    }
    let Some(server) = tables.virtual_server(index).copied() else { return Outcome::NoRealServer };
    let begins = begins(datagram);
    let crowded = datagram.protocol == Protocol::Tcp && pressure::is_on(tables, &desk.arrival);
    // A reset of nothing, or an answer to a SYN that nobody sent, opens nothing.
    let adopts = datagram.flags & (SYN | RST) == 0 && (crowded || server.flags & virtual_server::ADOPT != 0);
    if !begins && !adopts {
        return without_state(server.flags & virtual_server::RESET);
    }
    let choice = if begins && !crowded { Choice::Scheduled } else { Choice::Deterministic };
    let selection = Selection::new(index, &server, key, choice);
    let bytes = datagram.packet_length() as u64;
    learn_way_back(packet, tables, desk);
    let outcome = match open(tables, desk, selection) {
        Ok(()) if crowded => Outcome::TableFull,
        // That its neighbour is not known yet is seen when it is delivered.
        Ok(()) | Err(Refusal::Unresolved) if begins => Outcome::NewConnection,
        Ok(()) | Err(Refusal::Unresolved) => Outcome::Adopted,
        Err(Refusal::NoEntry) => Outcome::TableFull,
        Err(Refusal::NoRealServer) => return Outcome::NoRealServer,
        Err(Refusal::Collision) => return Outcome::Collision,
        Err(Refusal::Hairpin) => {
            return without_state(server.flags & (virtual_server::ADOPT | virtual_server::RESET));
        }
    };
    tables.count(desk.entry.real_server, Row::Requests, bytes);
    outcome
}

/// The end of a segment that nothing is known of; a reset if `resets` is not 0.
#[inline(always)]
const fn without_state(resets: u32) -> Outcome {
    if resets != 0 { Outcome::Reset } else { Outcome::WithoutState }
}

/// Whether the packet begins a connection.
#[inline(always)]
fn begins<A: Ip>(datagram: &Datagram<A>) -> bool {
    datagram.protocol == Protocol::Udp || datagram.flags & (SYN | ACK) == SYN
}

/// In place of a virtual server's index: the packet is not for a VIP and has no mark.
pub(crate) const ELSEWHERE: u32 = NOBODY - 1;

/// The virtual server on exactly this port of a VIP, else on any port, else that of the packet's mark; [`NOBODY`] where there
/// is none on a VIP, [`ELSEWHERE`] otherwise. Not inlined: its keys would lie on the stack below everything that opening a
/// connection calls.
#[inline(never)]
pub(crate) fn service<A: Ip, T: Tables<A>>(tables: &T, arrival: &Arrival<A>) -> u32 {
    let key = &arrival.datagram.key;
    let mut service = ServiceKey {
        address: key.destination,
        port: key.destination_port,
        protocol: arrival.datagram.protocol as u16,
    };
    if let Some(index) = tables.service(&service) {
        return index;
    }
    let vip = tables.is_vip(key.destination);
    if vip {
        service.port = Port::ANY;
        if let Some(index) = tables.service(&service) {
            return index;
        }
    } else if !mark::are_wide(tables) {
        return ELSEWHERE;
    }
    let marked = tables.marked(&Question::about(arrival));
    if marked == NOBODY && !vip { ELSEWHERE } else { marked }
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
    /// Nobody knows any more from which port it reached its real server.
    Hairpin,
    /// The kernel has to find the real server's neighbour first; `desk.entry` is what it is handed.
    Unresolved,
}

/// Tries real servers until one takes the connection: both directions are in the tables and `desk.entry` is the packet's.
#[inline(always)]
fn open<A: Ip + RealAddress, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    mut selection: Selection,
) -> Result<(), Refusal> {
    let mut refusal = Refusal::NoRealServer;
    let bound = if selection.client_prefix != 0 {
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
        match tables.point(desk, chosen, attempt) {
            Pointed::Through => selection.tried = [chosen, selection.tried[0], selection.tried[1]],
            // Another port may do where one is taken.
            Pointed::Round => {}
            Pointed::Full => {
                selection.tried = [chosen, selection.tried[0], selection.tried[1]];
                continue;
            }
            Pointed::Itself => {
                selection.tried = [chosen, selection.tried[0], selection.tried[1]];
                refusal = Refusal::Collision;
                continue;
            }
            Pointed::Unknown => return Err(Refusal::Hairpin),
            Pointed::Unresolved => return Err(Refusal::Unresolved),
        }
        match tables.add(desk) {
            Added::Done => return Ok(()),
            Added::Taken => refusal = Refusal::Collision,
            Added::Full => return Err(Refusal::NoEntry),
        }
    }
    Err(refusal)
}

/// What became of the attempt to lead a connection to a real server.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pointed {
    /// `desk.entry` leads there.
    Through,
    /// It leads there from this machine's own address: the client is on the real server's link.
    Round,
    /// It takes no more connections.
    Full,
    /// It is the client itself, behind a router: whatever came from itself it would drop.
    Itself,
    /// The client is on its link, and nobody knows any more from which port it was reached.
    Unknown,
    /// The kernel has to find its neighbour first; `desk.entry` is what the kernel is handed.
    Unresolved,
}

impl Pointed {
    /// From the number of the variant.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Through,
            1 => Self::Round,
            2 => Self::Full,
            3 => Self::Itself,
            4 => Self::Unknown,
            _ => Self::Unresolved,
        }
    }
}

/// Makes `desk.entry` lead to a real server.
#[inline(always)]
pub fn point<A: Ip + RealAddress, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    chosen: u32,
    attempt: u32,
) -> Pointed {
    let Some(real) = tables.real_server(chosen) else { return Pointed::Full };
    let limit = real.max_connections;
    let key = &desk.arrival.datagram.key;
    connection::to_real_server(key, real, &mut desk.key);
    let turns_round = key.source.is_on_link(real);
    if turns_round {
        hairpin::translate(desk, real, attempt);
    }
    if tables.load(chosen).is_some_and(|load| select::is_full(limit, load)) {
        return Pointed::Full;
    }
    let arrival = &desk.arrival;
    let key = &arrival.datagram.key;
    let begins = begins(&arrival.datagram);
    if turns_round && !begins {
        return Pointed::Unknown;
    }
    if desk.key.source == desk.key.destination {
        return Pointed::Itself;
    }
    let entry_flags =
        if begins { 0 } else { flags::ADOPTED } | if turns_round { flags::SOURCE_NAT } else { 0 };
    connection::write(&mut desk.entry, key, &desk.key, entry_flags, chosen, arrival.now);
    if !turns_round && recall(tables, desk, chosen) {
        return Pointed::Through;
    }
    let arrival = &desk.arrival;
    let key = &arrival.datagram.key;
    match tables.route(arrival.datagram.protocol, &desk.key, arrival.interface, &mut desk.entry.next_hop) {
        Route::Via => {
            desk.entry.generation = arrival.generation;
            if !turns_round {
                remember(tables, desk, chosen);
            }
        }
        Route::NotForwarded => desk.entry.generation = arrival.generation,
        // The kernel takes no packet from an address of its own. The client's is answered past this machine, which the
        // client resets; by the time it asks again, the neighbour is known.
        Route::NeighbourUnknown if turns_round => {
            desk.key.source.copy_from(&key.source);
            desk.key.source_port = key.source_port;
            connection::write(&mut desk.entry, key, &desk.key, 0, chosen, arrival.now);
            return Pointed::Unresolved;
        }
        // The kernel resolves it; the next packet asks again.
        Route::NeighbourUnknown => {}
    }
    if turns_round { Pointed::Round } else { Pointed::Through }
}

/// Makes the next hop of `desk.entry` the one that is remembered of this real server; false when none is.
#[inline(always)]
fn recall<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>, real_server: u32) -> bool {
    let arrival = &desk.arrival;
    let Some(way) = tables.way(real_server) else { return false };
    if way.generation != arrival.generation
        || arrival.now.wrapping_sub(way.asked) >= arrival.ticks_per_second
        || way.interface != arrival.interface
        || way.real_server != real_server
    {
        return false;
    }
    desk.entry.next_hop.copy_from(&way.next_hop);
    desk.entry.generation = arrival.generation;
    true
}

/// Remembers it.
#[inline(always)]
fn remember<A: Ip, T: Tables<A>>(tables: &mut T, desk: &Desk<A>, real_server: u32) {
    let arrival = &desk.arrival;
    if let Some(way) = tables.way(real_server) {
        way.generation = arrival.generation;
        way.asked = arrival.now;
        way.interface = arrival.interface;
        way.real_server = real_server;
        way.next_hop.copy_from(&desk.entry.next_hop);
    }
}

/// Back to whoever sent the frame: for as long as the kernel does not know the client's neighbour.
#[inline(always)]
pub(crate) fn learn_way_back<A: Ip, P: Packet, T: Tables<A>>(packet: &P, tables: &T, desk: &mut Desk<A>) {
    let index = desk.arrival.interface;
    let next_hop = &mut desk.way_back;
    next_hop.mtu = 0;
    if let (Some(interface), Some(ethernet)) = (tables.interface(index), packet.get::<Ethernet>(0)) {
        for word in 0..3 {
            next_hop.destination.0[word] = ethernet.source[word];
            next_hop.source.0[word] = interface.mac.0[word];
        }
        next_hop.interface = interface.exit(index);
        next_hop.reserved = 0;
        next_hop.mtu = interface.mtu;
    }
}
