//! What the maps should hold: the configuration and the state of every pool, as the data plane sees them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{
    addr::{self, Address, Port, V4, V6},
    hash::HashKey,
    mark::NOBODY,
    service::{Interface, RealServer, ServiceKey, VipKey, VirtualServer, lease},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

use super::{concern::Concerns, marks::Marks, table::TableInput};
use crate::config::model::Protocol;

/// The real servers of a virtual server as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Configured and added at run time, no two with one address. One that is not here any more is removed: its
    /// connections end as the virtual server's `on_down` says.
    pub members: Vec<PoolMember>,
    /// The sorry server takes the new connections, if there is one.
    pub sorry: bool,
}

/// A real server and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMember {
    /// Address and port; port 0 keeps the client's destination port.
    pub address: SocketAddr,
    /// Effective, overrides and slow start included; 0 takes no new connections.
    pub weight: u32,
    /// Not so when it is down or a drain has run out of time: it takes no new connections, whatever its weight, and
    /// those it has end as `on_down` says.
    pub alive: bool,
    /// No new connections at this many.
    pub max_connections: Option<u32>,
}

/// What is known of this machine and the cluster.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// Key of all hashing.
    pub hash_key: HashKey,
    /// The kernel's HZ.
    pub ticks_per_second: u32,
    /// By interface index; only those the program is attached to are wanted.
    pub interfaces: BTreeMap<u32, Interface>,
    /// This machine's addresses with the lengths of their links' prefixes, in the kernel's order.
    pub links: Vec<IpNet>,
    /// Interface indices by name.
    pub names: BTreeMap<String, u32>,
    /// Slots of the leases of virtual addresses that nodes elect an owner of.
    pub leases: BTreeMap<IpAddr, u32>,
    /// Slots of the leases of virtual routers with a MAC address of their own.
    pub virtual_macs: BTreeMap<VirtualMacKey, u32>,
}

/// The whole content of the maps that the controller writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Key of all hashing.
    pub hash_key: HashKey,
    /// The kernel's HZ.
    pub ticks_per_second: u32,
    /// [`settings`](lb_common::service::settings) bits.
    pub flags: u32,
    /// By interface index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The filter before all tables; the maps may hold more, of addresses that are gone.
    pub concerns: Concerns,
    /// Index of the VLAN device that frames with some tags arrive on.
    pub vlans: BTreeMap<VlanKey, u32>,
    /// Slots of the leases of virtual routers with a MAC address of their own.
    pub virtual_macs: BTreeMap<VirtualMacKey, u32>,
    /// What is found by an IPv4 address.
    pub v4: Family<V4>,
    /// What is found by an IPv6 address.
    pub v6: Family<V6>,
    /// Of virtual servers, those included of which only real servers with connections are left.
    pub names: BTreeMap<u32, String>,
    /// By virtual server index.
    pub virtual_servers: BTreeMap<u32, VirtualServer>,
    /// By virtual server index; the tables are built when they are written.
    pub scheduling: BTreeMap<u32, TableInput>,
    /// By real server index.
    pub real_servers: BTreeMap<u32, RealServer>,
}

/// What is found by an address of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family<A> {
    /// Addresses that are listened on, and the slots of their leases; 0 for those that need none.
    pub vips: BTreeMap<VipKey<A>, u32>,
    /// Index of the virtual server.
    pub services: BTreeMap<ServiceKey<A>, u32>,
    /// Real server -> what its packets without a connection come from.
    pub reverse: BTreeMap<ServiceKey<A>, ServiceKey<A>>,
    /// The classifier of firewall marks.
    pub marks: Marks<A>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self {
            vips: BTreeMap::new(),
            services: BTreeMap::new(),
            reverse: BTreeMap::new(),
            marks: Marks::new(),
        }
    }
}

impl Wanted {
    pub(super) fn add_service(
        &mut self,
        protocol: Protocol,
        listen: SocketAddr,
        virtual_server: u32,
        lease: u32,
    ) {
        match listen {
            SocketAddr::V4(v4) => self.v4.listen(key(v4.ip(), v4.port(), protocol), virtual_server, lease),
            SocketAddr::V6(v6) => self.v6.listen(key(v6.ip(), v6.port(), protocol), virtual_server, lease),
        }
    }

    pub(super) fn add_reverse(&mut self, protocol: Protocol, real_server: SocketAddr, listen: SocketAddr) {
        match (real_server, listen) {
            (SocketAddr::V4(real), SocketAddr::V4(vip)) => {
                let vip = key(vip.ip(), vip.port(), protocol);
                self.v4.reverse.insert(key(real.ip(), real.port(), protocol), vip);
            }
            (SocketAddr::V6(real), SocketAddr::V6(vip)) => {
                let vip = key(vip.ip(), vip.port(), protocol);
                self.v6.reverse.insert(key(real.ip(), real.port(), protocol), vip);
            }
            // A pool has one family: see `model::RealServer::address`.
            (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {}
        }
    }
}

impl<A: Address + Ord> Family<A> {
    fn listen(&mut self, key: ServiceKey<A>, virtual_server: u32, lease: u32) {
        self.vips.insert(VipKey(key.address), lease);
        self.services.insert(key, virtual_server);
    }

    /// A destination of one address, of `host` bits, is a VIP as any other when somebody serves there.
    pub(super) fn classify(&mut self, marks: Marks<A>, host: u32, leases: &BTreeMap<IpAddr, u32>) {
        for (prefix, rules) in &marks {
            if prefix.length == host && rules.iter().any(|rule| rule.virtual_server != NOBODY) {
                let lease = leases.get(&prefix.address.to_ip()).copied().unwrap_or(lease::NONE);
                self.vips.insert(VipKey(prefix.address), lease);
            }
        }
        self.marks = marks;
    }
}

fn key<I: Copy, A: From<I>>(address: &I, port: u16, protocol: Protocol) -> ServiceKey<A> {
    let protocol = match protocol {
        Protocol::Tcp => addr::Protocol::Tcp,
        Protocol::Udp => addr::Protocol::Udp,
    };
    ServiceKey { address: A::from(*address), port: Port::new(port), protocol: protocol as u16 }
}
