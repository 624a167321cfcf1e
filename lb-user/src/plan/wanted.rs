//! What the maps should hold: the configuration and the state of every pool, as the data plane sees them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use lb_common::{
    addr::{self, Address, Port, V4, V6},
    hash::HashKey,
    limits::POOL,
    mark::NOBODY,
    service::{
        Interface, RealServer, ServiceKey, VipKey, VirtualServer, interface, lease, real_server, settings,
        virtual_server,
    },
};
use thiserror::Error;

use super::{
    links::Links,
    marks::{self, Marks},
    registry::{Registry, RegistryError},
    reverse::ReverseIndex,
    table::{Backend, TableInput, scheduling},
};
use crate::config::model::{self, Config, Listen, MarkMatch, OnDown, Protocol, Scheduler, WithoutState};

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
}

/// The whole content of the maps that the controller writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Key of all hashing.
    pub hash_key: HashKey,
    /// The kernel's HZ.
    pub ticks_per_second: u32,
    /// [`settings`] bits.
    pub flags: u32,
    /// By interface index.
    pub interfaces: BTreeMap<u32, Interface>,
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

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// More real servers than a scheduling table has room for.
    #[error("virtual server {virtual_server}: {real_servers} real servers, {POOL} is the most")]
    PoolTooLarge {
        /// Its name.
        virtual_server: String,
        /// How many there are.
        real_servers: usize,
    },
    /// No index is left.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The wanted picture, and who has which index in it. `pool` says how a virtual server's real servers are.
///
/// # Errors
/// What the data plane cannot do, and more than it has room for.
pub fn plan(
    config: &Config,
    pool: &dyn Fn(&model::VirtualServer) -> Pool,
    host: &HostView,
    registry: &Registry,
) -> Result<(Wanted, Registry), PlanError> {
    let mut planner = Planner {
        registry: registry.clone(),
        reverse: ReverseIndex::default(),
        links: Links::new(&host.links, config),
        wanted: Wanted {
            hash_key: host.hash_key,
            ticks_per_second: host.ticks_per_second,
            interfaces: attached(&host.interfaces),
            ..Wanted::default()
        },
    };
    planner.registry.leave_all();
    for virtual_server in &config.virtual_servers {
        planner.add_virtual_server(virtual_server, pool(virtual_server), &host.leases)?;
    }
    planner.add_leaving();
    planner.add_reverse();
    planner.add_marks(config, host);
    Ok((planner.wanted, planner.registry))
}

fn attached(interfaces: &BTreeMap<u32, Interface>) -> BTreeMap<u32, Interface> {
    let attached = interfaces.iter().filter(|(_, it)| it.flags & interface::ATTACHED != 0);
    attached.map(|(index, it)| (*index, *it)).collect()
}

/// What the configuration asks for and the data plane cannot do yet.
#[must_use]
pub fn unavailable(config: &Config) -> Vec<PlanError> {
    config.virtual_servers.iter().filter_map(|server| available(server).err()).collect()
}

/// Whether the data plane can do all that a virtual server asks for.
fn available(server: &model::VirtualServer) -> Result<(), PlanError> {
    let real_servers = server.real_servers.iter().filter(|real| real.weight > 0).count();
    if real_servers > POOL as usize {
        return Err(PlanError::PoolTooLarge { virtual_server: server.name.clone(), real_servers });
    }
    Ok(())
}

/// A plan in the making.
struct Planner<'a> {
    registry: Registry,
    reverse: ReverseIndex,
    links: Links<'a>,
    wanted: Wanted,
}

