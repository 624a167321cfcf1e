//! The filter before all tables, from what the tables hold.

use std::collections::BTreeMap;

use lb_common::{
    addr::{Address, V4, V6},
    concern::{WORDS, destination, source},
    mark::MarkPrefix,
};

use super::wanted::Wanted;

/// Words of the filter that are not 0.
pub type Concerns = BTreeMap<u32, u64>;

/// Addresses of a firewall mark's network are marked one by one up to this many; a larger one takes all of the filter.
const NETWORK: u32 = 1024;

/// The bits that the data plane has to find set for everything in `wanted`: without one, packets pass by a virtual server.
#[must_use]
pub fn concerns(wanted: &Wanted) -> Concerns {
    let mut filter = Filter::default();
    wanted.v4.vips.keys().for_each(|vip| filter.mark(destination(vip.0)));
    wanted.v6.vips.keys().for_each(|vip| filter.mark(destination(vip.0)));
    for MarkPrefix { length, address } in wanted.v4.marks.keys() {
        filter.mark_network(32 - length, |host| V4::from_wire(address.to_wire() | host));
    }
    for MarkPrefix { length, address } in wanted.v6.marks.keys() {
        let [a, b, c, d] = address.to_wire();
        filter.mark_network(128 - length, |host| V6::from_wire([a, b, c, d | host]));
    }
    for real in wanted.real_servers.values() {
        filter.mark(match real.address {
            // No IPv6 address of a real server looks like this.
            [word, 0, 0, 0] => source(V4::from_wire(word)),
            words => source(V6::from_wire(words)),
        });
    }
    filter.0
}

#[derive(Default)]
struct Filter(Concerns);

impl Filter {
    fn mark(&mut self, (word, bit): (u32, u64)) {
        *self.0.entry(word).or_default() |= bit;
    }

    /// A network whose addresses differ in their last `bits`; `host` makes one of them, from these bits as on the wire.
    fn mark_network<A: Address>(&mut self, bits: u32, host: impl Fn(u32) -> A) {
        match 1u32.checked_shl(bits) {
            Some(size) if size <= NETWORK => {
                (0..size).for_each(|number| self.mark(destination(host(number.to_be()))));
            }
            _ => self.0 = (0..WORDS).map(|word| (word, u64::MAX)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnet::IpNet;
    use lb_common::service::{RealServer, VipKey};
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn lets_through(concerns: &Concerns, (word, bit): (u32, u64)) -> bool {
        concerns.get(&word).is_some_and(|bits| bits & bit != 0)
    }

    fn lets_to(concerns: &Concerns, ip: IpAddr) -> bool {
        lets_through(
            concerns,
            match ip {
                IpAddr::V4(ip) => destination(V4::from(ip)),
                IpAddr::V6(ip) => destination(V6::from(ip)),
            },
        )
    }

    fn lets_from(concerns: &Concerns, ip: IpAddr) -> bool {
        lets_through(
            concerns,
            match ip {
                IpAddr::V4(ip) => source(V4::from(ip)),
                IpAddr::V6(ip) => source(V6::from(ip)),
            },
        )
    }

    fn listen(wanted: &mut Wanted, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => wanted.v4.vips.insert(VipKey(ip.into()), 0),
            IpAddr::V6(ip) => wanted.v6.vips.insert(VipKey(ip.into()), 0),
        };
    }

    fn classify(wanted: &mut Wanted, network: IpNet) {
        let length = network.prefix_len().into();
        match network.network() {
            IpAddr::V4(ip) => {
                wanted.v4.marks.insert(MarkPrefix { length, address: ip.into() }, Vec::new());
            }
            IpAddr::V6(ip) => {
                wanted.v6.marks.insert(MarkPrefix { length, address: ip.into() }, Vec::new());
            }
        }
    }

    fn real_server(ip: IpAddr) -> RealServer {
        let address = match ip {
            IpAddr::V4(ip) => [V4::from(ip).to_wire(), 0, 0, 0],
            IpAddr::V6(ip) => V6::from(ip).to_wire(),
        };
        RealServer { address, ..RealServer::default() }
    }

    /// A network, and an address in it.
    fn within() -> impl Strategy<Value = (IpNet, IpAddr)> {
        let v4 = (any::<Ipv4Addr>(), 16..=32u8).prop_map(|(ip, length)| (IpAddr::V4(ip), length));
        let v6 = (any::<Ipv6Addr>(), 112..=128u8).prop_map(|(ip, length)| (IpAddr::V6(ip), length));
        prop_oneof![v4, v6].prop_map(|(ip, length)| (IpNet::new(ip, length).unwrap().trunc(), ip))
    }

    proptest! {
        #[test]
        fn whatever_a_packet_can_be_found_by_passes(
            vips in btree_set(any::<IpAddr>(), 0..50),
            marked in prop::collection::vec(within(), 0..3),
            real_servers in btree_set(any::<IpAddr>(), 0..100),
        ) {
            let mut wanted = Wanted::default();
            vips.iter().for_each(|&vip| listen(&mut wanted, vip));
            marked.iter().for_each(|(network, _)| classify(&mut wanted, *network));
            wanted.real_servers = (0..).zip(real_servers.iter().map(|&ip| real_server(ip))).collect();

            let concerns = concerns(&wanted);

            for ip in vips.into_iter().chain(marked.into_iter().map(|(_, ip)| ip)) {
                prop_assert!(lets_to(&concerns, ip), "to {}", ip);
            }
            for ip in real_servers {
                prop_assert!(lets_from(&concerns, ip), "from {}", ip);
            }
        }
    }

    #[test]
    fn few_of_all_other_packets_pass() {
        let mut wanted = Wanted::default();
        for host in 0..200u8 {
            listen(&mut wanted, [192, 0, 2, host].into());
        }
        let inside = (0..2_000u32).map(|host| real_server(Ipv4Addr::from_bits(0x0a00_0000 + host).into()));
        wanted.real_servers = (0..).zip(inside).collect();
        let concerns = concerns(&wanted);

        let others = (0..100_000u32).map(|host| IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + host)));
        let passing = others.filter(|&ip| lets_to(&concerns, ip) || lets_from(&concerns, ip)).count();
        assert!(passing < 10_000, "{passing} of 100000");
    }
}
