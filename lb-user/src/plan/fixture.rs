//! Configurations for the tests of the plan.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lb_common::{
    hash::HashKey,
    service::{Interface, interface},
};

use super::{Capacity, HostView, PlanError, Pool, PoolMember, Registry, Wanted, plan};
use crate::config::model::{
    Api, Config, Global, InitialState, Listen, OnDown, Protocol, Scheduler, SysctlPolicy, Timeouts,
    VirtualServer, WithoutState, XdpMode,
};

pub(super) const CAPACITY: Capacity = Capacity { virtual_servers: 20_000, real_servers: 200_000 };

/// A controller in small: what stays between two plans.
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) host: HostView,
}

impl World {
    pub(super) fn new() -> Self {
        let attached = Interface { flags: interface::ATTACHED, mtu: 1500, ..Interface::default() };
        let host = HostView {
            hash_key: HashKey([1, 2]),
            ticks_per_second: 250,
            interfaces: [(2, attached), (3, Interface::default())].into(),
            links: Vec::new(),
            names: [("eth0".to_owned(), 2), ("eth1".to_owned(), 3)].into(),
            leases: [("192.0.2.99".parse().unwrap(), 7)].into(),
            virtual_macs: std::collections::BTreeMap::new(),
        };
        Self { registry: Registry::new(CAPACITY), host }
    }

    pub(super) fn plan(&mut self, services: &[(VirtualServer, Pool)]) -> Result<Wanted, PlanError> {
        let config = config(services.iter().map(|(server, _)| server.clone()).collect());
        let pool = |wanted: &VirtualServer| {
            let found = services.iter().find(|(server, _)| server.name == wanted.name);
            found.map(|(_, pool)| pool.clone()).unwrap_or_default()
        };
        let (wanted, registry) = plan(&config, &pool, &self.host, &self.registry)?;
        self.registry = registry;
        Ok(wanted)
    }
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn member(text: &str) -> PoolMember {
    PoolMember { address: address(text), weight: 1, alive: true, max_connections: None }
}

pub(super) fn pool(members: &[&str]) -> Pool {
    Pool { members: members.iter().map(|text| member(text)).collect(), sorry: false }
}

pub(super) fn virtual_server(name: &str, listen: &[&str]) -> VirtualServer {
    VirtualServer {
        name: name.to_owned(),
        listen: Listen::Addresses(listen.iter().map(|text| address(text)).collect()),
        protocol: Protocol::Tcp,
        scheduler: Scheduler::Wlc,
        persistence: None,
        quorum: 1,
        hysteresis: 0,
        sorry_server: None,
        initial_state: InitialState::Down,
        on_down: OnDown::Reset,
        without_state: WithoutState::Adopt,
        drain_timeout: Duration::from_secs(300),
        slow_start: Duration::ZERO,
        timeouts: Timeouts::default(),
        passive: None,
        real_servers: Vec::new(),
    }
}

fn config(virtual_servers: Vec<VirtualServer>) -> Config {
    Config {
        global: Global {
            router_id: "lb1".to_owned(),
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            sysctl: SysctlPolicy::Apply,
            max_connections: 1024,
            max_virtual_servers: CAPACITY.virtual_servers,
            max_real_servers: CAPACITY.real_servers,
            cluster_secret_file: None,
            state_dir: PathBuf::new(),
            pin_dir: PathBuf::new(),
            script_user: String::new(),
        },
        api: Api { socket: PathBuf::new(), socket_group: None, listen: None },
        fwmarks: Vec::new(),
        virtual_servers,
        vrrp: Default::default(),
    }
}
