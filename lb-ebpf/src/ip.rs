//! The two versions of IP behind one trait: reading a header, and writing a translation into it.

use lb_common::addr::{Address, V4, V6};
use lb_common::connection::ConnectionKey;

use crate::{
    checksum,
    headers::{Be16, Be32, Extension, Fragment, Ipv4, Ipv6, Wire32, protocol},
    packet::{Header, Packet},
};

/// What an IP header says.
#[derive(Clone, Copy, Debug)]
pub struct Network<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol of the payload, behind every extension header.
    pub protocol: u8,
    /// Offset of the payload in the frame.
    pub payload: usize,
    /// Offset of the end of the packet in the frame: padding is beyond.
    pub end: usize,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Whether the packet is a part of a larger one.
    pub fragment: bool,
    /// Version and lengths add up.
    pub sound: bool,
    /// The frame holds the packet to its end.
    pub whole: bool,
}

/// Which checksum of the header a translation has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// This machine is a hop: one off the TTL.
    Counted,
    /// The kernel forwards the packet and counts the hop itself.
    LeftToKernel,
}

/// A version of IP.
pub trait Ip: Address {
    /// The header without what may follow it: options or extension headers.
    type Header: Header;

    /// Reads the header at `offset`; `None` when the frame ends within it.
    fn read<P: Packet>(packet: &P, offset: usize) -> Option<Network<Self>>;

    /// Writes translated addresses into a header. `delta` is [`checksum::header_delta`]'s.
    fn translate(header: &mut Self::Header, translated: &ConnectionKey<Self>, delta: u16, hop: Hop);

    /// [`Ip::translate`] of the header at `offset`; `None` when the frame ends within it.
    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        offset: usize,
        translated: &ConnectionKey<Self>,
        delta: u16,
        hop: Hop,
    ) -> Option<()> {
        Self::translate(packet.get_mut(offset)?, translated, delta, hop);
        Some(())
    }

    /// Whether a router may cut the packet whose header is at `offset` into fragments.
    fn may_fragment<P: Packet>(packet: &P, offset: usize) -> bool;

    /// Writes a header of our own at `offset`: without options, not a fragment, for a payload of `length` bytes from and to
    /// the addresses of `key`. Answers the offset of the payload.
    fn compose<P: Packet>(
        packet: &mut P,
        offset: usize,
        key: &ConnectionKey<Self>,
        protocol: u8,
        length: u16,
    ) -> Option<usize>;
}

/// TTL of packets of our own: the default of Linux.
const TTL: u8 = 64;

/// Don't fragment, in [`Ipv4::fragment`].
const DF: u16 = 0x4000;

impl Ip for V4 {
    type Header = Ipv4;

    #[inline(always)]
    fn read<P: Packet>(packet: &P, offset: usize) -> Option<Network<Self>> {
        let header: &Ipv4 = packet.get(offset)?;
        let header_length = ((header.version_length & 0x0f) as usize) * 4;
        let total_length = header.total_length.get() as usize;
        Some(Network {
            source: Self::from_wire(header.source.get()),
            destination: Self::from_wire(header.destination.get()),
            protocol: header.protocol,
            payload: offset + header_length,
            end: offset + total_length,
            ttl: header.ttl,
            // More fragments, or not the first one.
            fragment: header.fragment.get() & 0x3fff != 0,
            sound: header.version_length >> 4 == 4
                && header_length >= size_of::<Ipv4>()
                && total_length >= header_length,
            whole: packet.holds(offset + total_length),
        })
    }

    #[inline(always)]
    fn translate(header: &mut Ipv4, translated: &ConnectionKey<Self>, delta: u16, hop: Hop) {
        header.source = Wire32::new(translated.source.to_wire());
        header.destination = Wire32::new(translated.destination.to_wire());
        let delta = match hop {
            Hop::Counted => {
                header.ttl = header.ttl.wrapping_sub(1);
                delta
            }
            Hop::LeftToKernel => checksum::fold(delta as u32 + !checksum::TTL_DECREMENT as u32),
        };
        header.checksum = checksum::update(header.checksum, delta);
    }

    #[inline(always)]
    fn may_fragment<P: Packet>(packet: &P, offset: usize) -> bool {
        packet.get::<Ipv4>(offset).is_some_and(|header| header.fragment.get() & DF == 0)
    }

