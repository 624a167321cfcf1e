//! Frames made from a description, whole, by etherparse: what is sent, and what is expected to come out, byte for byte.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    Ipv6RawExtHeader, SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};
use lb_common::tcp::header::{ACK, FIN, RST, SYN};

/// A VLAN tag: its ether type, and its priority and VLAN id.
pub(crate) type Tag = (u16, u16);

/// What stands behind the IP header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Transport {
    /// TCP with these header fields; options in whole words.
    Tcp { flags: u8, sequence: u32, acknowledgment: u32, options: Vec<u8> },
    /// UDP.
    Udp,
}

/// The transport checksum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Checksum {
    /// As it has to be.
    Whole,
    /// Wrong: more than it has to be by this, in one's complement.
    Off(u16),
    /// 0: none (UDP over IPv4).
    Absent,
    /// Left to hardware: the sum of the pseudo-header only.
    Unfinished,
}

/// A frame with one TCP segment or UDP datagram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) link_source: [u8; 6],
    pub(crate) link_destination: [u8; 6],
    /// Tags, the outermost first.
    pub(crate) vlans: Vec<Tag>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// Time to live or hop limit.
    pub(crate) hops: u8,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// IPv4 only.
    pub(crate) identification: u16,
    /// IPv4 only.
    pub(crate) dont_fragment: bool,
    /// IPv4 only; in whole words.
    pub(crate) options: Vec<u8>,
    /// IPv6 only: kinds and bodies of extension headers; a body has 6 bytes, or 8 more each.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
    pub(crate) checksum: Checksum,
    /// Bytes of the frame behind the packet.
    pub(crate) trailer: Vec<u8>,
}

/// A TCP segment.
pub(crate) fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Packet {
    let transport = Transport::Tcp { flags, sequence: 1000, acknowledgment: 0, options: Vec::new() };
    Packet { transport, ..udp(source, destination) }
}

/// A UDP datagram.
pub(crate) fn udp(source: SocketAddr, destination: SocketAddr) -> Packet {
    Packet {
        link_source: [0; 6],
        link_destination: [0; 6],
        vlans: Vec::new(),
        source,
        destination,
        hops: 64,
        traffic_class: 0,
        identification: 0x1234,
        dont_fragment: true,
        options: Vec::new(),
        extensions: Vec::new(),
        transport: Transport::Udp,
        payload: Vec::new(),
        checksum: Checksum::Whole,
        trailer: Vec::new(),
    }
}

impl Packet {
    /// The same with this payload.
    pub(crate) fn with(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// The same with these numbers, if it is TCP.
    pub(crate) fn numbered(mut self, sequence: u32, acknowledgment: u32) -> Self {
        if let Transport::Tcp { sequence: field, acknowledgment: other, .. } = &mut self.transport {
            (*field, *other) = (sequence, acknowledgment);
        }
        self
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.link();
        let payload = self.transport_bytes();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header {
                    dscp: IpDscp::try_new(self.traffic_class >> 2).unwrap(),
                    ecn: IpEcn::try_new(self.traffic_class & 3).unwrap(),
                    identification: self.identification,
                    dont_fragment: self.dont_fragment,
                    fragment_offset: IpFragOffset::ZERO,
                    time_to_live: self.hops,
                    protocol: self.protocol(),
                    source: source.octets(),
                    destination: destination.octets(),
                    options: self.options.as_slice().try_into().unwrap(),
                    ..Ipv4Header::default()
                };
                header.set_payload_len(payload.len()).unwrap();
                header.header_checksum = header.calc_header_checksum();
                bytes.extend(header.to_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let kinds: Vec<IpNumber> = self.extensions.iter().map(|(kind, _)| IpNumber(*kind)).collect();
                let next = |position: usize| kinds.get(position).copied().unwrap_or(self.protocol());
                let mut extensions = Vec::new();
                for (position, (_, body)) in self.extensions.iter().enumerate() {
                    let header = Ipv6RawExtHeader::new_raw(next(position + 1), body).unwrap();
                    extensions.extend(header.to_bytes());
                }
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(0x1_2345).unwrap(),
                    payload_length: (extensions.len() + payload.len()).try_into().unwrap(),
                    next_header: next(0),
                    hop_limit: self.hops,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                bytes.extend(header.to_bytes());
                bytes.extend(extensions);
            }
            _ => panic!("both ends of {self:?} are of one family"),
        }
        bytes.extend(payload);
        bytes.extend(&self.trailer);
        bytes
    }

