//! ICMP errors: made by etherparse from a description, and what an answer of the balancer's own has to look like.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    NetSlice, SlicedPacket, TransportSlice,
};
use lb_common::outcome::Outcome;

use crate::packet::{Packet, udp};
use crate::read::read;
use crate::reset;
use crate::world::{arriving, leaving};

/// Length of the link header.
pub(crate) const LINK: usize = 14;

/// An error, or another message, in an IP packet without options.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) hops: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The MTU, in errors that have one.
    pub(crate) rest: u32,
    pub(crate) quote: Vec<u8>,
}

/// The first bytes of a packet from its IP header on.
pub(crate) fn quote(packet: &Packet, length: usize) -> Vec<u8> {
    let bytes = packet.bytes();
    bytes[LINK..bytes.len().min(LINK + length)].to_vec()
}

impl Message {
    /// The frame in which it arrives, and the interface.
    pub(crate) fn arriving(&self) -> (u32, Vec<u8>) {
        let (wire, packet) = arriving(&self.carrier());
        (wire.on.into(), [packet.link(), self.network()].concat())
    }

    /// The frame in which it leaves, one hop on.
    pub(crate) fn leaving(&self) -> Vec<u8> {
        let message = Self { hops: self.hops - 1, ..self.clone() };
        [leaving(&self.carrier()).link(), message.network()].concat()
    }

    /// A packet with its ends.
    fn carrier(&self) -> Packet {
        udp(SocketAddr::new(self.from, 1), SocketAddr::new(self.to, 1))
    }

    /// From the IP header on.
    pub(crate) fn network(&self) -> Vec<u8> {
        let (type_u8, code_u8, bytes5to8) = (self.kind, self.code, self.rest.to_be_bytes());
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let unknown = Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 };
                let message = Icmpv4Header::with_checksum(unknown, &self.quote).to_bytes();
                let length = (message.len() + self.quote.len()) as u16;
                let mut header =
                    Ipv4Header::new(length, self.hops, IpNumber::ICMP, from.octets(), to.octets()).unwrap();
                header.header_checksum = header.calc_header_checksum();
                [header.to_bytes().as_slice(), message.as_slice(), &self.quote].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let unknown = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
                let message =
                    Icmpv6Header::with_checksum(unknown, from.octets(), to.octets(), &self.quote).unwrap();
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: (message.to_bytes().len() + self.quote.len()) as u16,
                    next_header: IpNumber::IPV6_ICMP,
                    hop_limit: self.hops,
                    source: from.octets(),
                    destination: to.octets(),
                };
                [header.to_bytes().as_slice(), message.to_bytes().as_slice(), &self.quote].concat()
            }
            _ => panic!("both ends of {self:?} are of one family"),
        }
    }
}

/// An ICMP message as etherparse reads it from a frame: its ends, its quote, and whether its checksums are right.
fn message(frame: &[u8]) -> Option<(IpAddr, IpAddr, Vec<u8>, bool)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match (packet.net?, packet.transport?) {
        (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
            let header = ip.header().to_header();
            let whole = header.calc_header_checksum() == header.header_checksum
                && icmp.icmp_type().calc_checksum(icmp.payload()) == icmp.checksum();
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            Some((from.into(), to.into(), icmp.payload().to_vec(), whole))
        }
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let whole = icmp.is_checksum_valid(ip.header().source(), ip.header().destination());
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            Some((from.into(), to.into(), icmp.payload().to_vec(), whole))
        }
        _ => None,
    }
}

/// The ends of the packet that an ICMP message in a frame quotes, if it quotes one without options before them.
pub(crate) fn quoted_ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (_, _, quote, _) = message(frame)?;
    let ends = |first: usize, length: usize| {
        Some((quote.get(first..first + length)?, quote.get(first + length..first + 2 * length)?))
    };
    match quote.first()? >> 4 {
        4 => {
            let (source, destination) = ends(12, 4)?;
            Some((<[u8; 4]>::try_from(source).ok()?.into(), <[u8; 4]>::try_from(destination).ok()?.into()))
        }
        6 => {
            let (source, destination) = ends(8, 16)?;
            Some((<[u8; 16]>::try_from(source).ok()?.into(), <[u8; 16]>::try_from(destination).ok()?.into()))
        }
        _ => None,
    }
}

/// Whether `after` is `before` with other addresses: of the same length, whole if it was whole.
pub(crate) fn is_translated(before: &[u8], after: &[u8]) -> Result<(), String> {
    let Some((.., whole)) = message(before) else { return Ok(()) };
    match message(after) {
        None => Err("an ICMP message came out malformed".into()),
        Some((.., false)) if whole => Err("a checksum that was right is wrong".into()),
        Some(_) if before.len() != after.len() => Err("its length changed".into()),
        Some(_) => Ok(()),
    }
}

/// Whether `answer` is what the balancer may say to `frame`, which ended so.
pub(crate) fn is_answer(outcome: Outcome, frame: &[u8], answer: &[u8]) -> Result<(), String> {
    if outcome == Outcome::Refused && message(answer).is_none() {
        return reset::check(frame, answer);
    }
    let Some((from, to, quote, true)) = message(answer) else { return Err("the answer is not whole".into()) };
    if !frame[LINK..].starts_with(&quote) {
        return Err("it quotes something else".into());
    }
    if (&answer[..6], &answer[6..12]) != (&frame[6..12], &frame[..6]) {
        return Err("it does not go back to who sent the frame".into());
    }
    match read(frame) {
        Some(asked) if (asked.destination.ip(), asked.source.ip()) != (from, to) => {
            Err(format!("an answer from {from} to {to}"))
        }
        _ => Ok(()),
    }
}
