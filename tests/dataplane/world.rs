//! The small world of the cases: two interfaces with a VLAN device on each, neighbours, virtual servers; as tables, and as a network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use lb_common::{
    addr::{Mac, Port, Protocol, V4, V6},
    connection::{NextHop, TAGGED},
    layout::VERSION,
    mark::{MarkPrefix, MarkRule, MarkRules, NOBODY},
    service::{
        Interface, Load, RealServer, Scheduling, ServiceKey, Settings, VirtualServer, interface, real_server,
        settings, virtual_server,
    },
    vlan::{self, C_TAG, S_TAG, VlanKey},
};
use lb_ebpf::memory::{Family, Memory, OfFamily};

use crate::packet::{Packet, Tag};

/// An interface of the balancer, or a VLAN device on one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) index: u16,
    #[cfg_attr(not(feature = "root"), expect(dead_code, reason = "of the namespace"))]
    pub(crate) name: &'static str,
    pub(crate) mac: [u8; 6],
    flags: u16,
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

/// What clients of IPv4 ask for.
pub(crate) const VIPS: &[&str] = &[
    WEB,
    WEB,
    DNS,
    SAME_PORT,
    ANY_PORT,
    WEB_AGAIN,
    ALONE,
    DNS_AGAIN,
    UNRESOLVED,
    EMPTY,
    UNROUTED,
    ONE_ARM,
    WEIGHTED,
    HASHED,
    LEAST,
    LIMITED,
    MARKED,
    MARKED_TLS,
    MARKED_WIDE,
    PERSISTENT,
    PERSISTENT,
    PERSISTENT_ANY,
    STORAGE,
];

/// A virtual server as described.
struct Service {
    listens: &'static str,
    protocol: Protocol,
    scheduling: Scheduling,
    flags: u32,
    /// Address and port of each real server, and its weight.
    pool: &'static [(&'static str, u32)],
    /// Connection limit of each real server.
    limit: u32,
    /// Bits of a client's address that persistence looks at; 0 is none.
    client_prefix: u32,
}

const DEFAULT: Service = Service {
    listens: "",
    protocol: Protocol::Tcp,
    scheduling: Scheduling::Sequence,
    flags: virtual_server::ADOPT,
    pool: &[],
    limit: 0,
    client_prefix: 0,
};

pub(crate) const WEB: &str = "192.0.2.10:80";
pub(crate) const DNS: &str = "192.0.2.10:53";
pub(crate) const SAME_PORT: &str = "192.0.2.10:8080";
/// On every port of the VIP that has no service of its own.
pub(crate) const ANY_PORT: &str = "192.0.2.10:0";
/// Another VIP in front of the real servers of [`WEB`]; does not adopt.
pub(crate) const WEB_AGAIN: &str = "192.0.2.20:80";
/// In front of one of them only.
pub(crate) const ALONE: &str = "192.0.2.20:81";
/// Another VIP in front of one of the real servers of [`DNS`].
pub(crate) const DNS_AGAIN: &str = "192.0.2.20:53";
/// Its real server's neighbour is not known.
pub(crate) const UNRESOLVED: &str = "192.0.2.30:80";
/// Has no real server.
pub(crate) const EMPTY: &str = "192.0.2.30:81";
/// There is no route to its real server.
pub(crate) const UNROUTED: &str = "192.0.2.30:82";
/// Its real server is where clients are.
pub(crate) const ONE_ARM: &str = "192.0.2.40:80";
/// Weights 3 and 1, in turn.
pub(crate) const WEIGHTED: &str = "192.0.2.50:80";
/// Weights 3 and 1, by the client's address and port.
pub(crate) const HASHED: &str = "192.0.2.50:81";
/// Weights 3 and 1, by load.
pub(crate) const LEAST: &str = "192.0.2.50:82";
/// Each real server takes two connections.
pub(crate) const LIMITED: &str = "192.0.2.50:83";
/// Persistent by a client's /24.
pub(crate) const PERSISTENT: &str = "192.0.2.70:80";
/// Persistent on every other port.
pub(crate) const PERSISTENT_ANY: &str = "192.0.2.70:0";
/// Persistent by a client's /64.
pub(crate) const PERSISTENT_V6: &str = "[2001:db8::70]:80";
/// Ports of one mark.
pub(crate) const MARKED: &str = "192.0.2.60:80";
pub(crate) const MARKED_TLS: &str = "192.0.2.60:443";
/// In a network that is marked.
pub(crate) const MARKED_WIDE: &str = "192.0.2.130:8005";
/// Its real server is in a VLAN.
pub(crate) const STORAGE: &str = "192.0.2.80:80";
/// Its real server is in a VLAN.
pub(crate) const STORAGE_V6: &str = "[2001:db8::80]:80";
/// The virtual servers of marks: on no address.
const SHOP: &str = "shop";
const UPLOAD: &str = "upload";

