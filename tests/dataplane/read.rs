//! Frames verified from scratch by etherparse, with no knowledge of how they came about.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, LinkSlice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice};

/// What a TCP header says of its place in the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

/// What an observer on the wire sees of a TCP segment or UDP datagram that is well-formed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) link_source: [u8; 6],
    pub(crate) link_destination: [u8; 6],
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) hops: u8,
    pub(crate) payload: Vec<u8>,
    /// `None` of UDP.
    pub(crate) segment: Option<Segment>,
    /// The IPv4 header's checksum is right; there is none in IPv6.
    pub(crate) network_whole: bool,
    /// The transport checksum is right, or is absent where it may be.
    pub(crate) transport_whole: bool,
}

/// Reads a frame; `None` when it is no whole TCP segment or UDP datagram.
pub(crate) fn read(bytes: &[u8]) -> Option<Seen> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let Some(LinkSlice::Ethernet2(link)) = packet.link else { return None };
    let (source, destination, hops, network_whole) = match packet.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let whole = header.to_header().calc_header_checksum() == header.header_checksum();
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), header.ttl(), whole)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit(), true)
        }
        NetSlice::Arp(_) => return None,
    };
    let (protocol, ports, payload, segment, transport_whole) = match packet.transport? {
        TransportSlice::Tcp(tcp) => (
            IpNumber::TCP,
            (tcp.source_port(), tcp.destination_port()),
            tcp.payload(),
            Some(Segment {
                // The byte behind the data offset (RFC 9293 section 3.1).
                flags: tcp.slice()[13],
                sequence: tcp.sequence_number(),
                acknowledgment: tcp.acknowledgment_number(),
            }),
            tcp_checksum(&tcp, source, destination) == Some(tcp.checksum()),
        ),
        TransportSlice::Udp(udp) => (
            IpNumber::UDP,
            (udp.source_port(), udp.destination_port()),
            udp.payload(),
            None,
            udp_is_whole(&udp, source, destination),
        ),
        _ => return None,
    };
    Some(Seen {
        link_source: link.source(),
        link_destination: link.destination(),
        source: SocketAddr::new(source, ports.0),
        destination: SocketAddr::new(destination, ports.1),
        protocol: protocol.0,
        hops,
        payload: payload.to_vec(),
        segment,
        network_whole,
        transport_whole,
    })
}

/// Whether the transport checksum is that of the pseudo-header alone, as senders leave it to their hardware. Once in 65,536
/// times it is right all the same.
pub(crate) fn is_left_to_hardware(bytes: &[u8], seen: &Seen) -> bool {
    let Ok(packet) = SlicedPacket::from_ethernet(bytes) else { return false };
    let (checksum, length) = match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.checksum(), tcp.slice().len()),
        Some(TransportSlice::Udp(udp)) => (udp.checksum(), udp.slice().len()),
        _ => return false,
    };
    let mut sum =
        Sum16BitWords::new().add_2bytes([0, seen.protocol]).add_2bytes((length as u16).to_be_bytes());
    for address in [seen.source.ip(), seen.destination.ip()] {
        sum = match address {
            IpAddr::V4(address) => sum.add_4bytes(address.octets()),
            IpAddr::V6(address) => sum.add_16bytes(address.octets()),
        };
    }
    checksum.to_be_bytes() == (!sum.ones_complement()).to_ne_bytes()
}

fn tcp_checksum(tcp: &TcpSlice<'_>, source: IpAddr, destination: IpAddr) -> Option<u16> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            tcp.calc_checksum_ipv4(source.octets(), destination.octets()).ok()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            tcp.to_header().calc_checksum_ipv6_raw(source.octets(), destination.octets(), tcp.payload()).ok()
        }
        _ => None,
    }
}

fn udp_is_whole(udp: &UdpSlice<'_>, source: IpAddr, destination: IpAddr) -> bool {
    let header = udp.to_header();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.checksum == 0
                || header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), udp.payload()).ok()
                    == Some(header.checksum)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), udp.payload()).ok()
                == Some(header.checksum)
        }
        _ => false,
    }
}
