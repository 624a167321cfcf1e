//! Gratuitous ARP (RFC 5227 section 3) and unsolicited neighbour advertisements (RFC 9568 section 6.4.2).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, Icmpv6Type, PacketBuilder,
    icmpv6::{NeighborAdvertisementHeader, NeighborAdvertisementPayload},
};
use nix::sys::socket::{LinkAddr, MsgFlags, sendto};
use socket2::{Domain, Socket, Type};

type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// The whole frame that tells the neighbours which interface has an address.
#[must_use]
pub fn frame(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(address, mac),
        IpAddr::V6(address) => neighbour_advertisement(address, mac),
    }
}

fn gratuitous_arp(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let ethernet = Ethernet2Header { source: mac, destination: BROADCAST, ether_type: EtherType::ARP };
    let arp = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: mac,
        sender_ipv4: address.octets(),
        target_mac: [0; 6],
        target_ipv4: address.octets(),
    };
    [&ethernet.to_bytes()[..], &arp.to_bytes()].concat()
}

fn neighbour_advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let header = NeighborAdvertisementHeader { router: true, solicited: false, r#override: true };
    let builder = PacketBuilder::ethernet2(mac, ALL_NODES_MAC)
        .ipv6(address.octets(), ALL_NODES.octets(), 255)
        .icmpv6(Icmpv6Type::NeighborAdvertisement(header));
    let target = NeighborAdvertisementPayload { target_address: address }.to_bytes();
    // Option 2, one unit of 8 bytes: target link-layer address.
    let payload = [&target[..], &[2, 1], &mac].concat();
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    // Writing to a vector fails only for payloads that no length field holds.
    let _ = builder.write(&mut frame, &payload);
    frame
}

/// Sends frames as they are.
#[derive(Debug)]
pub struct Announcer(Socket);

impl Announcer {
    /// A packet socket that receives nothing.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?))
    }

    /// Announces an address on an interface, which is named by its link address.
    ///
    /// # Errors
    /// What the kernel says: the interface is down, or its queue is full.
    pub fn announce(&self, address: IpAddr, on: &LinkAddr) -> io::Result<()> {
        let Some(mac) = on.addr() else { return Ok(()) };
        self.send(&frame(address, mac), on)
    }

    /// Sends a frame through an interface, which is named by its link address.
    ///
    /// # Errors
    /// What the kernel says: the interface is down, or its queue is full.
    pub fn send(&self, frame: &[u8], on: &LinkAddr) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), frame, on, MsgFlags::empty())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_ipv4_address_is_announced_by_an_arp_that_asks_for_itself() {
        let frame = frame([10, 99, 0, 100].into(), MAC);
        let Some(NetSlice::Arp(arp)) = SlicedPacket::from_ethernet(&frame).unwrap().net else {
            panic!("not ARP: {frame:02x?}");
        };
        assert_eq!(arp.sender_hw_addr(), MAC);
        assert_eq!(arp.sender_protocol_addr(), [10, 99, 0, 100]);
        assert_eq!(arp.target_protocol_addr(), [10, 99, 0, 100]);
        assert_eq!(frame[..6], BROADCAST);
    }

    #[test]
    fn an_ipv6_address_is_announced_to_all_nodes_with_override() {
        let vip: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let frame = frame(vip.into(), MAC);
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) = (packet.net, packet.transport)
        else {
            panic!("not ICMPv6: {frame:02x?}");
        };
        assert_eq!(ip.header().hop_limit(), 255);
        let Icmpv6Type::NeighborAdvertisement(header) = icmp.icmp_type() else { panic!("{icmp:?}") };
        assert!(header.r#override && header.router && !header.solicited);
        assert_eq!(icmp.payload()[..16], vip.octets());
        assert_eq!(icmp.payload()[18..], MAC);
        assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
    }
}
