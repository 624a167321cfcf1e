//! How large the maps are: chosen once, when they are created, from the configuration.

use lb_common::{
    addr::{V4, V6},
    connection::{Connection, ConnectionKey},
    counter::Row,
    half_open::{Set, WAYS},
    layout::map,
    limits::MARK_PREFIXES,
    template::{Template, TemplateKey},
};

use crate::config::model::Global;

/// Capacities from which the sizes of all maps follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Established TCP connections per address family.
    pub connections: u32,
    /// Virtual servers.
    pub virtual_servers: u32,
    /// Real servers, over all virtual servers.
    pub real_servers: u32,
}

/// Addresses a virtual server may have on average: room in the tables that are looked up by address.
const ADDRESSES_EACH: u32 = 4;

/// One half-open connection, UDP connection and persistent client for so many established ones that there is room for.
const SHARE: u32 = 4;

/// Even a small installation has room for a flood of this many half-open connections: of so many, less than one in a hundred is
/// evicted early, because its set is full while others are not.
const MINIMUM: u32 = 16_384;

impl From<&Global> for Sizes {
    fn from(global: &Global) -> Self {
        Self {
            connections: global.max_connections,
            virtual_servers: global.max_virtual_servers,
            real_servers: global.max_real_servers,
        }
    }
}

impl Sizes {
    /// Elements of the map of this name, of half-open connections sets of them; `None` for a map whose size is fixed.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<u32> {
        let share = (self.connections / SHARE).max(MINIMUM);
        // Two entries for every connection, one for each direction.
        Some(match name {
            map::TCP_V4 | map::TCP_V6 => 2 * self.connections,
            map::UDP_V4 | map::UDP_V6 => 2 * share,
            map::HALF_OPEN_V4 | map::HALF_OPEN_V6 => (2 * share).div_ceil(WAYS as u32),
            map::SERVICES_V4 | map::SERVICES_V6 => ADDRESSES_EACH * self.virtual_servers,
            map::VIPS_V4 | map::VIPS_V6 => ADDRESSES_EACH * self.virtual_servers + MARK_PREFIXES,
            map::TEMPLATES_V4 | map::TEMPLATES_V6 => share,
            map::VIRTUAL_SERVERS | map::SCHEDULING | map::CURSORS | map::NAMES => self.virtual_servers,
            map::REAL_SERVERS | map::LOADS | map::REVERSE_V4 | map::REVERSE_V6 => self.real_servers,
            map::TRAFFIC => Row::EACH * self.real_servers,
            _ => return None,
        })
    }

    /// Bytes of kernel memory that the connection tables take, all of it at start.
    #[must_use]
    pub fn connection_memory(&self) -> u64 {
        let table = |name: &str, key: usize, value: usize| {
            let entries = u64::from(self.of(name).unwrap_or(0));
            // A hash element has a head of 48 bytes, a key rounded up to 8 and its value; a bucket takes 16 (hashtab.c).
            let element = 48 + key.next_multiple_of(8) + value.next_multiple_of(8);
            entries * element as u64 + entries.next_power_of_two() * 16
        };
        let array = |name: &str, value: usize| u64::from(self.of(name).unwrap_or(0)) * value as u64;
        table(map::TCP_V4, size_of::<ConnectionKey<V4>>(), size_of::<Connection<V4>>())
            + table(map::TCP_V6, size_of::<ConnectionKey<V6>>(), size_of::<Connection<V6>>())
            + table(map::UDP_V4, size_of::<ConnectionKey<V4>>(), size_of::<Connection<V4>>())
            + table(map::UDP_V6, size_of::<ConnectionKey<V6>>(), size_of::<Connection<V6>>())
            + array(map::HALF_OPEN_V4, size_of::<Set<V4>>())
            + array(map::HALF_OPEN_V6, size_of::<Set<V6>>())
            + table(map::TEMPLATES_V4, size_of::<TemplateKey<V4>>(), size_of::<Template>())
            + table(map::TEMPLATES_V6, size_of::<TemplateKey<V6>>(), size_of::<Template>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { connections: 262_144, virtual_servers: 100, real_servers: 1_000 };

    #[test]
    fn every_connection_has_an_entry_for_each_direction() {
        assert_eq!(SIZES.of(map::TCP_V4), Some(524_288));
        assert_eq!(SIZES.of(map::TCP_V6), SIZES.of(map::TCP_V4));
        assert_eq!(SIZES.of(map::UDP_V4), Some(131_072));
        assert_eq!(SIZES.of(map::TRAFFIC), Some(3_000));
    }

    #[test]
    fn a_small_table_still_has_room_for_a_flood() {
        let small = Sizes { connections: 1, ..SIZES };
        assert_eq!(small.of(map::HALF_OPEN_V4), Some(2 * MINIMUM / WAYS as u32));
        assert_eq!(small.of(map::UDP_V6), Some(2 * MINIMUM));
    }

    #[test]
    fn a_map_of_fixed_size_is_left_as_it_is_in_the_object() {
        assert_eq!(SIZES.of(map::SETTINGS), None);
        assert_eq!(SIZES.of(map::OUTCOMES), None);
    }

    /// 256 and 352 bytes a connection are proven beside its type; the tables of 2^18 connections add 16 bytes a bucket to
    /// them, and those of half-open and UDP connections, four to one, about half as much again.
    #[test]
    fn the_memory_is_that_of_the_entries_and_a_little_more() {
        let established = 262_144 * (256 + 352);
        let memory = SIZES.connection_memory();
        assert!((established..2 * established).contains(&memory), "{memory}");
        let double = Sizes { connections: 2 * SIZES.connections, ..SIZES };
        assert_eq!(double.connection_memory(), 2 * memory);
    }
}
