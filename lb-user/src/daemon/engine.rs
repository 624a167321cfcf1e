//! The state of the load balancer and the one way it is changed: config, health and operators' words in, the whole wanted
//! picture out, the difference written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use super::{
    overrides::Overrides,
    sweeper::{Rules, UNKNOWN},
};
use crate::{
    config::model::{self, Check, Config, RealServer, VirtualServer},
    dataplane::{
        clock::Clock,
        maps::Maps,
        read,
        sweep::{Seen, Timeouts},
        write::{self, WriteError},
    },
    health::{self, Carried, Health, Start},
    plan::{self, Capacity, HostView, PlanError, Registry, TableCache, Wanted},
    pool::{self, Guard, Member, Pool, RealHealth, RealServerState, Serving},
};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// It cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The engine.
pub(super) struct Engine {
    /// The file, with what operators have added and removed.
    pub(super) config: Config,
    /// The file as it is.
    pub(super) file: Config,
    /// What operators have changed.
    pub(super) overrides: Overrides,
    /// The last verdict of every check.
    pub(super) statuses: HashMap<Check, health::Status>,
    /// Against our own blindness.
    pub(super) guard: Guard,
    /// What every virtual server's pool adds up to, by its name.
    pub(super) pools: HashMap<String, Pool>,
    /// States as last told to the world, by `virtual server/real server`.
    states: BTreeMap<String, RealServerState>,
    /// What the last sweep has seen.
    pub(super) seen: Seen,
    /// The maps.
    pub(super) maps: Maps,
    /// Indices of virtual servers and real servers.
    pub(super) registry: Registry,
    /// Interfaces, hash key, clock.
    pub(super) host: HostView,
    cache: TableCache,
    /// What the maps hold.
    pub(super) current: Wanted,
    /// How fast the tables' clock runs.
    pub(super) clock: Clock,
    /// What the sweep goes by.
    pub(super) rules: Rules,
}

/// What has changed for the world to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A real server.
    RealServer {
        /// `virtual server/real server`.
        name: String,
        /// Before; none when it is new.
        from: Option<RealServerState>,
        /// Now.
        to: RealServerState,
    },
    /// The quorum of a virtual server.
    Quorum {
        /// The virtual server.
        name: String,
        /// Met, or lost.
        up: bool,
    },
}

impl Engine {
    /// Takes over what the maps hold.
    ///
    /// # Errors
    ///
    /// A pinned map cannot be read.
    pub(super) fn new(
        file: Config,
        overrides: Overrides,
        maps: Maps,
        host: HostView,
        clock: Clock,
        rules: Rules,
    ) -> Result<Self, read::ReadError> {
        let current = read::read(&maps)?;
        let capacity = Capacity {
            virtual_servers: file.global.max_virtual_servers,
            real_servers: file.global.max_real_servers,
        };
        let registry = Registry::restore(
            capacity,
            current.names.iter().map(|(&index, name)| (index, name.clone())),
            current
                .real_servers
                .iter()
                .map(|(&index, real)| (index, real.virtual_server, read::address(real))),
        );
        Ok(Self {
            config: overrides.applied_to(&file),
            file,
            overrides,
            statuses: HashMap::new(),
            guard: Guard::default(),
            pools: HashMap::new(),
            states: BTreeMap::new(),
            seen: Seen::default(),
            maps,
            registry,
            host,
            cache: TableCache::default(),
            current,
            clock,
            rules,
        })
    }

    /// Every distinct check and what it begins with: what it was, else what the pinned data plane says of its real server,
    /// else what the configuration says.
    pub(super) fn checks(&self, now: Instant) -> Vec<(Check, Start)> {
        let served = self.served();
        let mut known = HashSet::new();
        let mut checks = Vec::new();
        for server in &self.config.virtual_servers {
            for real in &server.real_servers {
                for check in &real.checks {
                    if !known.insert(check) {
                        continue;
                    }
                    let start = match self.statuses.get(check) {
                        Some(status) => Start::Carried(status.carry(now)),
                        None if served.contains(&(server.name.as_str(), real.address)) => {
                            Start::Carried(Carried {
                                health: Health::Up,
                                weight: None,
                                age: Default::default(),
                            })
                        }
                        None => Start::Fresh(server.initial_state),
                    };
                    checks.push((check.clone(), start));
                }
            }
        }
        checks
    }

    /// Real servers that take new connections as the maps are now.
    fn served(&self) -> HashSet<(&str, SocketAddr)> {
        let name = |index: &u32| self.current.names.get(index).map(String::as_str);
        self.current
            .real_servers
            .values()
            .filter(|real| real.weight > 0)
            .filter_map(|real| Some((name(&real.virtual_server)?, read::address(real))))
            .collect()
    }

    /// Forgets checks that are no more and begins those that are new.
    pub(super) fn watch(&mut self, checks: &[(Check, Start)], now: Instant) {
        let mut old = std::mem::take(&mut self.statuses);
        for (check, start) in checks {
            let status = old.remove(check).unwrap_or_else(|| health::Status::starting(*start, now));
            self.statuses.insert(check.clone(), status);
        }
        self.guard.watch(self.statuses.keys());
    }

