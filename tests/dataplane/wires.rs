//! The wires of the world: interfaces of the balancer, VLAN devices on them, neighbours, and what a frame looks like that goes over
//! them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use lb_common::{
    service::interface,
    vlan::{C_TAG, S_TAG},
};

use crate::packet::{Packet, Tag};

/// An interface of the balancer, or a VLAN device on one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) index: u16,
    #[cfg_attr(not(feature = "root"), expect(dead_code, reason = "of the namespace"))]
    pub(crate) name: &'static str,
    pub(crate) mac: [u8; 6],
    pub(crate) flags: u16,
    /// Largest IP packet on it.
    pub(crate) mtu: u16,
    /// Index of the interface that its frames arrive and leave on.
    pub(crate) on: u16,
    /// The tags they have there.
    pub(crate) tags: &'static [Tag],
    /// The balancer's own addresses.
    pub(crate) addresses: [&'static str; 2],
}

/// Where clients are.
pub(crate) const OUTSIDE: Wire = Wire {
    index: 10,
    name: "outside",
    mac: [2, 0, 0, 0, 1, 1],
    flags: interface::ATTACHED,
    mtu: MTU,
    on: 10,
    tags: &[],
    addresses: ["198.51.100.1/28", "2001:db8:1::1/124"],
};

/// Where real servers are, some of them on this host.
pub(crate) const INSIDE: Wire = Wire {
    index: 20,
    name: "inside",
    mac: [2, 0, 0, 0, 2, 1],
    flags: interface::ATTACHED | interface::VIRTUAL,
    mtu: MTU,
    on: 20,
    tags: &[],
    addresses: ["10.0.0.1/27", "2001:db8:2::1/124"],
};

/// Where other clients are: a VLAN on [`OUTSIDE`]. In the kernel's namespace an interface like any other stands for the VLAN
/// device; the data plane knows only what it is told of it.
pub(crate) const OFFICE: Wire = Wire {
    index: 30,
    name: "office",
    mac: [2, 0, 0, 0, 3, 1],
    flags: interface::ATTACHED,
    mtu: JUMBO,
    on: OUTSIDE.index,
    tags: &[(C_TAG, 100)],
    addresses: ["198.51.100.33/28", "2001:db8:3::1/124"],
};

/// Where other real servers are: a customer's VLAN in a provider's, on [`INSIDE`].
pub(crate) const STORE: Wire = Wire {
    index: 40,
    name: "store",
    mac: [2, 0, 0, 0, 4, 1],
    flags: interface::ATTACHED | interface::VIRTUAL,
    mtu: JUMBO,
    on: INSIDE.index,
    tags: &[(S_TAG, 200), (C_TAG, 300)],
    addresses: ["10.0.0.33/27", "2001:db8:4::1/124"],
};

/// All of them.
pub(crate) const WIRES: [Wire; 4] = [OUTSIDE, INSIDE, OFFICE, STORE];

/// Neighbours whose link addresses are known. The others of their networks are not.
pub(crate) const NEIGHBOURS: &[(&str, Wire, [u8; 6])] = &[
    (ROUTER, OUTSIDE, [2, 0, 0, 1, 0, 2]),
    ("198.51.100.7", OUTSIDE, [2, 0, 0, 1, 0, 7]),
    ("198.51.100.8", OUTSIDE, [2, 0, 0, 1, 0, 8]),
    ("198.51.100.13", OUTSIDE, [2, 0, 0, 1, 0, 13]),
    ("2001:db8:1::7", OUTSIDE, [2, 0, 0, 1, 6, 7]),
    ("10.0.0.11", INSIDE, [2, 0, 0, 2, 0, 11]),
    ("10.0.0.12", INSIDE, [2, 0, 0, 2, 0, 12]),
    ("10.0.0.13", INSIDE, [2, 0, 0, 2, 0, 13]),
    ("2001:db8:2::b", INSIDE, [2, 0, 0, 2, 6, 11]),
    ("2001:db8:2::c", INSIDE, [2, 0, 0, 2, 6, 12]),
    ("198.51.100.39", OFFICE, [2, 0, 0, 3, 0, 39]),
    ("2001:db8:3::7", OFFICE, [2, 0, 0, 3, 6, 7]),
    ("10.0.0.43", STORE, [2, 0, 0, 4, 0, 43]),
    ("2001:db8:4::b", STORE, [2, 0, 0, 4, 6, 11]),
];

/// Neighbours whose way takes packets of [`NARROW_MTU`] only.
pub(crate) const NARROW: &[&str] = &["198.51.100.8", "10.0.0.13", "2001:db8:2::c"];

/// Largest IP packet on the way to them.
pub(crate) const NARROW_MTU: u16 = 1400;

/// Clients farther away are behind it: see [`ROUTED`].
pub(crate) const ROUTER: &str = "198.51.100.2";

/// What is behind [`ROUTER`].
#[cfg(feature = "root")]
pub(crate) const ROUTED: &str = "198.18.0.0/28";

/// Largest IP packet on the interfaces.
const MTU: u16 = 1500;

/// Largest IP packet in the VLANs.
pub(crate) const JUMBO: u16 = 9000;

/// The frame of a packet that arrives: from its neighbour to the balancer, unless it says otherwise.
pub(crate) fn arriving(packet: &Packet) -> (Wire, Packet) {
    let (wire, neighbour) = way_to(packet.source.ip());
    let mut packet = packet.clone();
    if packet.link_destination == [0; 6] {
        (packet.link_source, packet.link_destination) = (neighbour, wire.mac);
    }
    if packet.vlans.is_empty() {
        packet.vlans = wire.tags.to_vec();
    }
    (wire, packet)
}

/// The frame of a packet that the balancer sends: to its neighbour, one hop on.
pub(crate) fn leaving(packet: &Packet) -> Packet {
    let (wire, neighbour) = way_to(packet.destination.ip());
    Packet {
        link_source: wire.mac,
        link_destination: neighbour,
        vlans: wire.tags.to_vec(),
        hops: packet.hops - 1,
        ..packet.clone()
    }
}

/// The wire and the link address by which an address is reached. Everything unknown is behind the router.
pub(crate) fn way_to(address: IpAddr) -> (Wire, [u8; 6]) {
    static WAYS: LazyLock<HashMap<IpAddr, (Wire, [u8; 6])>> = LazyLock::new(|| {
        NEIGHBOURS.iter().map(|(known, wire, mac)| (known.parse().unwrap(), (*wire, *mac))).collect()
    });
    let router = (NEIGHBOURS[0].1, NEIGHBOURS[0].2);
    WAYS.get(&address).copied().unwrap_or(router)
}

/// The balancer's address, with the length of its prefix, on the link that an address is on.
pub(crate) fn link_of(address: IpAddr) -> Option<IpNet> {
    static LINKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        WIRES.into_iter().flat_map(|wire| wire.addresses).map(|link| link.parse().unwrap()).collect()
    });
    LINKS.iter().copied().find(|link| link.contains(&address))
}