    const fn protocol(&self) -> IpNumber {
        match self.transport {
            Transport::Tcp { .. } => IpNumber::TCP,
            Transport::Udp => IpNumber::UDP,
        }
    }

    /// The link header with its tags.
    pub(crate) fn link(&self) -> Vec<u8> {
        let network = if self.source.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let mut follows = self.vlans.iter().map(|(protocol, _)| EtherType(*protocol)).chain([network]);
        let first = follows.next().unwrap();
        let ethernet = Ethernet2Header {
            source: self.link_source,
            destination: self.link_destination,
            ether_type: first,
        };
        let mut bytes = ethernet.to_bytes().to_vec();
        for (_, control) in &self.vlans {
            let tag = SingleVlanHeader {
                pcp: VlanPcp::try_new((control >> 13) as u8).unwrap(),
                drop_eligible_indicator: control & 1 << 12 != 0,
                vlan_id: VlanId::try_new(control & 0x0fff).unwrap(),
                ether_type: follows.next().unwrap(),
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    /// The transport header and the payload.
    fn transport_bytes(&self) -> Vec<u8> {
        let mut header = match &self.transport {
            Transport::Tcp { flags, sequence, acknowledgment, options } => {
                let mut header =
                    TcpHeader::new(self.source.port(), self.destination.port(), *sequence, 0x2000);
                header.acknowledgment_number = *acknowledgment;
                (header.fin, header.syn) = (flags & FIN != 0, flags & SYN != 0);
                (header.rst, header.ack) = (flags & RST != 0, flags & ACK != 0);
                (header.psh, header.urg) = (flags & 0x08 != 0, flags & 0x20 != 0);
                (header.ece, header.cwr) = (flags & 0x40 != 0, flags & 0x80 != 0);
                header.set_options_raw(options).unwrap();
                header.checksum = self.field(self.tcp_checksum(&header), 20 + options.len());
                header.to_bytes().to_vec()
            }
            Transport::Udp => {
                let mut header = UdpHeader {
                    source_port: self.source.port(),
                    destination_port: self.destination.port(),
                    length: (UdpHeader::LEN + self.payload.len()).try_into().unwrap(),
                    checksum: 0,
                };
                header.checksum = self.field(self.udp_checksum(&header), UdpHeader::LEN);
                header.to_bytes().to_vec()
            }
        };
        header.extend(&self.payload);
        header
    }

    fn tcp_checksum(&self, header: &TcpHeader) -> u16 {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload).unwrap()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload).unwrap()
            }
            _ => unreachable!("one family"),
        }
    }

    fn udp_checksum(&self, header: &UdpHeader) -> u16 {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload).unwrap()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload).unwrap()
            }
            _ => unreachable!("one family"),
        }
    }

    /// What the checksum field holds, where `whole` is right.
    fn field(&self, whole: u16, header_length: usize) -> u16 {
        match self.checksum {
            Checksum::Whole => whole,
            Checksum::Off(error) => add(whole, error),
            Checksum::Absent => 0,
            Checksum::Unfinished => self.pseudo_header(header_length + self.payload.len()),
        }
    }

    /// The folded sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    fn pseudo_header(&self, length: usize) -> u16 {
        let octets = |ip| match ip {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let addresses = [octets(self.source.ip()), octets(self.destination.ip())].concat();
        addresses
            .chunks(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .chain([u16::from(self.protocol().0), u16::try_from(length).unwrap()])
            .fold(0, add)
    }
}

/// The frame without its tags, two at most.
pub(crate) fn untagged(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..2 {
        if matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8])) && bytes.len() >= 18 {
            bytes.drain(12..16);
        }
    }
    bytes
}

/// One's complement addition.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}
