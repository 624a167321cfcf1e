//! The network interfaces of this host as they are now.

use std::{collections::BTreeMap, io, net::IpAddr};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{LinkAddr, SockaddrStorage},
};

/// One interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// The kernel's number for it; another one when it is made anew.
    pub index: u32,
    /// Switched on and with a carrier.
    pub up: bool,
    /// Where frames are sent through it; none for those without a link layer.
    pub link: Option<LinkAddr>,
    /// Primary addresses before secondary ones.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// The address of a family that speaks for the interface: link-local for IPv6, none of `virtual_ones`.
    #[must_use]
    pub fn primary(&self, ipv6: bool, virtual_ones: &[IpAddr]) -> Option<IpAddr> {
        let speaks = |address: &&IpAddr| match address {
            IpAddr::V4(_) => !ipv6,
            IpAddr::V6(address) => ipv6 && address.is_unicast_link_local(),
        };
        self.addresses.iter().filter(speaks).find(|address| !virtual_ones.contains(address)).copied()
    }
}

/// All interfaces by name.
#[derive(Clone, Debug, Default)]
pub struct Interfaces(BTreeMap<String, Interface>);

impl Interfaces {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn read() -> io::Result<Self> {
        let mut all = BTreeMap::<String, Interface>::new();
        for entry in getifaddrs()? {
            let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            let interface = all.entry(entry.interface_name).or_default();
            interface.up = entry.flags.contains(running);
            let Some(address) = entry.address else { continue };
            if let Some(link) = address.as_link_addr() {
                interface.index = u32::try_from(link.ifindex()).unwrap_or(0);
                interface.link = Some(*link);
            }
            interface.addresses.extend(ip(&address));
        }
        Ok(Self(all))
    }

    /// The interface of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Interface> {
        self.0.get(name)
    }

    /// Every address of the host.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.values().flat_map(|interface| interface.addresses.iter().copied())
    }
}

/// The address, if it is one of IP.
pub(super) fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_address_is_of_the_family_and_not_virtual() {
        let all = ["10.0.0.100", "10.0.0.1", "10.0.0.2", "2001:db8::1", "fe80::1"];
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let interface = Interface { addresses: all.map(parse).to_vec(), ..Interface::default() };
        assert_eq!(interface.primary(false, &[parse("10.0.0.100")]), Some(parse("10.0.0.1")));
        assert_eq!(interface.primary(true, &[]), Some(parse("fe80::1")));
        assert_eq!(interface.primary(true, &[parse("fe80::1")]), None);
    }

    #[test]
    fn the_loopback_interface_is_found() {
        let interfaces = Interfaces::read().unwrap();
        assert!(interfaces.get("lo").unwrap().index > 0);
    }
}