/// A rule of the classifier.
struct Mark {
    destination: &'static str,
    source: &'static str,
    /// Index of an interface, or 0.
    interface: u16,
    ports: (u16, u16),
    /// Whose mark it is; nobody's when empty.
    serves: &'static str,
}

/// Rules in their order; all are about TCP.
const MARKS: &[Mark] = &[
    Mark {
        destination: "192.0.2.60/32",
        source: "198.18.0.9/32",
        interface: 0,
        ports: (443, 443),
        serves: "",
    },
    Mark { destination: "192.0.2.60/32", source: "0.0.0.0/0", interface: 0, ports: (80, 80), serves: SHOP },
    Mark { destination: "192.0.2.60/32", source: "0.0.0.0/0", interface: 0, ports: (443, 443), serves: SHOP },
    Mark {
        destination: "192.0.2.128/28",
        source: "0.0.0.0/0",
        interface: 0,
        ports: (8010, 8010),
        serves: "",
    },
    Mark {
        destination: "192.0.2.128/25",
        source: "198.0.0.0/8",
        interface: OUTSIDE.index,
        ports: (8000, 8099),
        serves: UPLOAD,
    },
    Mark {
        destination: "192.0.2.128/28",
        source: "0.0.0.0/0",
        interface: 0,
        ports: (8020, 8200),
        serves: SHOP,
    },
];

pub(crate) const WEB_V6: &str = "[2001:db8::10]:80";
pub(crate) const DNS_V6: &str = "[2001:db8::10]:53";

