//! Advertisements as whole frames, for virtual routers with a MAC address of their own: it is the source of every multicast
//! advertisement (RFC 9568 section 7.2), whatever state its device is in.

use std::net::IpAddr;

use etherparse::{EtherType, Ethernet2Header, IpDscp, IpNumber, Ipv4Header, Ipv6Header};

use crate::vrrp::{
    advert::{PROTOCOL, Path},
    socket::{HOP_LIMIT, TRAFFIC_CLASS},
};

type Mac = [u8; 6];

/// The frame of a message to a multicast group; none where the families of the path differ or the message is too long.
#[must_use]
pub(super) fn advertisement(source: Mac, path: Path, message: &[u8]) -> Option<Vec<u8>> {
    let (network, destination, ether_type) = match (path.source, path.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(message.len()).ok()?;
            let mut header =
                Ipv4Header::new(length, HOP_LIMIT, IpNumber(PROTOCOL), from.octets(), to.octets()).ok()?;
            header.dscp = IpDscp::try_new(TRAFFIC_CLASS >> 2).ok()?;
            header.header_checksum = header.calc_header_checksum();
            // RFC 1112 section 6.4: the low 23 bits of the group.
            let [_, b, c, d] = to.octets();
            (header.to_bytes().to_vec(), [1, 0, 0x5e, b & 0x7f, c, d], EtherType::IPV4)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: TRAFFIC_CLASS,
                payload_length: u16::try_from(message.len()).ok()?,
                next_header: IpNumber(PROTOCOL),
                hop_limit: HOP_LIMIT,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            // RFC 2464 section 7: the low 32 bits of the group.
            let [.., a, b, c, d] = to.octets();
            (header.to_bytes().to_vec(), [0x33, 0x33, a, b, c, d], EtherType::IPV6)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let ethernet = Ethernet2Header { source, destination, ether_type };
    Some([&ethernet.to_bytes()[..], &network, message].concat())
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket};

    use super::*;
    use crate::vrrp::advert::{GROUP_V4, GROUP_V6};

    #[test]
    fn a_frame_bears_the_virtual_mac_address_and_what_the_rfc_asks_of_its_header() {
        let message = [0x31, 51, 100, 1, 0, 100, 0, 0, 10, 99, 0, 100];
        let path = Path { source: [10, 99, 0, 1].into(), destination: GROUP_V4.into() };
        let frame = advertisement([0, 0, 0x5e, 0, 1, 51], path, &message).unwrap();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        assert_eq!(frame[..12], [1, 0, 0x5e, 0, 0, 18, 0, 0, 0x5e, 0, 1, 51]);
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("{frame:02x?}") };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.time_to_live, header.protocol.0, header.dscp.value() << 2), (255, 112, 0xc0));
        assert_eq!((header.source, header.destination), ([10, 99, 0, 1], [224, 0, 0, 18]));
        assert_eq!(ip.payload().payload, message);
    }

    #[test]
    fn the_same_over_ipv6() {
        let message = [0x31; 24];
        let path = Path { source: "fe80::1".parse().unwrap(), destination: GROUP_V6.into() };
        let frame = advertisement([0, 0, 0x5e, 0, 2, 51], path, &message).unwrap();
        assert_eq!(frame[..12], [0x33, 0x33, 0, 0, 0, 0x12, 0, 0, 0x5e, 0, 2, 51]);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("{frame:02x?}") };
        let header = ip.header().to_header();
        assert_eq!((header.hop_limit, header.next_header.0, header.traffic_class), (255, 112, 0xc0));
        assert_eq!(frame[54..], message);
    }

    #[test]
    fn there_is_no_frame_between_families() {
        let path = Path { source: [10, 99, 0, 1].into(), destination: GROUP_V6.into() };
        assert_eq!(advertisement([0; 6], path, &[]), None);
    }
}
