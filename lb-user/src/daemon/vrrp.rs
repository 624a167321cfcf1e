//! What the daemon tells its elections, hears of them and shows of them.

use super::{Daemon, Heard, now};
use crate::{
    control::{Action, Change, Code, Failure, event::Kind, status::Vrrp},
    vrrp::task::Event,
};

impl Daemon {
    /// Passes on what elections depend on: quorums, and that every real server has been checked once.
    pub(super) fn follow_vrrp(&mut self) {
        for server in &self.engine.config.virtual_servers {
            if self.engine.config.vrrp.tracks(&server.name)
                && let Some(pool) = self.engine.pools.get(&server.name)
            {
                self.elections.quorum(&server.name, pool.up);
            }
        }
        if self.engine.statuses.values().all(|status| status.last.is_some()) {
            self.elections.ready();
        }
    }

    pub(super) fn heard_of_vrrp(&mut self, heard: Heard) -> anyhow::Result<()> {
        match heard {
            Heard::Event(Event::State { instance, state, priority }) => {
                self.elections.since.insert(instance.clone(), now().1);
                self.note(Kind::Vrrp, &instance, &format!("{instance} is {state}, priority {priority}"));
            }
            Heard::Event(Event::Alarm { instance, peer, reason }) => {
                self.note(Kind::Vrrp, &instance, &format!("{instance}: {peer}: {reason}"));
            }
            Heard::Event(Event::Tracker { kind, name, reading, said }) => {
                self.note(Kind::Vrrp, &name, &format!("{kind} {name} is {reading}: {said}"));
            }
            Heard::Event(Event::Owns { .. }) => {}
            Heard::Failed(error) => return Err(anyhow::Error::new(error).context("VRRP cannot go on")),
        }
        Ok(())
    }

    /// Every instance as it is shown.
    pub(super) async fn vrrp(&self) -> Vec<Vrrp> {
        let configured = |name: &str| {
            let mut all = self.engine.file.vrrp.instances.iter();
            all.find(|each| each.name == name).map(|each| each.priority.0)
        };
        let shown = self.elections.status().await.into_iter().map(|one| Vrrp {
            configured_priority: configured(&one.name).unwrap_or(one.priority.0),
            since: self.elections.since.get(&one.name).copied(),
            name: one.name,
            state: one.state,
            priority: one.priority.0,
            master: one.master.map(|master| master.to_string()),
            addresses: one.addresses,
            virtual_mac: one.virtual_mac,
            routes: one.routes,
            rules: one.rules,
            transitions: one.transitions,
            trackers: one.trackers,
            blocked: one.blocked,
            adverts: one.adverts,
            peers: one.peers,
        });
        shown.collect()
    }

    /// Gives roles away; says which.
    pub(super) async fn release(&self, name: Option<String>) -> Result<Vec<Change>, Failure> {
        let before = self.elections.status().await;
        if let Some(name) = &name
            && !before.iter().any(|each| each.name == *name)
        {
            let names: Vec<&str> = before.iter().map(|each| each.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let message = format!("no VRRP instance {name}; there are: {there}");
            return Err(Failure::new(Code::NotFound, message));
        }
        self.elections.release(name).await;
        let after = self.elections.status().await;
        let changed = before.iter().zip(&after).filter(|(before, after)| before.state != after.state);
        Ok(changed
            .map(|(before, after)| Change {
                action: Action::Change,
                object: format!("vrrp {}", after.name),
                detail: format!("{} -> {}", before.state, after.state),
            })
            .collect())
    }
}
