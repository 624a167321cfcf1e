//! The kernel's maps, written from the host's tables and compared with them.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap as Collection, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray},
};
use lb_common::{
    addr::{V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    counter::Counter,
    layout::map,
    limits::OUTCOME_ROW,
    outcome::Outcome,
    service::{Load, ServiceKey, VipKey},
};
use lb_ebpf::memory::{Family, Memory};

use crate::lab::Outcomes;

/// `BPF_F_MMAPABLE | BPF_F_INNER_MAP`, as the prototype has them.
const SCHEDULING_FLAGS: u32 = 1 << 10 | 1 << 12;

/// Writes what the controller writes. Loads and positions in sequences are written too: a case starts from those of the host.
pub(super) fn configure(ebpf: &mut Ebpf, memory: &Memory) {
    elements(ebpf, map::SETTINGS, memory.settings.iter().map(|settings| (0, *settings)));
    elements(ebpf, map::INTERFACES, copies(&memory.interfaces));
    elements(ebpf, map::VIRTUAL_SERVERS, copies(&memory.virtual_servers));
    elements(ebpf, map::REAL_SERVERS, copies(&memory.real_servers));
    elements(ebpf, map::LOADS, copies(&memory.loads));
    let positions =
        memory.virtual_servers.keys().map(|index| (*index, memory.cursors.get(index).map_or(0, Cell::get)));
    elements(ebpf, map::CURSORS, positions);
    replace(ebpf, map::VIPS_V4, &vips(&memory.v4));
    replace(ebpf, map::VIPS_V6, &vips(&memory.v6));
    replace(ebpf, map::SERVICES_V4, &memory.v4.services);
    replace(ebpf, map::SERVICES_V6, &memory.v6.services);
    replace::<ServiceKey<V4>, _>(ebpf, map::REVERSE_V4, &memory.v4.reverse);
    replace::<ServiceKey<V6>, _>(ebpf, map::REVERSE_V6, &memory.v6.reverse);
}

/// Removes connections that the host no longer has.
pub(super) fn prune(ebpf: &mut Ebpf, memory: &Memory) {
    forget::<_, Connection<V4>>(ebpf, map::TCP_V4, &memory.v4.tcp);
    forget::<_, Connection<V6>>(ebpf, map::TCP_V6, &memory.v6.tcp);
    forget::<_, Connection<V4>>(ebpf, map::UDP_V4, &memory.v4.udp);
    forget::<_, Connection<V6>>(ebpf, map::UDP_V6, &memory.v6.udp);
    forget::<_, HalfOpen<V4>>(ebpf, map::HALF_OPEN_V4, &memory.v4.half_open);
    forget::<_, HalfOpen<V6>>(ebpf, map::HALF_OPEN_V6, &memory.v6.half_open);
}

/// Panics unless connections, loads and positions are those of the host. Clocks are not compared.
pub(super) fn compare(ebpf: &mut Ebpf, memory: &Memory) {
    compare_entries(ebpf, map::TCP_V4, &memory.v4.tcp, timeless);
    compare_entries(ebpf, map::TCP_V6, &memory.v6.tcp, timeless);
    compare_entries(ebpf, map::UDP_V4, &memory.v4.udp, timeless);
    compare_entries(ebpf, map::UDP_V6, &memory.v6.udp, timeless);
    compare_entries(ebpf, map::HALF_OPEN_V4, &memory.v4.half_open, half_timeless);
    compare_entries(ebpf, map::HALF_OPEN_V6, &memory.v6.half_open, half_timeless);
    let loads = Array::<_, Load>::try_from(ebpf.map_mut(map::LOADS).unwrap()).unwrap();
    for (index, load) in &memory.loads {
        assert_eq!(loads.get(index, 0).unwrap(), *load, "load of real server {index}");
    }
    let cursors = Array::<_, u32>::try_from(ebpf.map_mut(map::CURSORS).unwrap()).unwrap();
    for (index, position) in &memory.cursors {
        assert_eq!(cursors.get(index, 0).unwrap(), position.get(), "position of virtual server {index}");
    }
}

/// What was counted, by interface slot and outcome.
pub(super) fn outcomes(ebpf: &mut Ebpf, slots: u32) -> Outcomes {
    let counters = PerCpuArray::<_, Counter>::try_from(ebpf.map_mut(map::OUTCOMES).unwrap()).unwrap();
    let mut counted = Outcomes::new();
    for slot in 0..slots {
        for outcome in Outcome::ALL {
            let values = counters.get(&(slot * OUTCOME_ROW + *outcome as u32), 0).unwrap();
            let sum: Counter = values.iter().copied().sum();
            if sum.packets != 0 {
                counted.insert((slot as u16, *outcome), sum);
            }
        }
    }
    counted
}

fn copies<V: Copy>(table: &BTreeMap<u32, V>) -> impl Iterator<Item = (u32, V)> {
    table.iter().map(|(index, value)| (*index, *value))
}

fn elements<V: Pod>(ebpf: &mut Ebpf, name: &str, values: impl Iterator<Item = (u32, V)>) {
    let mut array = Array::<_, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    for (index, value) in values {
        array.set(index, value, 0).unwrap();
    }
}

/// Replaces the scheduling table of a virtual server.
pub(super) fn schedule(ebpf: &mut Ebpf, index: u32, table: &[u32]) {
    let pairs: Vec<[u32; 2]> =
        table.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or_default()]).collect();
    let mut inner = Array::<MapData, [u32; 2]>::create(pairs.len() as u32, SCHEDULING_FLAGS).unwrap();
    for (position, pair) in (0..).zip(pairs) {
        inner.set(position, pair, 0).unwrap();
    }
    let outer = ebpf.map_mut(map::SCHEDULING).unwrap();
    let mut outer = ArrayOfMaps::<_, Array<MapData, [u32; 2]>>::try_from(outer).unwrap();
    outer.set(index, &inner, 0).unwrap();
}

