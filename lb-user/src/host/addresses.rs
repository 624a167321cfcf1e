//! Addresses of this host through rtnetlink: put with a lifetime, removed, and watched.

use std::{io, net::IpAddr, time::Duration};

use futures_channel::mpsc::UnboundedReceiver;
use ipnet::IpNet;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo},
};
use nix::errno::Errno;
use rtnetlink::{Handle, MulticastGroup, packet_core::ErrorMessage, sys::SocketAddr};

use super::{
    macvlans::Macvlans,
    routes::{self, Routes},
};
use crate::config::vrrp::Scope;

/// An address was not put or not removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {address}")]
pub struct Error {
    verb: &'static str,
    address: IpNet,
    source: rtnetlink::Error,
}

/// What the kernel reports by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface came, went, or changed.
    Interface,
    /// An address is there, or its lifetime was renewed.
    Put(IpAddr),
    /// An address is gone.
    Gone(IpAddr),
    /// A route or a rule of ours is gone.
    PathGone,
}

/// What happens to addresses, interfaces, routes and rules.
#[derive(Debug)]
pub struct Changes(UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>);

/// How an address, a route or a rule came to be where it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// By us.
    Ours,
    /// It was there already, and somebody else's.
    Foreign,
}

/// How an address is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// It was put before, and gets another lifetime.
    pub renew: bool,
    /// The kernel adds no route to its network.
    pub without_route: bool,
}

/// The way to the kernel.
#[derive(Clone, Debug)]
pub struct Addresses(Handle);

impl Addresses {
    /// Opens a netlink socket in the current network namespace and drives it on the current runtime.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> io::Result<(Self, Changes)> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, _, changes) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        // A socket of its own: where a flood of changes fills the buffer, answers would be lost with them.
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok((Self(handle), Changes(changes)))
    }

    /// The way to its routes and rules.
    #[must_use]
    pub fn routes(&self) -> Routes {
        Routes(self.0.clone())
    }

    /// The way to its devices with virtual MAC addresses.
    #[must_use]
    pub fn macvlans(&self) -> Macvlans {
        Macvlans(self.0.clone())
    }

    /// Puts an address on an interface for `lifetime`, in whole seconds.
    ///
    /// # Errors
    /// What the kernel says; an address that exists without us is none.
    pub async fn put(
        &self,
        index: u32,
        address: IpNet,
        scope: Scope,
        lifetime: Duration,
        Manner { renew, without_route }: Manner,
    ) -> Result<Put, Error> {
        let mut request = self.0.address().add(index, address.addr(), address.prefix_len());
        if renew {
            request = request.replace();
        }
        let message = request.message_mut();
        message.header.scope = match scope {
            Scope::Global => AddressScope::Universe,
            Scope::Site => AddressScope::Site,
            Scope::Link => AddressScope::Link,
            Scope::Host => AddressScope::Host,
        };
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let mut cache = CacheInfo::default();
        cache.ifa_valid = seconds;
        cache.ifa_preferred = seconds;
        let mut flags = if without_route { AddressFlags::Noprefixroute } else { AddressFlags::empty() };
        if address.addr().is_ipv6() {
            // Duplicate address detection would keep it from answering for a second after a takeover.
            message.header.flags = AddressHeaderFlags::Nodad;
            flags |= AddressFlags::Nodad;
            if address.prefix_len() == 128 {
                // Never the source of this host's own traffic.
                cache.ifa_preferred = 0;
            }
        }
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        message.attributes.push(AddressAttribute::CacheInfo(cache));
        match request.execute().await {
            Ok(()) => Ok(Put::Ours),
            Err(error) if errno(&error) == Some(Errno::EEXIST) => Ok(Put::Foreign),
            Err(source) => Err(Error { verb: "put", address, source }),
        }
    }

    /// Removes an address from an interface; one that is not there is removed already.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove(&self, index: u32, address: IpNet) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpNet::V4(_) => netlink_packet_route::AddressFamily::Inet,
            IpNet::V6(_) => netlink_packet_route::AddressFamily::Inet6,
        };
        message.header.index = index;
        message.header.prefix_len = address.prefix_len();
        message.attributes.push(AddressAttribute::Local(address.addr()));
        match self.0.address().del(message).execute().await {
            Err(error) if matches!(errno(&error), Some(Errno::EADDRNOTAVAIL | Errno::ENODEV)) => Ok(()),
            other => other.map_err(|source| Error { verb: "remove", address, source }),
        }
    }
}

impl Changes {
    /// The next one; none when the socket is gone.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let (message, _) = self.0.recv().await.ok()?;
            let change = match message.payload {
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_),
                ) => Some(Change::Interface),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                    ip(&message).map(Change::Put)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                    ip(&message).map(Change::Gone)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(message)) => {
                    routes::is_ours(&message).then_some(Change::PathGone)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRule(message)) => {
                    routes::is_our_rule(&message).then_some(Change::PathGone)
                }
                // Other groups are not joined; an overrun means that something was missed.
                NetlinkPayload::Overrun(_) => Some(Change::Interface),
                _ => None,
            };
            if change.is_some() {
                return change;
            }
        }
    }
}

fn ip(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

pub(super) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(ErrorMessage { code: Some(code), .. }) => {
            Some(Errno::from_raw(-code.get()))
        }
        _ => None,
    }
}