impl Planner<'_> {
    fn add_virtual_server(
        &mut self,
        config: &model::VirtualServer,
        pool: Pool,
        leases: &BTreeMap<IpAddr, u32>,
    ) -> Result<(), PlanError> {
        available(config)?;
        let listen = match &config.listen {
            Listen::Addresses(addresses) => addresses.as_slice(),
            // What a mark's real server sends may come from any of its addresses.
            Listen::Fwmark(_) => &[],
        };
        let index = self.registry.hold_virtual_server(&config.name, config.on_down)?;
        for &address in listen {
            let lease = leases.get(&address.ip()).copied().unwrap_or(lease::NONE);
            self.wanted.add_service(config.protocol, address, index, lease);
        }
        let described = VirtualServer {
            scheduling: scheduling(config.scheduler) as u32,
            flags: flags(config),
            client_prefix: client_prefix(config),
        };
        self.wanted.virtual_servers.insert(index, described);

        let members = members(config, pool);
        let mut backends = Vec::with_capacity(members.len());
        for (member, takes_new) in members {
            let weight = if takes_new { seen_weight(config.scheduler, &member) } else { 0 };
            let real_server = self.registry.hold_real_server(index, member.address)?;
            let flags = if member.alive { 0 } else { farewell(config.on_down) };
            let entry = self.entry(index, &member, weight, flags);
            self.wanted.real_servers.insert(real_server, entry);
            self.reverse.claim(config.protocol, member.address, listen);
            backends.push(Backend { index: real_server, address: member.address, weight });
        }
        let real_servers = backends.iter().filter(|backend| backend.weight > 0).count();
        if real_servers > POOL as usize {
            return Err(PlanError::PoolTooLarge { virtual_server: config.name.clone(), real_servers });
        }
        let input = TableInput { key: self.wanted.hash_key, scheduler: config.scheduler, backends };
        self.wanted.scheduling.insert(index, input);
        Ok(())
    }

    fn add_leaving(&mut self) {
        for leaving in self.registry.leaving() {
            let gone =
                PoolMember { address: leaving.address, weight: 0, alive: false, max_connections: None };
            let entry = self.entry(leaving.virtual_server, &gone, 0, farewell(leaving.on_down));
            self.wanted.real_servers.insert(leaving.index, entry);
        }
        self.registry.release_virtual_servers();
        self.wanted.names = self.registry.names().map(|(index, name)| (index, name.to_owned())).collect();
    }

    fn entry(&self, virtual_server: u32, member: &PoolMember, weight: u32, flags: u16) -> RealServer {
        let link = self.links.of(member.address.ip());
        RealServer {
            address: words(member.address.ip()),
            port: Port::new(member.address.port()),
            flags: real_server::PRESENT | flags,
            weight,
            virtual_server,
            max_connections: member.max_connections.unwrap_or(0),
            own: link.map(|link| words(link.addr())).unwrap_or_default(),
            link: link.map(|link| words(link.netmask())).unwrap_or_default(),
        }
    }

    fn add_marks(&mut self, config: &Config, host: &HostView) {
        let serving = |mark, one: &MarkMatch| {
            let servers = config
                .virtual_servers
                .iter()
                .filter(|server| server.listen == Listen::Fwmark(mark) && server.protocol == one.protocol);
            let ipv6 = one.destination.addr().is_ipv6();
            let server = servers.into_iter().find(|server| server.is_ipv6() == ipv6)?;
            self.registry.virtual_server(&server.name)
        };
        let interface = |name: &str| host.names.get(name).copied();
        let (v4, v6) = marks::compile(&config.fwmarks, &interface, &serving);
        self.wanted.v4.classify(v4, 32, &host.leases);
        self.wanted.v6.classify(v6, 128, &host.leases);
        let wide = self.wanted.v4.marks.keys().any(|prefix| prefix.length < 32)
            || self.wanted.v6.marks.keys().any(|prefix| prefix.length < 128);
        self.wanted.flags = if wide { settings::WIDE_MARKS } else { 0 };
    }

    fn add_reverse(&mut self) {
        for (protocol, real_server, listen) in self.reverse.entries() {
            self.wanted.add_reverse(protocol, real_server, listen);
        }
    }
}

/// Who is in the pool, and whether it may take new connections: those of the sorry server's neighbours go on, and its own
/// do when it has been relieved.
fn members(config: &model::VirtualServer, pool: Pool) -> Vec<(PoolMember, bool)> {
    let Pool { mut members, sorry } = pool;
    let Some(address) = config.sorry_server else {
        return members.into_iter().map(|member| (member, true)).collect();
    };
    if sorry {
        members.retain(|member| member.address != address);
    }
    let is_member = members.iter().any(|member| member.address == address);
    let mut members: Vec<_> = members.into_iter().map(|member| (member, !sorry)).collect();
    if !is_member {
        members.push((PoolMember { address, weight: 1, alive: true, max_connections: None }, sorry));
    }
    members
}

/// The weight as the scheduler takes it; 0 for one that takes no new connections.
fn seen_weight(scheduler: Scheduler, member: &PoolMember) -> u32 {
    match scheduler {
        _ if !member.alive => 0,
        Scheduler::Rr | Scheduler::Lc => member.weight.min(1),
        _ => member.weight,
    }
}

/// An address as [`RealServer`] has it.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [V4::from(v4).to_wire(), 0, 0, 0],
        IpAddr::V6(v6) => V6::from(v6).to_wire(),
    }
}

const fn farewell(on_down: OnDown) -> u16 {
    match on_down {
        OnDown::Reset => real_server::RESET,
        OnDown::Reschedule => real_server::RESCHEDULE,
        OnDown::Keep => 0,
    }
}

/// Bits of a client's address that persistence looks at; 0 without.
#[must_use]
pub fn client_prefix(config: &model::VirtualServer) -> u32 {
    let of_family = |it: model::Persistence| if config.is_ipv6() { it.prefix_v6 } else { it.prefix_v4 };
    config.persistence.map_or(0, |it| u32::from(of_family(it)))
}

const fn flags(config: &model::VirtualServer) -> u32 {
    let hash = match config.scheduler {
        Scheduler::Dh => virtual_server::HASH_DESTINATION,
        // All connections of a client have one choice.
        _ if config.persistence.is_some() => 0,
        Scheduler::Sh | Scheduler::Mh => 0,
        _ => virtual_server::HASH_PORT,
    };
    hash | match config.without_state {
        WithoutState::Adopt => virtual_server::ADOPT,
        WithoutState::Reset => virtual_server::RESET,
        WithoutState::Drop => 0,
    }
}

impl Wanted {
    fn add_service(&mut self, protocol: Protocol, listen: SocketAddr, virtual_server: u32, lease: u32) {
        match listen {
            SocketAddr::V4(v4) => self.v4.listen(key(v4.ip(), v4.port(), protocol), virtual_server, lease),
            SocketAddr::V6(v6) => self.v6.listen(key(v6.ip(), v6.port(), protocol), virtual_server, lease),
        }
    }

    fn add_reverse(&mut self, protocol: Protocol, real_server: SocketAddr, listen: SocketAddr) {
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
    fn classify(&mut self, marks: Marks<A>, host: u32, leases: &BTreeMap<IpAddr, u32>) {
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