/// Virtual servers by index. Each has real servers of its own even where they are the same machine.
const SERVICES: &[Service] = &[
    Service { listens: WEB, pool: &[("10.0.0.11:8080", 1), ("10.0.0.12:8080", 1)], ..DEFAULT },
    Service {
        listens: DNS,
        protocol: Protocol::Udp,
        pool: &[("10.0.0.11:53", 1), ("10.0.0.12:5353", 1)],
        ..DEFAULT
    },
    Service { listens: SAME_PORT, pool: &[("10.0.0.13:8080", 1)], ..DEFAULT },
    Service { listens: ANY_PORT, pool: &[("10.0.0.13:0", 1)], ..DEFAULT },
    Service {
        listens: WEB_AGAIN,
        flags: 0,
        pool: &[("10.0.0.11:8080", 1), ("10.0.0.12:8080", 1)],
        ..DEFAULT
    },
    Service { listens: ALONE, pool: &[("10.0.0.11:8080", 1)], ..DEFAULT },
    Service { listens: DNS_AGAIN, protocol: Protocol::Udp, pool: &[("10.0.0.11:53", 1)], ..DEFAULT },
    Service { listens: UNRESOLVED, pool: &[("10.0.0.14:8080", 1)], ..DEFAULT },
    Service { listens: EMPTY, ..DEFAULT },
    Service { listens: UNROUTED, pool: &[("172.16.0.9:8080", 1)], ..DEFAULT },
    Service { listens: ONE_ARM, pool: &[("198.51.100.13:8080", 1)], ..DEFAULT },
    Service { listens: WEIGHTED, pool: &[("10.0.0.11:81", 3), ("10.0.0.12:81", 1)], ..DEFAULT },
    Service {
        listens: HASHED,
        scheduling: Scheduling::Hash,
        flags: virtual_server::ADOPT | virtual_server::HASH_PORT,
        pool: &[("10.0.0.11:82", 3), ("10.0.0.12:82", 1)],
        ..DEFAULT
    },
    Service {
        listens: LEAST,
        scheduling: Scheduling::LeastConnection,
        pool: &[("10.0.0.11:83", 3), ("10.0.0.12:83", 1)],
        ..DEFAULT
    },
    Service {
        listens: LIMITED,
        scheduling: Scheduling::LeastConnection,
        pool: &[("10.0.0.11:84", 1), ("10.0.0.12:84", 1)],
        limit: 2,
        ..DEFAULT
    },
    Service {
        listens: WEB_V6,
        scheduling: Scheduling::LeastConnection,
        pool: &[("[2001:db8:2::b]:8080", 1), ("[2001:db8:2::c]:8080", 1)],
        ..DEFAULT
    },
    Service { listens: DNS_V6, protocol: Protocol::Udp, pool: &[("[2001:db8:2::b]:5353", 1)], ..DEFAULT },
    Service {
        listens: PERSISTENT,
        pool: &[("10.0.0.11:85", 1), ("10.0.0.12:85", 1)],
        limit: 50,
        client_prefix: 24,
        ..DEFAULT
    },
    Service {
        listens: PERSISTENT_ANY,
        pool: &[("10.0.0.11:0", 1), ("10.0.0.12:0", 1)],
        client_prefix: 32,
        ..DEFAULT
    },
    Service {
        listens: PERSISTENT_V6,
        pool: &[("[2001:db8:2::b]:85", 1), ("[2001:db8:2::c]:85", 1)],
        client_prefix: 64,
        ..DEFAULT
    },
    Service { listens: SHOP, pool: &[("10.0.0.11:0", 1), ("10.0.0.12:0", 1)], client_prefix: 32, ..DEFAULT },
    Service { listens: UPLOAD, pool: &[("10.0.0.13:86", 1)], ..DEFAULT },
    Service { listens: STORAGE, pool: &[("10.0.0.43:8080", 1)], ..DEFAULT },
    Service { listens: STORAGE_V6, pool: &[("[2001:db8:4::b]:8080", 1)], ..DEFAULT },
];

/// Virtual servers there are.
#[cfg(feature = "root")]
pub(crate) const VIRTUAL_SERVERS: u32 = SERVICES.len() as u32;

/// Real servers of each virtual server begin at its index times this.
pub(crate) const STRIDE: u32 = 2;

/// An address and port from text.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

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
fn way_to(address: IpAddr) -> (Wire, [u8; 6]) {
    let known = NEIGHBOURS.iter().find(|(known, ..)| known.parse() == Ok(address));
    let router = (NEIGHBOURS[0].1, NEIGHBOURS[0].2);
    known.map_or(router, |(_, wire, mac)| (*wire, *mac))
}

/// The tables of this world with room for so many established connections of each family.
pub(crate) fn memory(connections: usize) -> Memory {
    let mut memory = Memory {
        settings: Some(Settings {
            hash_key: [7, 11],
            generation: 1,
            ticks_per_second: 250,
            version: VERSION,
            flags: settings::WIDE_MARKS,
            lease: 0,
            reserved: 0,
        }),
        capacity: Some(2 * connections),
        ..Memory::default()
    };
    for (slot, wire) in (1..).zip([OUTSIDE, INSIDE]) {
        memory.interfaces.insert(wire.index.into(), described(wire, slot));
    }
    for wire in [OFFICE, STORE] {
        let device = Interface { parent: wire.on, ..described(wire, 0) };
        let key = VlanKey { parent: wire.on.into(), outer: device.outer, inner: device.inner };
        memory.interfaces.insert(wire.index.into(), device);
        memory.vlans.insert(key, wire.index.into());
    }
    for (index, service) in (0..).zip(SERVICES) {
        add_service(&mut memory, index, service);
    }
    add_marks(&mut memory);
    add_routes(&mut memory);
    memory
}

