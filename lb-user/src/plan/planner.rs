//! From the configuration and the state of every pool to what the maps should hold.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    addr::{Port, V4, V6},
    limits::POOL,
    service::{
        Interface, RealServer, VirtualServer, interface, lease, real_server, settings, virtual_server,
    },
    vlan::VlanKey,
};
use thiserror::Error;

use super::{
    concern::concerns,
    links::Links,
    marks,
    registry::{Registry, RegistryError},
    reverse::ReverseIndex,
    table::{Backend, TableInput, scheduling},
    wanted::{HostView, Pool, PoolMember, Wanted},
};
use crate::config::model::{self, Config, Listen, MarkMatch, OnDown, Scheduler, WithoutState};

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
            vlans: vlans(&host.interfaces),
            virtual_macs: host.virtual_macs.clone(),
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
    let Planner { registry, mut wanted, .. } = planner;
    wanted.concerns = concerns(&wanted);
    Ok((wanted, registry))
}

fn attached(interfaces: &BTreeMap<u32, Interface>) -> BTreeMap<u32, Interface> {
    let attached = interfaces.iter().filter(|(_, it)| it.flags & interface::ATTACHED != 0);
    attached.map(|(index, it)| (*index, *it)).collect()
}

fn vlans(interfaces: &BTreeMap<u32, Interface>) -> BTreeMap<VlanKey, u32> {
    let devices = interfaces.iter().filter(|(_, it)| it.parent != 0 && !it.is_virtual_router());
    let key = |it: &Interface| VlanKey { parent: it.parent.into(), outer: it.outer, inner: it.inner };
    devices.map(|(index, it)| (key(it), *index)).collect()
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
            let flags = if member.alive { real_server::ALIVE } else { farewell(config.on_down) };
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
