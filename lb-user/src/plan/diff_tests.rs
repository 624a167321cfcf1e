//! Every step of a difference leaves a picture that the data plane can be run on.

use std::collections::BTreeMap;

use lb_common::service::{Interface, interface, real_server};
use proptest::prelude::*;

use super::{
    Change, Pool, PoolMember, Wanted, Write, concerns, diff,
    fixture::{World, member, pool, virtual_server},
    needs_new_generation,
};
use crate::config::model::{OnDown, VirtualServer};

fn apply(wanted: &mut Wanted, write: Write) {
    match write {
        Write::Settings(change) => {
            assert_eq!(change.old, Some((wanted.hash_key, wanted.ticks_per_second, wanted.flags)));
            (wanted.hash_key, wanted.ticks_per_second, wanted.flags) = change.new.unwrap();
        }
        Write::Concern(word, bits) => *wanted.concerns.entry(word).or_default() |= bits,
        Write::Interface(change) => put(&mut wanted.interfaces, change),
        Write::Vlan(change) => put(&mut wanted.vlans, change),
        Write::VirtualMac(change) => put(&mut wanted.virtual_macs, change),
        Write::RealServer(change) => put(&mut wanted.real_servers, change),
        Write::Scheduling(change) => put(&mut wanted.scheduling, change),
        Write::VirtualServer(change) => put(&mut wanted.virtual_servers, change),
        Write::Name(change) => put(&mut wanted.names, change),
        Write::ReverseV4(change) => put(&mut wanted.v4.reverse, change),
        Write::ReverseV6(change) => put(&mut wanted.v6.reverse, change),
        Write::ServiceV4(change) => put(&mut wanted.v4.services, change),
        Write::ServiceV6(change) => put(&mut wanted.v6.services, change),
        Write::MarksV4(change) => put(&mut wanted.v4.marks, change),
        Write::MarksV6(change) => put(&mut wanted.v6.marks, change),
        Write::VipV4(change) => put(&mut wanted.v4.vips, change),
        Write::VipV6(change) => put(&mut wanted.v6.vips, change),
    }
}

fn put<K: Ord, V: PartialEq + std::fmt::Debug>(map: &mut BTreeMap<K, V>, change: Change<K, V>) {
    let old = match change.new {
        Some(new) => map.insert(change.key, new),
        None => map.remove(&change.key),
    };
    assert_eq!(old, change.old);
}

fn assert_sound(wanted: &Wanted) {
    for (index, table) in &wanted.scheduling {
        let mut named = table.backends.iter().map(|backend| backend.index);
        let missing = named.find(|real| !wanted.real_servers.contains_key(real));
        assert_eq!(missing, None, "named by the scheduling table of {index}");
    }
    for index in wanted.virtual_servers.keys() {
        assert!(wanted.scheduling.contains_key(index), "virtual server {index} has no scheduling table");
    }
    for index in wanted.v4.services.values().chain(wanted.v6.services.values()) {
        assert!(
            wanted.virtual_servers.contains_key(index),
            "a service points to {index}, which is not there"
        );
        assert!(wanted.names.contains_key(index), "virtual server {index} serves without a name");
    }
    for (word, bits) in concerns(wanted) {
        assert_eq!(bits & !wanted.concerns[&word], 0, "the filter holds back what concerns somebody");
    }
}

/// A few virtual servers of few addresses, so that two draws have much in common.
fn services() -> impl Strategy<Value = Vec<(VirtualServer, Pool)>> {
    let real = (prop::sample::select(vec![0u32, 1, 5]), any::<bool>());
    let pool = prop::collection::btree_map(1..6u8, real, 0..5);
    prop::collection::btree_map(0..4u8, (0..6u8, any::<bool>(), pool), 0..4).prop_map(|servers| {
        servers
            .into_iter()
            .map(|(name, (vip, six, pool))| {
                let listen = if six {
                    format!("[2001:db8::{vip}]:80")
                } else {
                    format!("192.0.2.{}:8{name}", vip / 2)
                };
                let members = pool
                    .into_iter()
                    .map(|(host, (weight, alive))| {
                        let text = if six {
                            format!("[2001:db8:1::{host}]:80")
                        } else {
                            format!("10.0.0.{host}:80")
                        };
                        PoolMember { weight, alive, ..member(&text) }
                    })
                    .collect();
                (virtual_server(&name.to_string(), &[&listen]), Pool { members, sorry: false })
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_step_is_sound_and_can_be_taken_back(
        first in services(),
        second in services(),
        released in prop::collection::vec(any::<bool>(), 20),
        rekeyed in any::<bool>(),
    ) {
        let mut world = World::new();
        let old = world.plan(&first).unwrap();
        // Those that leave are released before the writes are compared: indices pass from one to another in one step.
        world.plan(&second).unwrap();
        for (index, released) in (0..).zip(released) {
            if released {
                world.registry.release(index);
            }
        }
        if rekeyed {
            world.host.hash_key.0[0] += 1;
        }
        let new = world.plan(&second).unwrap();

        let writes = diff(&old, &new);
        let mut maps = old.clone();
        for write in &writes {
            apply(&mut maps, write.clone());
            assert_sound(&maps);
        }
        prop_assert_eq!(&Wanted { concerns: new.concerns.clone(), ..maps.clone() }, &new);
        for write in writes.into_iter().rev() {
            apply(&mut maps, write.inverse());
            assert_sound(&maps);
        }
        maps.concerns.clone_from(&old.concerns);
        prop_assert_eq!(&maps, &old);
        prop_assert_eq!(diff(&new, &new), []);
    }
}

#[test]
fn connections_look_again_when_an_interface_or_the_presence_of_a_real_server_changes() {
    let mut world = World::new();
    let mut plan = |members: &[PoolMember], mtu| {
        world.host.interfaces =
            [(2, Interface { flags: interface::ATTACHED, mtu, ..Interface::default() })].into();
        let pool = Pool { members: members.to_vec(), sorry: false };
        world.plan(&[(virtual_server("web", &["192.0.2.10:80"]), pool)]).unwrap()
    };
    let real = pool(&["10.0.0.11:80"]).members[0];
    let start = plan(&[real], 1500);
    for (new, needed) in [
        (plan(&[real], 1500), false),
        (plan(&[PoolMember { weight: 9, ..real }], 1500), false),
        (plan(&[PoolMember { alive: false, ..real }], 1500), true),
        (plan(&[real], 9000), true),
        (plan(&[], 1500), true),
        (plan(&[real, member("10.0.0.12:80")], 1500), true),
    ] {
        assert_eq!(needs_new_generation(&diff(&start, &new)), needed, "{:?}", new.real_servers);
    }
    assert_eq!(start.real_servers[&0].flags, real_server::PRESENT | real_server::ALIVE);

    let mut keeps = |alive| {
        let server = VirtualServer { on_down: OnDown::Keep, ..virtual_server("web", &["192.0.2.10:80"]) };
        world.plan(&[(server, Pool { members: vec![PoolMember { alive, ..real }], sorry: false })]).unwrap()
    };
    let writes = diff(&keeps(true), &keeps(false));
    assert!(writes.iter().any(|write| matches!(write, Write::RealServer(_))), "{writes:?}");
    assert!(!needs_new_generation(&writes), "{writes:?}");
}
