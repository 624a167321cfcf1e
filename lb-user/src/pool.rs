//! The pool of a virtual server: who takes connections and with which weight, from what checks see and operators say.

pub mod blindness;
pub mod passive;
mod quorum;
pub mod real_server;
mod slow_start;

use std::{net::SocketAddr, time::Instant};

use serde::Serialize;

use crate::config::model::{RealServer, VirtualServer};
pub use blindness::Guard;
use real_server::State;
pub use real_server::{Admin, Member, Override, RealHealth, RealServerState};

/// What a virtual server's real servers add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Whether the quorum is met; to be given back to the next `evaluate`.
    pub up: bool,
    /// What is needed and what is there.
    pub quorum: Quorum,
    /// Who takes new connections.
    pub serving: Serving,
    /// In the order of the configuration.
    pub real_servers: Vec<PoolMember>,
    /// When time alone will change something; none while it will not.
    pub next: Option<Instant>,
}

/// Sums of weights, as in keepalived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// What the configuration wants.
    pub need: u32,
    /// The full weights of the real servers that are up.
    pub have: u32,
}

/// Who takes a virtual server's new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// The real servers that are up: the quorum is met, or there is no sorry server and few are better than none.
    RealServers,
    /// The sorry server alone.
    SorryServer(SocketAddr),
    /// No real server is up and there is no sorry server.
    Nobody,
}

/// One real server of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolMember {
    /// What it takes.
    pub state: RealServerState,
    /// Its weight by configuration, script or operator: what status shows.
    pub full_weight: u16,
    /// Its weight for the scheduler: 0 unless it is up. While a real server of the pool starts slowly, all weights are
    /// scaled up by one factor, so that a small weight can grow too; schedulers look at proportions.
    pub weight: u16,
    /// Its drain has run out: what connections it has left are to be reset.
    pub drained: bool,
    /// Down by passive health alone: the connections it has go on.
    pub suspect: bool,
}

/// The rules. `was_up` is the quorum's last verdict; false before the first one.
pub fn evaluate(
    server: &VirtualServer,
    member: impl Fn(&RealServer) -> Member,
    was_up: bool,
    now: Instant,
) -> Pool {
    let states: Vec<State> = server.real_servers.iter().map(|real| State::of(real, &member(real))).collect();
    let have = states.iter().filter(|state| state.is_up()).map(|state| u32::from(state.full_weight));
    let have = have.fold(0, u32::saturating_add);
    let up = quorum::is_met(was_up, have, server.quorum, server.hysteresis);
    let weights = slow_start::weights(&states, server.slow_start, server.scheduler, now);
    let ends = states.iter().filter_map(|state| state.drain_ends.filter(|at| *at > now));
    Pool {
        up,
        quorum: Quorum { need: server.quorum, have },
        serving: match server.sorry_server {
            _ if up => Serving::RealServers,
            Some(address) => Serving::SorryServer(address),
            None if have > 0 => Serving::RealServers,
            None => Serving::Nobody,
        },
        next: weights.next.into_iter().chain(ends).min(),
        real_servers: states
            .iter()
            .zip(weights.each)
            .map(|(state, weight)| PoolMember {
                state: state.state,
                full_weight: state.full_weight,
                weight,
                drained: state.drain_ends.is_some_and(|at| at <= now),
                suspect: state.suspect,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
