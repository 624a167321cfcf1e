//! The compiler of marks against an oracle: the rules one by one in the order of the file, as the configuration has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_common::addr::{Port, V4, V6};
use lb_common::mark::{MarkPrefix, MarkRule, MarkRules};
use lb_ebpf::mark::{Question, classify};
use lb_ebpf::memory::{Memory, OfFamily};
use lb_user::config::model::{Config, Fwmark, Listen, MarkMatch, Protocol};
use lb_user::config::{Host, parse};
use lb_user::plan::{Capacity, HostView, Marks, Pool, Registry, Wanted, plan};
use proptest::prelude::*;

/// Virtual servers of two marks and both families; mark 3 is nobody's.
const SERVED: &str = r#"
global.interfaces = ["eth0", "eth1"]
fwmark = [
  { mark = 1, match = [
    { destination = "192.0.2.0/24", protocol = "tcp" },
    { destination = "192.0.2.0/24", protocol = "udp" },
    { destination = "2001:db8::/64", protocol = "tcp" },
  ] },
  { mark = 2, match = { destination = "2001:db8::/48", protocol = "tcp" } },
  { mark = 3, match = { destination = "2001:db8::/48", protocol = "udp" } },
]
[[virtual_server]]
name = "one"
fwmark = 1
real_server = { address = "10.0.0.1:80" }
[[virtual_server]]
name = "one-udp"
fwmark = 1
protocol = "udp"
real_server = { address = "10.0.0.1:80" }
[[virtual_server]]
name = "one-v6"
fwmark = 1
real_server = { address = "[2001:db8::1]:80" }
[[virtual_server]]
name = "two"
fwmark = 2
real_server = { address = "[2001:db8::1]:80" }
"#;

#[derive(Clone, Copy, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    port: u16,
    interface: u32,
}

/// Addresses that differ in their last four bits only, so that prefixes overlap and match.
fn ip(ipv6: bool, last: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, last).into()
    }
}

fn net(ipv6: bool) -> impl Strategy<Value = IpNet> {
    (0..16u8, 0..5u8, any::<bool>()).prop_map(move |(last, open, everything)| match ip(ipv6, last) {
        IpAddr::V4(ip) => {
            Ipv4Net::new(ip, if everything && open == 4 { 0 } else { 32 - open }).unwrap().trunc().into()
        }
        IpAddr::V6(ip) => {
            Ipv6Net::new(ip, if everything && open == 4 { 0 } else { 128 - open }).unwrap().trunc().into()
        }
    })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)]
}

fn rule() -> impl Strategy<Value = MarkMatch> {
    any::<bool>().prop_flat_map(|ipv6| {
        let ports = prop::collection::vec((1..6u16, 0..3u16).prop_map(|(low, more)| (low, low + more)), 0..3);
        let interface = prop::option::of(prop::sample::select(vec!["eth0", "eth1", "gone"]));
        (net(ipv6), protocol(), ports, prop::option::of(net(ipv6)), interface).prop_map(
            |(destination, protocol, ports, source, interface)| MarkMatch {
                destination,
                protocol,
                ports,
                source,
                interface: interface.map(str::to_owned),
            },
        )
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    (any::<bool>(), 0..16u8, 0..16u8, protocol(), 0..8u16, 2..4u32).prop_map(
        |(ipv6, source, destination, protocol, port, interface)| Packet {
            source: ip(ipv6, source),
            destination: ip(ipv6, destination),
            protocol,
            port,
            interface,
        },
    )
}

/// Name of the virtual server that a packet is for.
fn oracle<'a>(config: &'a Config, packet: &Packet) -> Option<&'a str> {
    let matches = |one: &MarkMatch| {
        one.destination.contains(&packet.destination)
            && one.protocol == packet.protocol
            && (one.ports.is_empty() || one.ports.iter().any(|it| it.0 <= packet.port && packet.port <= it.1))
            && one.source.is_none_or(|source| source.contains(&packet.source))
            && one.interface.as_ref().is_none_or(|name| match name.as_str() {
                "eth0" => packet.interface == 2,
                "eth1" => packet.interface == 3,
                _ => false,
            })
    };
    let mark = config.fwmarks.iter().find(|fwmark| fwmark.matches.iter().any(matches))?.mark;
    let is_served = |server: &&lb_user::config::model::VirtualServer| {
        server.listen == Listen::Fwmark(mark)
            && server.protocol == packet.protocol
            && server.is_ipv6() == packet.destination.is_ipv6()
    };
    config.virtual_servers.iter().find(is_served).map(|server| server.name.as_str())
}

fn planned(config: &Config) -> Wanted {
    let capacity = Capacity { virtual_servers: 8, real_servers: 8 };
    let names = [("eth0".to_owned(), 2), ("eth1".to_owned(), 3)].into();
    let host = HostView { names, ..HostView::default() };
    let pool = |_: &_| Pool::default();
    plan(config, &pool, &host, &Registry::new(capacity)).unwrap().0
}

fn tables<A: OfFamily>(memory: &mut Memory, marks: &Marks<A>, none: A) {
    for (MarkPrefix { length, address }, rules) in marks {
        let prefix = MarkPrefix { length: *length, address: *address };
        A::family_mut(memory).marks.insert(prefix, MarkRules::new(rules, MarkRule::unused(none)));
    }
}

fn ask(memory: &Memory, packet: &Packet) -> u32 {
    let protocol = match packet.protocol {
        Protocol::Tcp => lb_common::addr::Protocol::Tcp,
        Protocol::Udp => lb_common::addr::Protocol::Udp,
    } as u16;
    let (port, interface) = (Port::new(packet.port), packet.interface);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination): (V4, V4) = (source.into(), destination.into());
            classify(memory, &Question { destination, source, port, protocol, interface })
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (source, destination): (V6, V6) = (source.into(), destination.into());
            classify(memory, &Question { destination, source, port, protocol, interface })
        }
        _ => unreachable!("both are of one family"),
    }
}

proptest! {
    #[test]
    fn the_compiled_classifier_is_the_first_match_in_the_file(
        rules in prop::collection::vec((1..4u32, rule()), 0..20),
        packets in prop::collection::vec(packet(), 1..100),
    ) {
        let (config, diagnostics) = parse(SERVED, &Host::this());
        let mut config = config.unwrap_or_else(|| panic!("{diagnostics:?}"));
        // Matches of one mark may stand apart here: only their order counts.
        config.fwmarks =
            rules.into_iter().map(|(mark, rule)| Fwmark { mark, matches: vec![rule] }).collect();
        let wanted = planned(&config);
        let mut memory = Memory::default();
        tables(&mut memory, &wanted.v4.marks, V4::from_wire(0));
        tables(&mut memory, &wanted.v6.marks, V6::from_wire([0; 4]));
        for packet in packets {
            let found = wanted.names.get(&ask(&memory, &packet)).map(String::as_str);
            prop_assert_eq!(found, oracle(&config, &packet), "{:?}", packet);
        }
    }
}
