//! The kernel's maps, written from the host's tables by the product's own writer, and compared with them.

use std::collections::{BTreeMap, HashMap as Collection, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::ControlFlow;

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, PerCpuArray},
    util::nr_cpus,
};
use lb_common::{
    addr::Address,
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    half_open::Set,
    hash::HashKey,
    limits::ATTACHED_INTERFACES,
    service::{ServiceKey, VipKey, lease},
    template::Template,
};
use lb_ebpf::limit::ANSWERS;
use lb_ebpf::memory::{self, Family, Memory};
use lb_user::{
    dataplane::{counters, half_open::HalfOpenTable, maps::Maps},
    plan::{self, Wanted},
};

use crate::lab::Outcomes;

/// What the controller would want, if this were its picture.
pub(super) fn wanted(memory: &Memory) -> Wanted {
    let settings = memory.settings.unwrap_or_default();
    let mut wanted = Wanted {
        hash_key: HashKey(settings.hash_key),
        ticks_per_second: settings.ticks_per_second,
        flags: settings.flags,
        interfaces: memory.interfaces.clone(),
        vlans: memory.vlans.clone(),
        virtual_macs: memory.virtual_macs.clone(),
        v4: family(&memory.v4),
        v6: family(&memory.v6),
        names: BTreeMap::new(),
        virtual_servers: memory.virtual_servers.clone(),
        real_servers: memory.real_servers.clone(),
        ..Wanted::default()
    };
    wanted.concerns = plan::concerns(&wanted);
    wanted
}

fn family<A: Address + Ord + Hash>(family: &Family<A>) -> plan::Family<A> {
    let copy = |(from, to): (&ServiceKey<A>, &ServiceKey<A>)| (*from, *to);
    plan::Family {
        vips: family
            .vips
            .iter()
            .map(|vip| (VipKey(*vip), family.leased.get(vip).copied().unwrap_or(0)))
            .collect(),
        services: family.services.iter().map(|(key, index)| (*key, *index)).collect(),
        reverse: family.reverse.iter().map(copy).collect(),
        marks: family.marks.iter().map(|(prefix, rules)| (*prefix, rules.used().to_vec())).collect(),
    }
}

/// Writes what no picture has: the generation, leases, and the loads of the host. Removes connections that the host does not
/// have. `now` is the kernel's clock.
pub(super) fn follow(maps: &mut Maps, memory: &Memory, now: u32) {
    let end = |end: u32| match end {
        lease::NOT_HELD => end,
        end => end.wrapping_sub(memory.now).wrapping_add(now),
    };
    let mut settings = memory.settings.unwrap_or_default();
    settings.lease = end(settings.lease);
    maps.settings.set(0, settings, 0).unwrap();
    for (slot, ends) in &memory.leases {
        maps.leases.set(*slot, end(*ends), 0).unwrap();
    }
    for (index, load) in &memory.loads {
        maps.loads.set(*index, load, 0).unwrap();
    }
    forget(&mut maps.v4.templates, &memory.v4.templates);
    forget(&mut maps.v6.templates, &memory.v6.templates);
    forget(&mut maps.v4.tcp, &memory.v4.tcp);
    forget(&mut maps.v6.tcp, &memory.v6.tcp);
    forget(&mut maps.v4.udp, &memory.v4.udp);
    forget(&mut maps.v6.udp, &memory.v6.udp);
    forget_half_open(&maps.v4.half_open, &memory.v4.half_open);
    forget_half_open(&maps.v6.half_open, &memory.v6.half_open);
}

/// Forgets the ports of fragmented packets, which no picture has and the controller never reads.
pub(super) fn forget_fragments(ebpf: &mut Ebpf) {
    forget::<_, [u8; 16], [u8; 12]>(&mut fragments(ebpf, "FRAGMENTS_V4"), &Collection::new());
    forget::<_, [u8; 40], [u8; 12]>(&mut fragments(ebpf, "FRAGMENTS_V6"), &Collection::new());
}

fn fragments<'a, K: Pod, V: Pod>(ebpf: &'a mut Ebpf, name: &str) -> HashMap<&'a mut MapData, K, V> {
    ebpf.map_mut(name).unwrap().try_into().unwrap()
}

/// Lets every CPU answer as many packets as it may at once.
pub(super) fn allow_answers(ebpf: &mut Ebpf) {
    let mut answers: PerCpuArray<_, [u32; 2]> = ebpf.map_mut("ANSWERS").unwrap().try_into().unwrap();
    let full = vec![[ANSWERS, 0]; nr_cpus().unwrap()].try_into().unwrap();
    answers.set(0, full, 0).unwrap();
}

