//! Indices that stay: of virtual servers by name, of real servers by virtual server and address.
//!
//! Connections and counters refer to real servers by index, so the index of one that is removed is kept as leaving until
//! nothing refers to it any more.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use thiserror::Error;

use super::indices::Indices;
use crate::config::model::OnDown;

/// How many indices the maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Virtual server indices are below this.
    pub virtual_servers: u32,
    /// Real server indices are below this.
    pub real_servers: u32,
}

/// Why there is no index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// Every virtual server index is in use or leaving.
    #[error("no room for virtual server {name}: {capacity} is the most (max_virtual_servers)")]
    VirtualServersFull {
        /// Who found none.
        name: String,
        /// How many there are.
        capacity: u32,
    },
    /// Every real server index is in use or leaving.
    #[error(
        "no room for real server {address}: {capacity} is the most, those with connections left included \
         (max_real_servers)"
    )]
    RealServersFull {
        /// Who found none.
        address: SocketAddr,
        /// How many there are.
        capacity: u32,
    },
}

/// Who has which index. Cheap enough to clone before a plan whose writes may fail.
#[derive(Clone, Debug)]
pub struct Registry {
    virtual_servers: Indices<String>,
    real_servers: Indices<(u32, SocketAddr)>,
    /// What the last plan that knew the virtual server said of connections of its real servers.
    on_down: HashMap<u32, OnDown>,
}

/// A real server that is no more and whose index is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its index.
    pub index: u32,
    /// Index of its virtual server.
    pub virtual_server: u32,
    /// Its address and port.
    pub address: SocketAddr,
    /// What becomes of its connections.
    pub on_down: OnDown,
}