fn described(wire: Wire, slot: u16) -> Interface {
    let mut tags = wire.tags.iter().map(|&(protocol, id)| vlan::Tag { protocol, id });
    Interface {
        mac: wire.mac.into(),
        flags: wire.flags,
        mtu: wire.mtu,
        slot,
        parent: 0,
        outer: tags.next().unwrap_or_default(),
        inner: tags.next().unwrap_or_default(),
    }
}

/// Every destination has the rules of all destinations around it.
fn add_marks(memory: &mut Memory) {
    let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
    for one in MARKS {
        let destination = net(one.destination);
        let around = MARKS.iter().filter(|other| net(other.destination).contains(&destination));
        let rules: Vec<MarkRule<V4>> = around
            .map(|rule| MarkRule {
                source: net(rule.source).addr().into(),
                source_mask: net(rule.source).netmask().into(),
                interface: rule.interface.into(),
                virtual_server: virtual_server_of(rule.serves),
                first_port: rule.ports.0,
                last_port: rule.ports.1,
                protocol: Protocol::Tcp as u16,
                reserved: 0,
            })
            .collect();
        let prefix =
            MarkPrefix { length: destination.prefix_len().into(), address: destination.addr().into() };
        memory.v4.marks.insert(prefix, MarkRules::new(&rules, rules[0]));
        if prefix.length == 32 && !memory.v4.vips.contains(&prefix.address) {
            memory.v4.vips.push(prefix.address);
        }
    }
}

/// Index of the virtual server that listens on this.
pub(crate) fn virtual_server_of(listens: &str) -> u32 {
    let position = SERVICES.iter().position(|service| service.listens == listens);
    position.map_or(NOBODY, |position| position as u32)
}

fn add_service(memory: &mut Memory, index: u32, service: &Service) {
    let scheduling = service.scheduling as u32;
    memory.virtual_servers.insert(
        index,
        VirtualServer { scheduling, flags: service.flags, client_prefix: service.client_prefix },
    );
    let pool: Vec<(u32, u32)> =
        (index * STRIDE..).zip(service.pool.iter().map(|(_, weight)| *weight)).collect();
    memory.scheduling.insert(index, scheduling_table(&pool));
    // That of a mark is on no address.
    if let Ok(listens) = service.listens.parse::<SocketAddr>() {
        match listens.ip() {
            IpAddr::V4(vip) => listen(&mut memory.v4, vip.into(), listens.port(), service.protocol, index),
            IpAddr::V6(vip) => listen(&mut memory.v6, vip.into(), listens.port(), service.protocol, index),
        }
    }
    for ((real, _), (address, weight)) in pool.iter().zip(service.pool) {
        let address = at(address);
        let link = link_of(address.ip());
        let server = RealServer {
            address: words(address.ip()),
            own: link.map(|link| words(link.addr())).unwrap_or_default(),
            link: link.map(|link| words(link.netmask())).unwrap_or_default(),
            port: Port::new(address.port()),
            flags: real_server::PRESENT,
            weight: *weight,
            virtual_server: index,
            max_connections: service.limit,
        };
        memory.real_servers.insert(*real, server);
        memory.loads.insert(*real, Load::default());
    }
}

/// The balancer's address, with the length of its prefix, on the link that an address is on.
pub(crate) fn link_of(address: IpAddr) -> Option<IpNet> {
    let mut links = WIRES.into_iter().flat_map(|wire| wire.addresses).map(|link| link.parse().unwrap());
    links.find(|link: &IpNet| link.contains(&address))
}

fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(ip) => [V4::from(ip).to_wire(), 0, 0, 0],
        IpAddr::V6(ip) => V6::from(ip).to_wire(),
    }
}

fn listen<A: OfFamily>(family: &mut Family<A>, vip: A, port: u16, protocol: Protocol, index: u32) {
    if !family.vips.contains(&vip) {
        family.vips.push(vip);
    }
    family.services.insert(service_key(vip, port, protocol), index);
}

