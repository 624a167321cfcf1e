//! What operators have changed at run time: it outlives reload and restart until it is reverted.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::state_file;
use crate::{
    config::model::{Check, Config, RealServer, VirtualServer},
    control::Scope,
    pool::{Admin, Override},
};

/// All of it, by virtual server and by the real server's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Overrides(BTreeMap<String, BTreeMap<SocketAddr, Entry>>);

/// What was changed of one real server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Entry {
    /// Instead of the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u16>,
    /// Taken out of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<Out>,
    /// Not in the file: its name and weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) added: Option<(String, u16)>,
    /// In the file, but not wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) removed: bool,
}

/// How a real server is taken out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Out {
    /// No new connections; what is left is ended then.
    Drain(SystemTime),
    /// Nothing at all.
    Disabled,
}

impl Overrides {
    /// From the state directory.
    ///
    /// # Errors
    ///
    /// The file is there but cannot be read, or is damaged.
    pub(super) fn load(state_dir: &Path) -> io::Result<Self> {
        Ok(state_file::read(&path(state_dir))?.unwrap_or_default())
    }

    /// To the state directory: the whole file at once, or nothing.
    ///
    /// # Errors
    ///
    /// That of the file system; the old file stays.
    pub(super) fn save(&self, state_dir: &Path) -> io::Result<()> {
        state_file::write(&path(state_dir), self)
    }

    /// What was changed of a real server.
    pub(super) fn get(&self, virtual_server: &str, real_server: SocketAddr) -> Option<&Entry> {
        self.0.get(virtual_server)?.get(&real_server)
    }

    /// To be changed.
    pub(super) fn entry(&mut self, virtual_server: &str, real_server: SocketAddr) -> &mut Entry {
        self.0.entry(virtual_server.to_owned()).or_default().entry(real_server).or_default()
    }

    /// Drops entries that say nothing.
    pub(super) fn tidy(&mut self) {
        for entries in self.0.values_mut() {
            entries.retain(|_, entry| *entry != Entry::default());
        }
        self.0.retain(|_, entries| !entries.is_empty());
    }

    /// Forgets what was changed in `scope`; `address` is that of its real server.
    pub(super) fn revert(&mut self, scope: &Scope, address: Option<SocketAddr>) {
        match (scope, address) {
            (Scope::Everything, _) => self.0.clear(),
            (Scope::VirtualServer(name), _) => {
                self.0.remove(name);
            }
            (Scope::RealServer(name), Some(address)) => {
                if let Some(entries) = self.0.get_mut(&name.virtual_server) {
                    entries.remove(&address);
                }
            }
            (Scope::RealServer(_), None) => {}
        }
        self.tidy();
    }

    /// The configuration with the real servers that were added and without those that were removed; the same one when there
    /// are none.
    pub(super) fn applied_to(&self, config: &Arc<Config>) -> Arc<Config> {
        let mut entries = self.0.values().flat_map(BTreeMap::values);
        if !entries.any(|entry| entry.removed || entry.added.is_some()) {
            return Arc::clone(config);
        }
        let mut config = Config::clone(config);
        for server in &mut config.virtual_servers {
            let Some(entries) = self.0.get(&server.name) else { continue };
            let added: Vec<RealServer> = entries
                .iter()
                .filter(|(address, _)| server.real_servers.iter().all(|real| real.address != **address))
                .filter_map(|(&address, entry)| {
                    entry.added.as_ref().map(|added| like(server, address, added))
                })
                .collect();
            server.real_servers.retain(|real| entries.get(&real.address).is_none_or(|entry| !entry.removed));
            server.real_servers.extend(added);
        }
        Arc::new(config)
    }

    /// What the pool rules are told of a real server.
    pub(super) fn operator(
        &self,
        virtual_server: &str,
        real_server: SocketAddr,
        now: (Instant, SystemTime),
    ) -> Override {
        let Some(entry) = self.get(virtual_server, real_server) else { return Override::default() };
        let admin = entry.admin.map(|out| match out {
            Out::Disabled => Admin::Disabled,
            Out::Drain(until) => {
                let left = until.duration_since(now.1).unwrap_or_default();
                Admin::Drain { until: now.0 + left }
            }
        });
        Override { weight: entry.weight, admin }
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("overrides.json")
}

/// A real server that is checked as the first one of the file is.
fn like(server: &VirtualServer, address: SocketAddr, (name, weight): &(String, u16)) -> RealServer {
    let checks = server.real_servers.first().map_or_else(Vec::new, |first| {
        let elsewhere =
            |check: &Check| Check { target: retarget(check.target, first.address, address), ..check.clone() };
        first.checks.iter().map(elsewhere).collect()
    });
    RealServer { name: name.clone(), address, weight: *weight, max_connections: None, checks }
}

/// A check that asks the real server itself asks the new one, on its port unless the check has a port of its own.
fn retarget(target: SocketAddr, old: SocketAddr, new: SocketAddr) -> SocketAddr {
    if target == old {
        new
    } else if target.ip() == old.ip() {
        SocketAddr::new(new.ip(), target.port())
    } else {
        target
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Overrides::load(directory.path()).unwrap(), Overrides::default());
        let mut overrides = Overrides::default();
        overrides.entry("web", "10.0.0.1:80".parse().unwrap()).weight = Some(3);
        overrides.entry("web", "10.0.0.2:80".parse().unwrap()).admin = Some(Out::Disabled);
        overrides.save(directory.path()).unwrap();
        assert_eq!(Overrides::load(directory.path()).unwrap(), overrides);
        let file = path(directory.path());
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(Overrides::load(directory.path()).is_err());
    }

    #[test]
    fn a_check_follows_its_real_server_but_not_a_third_machine() {
        let [old, new]: [SocketAddr; 2] = ["10.0.0.1:80".parse().unwrap(), "10.0.0.9:8080".parse().unwrap()];
        for (target, expected) in
            [("10.0.0.1:80", "10.0.0.9:8080"), ("10.0.0.1:81", "10.0.0.9:81"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(retarget(target.parse().unwrap(), old, new), expected.parse().unwrap());
        }
    }
}
