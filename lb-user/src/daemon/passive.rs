//! What the sweep has seen of refused and unanswered connections, brought to passive health.

use std::{collections::HashSet, time::Instant};

use super::{Daemon, engine::Engine};
use crate::{
    config::model::{RealServer, VirtualServer},
    control::event::Kind,
    dataplane::counters,
    health::{CheckResult, Health},
    pool::passive::{Change, Look},
};

impl Engine {
    /// Looks at every pool that asks for it; who went out or came back, by virtual server and name.
    pub(super) fn look(&mut self, now: Instant) -> Vec<(String, Change)> {
        let mut found = Vec::new();
        let mut watches = std::mem::take(&mut self.passive);
        let asking = || self.config.virtual_servers.iter().filter(|server| server.passive.is_some());
        let names: HashSet<&str> = asking().map(|server| server.name.as_str()).collect();
        watches.retain(|name, _| names.contains(name.as_str()));
        for server in asking() {
            let Some(rule) = &server.passive else { continue };
            let looks: Vec<Look> =
                server.real_servers.iter().map(|real| self.see(server, real, now)).collect();
            let changes = watches.entry(server.name.clone()).or_default().look(rule, &looks, now);
            found.extend(changes.into_iter().filter_map(|change| {
                let real = server.real_servers.iter().find(|real| real.address == change.address)?;
                Some((format!("{}/{}", server.name, real.name), change))
            }));
        }
        self.passive = watches;
        found
    }

    fn see(&self, server: &VirtualServer, real: &RealServer, now: Instant) -> Look {
        let index = self.registry.virtual_server(&server.name);
        let index = index.and_then(|index| self.registry.real_server(index, real.address));
        let seen = index.and_then(|index| self.seen.live.get(&index).copied()).unwrap_or_default();
        // Asked for only where it matters; an unreadable counter is none.
        let opened = index.filter(|_| seen.unanswered + seen.refused > 0);
        let opened = opened.and_then(|index| counters::traffic(&self.maps, index).ok());
        let passed = real.checks.iter().map(|check| {
            let status = self.statuses.get(check).filter(|status| status.health == Health::Up)?;
            let (at, report) = status.last.as_ref()?;
            matches!(report.result, CheckResult::Success { .. }).then_some(*at)
        });
        Look {
            address: real.address,
            up: self.takes_connections(server, real),
            passed: passed.min().unwrap_or(Some(now)),
            unanswered: seen.unanswered,
            refused: seen.refused,
            opened: opened.map_or(0, |traffic| traffic.opened),
        }
    }

    fn takes_connections(&self, server: &VirtualServer, real: &RealServer) -> bool {
        let pool = self.pools.get(&server.name);
        let position = server.real_servers.iter().position(|other| other.address == real.address);
        let member = pool.zip(position).and_then(|(pool, position)| pool.real_servers.get(position));
        member.is_some_and(|member| member.weight > 0)
    }
}

impl Daemon {
    /// Says whom passive health takes out or tries again.
    pub(super) fn suspect(&mut self, changes: &[(String, Change)]) {
        for (name, change) in changes {
            let message = match change.out {
                Some(evidence) => format!("passive: {name} is taken out, {evidence}"),
                None => format!("passive: {name} is tried again"),
            };
            self.note(Kind::Check, name, &message);
        }
    }
}