impl Registry {
    /// With every index free.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self::restore(capacity, [], [])
    }

    /// With the indices that pinned maps say are held: virtual servers by index and name, real servers by index, index of
    /// the virtual server, and address.
    ///
    /// All of them are leaving until the next plan wants them. A real server whose virtual server has no name is free: a
    /// virtual server takes no connections before its name is written.
    #[must_use]
    pub fn restore(
        capacity: Capacity,
        virtual_servers: impl IntoIterator<Item = (u32, String)>,
        real_servers: impl IntoIterator<Item = (u32, u32, SocketAddr)>,
    ) -> Self {
        let virtual_servers = Indices::restore(capacity.virtual_servers, virtual_servers);
        let named: BTreeSet<u32> = virtual_servers.iter().map(|(index, _)| index).collect();
        let real_servers = real_servers
            .into_iter()
            .filter(|(_, virtual_server, _)| named.contains(virtual_server))
            .map(|(index, virtual_server, address)| (index, (virtual_server, address)));
        Self {
            virtual_servers,
            real_servers: Indices::restore(capacity.real_servers, real_servers),
            on_down: HashMap::new(),
        }
    }

    /// Index of a virtual server, a leaving one included.
    #[must_use]
    pub fn virtual_server(&self, name: &str) -> Option<u32> {
        self.virtual_servers.number(&name.to_owned())
    }

    /// Index of a real server, a leaving one included.
    #[must_use]
    pub fn real_server(&self, virtual_server: u32, address: SocketAddr) -> Option<u32> {
        self.real_servers.number(&(virtual_server, address))
    }

    /// Every virtual server that is held, leaving ones included, by index.
    pub fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.virtual_servers.iter().map(|(index, name)| (index, name.as_str()))
    }

    /// The real servers that wait for [`Registry::release`], by index.
    pub fn leaving(&self) -> impl Iterator<Item = Leaving> {
        self.real_servers.leaving().map(|(index, &(virtual_server, address))| Leaving {
            index,
            virtual_server,
            address,
            on_down: self.farewell(virtual_server),
        })
    }

    /// Frees a leaving real server's index: no connection refers to it. The next plan does not hold it any more, nor its
    /// virtual server when that is leaving too and this was its last. Does nothing when the real server has come back
    /// meanwhile.
    pub fn release(&mut self, real_server: u32) {
        self.real_servers.release(real_server);
    }

    /// Begins a plan: what it does not hold is leaving.
    pub(super) fn leave_all(&mut self) {
        self.virtual_servers.leave_all();
        self.real_servers.leave_all();
    }

    /// Ends a plan: frees the virtual servers that are leaving without any real server left.
    pub(super) fn release_virtual_servers(&mut self) {
        let used: BTreeSet<u32> = self.real_servers.iter().map(|(_, key)| key.0).collect();
        let idle: Vec<u32> = self
            .virtual_servers
            .leaving()
            .map(|(index, _)| index)
            .filter(|index| !used.contains(index))
            .collect();
        for index in idle {
            self.virtual_servers.release(index);
            self.on_down.remove(&index);
        }
    }

    pub(super) fn hold_virtual_server(&mut self, name: &str, on_down: OnDown) -> Result<u32, RegistryError> {
        let index =
            self.virtual_servers.hold(name.to_owned()).ok_or_else(|| RegistryError::VirtualServersFull {
                name: name.to_owned(),
                capacity: self.virtual_servers.capacity(),
            })?;
        self.on_down.insert(index, on_down);
        Ok(index)
    }

    pub(super) fn hold_real_server(
        &mut self,
        virtual_server: u32,
        address: SocketAddr,
    ) -> Result<u32, RegistryError> {
        let capacity = self.real_servers.capacity();
        self.real_servers
            .hold((virtual_server, address))
            .ok_or(RegistryError::RealServersFull { address, capacity })
    }

    /// Without its virtual server a connection cannot be rescheduled, and what nobody remembers has the default.
    fn farewell(&self, virtual_server: u32) -> OnDown {
        match self.on_down.get(&virtual_server) {
            Some(OnDown::Reschedule) if self.virtual_servers.is_leaving(virtual_server) => OnDown::Reset,
            Some(on_down) => *on_down,
            None => OnDown::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { virtual_servers: 2, real_servers: 3 };

    fn address(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 80))
    }

    fn leaving(registry: &Registry) -> Vec<u32> {
        registry.leaving().map(|real| real.index).collect()
    }

    #[test]
    fn an_index_stays_and_is_not_given_again_before_it_is_released() {
        let mut registry = Registry::new(CAPACITY);
        let web = registry.hold_virtual_server("web", OnDown::Keep).unwrap();
        let first = registry.hold_real_server(web, address(1)).unwrap();
        registry.leave_all();
        assert_eq!(registry.hold_virtual_server("web", OnDown::Keep), Ok(web));
        let second = registry.hold_real_server(web, address(2)).unwrap();
        assert_ne!(first, second);
        assert_eq!(leaving(&registry), [first]);
        registry.release(first);
        assert!(leaving(&registry).is_empty());
        assert_eq!(registry.hold_real_server(web, address(3)), Ok(first));
    }

    #[test]
    fn one_that_comes_back_has_its_index_and_a_late_release_does_nothing() {
        let mut registry = Registry::new(CAPACITY);
        let web = registry.hold_virtual_server("web", OnDown::Keep).unwrap();
        let real = registry.hold_real_server(web, address(1)).unwrap();
        registry.leave_all();
        assert_eq!(registry.hold_virtual_server("web", OnDown::Keep), Ok(web));
        assert_eq!(registry.hold_real_server(web, address(1)), Ok(real));
        registry.release(real);
        assert_eq!(registry.real_server(web, address(1)), Some(real));
        assert_eq!(registry.virtual_server("web"), Some(web));
    }

    #[test]
    fn a_virtual_server_leaves_with_its_last_real_server() {
        let mut registry = Registry::new(CAPACITY);
        let web = registry.hold_virtual_server("web", OnDown::Reschedule).unwrap();
        let reals = [1, 2].map(|number| registry.hold_real_server(web, address(number)).unwrap());
        registry.leave_all();
        assert!(registry.leaving().all(|real| real.on_down == OnDown::Reset));
        registry.release(reals[0]);
        registry.release_virtual_servers();
        assert_eq!(registry.virtual_server("web"), Some(web));
        registry.release(reals[1]);
        registry.release_virtual_servers();
        assert_eq!(registry.virtual_server("web"), None);
    }

    #[test]
    fn a_full_table_says_which_and_how_large_it_is() {
        let mut registry = Registry::new(CAPACITY);
        for name in ["a", "b"] {
            registry.hold_virtual_server(name, OnDown::Reset).unwrap();
        }
        for number in 0..3 {
            registry.hold_real_server(0, address(number)).unwrap();
        }
        registry.leave_all();
        assert_eq!(
            registry.hold_virtual_server("c", OnDown::Reset).unwrap_err().to_string(),
            "no room for virtual server c: 2 is the most (max_virtual_servers)"
        );
        assert_eq!(
            registry.hold_real_server(0, address(9)).unwrap_err().to_string(),
            "no room for real server 10.0.0.9:80: 3 is the most, those with connections left included \
             (max_real_servers)"
        );
    }

    #[test]
    fn what_was_pinned_has_its_index_again() {
        let mut registry = Registry::restore(
            CAPACITY,
            [(1, "web".to_owned())],
            [(2, 1, address(2)), (0, 1, address(1)), (1, 7, address(3))],
        );
        assert_eq!(leaving(&registry), [0, 2]);
        assert_eq!(registry.hold_virtual_server("web", OnDown::Keep), Ok(1));
        assert_eq!(registry.hold_real_server(1, address(2)), Ok(2));
        assert_eq!(registry.hold_real_server(1, address(4)), Ok(1));
        assert!(registry.hold_real_server(1, address(5)).is_err());
        assert_eq!(registry.hold_virtual_server("other", OnDown::Keep), Ok(0));
    }
}
