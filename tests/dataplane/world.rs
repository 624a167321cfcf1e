//! The small world of the cases as tables: two interfaces with a VLAN device on each, neighbours, virtual servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::Ipv4Net;
use lb_common::{
    addr::{Mac, Port, Protocol, V4, V6},
    connection::{NextHop, TAGGED},
    layout::VERSION,
    mark::{MarkPrefix, MarkRule, MarkRules, NOBODY},
    service::{Interface, Load, RealServer, ServiceKey, Settings, VirtualServer, real_server, settings},
    vlan::{self, VlanKey},
};
use lb_ebpf::memory::{Family, Memory, OfFamily};

pub(crate) use crate::services::*;
pub(crate) use crate::wires::*;

/// Virtual servers there are.
#[cfg(feature = "root")]
pub(crate) const VIRTUAL_SERVERS: u32 = SERVICES.len() as u32;

/// An address and port from text.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
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
    // The first address of an IPv4 network is a host's like any other; that of an IPv6 network is every router's.
    let hosts = |count: u8| (0..count - 1).filter(|host| *host != 1).flat_map(|host| [host, 32 + host]);
    memory.v4.unresolved.extend(hosts(16).map(|host| V4::from(Ipv4Addr::new(198, 51, 100, host))));
    memory.v4.unresolved.extend(hosts(32).map(|host| V4::from(Ipv4Addr::new(10, 0, 0, host))));
    memory.v6.unresolved.extend((1..5).flat_map(|network| (2..16).map(move |host| v6(network, host))));
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