    #[inline(always)]
    fn compose<P: Packet>(
        packet: &mut P,
        offset: usize,
        key: &ConnectionKey<Self>,
        protocol: u8,
        length: u16,
    ) -> Option<usize> {
        let header: &mut Ipv4 = packet.get_mut(offset)?;
        let total_length = size_of::<Ipv4>() as u16 + length;
        header.version_length = 0x45;
        header.traffic_class = 0;
        header.total_length = Be16::new(total_length);
        header.identification = Be16::new(0);
        header.fragment = Be16::new(DF);
        header.ttl = TTL;
        header.protocol = protocol;
        header.source = Wire32::new(key.source.to_wire());
        header.destination = Wire32::new(key.destination.to_wire());
        let words = [0x4500, total_length, DF, (TTL as u16) << 8 | protocol as u16];
        let sum = words
            .iter()
            .fold(key.source.sum() + key.destination.sum(), |sum, word| sum + word.to_be() as u32);
        header.checksum = !checksum::fold(sum);
        Some(offset + size_of::<Ipv4>())
    }
}

/// Extension headers that are looked behind; more are somebody testing us.
const EXTENSIONS: usize = 4;

/// Moves the payload behind extension headers, up to a fragment header of a packet that is a fragment. A fragment header of
/// a whole packet is an extension like others (RFC 6946).
#[inline(always)]
pub(crate) fn look_behind_extensions<P: Packet>(packet: &P, network: &mut Network<V6>) {
    for _ in 0..EXTENSIONS {
        match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                let Some(extension) = packet.get::<Extension>(network.payload) else {
                    network.sound = false;
                    break;
                };
                network.protocol = extension.next_header;
                network.payload += (extension.length as usize + 1) * 8;
            }
            protocol::FRAGMENT => {
                let Some(fragment) = packet.get::<Fragment>(network.payload) else {
                    network.sound = false;
                    break;
                };
                if fragment.offset_more.get() & !FRAGMENT_RESERVED != 0 {
                    network.fragment = true;
                    break;
                }
                network.protocol = fragment.next_header;
                network.payload += size_of::<Fragment>();
            }
            _ => break,
        }
    }
    if network.payload > network.end {
        network.sound = false;
    }
}

/// Bits of [`Fragment::offset_more`] that say nothing.
const FRAGMENT_RESERVED: u16 = 0x0006;

impl Ip for V6 {
    type Header = Ipv6;

    #[inline(always)]
    fn read<P: Packet>(packet: &P, offset: usize) -> Option<Network<Self>> {
        let header: &Ipv6 = packet.get(offset)?;
        let end = offset + size_of::<Ipv6>() + header.payload_length.get() as usize;
        let version = header.version_class_flow.get() >> 28;
        let mut network = Network {
            source: Self::from_wire(header.source.map(Wire32::get)),
            destination: Self::from_wire(header.destination.map(Wire32::get)),
            protocol: header.next_header,
            payload: offset + size_of::<Ipv6>(),
            end,
            ttl: header.hop_limit,
            fragment: false,
            sound: version == 6,
            whole: packet.holds(end),
        };
        look_behind_extensions(packet, &mut network);
        Some(network)
    }

    #[inline(always)]
    fn translate(header: &mut Ipv6, translated: &ConnectionKey<Self>, _delta: u16, hop: Hop) {
        header.source = translated.source.to_wire().map(Wire32::new);
        header.destination = translated.destination.to_wire().map(Wire32::new);
        if hop == Hop::Counted {
            header.hop_limit = header.hop_limit.wrapping_sub(1);
        }
    }

    #[inline(always)]
    fn may_fragment<P: Packet>(_packet: &P, _offset: usize) -> bool {
        false
    }

    #[inline(always)]
    fn compose<P: Packet>(
        packet: &mut P,
        offset: usize,
        key: &ConnectionKey<Self>,
        protocol: u8,
        length: u16,
    ) -> Option<usize> {
        let header: &mut Ipv6 = packet.get_mut(offset)?;
        header.version_class_flow = Be32::new(6 << 28);
        header.payload_length = Be16::new(length);
        header.next_header = protocol;
        header.hop_limit = TTL;
        let (source, destination) = (key.source.to_wire(), key.destination.to_wire());
        for word in 0..4 {
            header.source[word] = Wire32::new(source[word]);
            header.destination[word] = Wire32::new(destination[word]);
        }
        Some(offset + size_of::<Ipv6>())
    }
}