/// What this real server's packets come from, since it has no other virtual server.
pub(crate) fn add_reverse(memory: &mut Memory, protocol: Protocol, server: SocketAddr, vip: SocketAddr) {
    match (server.ip(), vip.ip()) {
        (IpAddr::V4(real), IpAddr::V4(ip)) => {
            let key = |address, port| service_key(V4::from(address), port, protocol);
            memory.v4.reverse.insert(key(real, server.port()), key(ip, vip.port()));
        }
        (IpAddr::V6(real), IpAddr::V6(ip)) => {
            let key = |address, port| service_key(V6::from(address), port, protocol);
            memory.v6.reverse.insert(key(real, server.port()), key(ip, vip.port()));
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("{server} and {vip}"),
    }
}

/// The reverse index, of some real servers that only one virtual server has.
#[cfg(feature = "root")]
pub(crate) fn add_reverse_index(memory: &mut Memory) {
    for (protocol, server, vip) in [
        (Protocol::Tcp, "[2001:db8:2::b]:8080", WEB_V6),
        (Protocol::Tcp, "[2001:db8:2::c]:8080", WEB_V6),
        (Protocol::Udp, "[2001:db8:2::b]:5353", DNS_V6),
        (Protocol::Tcp, "10.0.0.43:8080", STORAGE),
        (Protocol::Udp, "10.0.0.12:5353", DNS),
    ] {
        add_reverse(memory, protocol, at(server), at(vip));
    }
}

const fn service_key<A>(address: A, port: u16, protocol: Protocol) -> ServiceKey<A> {
    ServiceKey { address, port: Port::new(port), protocol: protocol as u16 }
}

/// A table in which every real server has slots in proportion to its weight.
pub(crate) fn scheduling_table(pool: &[(u32, u32)]) -> Vec<u32> {
    let by_weight: Vec<u32> =
        pool.iter().flat_map(|(real, weight)| std::iter::repeat_n(*real, *weight as usize)).collect();
    let maglev: Vec<u32> = by_weight.iter().copied().cycle().take(by_weight.len() * 61).collect();
    let head = [maglev.len() as u32, by_weight.len() as u32, pool.len() as u32, 0];
    let mut table = head.to_vec();
    table.extend(maglev);
    table.extend(by_weight);
    table.extend(pool.iter().map(|(real, _)| real));
    table
}

fn add_routes(memory: &mut Memory) {
    for host in 2..15 {
        memory.v4.unresolved.push(Ipv4Addr::new(198, 51, 100, host).into());
        memory.v4.unresolved.push(Ipv4Addr::new(198, 51, 100, 32 + host).into());
        memory.v6.unresolved.extend((1..5).map(|network| v6(network, host)));
    }
    memory.v6.unresolved.extend((1..5).map(|network| v6(network, 15)));
    memory.v4.unresolved.extend((2..31).chain(34..63).map(|host| V4::from(Ipv4Addr::new(10, 0, 0, host))));
    for (address, wire, mac) in NEIGHBOURS {
        let mtu = if NARROW.contains(address) { NARROW_MTU } else { wire.mtu };
        let next_hop = NextHop { mtu, ..next_hop(*wire, *mac) };
        match address.parse().unwrap() {
            IpAddr::V4(ip) => drop(memory.v4.routes.insert(ip.into(), next_hop)),
            IpAddr::V6(ip) => drop(memory.v6.routes.insert(ip.into(), next_hop)),
        }
    }
    let (wire, router) = way_to(ROUTER.parse().unwrap());
    for host in 0..16 {
        memory.v4.routes.insert(Ipv4Addr::new(198, 18, 0, host).into(), next_hop(wire, router));
    }
}

fn v6(network: u16, host: u8) -> V6 {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host.into()).into()
}

fn next_hop(wire: Wire, neighbour: [u8; 6]) -> NextHop {
    NextHop {
        destination: Mac::from(neighbour),
        source: wire.mac.into(),
        interface: if wire.tags.is_empty() { wire.index } else { wire.index | TAGGED },
        reserved: 0,
        mtu: wire.mtu,
    }
}
