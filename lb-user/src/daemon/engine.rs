//! The state of the load balancer and the one way it is changed: config, health and operators' words in, the whole wanted
//! picture out, the difference written.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use lb_common::service::real_server;

use super::{
    overrides::Overrides,
    remembered::{Entry, Remembered},
    sweeper::{Rules, ticks, unknown},
};
use crate::{
    config::model::{Check, Config, RealServer, VirtualServer},
    dataplane::{
        clock::Clock,
        maps::Maps,
        read,
        sweep::{Rule, Seen},
        templates::Persistence,
        write::{self, WriteError},
    },
    health::{self, Carried, Health, Start},
    plan::{self, Capacity, HostView, PlanError, Registry, Wanted},
    pool::{self, Guard, Member, Pool, RealHealth, RealServerState, Serving, passive},
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
    pub(super) config: Arc<Config>,
    /// The file as it is.
    pub(super) file: Arc<Config>,
    /// What operators have changed.
    pub(super) overrides: Overrides,
    /// The last verdict of every check.
    pub(super) statuses: HashMap<Check, health::Status>,
    /// What checks that have not run yet had found before the restart.
    pub(super) remembered: HashMap<Check, Entry>,
    /// Against our own blindness.
    pub(super) guard: Guard,
    /// What the data plane sees of those virtual servers that ask for it.
    pub(super) passive: HashMap<String, passive::Watch>,
    /// What every virtual server's pool adds up to, by its name.
    pub(super) pools: HashMap<String, Pool>,
    /// States as last told to the world, by real server index.
    states: HashMap<u32, RealServerState>,
    /// What the last sweep has seen.
    pub(super) seen: Seen,
    /// The maps.
    pub(super) maps: Maps,
    /// Indices of virtual servers and real servers.
    pub(super) registry: Registry,
    /// Interfaces, hash key, clock.
    pub(super) host: HostView,
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
        /// The virtual server was not there before.
        is_new: bool,
    },
    /// Indices of real servers whose connections end with a reset from now on.
    Lost(HashSet<u32>),
}

impl News {
    /// That something is there now, not that it has changed.
    pub(super) const fn is_new(&self) -> bool {
        matches!(self, Self::RealServer { from: None, .. } | Self::Quorum { is_new: true, .. })
    }
}

