//! Fragments: only the first one of a packet has ports. It leaves them in a table, where the later ones find them.

use lb_common::{
    addr::{Address, Port, Protocol, V4, V6},
    connection::flags,
    counter::Row,
    mark::NOBODY,
    outcome::Outcome,
    service::ServiceKey,
    tcp::header::ACK,
};

use crate::{
    connection::{self, RealAddress, Standing},
    desk::Desk,
    forward::ours_or,
    headers::{Fragment, Ipv4, protocol},
    ip::{Ip, Network, look_behind_extensions},
    open, ownership,
    packet::Packet,
    parse::{Unreadable, datagram},
    rewrite::{self, Exit},
    stateless,
    tables::Tables,
    verdict::{GOES_ON, Verdict},
};

/// What the fragments of a packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Identification, as on the wire.
    pub identification: u32,
    /// IANA protocol number; 0 for IPv6, where it does not distinguish packets.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey<V4>>() == 16);
const _: () = assert!(size_of::<FragmentKey<V6>>() == 40);

/// What the first fragment of a packet said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ports {
    /// Source port.
    pub source: Port,
    /// Destination port.
    pub destination: Port,
    /// When it came, in ticks.
    pub seen: u32,
    /// IANA protocol number of its transport header.
    pub protocol: u32,
}

const _: () = assert!(size_of::<Ports>() == 12);

/// Seconds for which ports are remembered: as long as Linux holds on to the fragments of a packet (`ipfrag_time`).
pub const LIFETIME: u32 = 30;

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    identification: u32,
    protocol: u8,
    /// In 8 bytes.
    offset: u16,
}

impl Piece {
    /// It begins the packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    #[inline(always)]
    fn key<A: Address>(&self, network: &Network<A>) -> FragmentKey<A> {
        FragmentKey {
            source: network.source,
            destination: network.destination,
            identification: self.identification,
            protocol: self.protocol as u32,
        }
    }
}

/// A version of IP with its fragments.
pub trait Fragmented: Ip {
    /// Reads what the fragment at `offset` is a part of, and moves its payload behind a fragment header; `None` when that is
    /// not in the frame.
    fn piece<P: Packet>(packet: &P, offset: usize, network: &mut Network<Self>) -> Option<Piece>;
}

impl Fragmented for V4 {
    #[inline(always)]
    fn piece<P: Packet>(packet: &P, offset: usize, _network: &mut Network<Self>) -> Option<Piece> {
        let header: &Ipv4 = packet.get(offset)?;
        Some(Piece {
            identification: header.identification.get() as u32,
            protocol: header.protocol,
            offset: header.fragment.get() & 0x1fff,
        })
    }
}

impl Fragmented for V6 {
    #[inline(always)]
    fn piece<P: Packet>(packet: &P, _offset: usize, network: &mut Network<Self>) -> Option<Piece> {
        let header: &Fragment = packet.get(network.payload)?;
        let piece = Piece {
            identification: header.identification.get(),
            protocol: 0,
            offset: header.offset_more.get() >> 3,
        };
        network.protocol = header.next_header;
        network.payload += size_of::<Fragment>();
        if piece.is_first() {
            look_behind_extensions(packet, network);
        } else if network.payload > network.end {
            network.sound = false;
        }
        Some(piece)
    }
}

/// The fragment on the desk: a later one ends here; the first one [`GOES_ON`] as the segment or datagram it begins.
#[inline(always)]
pub fn fragment<A: Fragmented + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> u32 {
    let offset = desk.arrival.datagram.network as usize;
    let read = A::read(packet, offset).and_then(|mut network| {
        let piece = A::piece(packet, offset, &mut network)?;
        Some((network, piece))
    });
    let Some((network, piece)) = read else { return Verdict::from(Outcome::MalformedForeign).to_word() };
    if !network.sound {
        return ours_or(tables, &network, Outcome::MalformedIp, Outcome::MalformedForeign).to_word();
    }
    if !desk.arrival.complete(tables) {
        return Verdict::from(Outcome::UnattachedInterface).to_word();
    }
    // No hardware completes the checksum of a packet in parts.
    desk.arrival.partial = false;
    if piece.is_first() {
        first(packet, tables, desk, &network, piece)
    } else {
        later(packet, tables, desk, &network, piece).to_word()
    }
}

