//! The compiler of firewall marks: from rules in the order of the file to the rules of every destination.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use lb_common::{
    addr::{self, Address, V4, V6},
    mark::{MarkPrefix, MarkRule, NOBODY},
};

use crate::config::model::{Fwmark, MarkMatch, Protocol};

/// The classifier of one address family: for every destination that some rule names, all rules whose destinations include
/// it, in the order of the file.
pub type Marks<A> = BTreeMap<MarkPrefix<A>, Vec<MarkRule<A>>>;

/// Both classifiers. `interface` knows the index of an interface, `serving` that of the virtual server of a mark.
pub(super) fn compile(
    fwmarks: &[Fwmark],
    interface: &dyn Fn(&str) -> Option<u32>,
    serving: &dyn Fn(u32, &MarkMatch) -> Option<u32>,
) -> (Marks<V4>, Marks<V6>) {
    let mut rules = Vec::new();
    for fwmark in fwmarks {
        for one in &fwmark.matches {
            // No packet comes through an interface that is not there.
            let Some(interface) = one.interface.as_deref().map_or(Some(0), interface) else { continue };
            rules.push(Rule { one, interface, virtual_server: serving(fwmark.mark, one).unwrap_or(NOBODY) });
        }
    }
    let mut by_destination: BTreeMap<IpNet, Vec<usize>> = BTreeMap::new();
    for (position, rule) in rules.iter().enumerate() {
        by_destination.entry(rule.one.destination.trunc()).or_default().push(position);
    }
    let (mut v4, mut v6) = (Marks::new(), Marks::new());
    for destination in by_destination.keys() {
        let around = (0..=destination.prefix_len())
            .filter_map(|length| by_destination.get(&IpNet::new(destination.addr(), length).ok()?.trunc()));
        // A set brings them back into the order of the file.
        let positions: BTreeSet<usize> = around.flatten().copied().collect();
        let found = positions.into_iter().filter_map(|position| rules.get(position));
        let length = u32::from(destination.prefix_len());
        match destination.addr() {
            IpAddr::V4(ip) => {
                let all = V4::from_wire(u32::MAX);
                v4.insert(
                    MarkPrefix { length, address: ip.into() },
                    found.flat_map(|rule| rule.of(all)).collect(),
                );
            }
            IpAddr::V6(ip) => {
                let all = V6::from_wire([u32::MAX; 4]);
                v6.insert(
                    MarkPrefix { length, address: ip.into() },
                    found.flat_map(|rule| rule.of(all)).collect(),
                );
            }
        }
    }
    (v4, v6)
}

struct Rule<'a> {
    one: &'a MarkMatch,
    interface: u32,
    virtual_server: u32,
}

impl Rule<'_> {
    /// A rule for each range of ports. `ones` is the address with every bit set.
    fn of<A: Address + FromIp>(&self, ones: A) -> Vec<MarkRule<A>> {
        let (source, length) = match self.one.source {
            Some(source) => (A::from_ip(source.network()), u32::from(source.prefix_len())),
            None => (None, 0),
        };
        let source_mask = ones.masked(length);
        let protocol = match self.one.protocol {
            Protocol::Tcp => addr::Protocol::Tcp,
            Protocol::Udp => addr::Protocol::Udp,
        };
        let rule = |&(first_port, last_port): &(u16, u16)| MarkRule {
            source: source.unwrap_or_else(|| ones.masked(0)),
            source_mask,
            interface: self.interface,
            virtual_server: self.virtual_server,
            first_port,
            last_port,
            protocol: protocol as u16,
            reserved: 0,
        };
        let every_port = [(0, u16::MAX)];
        let ports = if self.one.ports.is_empty() { &every_port[..] } else { &self.one.ports };
        ports.iter().map(rule).collect()
    }
}

/// An address of one family from one of either.
trait FromIp: Sized {
    fn from_ip(ip: IpAddr) -> Option<Self>;
}

impl FromIp for V4 {
    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(_) => None,
        }
    }
}

impl FromIp for V6 {
    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip.into()),
        }
    }
}