impl Engine {
    /// Takes over what the maps hold.
    ///
    /// # Errors
    ///
    /// A pinned map cannot be read.
    pub(super) fn new(
        file: Arc<Config>,
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
            remembered: HashMap::new(),
            guard: Guard::default(),
            passive: HashMap::new(),
            pools: HashMap::new(),
            states: HashMap::new(),
            seen: Seen::default(),
            maps,
            registry,
            host,
            current,
            clock,
            rules,
        })
    }

    /// Takes over what an earlier daemon's checks have found.
    pub(super) fn remember(&mut self, remembered: Remembered, wall: SystemTime) {
        self.remembered = remembered.fresh(&self.config, wall);
    }

    /// Every distinct check and what it begins with: what it was, else what the pinned data plane says of its real server,
    /// which is never behind, else what an earlier daemon has left, else what the configuration says.
    pub(super) fn checks(&self, (now, wall): (Instant, SystemTime)) -> Vec<(Check, Start)> {
        let alive = self.alive();
        let mut known = HashSet::new();
        let mut checks = Vec::new();
        for server in &self.config.virtual_servers {
            for real in &server.real_servers {
                for check in &real.checks {
                    if !known.insert(check) {
                        continue;
                    }
                    let carried = self.remembered.get(check).map(|entry| entry.carried(wall));
                    let start = match self.statuses.get(check) {
                        Some(status) => Start::Carried(status.carry(now)),
                        None if alive.contains(&(server.name.as_str(), real.address)) => {
                            let up = Carried { health: Health::Up, weight: None, age: Duration::ZERO };
                            Start::Carried(carried.filter(|old| old.health == Health::Up).unwrap_or(up))
                        }
                        None => carried.map_or(Start::Fresh(server.initial_state), Start::Carried),
                    };
                    checks.push((check.clone(), start));
                }
            }
        }
        checks
    }

    /// Real servers that are not down as the maps are now: they take new connections, or keep what they have.
    fn alive(&self) -> HashSet<(&str, SocketAddr)> {
        let name = |index: &u32| self.current.names.get(index).map(String::as_str);
        self.current
            .real_servers
            .values()
            .filter(|real| real.flags & real_server::ALIVE != 0)
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
        file: Arc<Config>,
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
        let (wanted, registry) = plan::plan(&self.config, &pool, &self.host, &self.registry)?;
        let writes = plan::diff(&self.current, &wanted);
        write::apply(&mut self.maps, &writes)?;
        if plan::needs_new_generation(&writes) {
            write::new_generation(&mut self.maps)?;
        }
        self.registry = registry;
        let lost = lost(&self.current, &wanted);
        self.current = wanted;
        let mut news = self.news(&pools);
        if !lost.is_empty() {
            news.push(News::Lost(lost));
        }
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

    /// What a sweep has seen: indices of real servers that are gone and that nothing refers to any more are given back.
    pub(super) fn swept(&mut self, seen: Seen) -> bool {
        let empty: Vec<u32> = self
            .registry
            .leaving()
            .map(|leaving| leaving.index)
            .filter(|index| seen.unused.contains(index))
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
            let watch = self.passive.get(&server.name);
            let member = |real: &RealServer| Member {
                health: RealHealth::of(real, server.initial_state, &self.statuses, &self.guard)
                    .not_before(watch.and_then(|watch| watch.back(real.address))),
                suspect: watch.is_some_and(|watch| watch.out(real.address).is_some()),
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
        let mut states = HashMap::new();
        for server in &self.config.virtual_servers {
            let Some(pool) = pools.get(&server.name) else { continue };
            let Some(virtual_server) = self.registry.virtual_server(&server.name) else { continue };
            for (real, member) in server.real_servers.iter().zip(&pool.real_servers) {
                let Some(index) = self.registry.real_server(virtual_server, real.address) else { continue };
                let from = self.states.get(&index).copied();
                if from != Some(member.state) {
                    let name = format!("{}/{}", server.name, real.name);
                    news.push(News::RealServer { name, from, to: member.state });
                }
                states.insert(index, member.state);
            }
            let before = self.pools.get(&server.name).map(|pool| pool.up);
            if before != Some(pool.up) {
                news.push(News::Quorum { name: server.name.clone(), up: pool.up, is_new: before.is_none() });
            }
        }
        self.states = states;
        news
    }

    /// Tells the sweep the idle times of every real server.
    fn write_rules(&self) {
        let rule = |virtual_server: u32, server: &VirtualServer| Rule {
            timeouts: ticks(self.clock, &server.timeouts),
            persistence: server.persistence.map(|it| Persistence {
                virtual_server,
                timeout: self.clock.ticks(it.timeout),
                client_prefix: plan::client_prefix(server),
            }),
            leaving: false,
        };
        let by_index: HashMap<u32, Rule> = self
            .config
            .virtual_servers
            .iter()
            .filter_map(|server| {
                let index = self.registry.virtual_server(&server.name)?;
                Some((index, rule(index, server)))
            })
            .collect();
        let leaving: HashSet<u32> = self.registry.leaving().map(|leaving| leaving.index).collect();
        let rules = self.current.real_servers.iter().map(|(&index, real)| {
            let known = by_index.get(&real.virtual_server).copied();
            let rule = known.unwrap_or_else(|| unknown(self.clock));
            let gone = Rule { persistence: None, leaving: true, ..rule };
            (index, if leaving.contains(&index) { gone } else { rule })
        });
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules.collect());
    }
}

/// Real servers, by index, whose connections end with a reset after a change but not before it.
fn lost(before: &Wanted, after: &Wanted) -> HashSet<u32> {
    let resets = |picture: &Wanted, index: &u32| {
        picture.real_servers.get(index).is_some_and(|real| real.flags & real_server::RESET != 0)
    };
    after
        .real_servers
        .keys()
        .filter(|index| resets(after, index) && !resets(before, index))
        .copied()
        .collect()
}

/// A pool as the plan wants it.
fn planned(server: &VirtualServer, pool: &Pool) -> plan::Pool {
    let nobody = pool.serving == Serving::Nobody;
    let members = server.real_servers.iter().zip(&pool.real_servers).map(|(real, member)| plan::PoolMember {
        address: real.address,
        weight: if nobody { 0 } else { u32::from(member.weight) },
        alive: (member.suspect || matches!(member.state, RealServerState::Up | RealServerState::Drain))
            && !member.drained,
        max_connections: real.max_connections,
    });
    plan::Pool { members: members.collect(), sorry: matches!(pool.serving, Serving::SorryServer(_)) }
}
