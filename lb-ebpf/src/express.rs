//! The short way from the IP header on, of a frame of the usual form: no tags, no IP options or extension headers, not a
//! fragment, TCP or UDP. All headers are at known places, and the frame's end is looked at for all of them together.
//!
//! What belongs to a connection that is known and goes on as before is translated and sent here, and what is none of our
//! business ends here. Other forms are read by [`crate::forward::read`].

use lb_common::{
    addr::{Protocol, V4, V6},
    connection::{ConnectionKey, flags},
    counter::Row,
    outcome::Outcome,
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::{
    checksum,
    desk::Desks,
    forward::{NETWORK, is_stale, touch},
    headers::{
        Ethernet, FrontV4, FrontV6, Ipv4, Ipv6, Tcp, TcpV4, TcpV6, Udp, UdpV4, UdpV6, Wire32, protocol,
    },
    ip::{Hop, Ip},
    packet::{Header, Packet},
    rewrite,
    tables::{Known, Tables},
    transport::Transport,
    verdict::{self, GOES_ON, UNREAD, Verdict},
};

/// A version of IP in frames of the usual form.
pub(crate) trait Usual: Ip {
    /// The frame up to the IP header.
    type Front: Header;
    /// The frame up to TCP.
    type Tcp: Whole<Network = Self::Header, Transport = Tcp>;
    /// The frame up to UDP.
    type Udp: Whole<Network = Self::Header, Transport = Udp>;

    /// The IP header of this frame, and the protocol that it names.
    fn header(front: &Self::Front) -> (&Self::Header, u8);

    /// Length of the IP packet if its header is of the usual form, in bytes.
    fn length(header: &Self::Header) -> Option<usize>;

    /// Source and destination.
    fn addresses(header: &Self::Header) -> (Self, Self);

    /// Time to live or hop limit.
    fn ttl(header: &Self::Header) -> u8;
}

/// All headers of a frame.
pub(crate) trait Whole: Header {
    /// The IP header.
    type Network;
    /// The transport header.
    type Transport: Transport;

    /// Each of them.
    fn parts(&mut self) -> (&mut Ethernet, &mut Self::Network, &mut Self::Transport);
}

macro_rules! whole {
    ($($name:ident: $network:ty, $transport:ty;)+) => {$(
        impl Whole for $name {
            type Network = $network;
            type Transport = $transport;

            #[inline(always)]
            fn parts(&mut self) -> (&mut Ethernet, &mut $network, &mut $transport) {
                (&mut self.ethernet, &mut self.network, &mut self.transport)
            }
        }
    )+};
}

whole! {
    TcpV4: Ipv4, Tcp;
    UdpV4: Ipv4, Udp;
    TcpV6: Ipv6, Tcp;
    UdpV6: Ipv6, Udp;
}

impl Usual for V4 {
    type Front = FrontV4;
    type Tcp = TcpV4;
    type Udp = UdpV4;

    #[inline(always)]
    fn header(front: &FrontV4) -> (&Ipv4, u8) {
        (&front.network, front.network.protocol)
    }

    #[inline(always)]
    fn length(header: &Ipv4) -> Option<usize> {
        let length = header.total_length.get() as usize;
        // Version 4, five words; neither more fragments nor an offset.
        let usual = header.version_length == 0x45
            && header.fragment.get() & 0x3fff == 0
            && length >= size_of::<Ipv4>();
        if usual { Some(length) } else { None }
    }

    #[inline(always)]
    fn addresses(header: &Ipv4) -> (Self, Self) {
        (Self::from_wire(header.source.get()), Self::from_wire(header.destination.get()))
    }

    #[inline(always)]
    fn ttl(header: &Ipv4) -> u8 {
        header.ttl
    }
}

impl Usual for V6 {
    type Front = FrontV6;
    type Tcp = TcpV6;
    type Udp = UdpV6;

    #[inline(always)]
    fn header(front: &FrontV6) -> (&Ipv6, u8) {
        (&front.network, front.network.next_header)
    }

    #[inline(always)]
    fn length(header: &Ipv6) -> Option<usize> {
        if header.version_class_flow.get() >> 28 != 6 {
            return None;
        }
        Some(size_of::<Ipv6>() + header.payload_length.get() as usize)
    }

    #[inline(always)]
    fn addresses(header: &Ipv6) -> (Self, Self) {
        (
            Self::from_wire(header.source.map(Wire32::get)),
            Self::from_wire(header.destination.map(Wire32::get)),
        )
    }

    #[inline(always)]
    fn ttl(header: &Ipv6) -> u8 {
        header.hop_limit
    }
}

/// The short way: the word of a verdict, or what becomes of the packet on the desk. Not inlined, so that the longer way, called
/// when this has returned, has all of the stack.
#[inline(never)]
pub(crate) fn express<A, P, T, D>(packet: &mut P, tables: &mut T, desks: &mut D, partial: bool) -> u32
where
    A: Usual,
    P: Packet,
    T: Tables<A>,
    D: Desks<A>,
{
    let word = match usual::<A, P>(packet) {
        Some((protocol::TCP, length)) => go::<A, A::Tcp, P, T, D>(packet, tables, desks, length, partial),
        Some((protocol::UDP, length)) => go::<A, A::Udp, P, T, D>(packet, tables, desks, length, partial),
        _ => UNREAD,
    };
    if verdict::is_end(word) {
        return word;
    }
    let Some(desk) = desks.desk() else { return Verdict::from(Outcome::Unwritable).to_word() };
    desk.arrival.interface = packet.interface();
    desk.arrival.partial = partial;
    desk.arrival.datagram.network = NETWORK as u16;
    word
}

/// The protocol and the length of the IP packet, in bytes, if the frame is of the usual form and holds it.
#[inline(always)]
fn usual<A: Usual, P: Packet>(packet: &P) -> Option<(u8, usize)> {
    let (header, protocol) = A::header(packet.get(0)?);
    let length = A::length(header)?;
    packet.holds(NETWORK + length).then_some((protocol, length))
}

#[inline(always)]
fn go<A, F, P, T, D>(packet: &mut P, tables: &mut T, desks: &mut D, length: usize, partial: bool) -> u32
where
    A: Usual,
    F: Whole<Network = A::Header>,
    P: Packet,
    T: Tables<A>,
    D: Desks<A>,
{
    let protocol = F::Transport::PROTOCOL;
    let available = length - size_of::<A::Header>();
    let Some(headers) = packet.get_mut::<F>(0) else { return UNREAD };
    let (ethernet, network, transport) = headers.parts();
    if !transport.fits(available) {
        return UNREAD;
    }
    let key = key::<A, F>(network, transport);
    if !tables.concerns(key.source, key.destination) {
        return Verdict::from(Outcome::NoService).to_word();
    }
    let known = tables.known(protocol, &key);
    let is_known = known.is_some();
    // What is needed from here on is read again: that is cheaper than to keep it over the lookups.
    let (tcp_flags, ttl, checksum) = (transport.flags(), A::ttl(network), transport.checksum());
    if let Some(Known { entry, settings, now }) = known
        && entry.generation == settings.generation
        && tcp_flags & (SYN | FIN | RST | ACK) == ACK
        && ttl > 1
        && length <= entry.next_hop.mtu as usize
        && !settings.has_lapsed(now)
        && !(protocol == Protocol::Udp && is_stale(entry, now, settings.ticks_per_second))
    {
        touch(entry, now, settings.ticks_per_second);
        let to = &entry.translated;
        let unfinished =
            partial && checksum == pseudo_header::<A, F>(&self::key::<A, F>(network, transport), available);
        rewrite::write_link(ethernet, &entry.next_hop);
        A::translate(network, to, entry.l3_delta, Hop::Counted);
        let updated = if unfinished { 0 } else { checksum::update(checksum, entry.l4_delta) };
        transport.translate(to, updated);
        if unfinished {
            let pseudo = pseudo_header::<A, F>(to, available);
            let transport = NETWORK + size_of::<A::Header>();
            if !rewrite::finish::<F::Transport, P>(packet, transport, available, pseudo) {
                return Verdict::from(Outcome::Unwritable).to_word();
            }
        }
        let (real_server, reply) = (entry.real_server, entry.flags & flags::REPLY != 0);
        let verdict = Verdict::sent(Outcome::Forwarded, entry.next_hop.interface);
        tables.count(real_server, Row::of(reply), length as u64);
        return verdict.to_word();
    }
    let Some(desk) = desks.desk() else { return Verdict::from(Outcome::Unwritable).to_word() };
    desk.known = is_known;
    let datagram = &mut desk.arrival.datagram;
    datagram.key.copy_from(&self::key::<A, F>(network, transport));
    datagram.protocol = protocol;
    datagram.flags = tcp_flags;
    datagram.transport = (NETWORK + size_of::<A::Header>()) as u16;
    datagram.length = length as u32;
    datagram.ttl = ttl;
    datagram.checksum = checksum;
    if desk.arrival.complete(tables) {
        GOES_ON
    } else {
        Verdict::from(Outcome::UnattachedInterface).to_word()
    }
}

#[inline(always)]
fn key<A: Usual, F: Whole<Network = A::Header>>(
    network: &F::Network,
    transport: &F::Transport,
) -> ConnectionKey<A> {
    let ((source, destination), (source_port, destination_port)) = (A::addresses(network), transport.ports());
    ConnectionKey { source, destination, source_port, destination_port }
}

/// The sum of the pseudo-header for `length` bytes.
#[inline(always)]
fn pseudo_header<A: Usual, F: Whole<Network = A::Header>>(key: &ConnectionKey<A>, length: usize) -> u16 {
    checksum::pseudo_header(key.source, key.destination, F::Transport::PROTOCOL as u8, length as u16)
}