    /// Puts another file in the place of the present one.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; everything is as it was.
    pub(super) fn replace(
        &mut self,
        file: Config,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Vec<News>, ApplyError> {
        let old = (self.file.clone(), self.config.clone());
        self.config = self.overrides.applied_to(&file);
        self.file = file;
        self.apply(now, wall).inspect_err(|_| (self.file, self.config) = old)
    }

    /// Puts other operators' words in the place of the present ones.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; everything is as it was.
    pub(super) fn overrule(
        &mut self,
        overrides: Overrides,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Vec<News>, ApplyError> {
        let old = (std::mem::replace(&mut self.overrides, overrides), self.config.clone());
        self.config = self.overrides.applied_to(&self.file);
        self.apply(now, wall).inspect_err(|_| (self.overrides, self.config) = old)
    }

    /// Computes the wanted picture and writes what differs.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; the maps are as they were.
    pub(super) fn apply(&mut self, now: Instant, wall: SystemTime) -> Result<Vec<News>, ApplyError> {
        let pools = self.evaluate(now, wall);
        let pool = |server: &VirtualServer| {
            pools.get(&server.name).map_or_else(plan::Pool::default, |pool| planned(server, pool))
        };
        let mut registry = self.registry.clone();
        let wanted = plan::plan(&self.config, &pool, &self.host, &mut registry, &mut self.cache)?;
        let writes = plan::diff(&self.current, &wanted);
        write::apply(&mut self.maps, &writes)?;
        if plan::needs_new_generation(&writes) {
            write::new_generation(&mut self.maps)?;
        }
        self.registry = registry;
        self.current = wanted;
        let news = self.news(&pools);
        self.pools = pools;
        self.write_rules();
        Ok(news)
    }

    /// Neighbours or routes have changed: every connection looks again.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub(super) fn paths_changed(&mut self) -> Result<(), WriteError> {
        write::new_generation(&mut self.maps)
    }

    /// What a sweep has seen: indices of real servers that are gone and have no connection left are given back.
    pub(super) fn swept(&mut self, seen: Seen) -> bool {
        let empty: Vec<u32> = self
            .registry
            .leaving()
            .map(|leaving| leaving.index)
            .filter(|index| !seen.live.contains_key(index))
            .collect();
        for &index in &empty {
            self.registry.release(index);
        }
        self.seen = seen;
        !empty.is_empty()
    }

    /// When time alone will change a pool.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pools.values().filter_map(|pool| pool.next).min()
    }

    fn evaluate(&self, now: Instant, wall: SystemTime) -> HashMap<String, Pool> {
        let evaluate = |server: &VirtualServer| {
            let member = |real: &RealServer| Member {
                health: RealHealth::of(real, server.initial_state, &self.statuses, &self.guard),
                operator: self.overrides.operator(&server.name, real.address, (now, wall)),
            };
            let was_up = self.pools.get(&server.name).is_some_and(|pool| pool.up);
            (server.name.clone(), pool::evaluate(server, member, was_up, now))
        };
        self.config.virtual_servers.iter().map(evaluate).collect()
    }

    /// What differs between the states as they were told and `pools`; notes the new ones.
    fn news(&mut self, pools: &HashMap<String, Pool>) -> Vec<News> {
        let mut news = Vec::new();
        let mut states = BTreeMap::new();
        for server in &self.config.virtual_servers {
            let Some(pool) = pools.get(&server.name) else { continue };
            for (real, member) in server.real_servers.iter().zip(&pool.real_servers) {
                let name = format!("{}/{}", server.name, real.name);
                let from = self.states.get(&name).copied();
                if from != Some(member.state) {
                    news.push(News::RealServer { name: name.clone(), from, to: member.state });
                }
                states.insert(name, member.state);
            }
            if self.pools.get(&server.name).map(|pool| pool.up) != Some(pool.up) {
                news.push(News::Quorum { name: server.name.clone(), up: pool.up });
            }
        }
        self.states = states;
        news
    }

    /// Tells the sweep the idle times of every real server.
    fn write_rules(&self) {
        let ticks = |timeouts: &model::Timeouts| Timeouts {
            established: self.clock.ticks(timeouts.established),
            closing: self.clock.ticks(CLOSING.min(timeouts.fin)),
            half_closed: self.clock.ticks(timeouts.fin),
            half_open: self.clock.ticks(HALF_OPEN),
            udp: self.clock.ticks(timeouts.udp),
        };
        let by_index: HashMap<u32, Timeouts> = self
            .config
            .virtual_servers
            .iter()
            .filter_map(|server| Some((self.registry.virtual_server(&server.name)?, ticks(&server.timeouts))))
            .collect();
        let rules = self.current.real_servers.iter().map(|(&index, real)| {
            let timeouts = by_index.get(&real.virtual_server).copied();
            (index, timeouts.unwrap_or_else(|| UNKNOWN(self.clock)))
        });
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules.collect();
    }
}

/// IPVS forgets a closed connection after its TIME_WAIT of 120 s; half of that is enough, RFC 9293 says.
const CLOSING: Duration = Duration::from_secs(60);

/// Idle time of a connection whose handshake is not proven: the SYN_RECV of IPVS.
const HALF_OPEN: Duration = Duration::from_secs(60);

/// A pool as the plan wants it.
fn planned(server: &VirtualServer, pool: &Pool) -> plan::Pool {
    let nobody = pool.serving == Serving::Nobody;
    let members = server.real_servers.iter().zip(&pool.real_servers).map(|(real, member)| plan::PoolMember {
        address: real.address,
        weight: if nobody { 0 } else { u32::from(member.weight) },
        alive: matches!(member.state, RealServerState::Up | RealServerState::Drain) && !member.drained,
        max_connections: real.max_connections,
    });
    plan::Pool { members: members.collect(), sorry: matches!(pool.serving, Serving::SorryServer(_)) }
}
