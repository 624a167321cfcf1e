//! The headers of a packet in words.

use std::net::IpAddr;

use etherparse::{
    IpNumber, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice, VlanId, err::Layer,
};

use crate::control::drops::{Fragment, Packet};

/// What the first bytes of a frame say.
pub(super) fn read(bytes: &[u8]) -> Packet {
    let mut packet = Packet::default();
    let sliced = match LaxSlicedPacket::from_ethernet(bytes) {
        Ok(sliced) => sliced,
        Err(error) => return Packet { malformed: Some(error.to_string()), ..packet },
    };
    packet.vlans = sliced.vlan_ids().into_iter().map(VlanId::value).collect();
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            packet.protocol = Some(name(ip.payload_ip_number()));
            packet.source = Some(IpAddr::V4(header.source_addr()));
            packet.destination = Some(IpAddr::V4(header.destination_addr()));
            packet.fragment = ip.is_payload_fragmented().then(|| Fragment {
                identification: header.identification().into(),
                offset: header.fragments_offset().byte_offset().into(),
                more: header.more_fragments(),
            });
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            packet.protocol = Some(name(ip.payload().ip_number));
            packet.source = Some(IpAddr::V6(ip.header().source_addr()));
            packet.destination = Some(IpAddr::V6(ip.header().destination_addr()));
            packet.fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(part) => Some(Fragment {
                    identification: part.identification(),
                    offset: part.fragment_offset().byte_offset().into(),
                    more: part.more_fragments(),
                }),
                _ => None,
            });
        }
        Some(LaxNetSlice::Arp(_)) => packet.protocol = Some("arp".to_owned()),
        None => {}
    }
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            packet.source_port = Some(tcp.source_port());
            packet.destination_port = Some(tcp.destination_port());
            packet.flags = flags(tcp);
        }
        Some(TransportSlice::Udp(udp)) => {
            packet.source_port = Some(udp.source_port());
            packet.destination_port = Some(udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_)) | None => {}
    }
    packet.malformed = sliced.stop_err.map(|(error, layer): (_, Layer)| format!("{layer}: {error}"));
    packet
}

fn name(protocol: IpNumber) -> String {
    match protocol {
        IpNumber::TCP => "tcp".to_owned(),
        IpNumber::UDP => "udp".to_owned(),
        IpNumber::ICMP => "icmp".to_owned(),
        IpNumber::IPV6_ICMP => "icmpv6".to_owned(),
        IpNumber(number) => number.to_string(),
    }
}

fn flags(tcp: &TcpSlice<'_>) -> Vec<String> {
    let all = [
        (tcp.syn(), "SYN"),
        (tcp.fin(), "FIN"),
        (tcp.rst(), "RST"),
        (tcp.psh(), "PSH"),
        (tcp.ack(), "ACK"),
        (tcp.urg(), "URG"),
        (tcp.ece(), "ECE"),
        (tcp.cwr(), "CWR"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// A frame, cut off where the data plane does.
    fn frame(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes.truncate(lb_common::drops::HEADERS);
        bytes
    }

    #[test]
    fn a_segment_is_read_although_its_end_is_cut_off() {
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]).single_vlan(7.try_into().unwrap());
        let builder = link.ipv4([198, 51, 100, 2], [192, 0, 2, 10], 64).tcp(40_000, 80, 1, 1).syn().fin();
        let packet = read(&frame(|bytes| builder.write(bytes, &[0; 1000]).unwrap()));
        let expected = Packet {
            vlans: vec![7],
            protocol: Some("tcp".to_owned()),
            source: Some([198, 51, 100, 2].into()),
            source_port: Some(40_000),
            destination: Some([192, 0, 2, 10].into()),
            destination_port: Some(80),
            flags: vec!["SYN".to_owned(), "FIN".to_owned()],
            fragment: None,
            malformed: None,
        };
        assert_eq!(packet, expected);
    }

    #[test]
    fn a_fragment_says_where_it_belongs() {
        let mut ip = etherparse::Ipv4Header::new(8, 64, IpNumber::UDP, [1; 4], [2; 4]).unwrap();
        ip.identification = 77;
        ip.fragment_offset = 185.try_into().unwrap();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = link.ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()));
        let packet = read(&frame(|bytes| builder.write(bytes, IpNumber::UDP, &[0; 8]).unwrap()));
        assert_eq!(packet.fragment, Some(Fragment { identification: 77, offset: 1480, more: false }));
        assert_eq!((packet.protocol.as_deref(), packet.source_port), (Some("udp"), None));
    }

    #[test]
    fn a_datagram_over_ipv6_is_read() {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([3; 16], [5; 16], 64).udp(53, 54);
        let packet = read(&frame(|bytes| builder.write(bytes, &[]).unwrap()));
        assert_eq!(packet.source, Some([3; 16].into()));
        assert_eq!((packet.source_port, packet.destination_port), (Some(53), Some(54)));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([1; 4], [2; 4], 64).udp(53, 54);
        let mut bytes = frame(|bytes| builder.write(bytes, &[]).unwrap());
        bytes[14] = 0x41;
        let packet = read(&bytes);
        assert_eq!(packet.source, None);
        assert!(packet.malformed.is_some_and(|words| words.contains("IPv4")));
        assert!(read(&bytes[..5]).malformed.is_some());
        assert!(read(&[]).malformed.is_some());
    }
}
