//! The addresses of this host with what else is on their links.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use super::interfaces::ip;

/// Every address that neighbours can be reached from, with the length of its prefix, in the kernel's order. Not those of
/// loopback interfaces, link-local ones, and those that are alone in their prefix.
///
/// # Errors
/// When the kernel does not answer.
pub fn read() -> io::Result<Vec<IpNet>> {
    let outside = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let links = getifaddrs()?
        .filter(|entry| outside(entry.flags))
        .filter_map(|entry| IpNet::with_netmask(ip(&entry.address?)?, ip(&entry.netmask?)?).ok());
    Ok(links.filter(has_neighbours).collect())
}

fn has_neighbours(link: &IpNet) -> bool {
    let is_link_local =
        matches!(link.addr(), IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address));
    link.prefix_len() < link.max_prefix_len() && link.prefix_len() > 0 && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prefixes_with_room_for_a_neighbour_count() {
        for (link, counts) in [
            ("10.0.0.1/24", true),
            ("192.0.2.10/32", false),
            ("10.0.0.1/31", true),
            ("2001:db8::1/64", true),
            ("2001:db8::10/128", false),
            ("fe80::1/64", false),
        ] {
            assert_eq!(has_neighbours(&link.parse().unwrap()), counts, "{link}");
        }
    }

    #[test]
    fn the_loopback_interface_has_no_neighbours() {
        assert!(read().unwrap().iter().all(|link| !link.addr().is_loopback()));
    }
}
