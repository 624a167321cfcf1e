//! Templates of persistence in the sweep: a template lives as long as its client has connections, and its timeout longer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap as StdHashMap},
    hash::Hash,
};

use aya::{
    Pod,
    maps::{HashMap, IterableMap as _, MapData, MapError},
};
use lb_common::template::{Template, TemplateKey};

use super::{batch, sweep::SweepError};

/// Persistence of the virtual server of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Index of the virtual server.
    pub virtual_server: u32,
    /// Ticks that a template outlives its client's last connection.
    pub timeout: u32,
    /// Bits of a client's address that count.
    pub client_prefix: u32,
}

/// Templates that are left.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// How many clients each virtual server has bound, by its index.
    pub clients: BTreeMap<u32, u64>,
    /// The real servers that they are bound to.
    pub real_servers: BTreeSet<u32>,
}

/// What becomes of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Its client has connections: it counts as used now.
    Renewed,
    Expires,
}

/// A template is renewed when this part of its timeout has gone by, not at every sweep, and lives as much longer.
const SLACK: u32 = 8;

const fn fate(age: u32, timeout: u32, has_connections: bool) -> Fate {
    let slack = timeout / SLACK;
    if has_connections {
        return if age >= slack { Fate::Renewed } else { Fate::Stays };
    }
    if age >= timeout.saturating_add(slack) { Fate::Expires } else { Fate::Stays }
}

/// Renews and removes templates. `connected` are the clients that have connections, with a real server of theirs: who lost
/// the template to eviction gets it back. `persistence` answers for a real server; one that has none any more, because it
/// or its virtual server is gone or persistence was turned off, loses its templates at once.
pub(super) fn sweep<A: Copy + Eq + Hash>(
    map: &mut HashMap<MapData, TemplateKey<A>, Template>,
    now: u32,
    mut connected: StdHashMap<TemplateKey<A>, u32>,
    persistence: &impl Fn(u32) -> Option<Persistence>,
    bound: &mut Bound,
) -> Result<(), SweepError>
where
    TemplateKey<A>: Pod,
{
    let mut templates = Vec::new();
    batch::for_each(map.map().fd(), |key: TemplateKey<A>, template: Template| {
        templates.push((key, template));
    })?;
    for (key, template) in templates {
        let has_connections = connected.remove(&key).is_some();
        let known = persistence(template.real_server).filter(|it| it.virtual_server == key.virtual_server);
        let age = now.wrapping_sub(template.last_used).cast_signed().max(0).cast_unsigned();
        let fate = known.map_or(Fate::Expires, |known| fate(age, known.timeout, has_connections));
        // The data plane may have used it or given it to another real server meanwhile.
        if fate != Fate::Stays && is_unchanged(map, &key, template)? {
            if fate == Fate::Expires {
                remove(map, &key)?;
                continue;
            }
            map.insert(key, Template { last_used: now, ..template }, 0)?;
        }
        bound.add(key.virtual_server, template.real_server);
    }
    for (key, real_server) in connected {
        // Refused when it has just come back by itself.
        let _ = map.insert(key, Template { real_server, last_used: now }, NO_EXIST);
        bound.add(key.virtual_server, real_server);
    }
    Ok(())
}

/// `BPF_NOEXIST`.
const NO_EXIST: u64 = 1;

fn is_unchanged<A>(
    map: &HashMap<MapData, TemplateKey<A>, Template>,
    key: &TemplateKey<A>,
    template: Template,
) -> Result<bool, MapError>
where
    TemplateKey<A>: Pod,
{
    match map.get(key, 0) {
        Ok(now) => Ok(now == template),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove<A>(
    map: &mut HashMap<MapData, TemplateKey<A>, Template>,
    key: &TemplateKey<A>,
) -> Result<(), MapError>
where
    TemplateKey<A>: Pod,
{
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Bound {
    fn add(&mut self, virtual_server: u32, real_server: u32) {
        *self.clients.entry(virtual_server).or_default() += 1;
        self.real_servers.insert(real_server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_outlives_its_last_connection_by_its_timeout_and_little_more() {
        for (age, has_connections, expected) in [
            (0, true, Fate::Stays),
            (99, true, Fate::Stays),
            (100, true, Fate::Renewed),
            (5000, true, Fate::Renewed),
            (0, false, Fate::Stays),
            (899, false, Fate::Stays),
            (900, false, Fate::Expires),
        ] {
            assert_eq!(fate(age, 800, has_connections), expected, "{age} {has_connections}");
        }
        assert_eq!(fate(u32::MAX / 2, u32::MAX / 2, true), Fate::Renewed);
        assert_eq!(fate(1, 1, false), Fate::Expires);
    }
}
