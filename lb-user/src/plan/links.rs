//! Which real servers share a link with this machine: what is on that link too, they answer directly.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use crate::config::model::{Config, Listen};

/// This machine's addresses on its links.
pub(super) struct Links<'a> {
    all: &'a [IpNet],
    vips: HashSet<IpAddr>,
}

impl<'a> Links<'a> {
    /// `all` in the kernel's order: an interface's primary address before its others.
    pub(super) fn new(all: &'a [IpNet], config: &Config) -> Self {
        let listens = config.virtual_servers.iter().filter_map(|server| match &server.listen {
            Listen::Addresses(addresses) => Some(addresses.iter().map(SocketAddr::ip)),
            Listen::Fwmark(_) => None,
        });
        Self { all, vips: listens.flatten().collect() }
    }

    /// This machine's own address on the link that an address is on: of the narrowest prefix, and no VIP if there is
    /// another, since a VIP may be another machine's tomorrow. None for one that is not on a link, or is this machine's.
    pub(super) fn of(&self, address: IpAddr) -> Option<IpNet> {
        let on_it = self.all.iter().filter(|link| link.contains(&address));
        let first_of_narrowest =
            on_it.reduce(|best, link| if self.rank(link) > self.rank(best) { link } else { best });
        first_of_narrowest.copied().filter(|link| link.addr() != address)
    }

    fn rank(&self, link: &IpNet) -> (u8, bool) {
        (link.prefix_len(), !self.vips.contains(&link.addr()))
    }
}