fn vips<A: Copy + Eq + Hash>(family: &Family<A>) -> Collection<VipKey<A>, u32> {
    family.vips.iter().map(|vip| (VipKey(*vip), 0)).collect()
}

fn replace<K: Pod + Eq + Hash, V: Pod>(ebpf: &mut Ebpf, name: &str, wanted: &Collection<K, V>) {
    forget::<K, V>(ebpf, name, wanted);
    let mut map = HashMap::<_, K, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    for (key, value) in wanted {
        map.insert(key, value, 0).unwrap();
    }
}

fn forget<K: Pod + Eq + Hash, V: Pod>(ebpf: &mut Ebpf, name: &str, wanted: &Collection<K, V>) {
    let mut map = HashMap::<_, K, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    let stale: Vec<K> =
        map.keys().map(Result::unwrap).filter(|key| !wanted.contains_key(key.borrow())).collect();
    for key in stale {
        map.remove(&key).unwrap();
    }
}

fn compare_entries<A, V>(
    ebpf: &mut Ebpf,
    name: &str,
    host: &Collection<ConnectionKey<A>, V>,
    timeless: fn(V) -> V,
) where
    ConnectionKey<A>: Pod + Eq + Hash + Debug,
    V: Pod + PartialEq + Debug,
{
    let map = HashMap::<_, ConnectionKey<A>, V>::try_from(ebpf.map_mut(name).unwrap()).unwrap();
    let keys: HashSet<_> = map.keys().map(Result::unwrap).collect();
    for key in &keys {
        assert!(host.contains_key(key), "{name}: {key:?} is in the kernel only");
    }
    for (key, value) in host {
        assert!(keys.contains(key), "{name}: {key:?} is on the host only");
        assert_eq!(timeless(map.get(key, 0).unwrap()), timeless(*value), "{name}: {key:?}");
    }
}

/// Of a next hop that is not known nothing counts.
fn timeless<A>(entry: Connection<A>) -> Connection<A> {
    let next_hop = if entry.next_hop.mtu == 0 { NextHop::default() } else { entry.next_hop };
    Connection { last_seen: 0, next_hop, ..entry }
}

fn half_timeless<A>(entry: HalfOpen<A>) -> HalfOpen<A> {
    HalfOpen { connection: timeless(entry.connection), ..entry }
}