/// Panics unless connections and loads are those of the host. Clocks are not compared.
pub(super) fn compare(maps: &Maps, memory: &Memory) {
    compare_entries(&maps.v4.tcp, &memory.v4.tcp, timeless);
    compare_entries(&maps.v6.tcp, &memory.v6.tcp, timeless);
    compare_entries(&maps.v4.udp, &memory.v4.udp, timeless);
    compare_entries(&maps.v6.udp, &memory.v6.udp, timeless);
    assert_eq!(half_open(&maps.v4.half_open), on_host(&memory.v4.half_open));
    assert_eq!(half_open(&maps.v6.half_open), on_host(&memory.v6.half_open));
    compare_entries(&maps.v4.templates, &memory.v4.templates, template_timeless);
    compare_entries(&maps.v6.templates, &memory.v6.templates, template_timeless);
    for (index, load) in &memory.loads {
        assert_eq!(maps.loads.get(index, 0).unwrap(), *load, "load of real server {index}");
    }
}

/// What was counted, by interface slot and outcome.
pub(super) fn outcomes(maps: &Maps) -> Outcomes {
    (0..ATTACHED_INTERFACES as u16)
        .flat_map(|slot| {
            let counted = counters::outcomes(maps, slot).unwrap();
            counted.into_iter().map(move |(outcome, counter)| ((slot, outcome), counter))
        })
        .filter(|(_, counter)| counter.packets != 0)
        .collect()
}

fn forget<M, K: Pod + Eq + Hash, V: Pod>(map: &mut HashMap<M, K, V>, wanted: &Collection<K, V>)
where
    M: std::borrow::BorrowMut<MapData>,
{
    let stale: Vec<K> = map.keys().map(Result::unwrap).filter(|key| !wanted.contains_key(key)).collect();
    for key in stale {
        map.remove(&key).unwrap();
    }
}

fn forget_half_open<A: Address + Hash>(kernel: &HalfOpenTable<A>, wanted: &memory::HalfOpenTable<A>)
where
    Set<A>: Pod,
{
    let entries = kernel.entries().unwrap();
    entries.while_each(|spot, key, _| {
        assert!(wanted.get(&key).is_some() || entries.remove(spot));
        ControlFlow::Continue(())
    });
}

/// Half-open connections in the kernel, without their times.
pub(super) fn half_open<A: Address + Hash + Debug>(
    table: &HalfOpenTable<A>,
) -> Collection<ConnectionKey<A>, HalfOpen<A>>
where
    Set<A>: Pod,
{
    let mut all = Collection::new();
    table.entries().unwrap().while_each(|_, key, half| {
        assert_eq!(all.insert(key, half_timeless(half)), None, "it is there twice");
        ControlFlow::Continue(())
    });
    all
}

fn on_host<A: Address + Hash>(table: &memory::HalfOpenTable<A>) -> Collection<ConnectionKey<A>, HalfOpen<A>> {
    table.iter().map(|(key, half)| (*key, half_timeless(*half))).collect()
}

fn compare_entries<K, V>(map: &HashMap<MapData, K, V>, host: &Collection<K, V>, timeless: fn(V) -> V)
where
    K: Pod + Eq + Hash + Debug,
    V: Pod + PartialEq + Debug,
{
    let keys: HashSet<_> = map.keys().map(Result::unwrap).collect();
    for key in &keys {
        assert!(host.contains_key(key), "{key:?} is in the kernel only");
    }
    for (key, value) in host {
        assert!(keys.contains(key), "{key:?} is on the host only");
        assert_eq!(timeless(map.get(key, 0).unwrap()), timeless(*value), "{key:?}");
    }
}

fn timeless<A>(entry: Connection<A>) -> Connection<A> {
    Connection { last_seen: 0, next_hop: known(entry.next_hop), ..entry }
}

/// Of a next hop that is not known nothing counts.
fn known(next_hop: NextHop) -> NextHop {
    if next_hop.mtu == 0 { NextHop::default() } else { next_hop }
}

fn template_timeless(template: Template) -> Template {
    Template { last_used: 0, ..template }
}

fn half_timeless<A>(entry: HalfOpen<A>) -> HalfOpen<A> {
    HalfOpen { connection: timeless(entry.connection), way_back: known(entry.way_back), answered: 0, ..entry }
}
