//! The status as the world sees it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Instant, SystemTime},
};

use aya::maps::MapError;

use super::{engine::Engine, reconcile::Reconciled};
use crate::{
    config::model::{CheckKind, HttpCheck, Listen, Protocol, RealServer, Scheduler, VirtualServer},
    control::status::{
        self, Check, Connections, DataPlane, Interface, Quorum, RealServerState, Status, Traffic,
        VirtualServerState,
    },
    dataplane::counters,
    health::Health,
    pool::PoolMember,
};

/// An interface the program is attached to, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its name.
    pub(super) name: String,
    /// Its row of counters.
    pub(super) slot: u16,
    /// `native` or `generic`.
    pub(super) mode: String,
}

/// The status, of one virtual server if one is named.
///
/// # Errors
///
/// A counter cannot be read.
pub(super) fn status(
    engine: &Engine,
    (attached, reconciled): (&[Attached], &Reconciled),
    generation: u64,
    only: Option<&str>,
    vrrp: Vec<status::Vrrp>,
    now: (Instant, SystemTime),
) -> Result<Status, MapError> {
    let mut outcomes = BTreeMap::new();
    for interface in attached {
        for (outcome, counter) in counters::outcomes(&engine.maps, interface.slot)? {
            if counter.packets > 0 {
                *outcomes.entry(outcome.name().to_owned()).or_default() += counter.packets;
            }
        }
    }
    let capacity = u64::from(engine.config.global.max_connections);
    Ok(Status {
        name: engine.config.global.router_id.clone(),
        generation,
        data_plane: DataPlane {
            interfaces: attached
                .iter()
                .map(|interface| Interface { name: interface.name.clone(), mode: interface.mode.clone() })
                .collect(),
            connections: Connections {
                established: engine.seen.established,
                closing: engine.seen.closing,
                half_open: engine.seen.half_open,
                source_nat: engine.seen.source_nat,
                capacity,
            },
            outcomes,
            reconciled: reconciled.counts(),
        },
        virtual_servers: engine
            .config
            .virtual_servers
            .iter()
            .filter(|server| only.is_none_or(|only| only == server.name))
            .map(|server| virtual_server(engine, server, now))
            .collect::<Result<_, _>>()?,
        vrrp,
    })
}

fn virtual_server(
    engine: &Engine,
    server: &VirtualServer,
    now: (Instant, SystemTime),
) -> Result<status::VirtualServer, MapError> {
    let pool = engine.pools.get(&server.name);
    let configured: HashMap<_, _> = engine
        .file
        .virtual_servers
        .iter()
        .filter(|file| file.name == server.name)
        .flat_map(|file| &file.real_servers)
        .map(|real| (real.address, real.weight))
        .collect();
    let mut real_servers = Vec::new();
    for (position, real) in server.real_servers.iter().enumerate() {
        let member = pool.and_then(|pool| pool.real_servers.get(position));
        let traffic = traffic(engine, server, real)?;
        let watch = engine.passive.get(&server.name);
        let passive = watch.and_then(|watch| watch.out(real.address)).map(|evidence| evidence.to_string());
        real_servers.push(real_server(
            engine,
            real,
            member,
            configured.get(&real.address).copied(),
            (traffic, passive),
            now,
        ));
    }
    Ok(status::VirtualServer {
        name: server.name.clone(),
        address: match &server.listen {
            Listen::Addresses(addresses) => {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
            Listen::Fwmark(mark) => format!("fwmark {mark}"),
        },
        protocol: match server.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
        .to_owned(),
        scheduler: scheduler(server.scheduler).to_owned(),
        state: if pool.is_some_and(|pool| pool.up) {
            VirtualServerState::Up
        } else {
            VirtualServerState::Down
        },
        quorum: Quorum { need: server.quorum, have: pool.map_or(0, |pool| pool.quorum.have) },
        persistent_clients: server.persistence.map(|_| clients(engine, server)),
        traffic: real_servers.iter().fold(Traffic::default(), |sum, real| add(sum, real.traffic)),
        real_servers,
    })
}

fn clients(engine: &Engine, server: &VirtualServer) -> u64 {
    let index = engine.registry.virtual_server(&server.name);
    index.and_then(|index| engine.seen.bound.clients.get(&index)).copied().unwrap_or(0)
}

fn real_server(
    engine: &Engine,
    real: &RealServer,
    member: Option<&PoolMember>,
    configured_weight: Option<u16>,
    (traffic, passive): (Traffic, Option<String>),
    now: (Instant, SystemTime),
) -> status::RealServer {
    status::RealServer {
        name: real.name.clone(),
        address: real.address.to_string(),
        state: member.map_or(RealServerState::Down, |member| member.state),
        weight: member.map_or(real.weight, |member| member.full_weight),
        configured_weight,
        traffic,
        check: check(engine, real, now),
        passive,
    }
}

/// The check that decides: the first one that fails, else the first one.
fn check(engine: &Engine, real: &RealServer, (now, wall): (Instant, SystemTime)) -> Option<Check> {
    let known = || real.checks.iter().filter_map(|check| Some((check, engine.statuses.get(check)?)));
    let (check, verdict) =
        known().find(|(_, status)| status.health == Health::Down).or_else(|| known().next())?;
    Some(Check {
        kind: kind(&check.kind).to_owned(),
        last: verdict
            .last
            .as_ref()
            .map(|(_, report)| report.result.text().to_owned())
            .or_else(|| engine.remembered.get(check).map(|entry| entry.text(wall)))
            .unwrap_or_else(|| "not run yet".to_owned()),
        since: wall - now.saturating_duration_since(verdict.since),
    })
}

fn traffic(engine: &Engine, server: &VirtualServer, real: &RealServer) -> Result<Traffic, MapError> {
    let index = engine
        .registry
        .virtual_server(&server.name)
        .and_then(|index| engine.registry.real_server(index, real.address));
    let Some(index) = index else { return Ok(Traffic::default()) };
    let counted = counters::traffic(&engine.maps, index)?;
    Ok(Traffic {
        connections: counted.load.active,
        packets_in: counted.requests.packets,
        packets_out: counted.replies.packets,
        bytes_in: counted.requests.bytes,
        bytes_out: counted.replies.bytes,
        new_connections: counted.opened,
    })
}

fn add(one: Traffic, other: Traffic) -> Traffic {
    Traffic {
        connections: one.connections + other.connections,
        packets_in: one.packets_in + other.packets_in,
        packets_out: one.packets_out + other.packets_out,
        bytes_in: one.bytes_in + other.bytes_in,
        bytes_out: one.bytes_out + other.bytes_out,
        new_connections: one.new_connections + other.new_connections,
    }
}

const fn scheduler(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::Rr => "rr",
        Scheduler::Wrr => "wrr",
        Scheduler::Lc => "lc",
        Scheduler::Wlc => "wlc",
        Scheduler::Sed => "sed",
        Scheduler::Nq => "nq",
        Scheduler::Sh => "sh",
        Scheduler::Dh => "dh",
        Scheduler::Mh => "mh",
        Scheduler::Fo => "fo",
        Scheduler::Ovf => "ovf",
        Scheduler::Twos => "twos",
    }
}

const fn kind(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp => "tcp",
        CheckKind::Http(HttpCheck { tls: None, .. }) => "http",
        CheckKind::Http(_) => "https",
        CheckKind::Udp { .. } => "udp",
        CheckKind::Dns { .. } => "dns",
        CheckKind::Smtp { .. } => "smtp",
        CheckKind::Ping => "ping",
        CheckKind::Script { .. } => "script",
    }
}