#[inline(always)]
fn first<A: Fragmented, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
    network: &Network<A>,
    piece: Piece,
) -> u32 {
    match datagram(packet, desk.arrival.datagram.network as usize, network) {
        Ok(datagram) => desk.arrival.datagram = datagram,
        // A header cut in two would get past whoever looks at its second half only (RFC 1858 section 3).
        Err(Unreadable::Malformed) => {
            return ours_or(tables, network, Outcome::MalformedTransport, Outcome::MalformedForeign)
                .to_word();
        }
        Err(Unreadable::Protocol) => return Verdict::from(Outcome::Fragment).to_word(),
    }
    let datagram = &desk.arrival.datagram;
    let key = &datagram.key;
    desk.known = tables.connection(datagram.protocol, key).is_some();
    let real = ServiceKey { address: key.source, port: key.source_port, protocol: datagram.protocol as u16 };
    // Nobody else's fragments take room in the table.
    if desk.known
        || tables.is_vip(key.destination)
        || tables.half_open(key, &mut desk.half)
        || tables.reverse(&real).is_some()
    {
        let ports = Ports {
            source: key.source_port,
            destination: key.destination_port,
            seen: desk.arrival.now,
            protocol: datagram.protocol as u32,
        };
        tables.insert_fragment(&piece.key(network), &ports);
    }
    GOES_ON
}

#[inline(always)]
fn later<A: Fragmented + RealAddress, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &mut Desk<A>,
    network: &Network<A>,
    piece: Piece,
) -> Verdict {
    match network.protocol {
        // It would overwrite what the first one said of flags (RFC 3128).
        protocol::TCP if piece.offset == 1 => {
            return ours_or(tables, network, Outcome::MalformedTransport, Outcome::Fragment);
        }
        protocol::TCP | protocol::UDP | protocol::DESTINATION_OPTIONS => {}
        _ => return Outcome::Fragment.into(),
    }
    let Some(ports) = tables.fragment(&piece.key(network)) else {
        return ours_or(tables, network, Outcome::FragmentUnknown, Outcome::Fragment);
    };
    if desk.arrival.now.wrapping_sub(ports.seen) >= LIFETIME * desk.arrival.ticks_per_second {
        return ours_or(tables, network, Outcome::FragmentUnknown, Outcome::Fragment);
    }
    let datagram = &mut desk.arrival.datagram;
    datagram.protocol = if ports.protocol == Protocol::Tcp as u32 { Protocol::Tcp } else { Protocol::Udp };
    datagram.key.source.copy_from(&network.source);
    datagram.key.destination.copy_from(&network.destination);
    datagram.key.source_port = ports.source;
    datagram.key.destination_port = ports.destination;
    datagram.flags = ACK;
    let mut sent = Outcome::Forwarded;
    if connection::find(tables, desk) {
        if let Some(outcome) = ownership::gate(tables, desk) {
            return outcome.into();
        }
        if connection::renew(tables, &desk.arrival, &mut desk.entry) != Standing::Alive {
            return ours_or(tables, network, Outcome::FragmentUnknown, Outcome::Fragment);
        }
    } else {
        match open::service(tables, &desk.arrival) {
            open::ELSEWHERE => sent = stateless::reply(tables, desk),
            // What the kernel got the first one of, it gets whole.
            NOBODY => return Outcome::NoService.into(),
            _ => return Outcome::FragmentUnknown.into(),
        }
        if sent != Outcome::StatelessReply {
            return sent.into();
        }
    }
    if network.ttl <= 1 {
        return Outcome::TtlExpired.into();
    }
    let offset = desk.arrival.datagram.network as usize;
    let length = network.end - offset;
    let entry = &desk.entry;
    let fits = length <= entry.next_hop.mtu as usize;
    let exit = if fits { Exit::Wire(&entry.next_hop) } else { Exit::Kernel };
    if rewrite::addresses(packet, offset, &entry.translated, entry.l3_delta, exit).is_none() {
        return Outcome::Unwritable.into();
    }
    if sent == Outcome::Forwarded {
        tables.count(entry.real_server, Row::of(entry.flags & flags::REPLY != 0), length as u64);
    }
    if fits { Verdict::sent(sent, entry.next_hop.interface) } else { Outcome::KernelRoute.into() }
}
