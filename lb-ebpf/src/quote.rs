//! An ICMP error about a packet that was translated here: it quotes the packet as it left, and goes to whoever sent it.
//!
//! What is quoted is turned back into what its sender sent. The error then goes where the packet came from; where that
//! direction has its source translated (from a real server to a client), the error's source is translated alike, even if a
//! router sent it, as Linux's NAT and IPVS do: the client learns nothing of the network behind the VIP. An error neither
//! keeps its connection alive nor changes it.

use lb_common::{
    addr::{Port, Protocol},
    connection::{ConnectionKey, flags},
    counter::Row,
    outcome::Outcome,
    tcp::header::ACK,
};

use crate::{
    checksum,
    connection::{self, RealAddress, Standing},
    desk::Desk,
    fragment::Fragmented,
    headers::{Icmp as Message, Udp, protocol},
    icmp::Icmp,
    ip::{Hop, Network},
    ownership,
    packet::Packet,
    rewrite::{self, Exit},
    tables::Tables,
    verdict::Verdict,
};

/// Where things are in an error, as offsets in the frame.
#[derive(Clone, Copy)]
struct Places {
    message: usize,
    quoted: usize,
    transport: usize,
    end: usize,
}

/// Translates the ICMP packet on the desk if it is about a known connection; all other ICMP is the kernel's.
#[inline(always)]
pub(crate) fn translate<A: Icmp + Fragmented + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Verdict {
    let offset = desk.arrival.datagram.network as usize;
    let Some(outer) = A::read(packet, offset) else { return Outcome::Icmp.into() };
    let Some(places) = read(packet, desk, &outer) else { return Outcome::Icmp.into() };
    if !desk.arrival.complete(tables) || !connection::find(tables, desk) {
        return Outcome::Icmp.into();
    }
    if let Some(outcome) = ownership::gate(tables, desk) {
        return outcome.into();
    }
    if connection::renew(tables, &desk.arrival, &mut desk.entry) != Standing::Alive {
        return Outcome::Icmp.into();
    }
    if outer.ttl <= 1 {
        return Outcome::TtlExpired.into();
    }
    let length = outer.end - offset;
    let fits = length <= desk.entry.next_hop.mtu as usize;
    let Some(()) = write(packet, desk, &outer, places, fits) else { return Outcome::Unwritable.into() };
    tables.count(desk.entry.real_server, Row::of(desk.entry.flags & flags::REPLY != 0), length as u64);
    if fits {
        Verdict::sent(Outcome::IcmpTranslated, desk.entry.next_hop.interface)
    } else {
        Outcome::KernelRoute.into()
    }
}

/// Puts the tuple on the desk by which the quoted packet's answers would be looked up. `None` unless the packet is an error
/// that quotes at least the ports of TCP or UDP, and goes to the sender of what it quotes.
#[inline(always)]
fn read<A: Icmp + Fragmented, P: Packet>(
    packet: &P,
    desk: &mut Desk<A>,
    outer: &Network<A>,
) -> Option<Places> {
    let message: &Message = packet.get(outer.payload)?;
    if outer.protocol != A::PROTOCOL || !A::is_error(message.kind) {
        return None;
    }
    let at = outer.payload + size_of::<Message>();
    let mut quoted = A::read(packet, at)?;
    // A quote is cut, so that its packet is not whole.
    if !quoted.sound || quoted.source != outer.destination {
        return None;
    }
    if quoted.fragment && !A::piece(packet, at, &mut quoted)?.is_first() {
        return None;
    }
    let protocol = match quoted.protocol {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        _ => return None,
    };
    // The first 8 bytes of every transport header are quoted (RFC 792), and TCP begins like UDP.
    if quoted.payload + size_of::<Udp>() > outer.end {
        return None;
    }
    let ports: &Udp = packet.get(quoted.payload)?;
    let datagram = &mut desk.arrival.datagram;
    datagram.protocol = protocol;
    datagram.flags = ACK;
    datagram.key.source.copy_from(&quoted.destination);
    datagram.key.destination.copy_from(&quoted.source);
    datagram.key.source_port = Port::from_wire(ports.destination_port);
    datagram.key.destination_port = Port::from_wire(ports.source_port);
    Some(Places { message: outer.payload, quoted: at, transport: quoted.payload, end: outer.end })
}

/// Translates both headers, the ports and all checksums.
#[inline(always)]
fn write<A: Icmp, P: Packet>(
    packet: &mut P,
    desk: &mut Desk<A>,
    outer: &Network<A>,
    places: Places,
    fits: bool,
) -> Option<()> {
    let entry = &desk.entry;
    let key = &desk.arrival.datagram.key;
    let to = &mut desk.other_key;
    to.source.copy_from(if entry.translated.source == key.source {
        &outer.source
    } else {
        &entry.translated.source
    });
    to.destination.copy_from(&entry.translated.destination);
    let addresses = checksum::difference(
        outer.source.sum() + outer.destination.sum(),
        to.source.sum() + to.destination.sum(),
    );
    let exit = if fits { Exit::Wire(&entry.next_hop) } else { Exit::Kernel };
    let header = checksum::fold(addresses as u32 + checksum::TTL_DECREMENT as u32);
    rewrite::addresses(packet, desk.arrival.datagram.network as usize, to, header, exit)?;

    let quoted = &mut desk.key;
    quoted.copy_from(&entry.translated.reversed());
    A::write(packet, places.quoted, quoted, entry.l3_delta, Hop::LeftToKernel)?;
    let field = write_transport(packet, desk.arrival.datagram.protocol, places, quoted, entry.l4_delta)?;

    // The addresses in a quoted IPv4 header and its checksum cancel each other out.
    let content = if A::COVERS_ADDRESSES {
        entry.l4_delta as u32 + addresses as u32
    } else {
        ports(key, &entry.translated) as u32
    };
    let message: &mut Message = packet.get_mut(places.message)?;
    message.checksum = checksum::update(message.checksum, checksum::fold(content + field as u32));
    Some(())
}

/// Writes ports and checksum of what is quoted, the latter where the quote goes so far; what its change adds to the sum.
#[inline(always)]
fn write_transport<A: Icmp, P: Packet>(
    packet: &mut P,
    protocol: Protocol,
    places: Places,
    to: &ConnectionKey<A>,
    delta: u16,
) -> Option<u16> {
    /// Where TCP has its checksum.
    const CHECKSUM: usize = 16;
    let header: &mut Udp = packet.get_mut(places.transport)?;
    header.source_port = to.source_port.to_wire();
    header.destination_port = to.destination_port.to_wire();
    let (before, after) = match protocol {
        Protocol::Udp => {
            let before = header.checksum;
            if before != 0 {
                let updated = checksum::update(before, delta);
                header.checksum = if updated == 0 { 0xffff } else { updated };
            }
            (before, header.checksum)
        }
        Protocol::Tcp => {
            if places.transport + CHECKSUM + size_of::<u16>() > places.end {
                return Some(0);
            }
            let field: &mut u16 = packet.get_mut(places.transport + CHECKSUM)?;
            let before = *field;
            *field = checksum::update(before, delta);
            (before, *field)
        }
    };
    Some(checksum::difference(before as u32, after as u32))
}

#[inline(always)]
fn ports<A>(from: &ConnectionKey<A>, to: &ConnectionKey<A>) -> u16 {
    checksum::difference(
        from.source_port.to_wire() as u32 + from.destination_port.to_wire() as u32,
        to.source_port.to_wire() as u32 + to.destination_port.to_wire() as u32,
    )
}
