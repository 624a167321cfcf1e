//! What the plan says of pools, policies and addresses.

use std::time::Duration;

use lb_common::{
    service::{Interface, interface, real_server as flag, virtual_server as policy},
    vlan::{C_TAG, S_TAG, Tag, VlanKey},
};

use super::{
    PlanError, Pool, PoolMember,
    fixture::{World, address, member, pool, virtual_server},
};
use crate::config::model::{Listen, OnDown, Persistence, Scheduler, VirtualServer, WithoutState};

fn web() -> VirtualServer {
    virtual_server("web", &["192.0.2.10:80"])
}

/// The parts of a scheduling table.
fn parts(table: &[u32]) -> (&[u32], &[u32], &[u32]) {
    let [maglev, sequence, pool] = [0, 1, 2].map(|slot| table[slot] as usize);
    assert_eq!(table[3], 0);
    assert_eq!(table.len(), 4 + maglev + sequence + pool);
    let (maglev, rest) = table[4..].split_at(maglev);
    let (sequence, pool) = rest.split_at(sequence);
    (maglev, sequence, pool)
}

#[test]
fn an_empty_pool_has_a_head_of_zeros() {
    let wanted = World::new().plan(&[(web(), Pool::default())]).unwrap();
    assert_eq!(wanted.scheduling[&0].build(), [0, 0, 0, 0]);
    assert_eq!((wanted.v4.vips.len(), wanted.v4.services.len()), (1, 1));
}

#[test]
fn down_and_weightless_real_servers_are_held_and_get_nothing_new() {
    let pool = Pool {
        members: vec![
            PoolMember { weight: 0, ..member("10.0.0.11:80") },
            PoolMember { alive: false, ..member("10.0.0.12:80") },
            PoolMember { weight: 3, max_connections: Some(7), ..member("10.0.0.13:80") },
        ],
        sorry: false,
    };
    for (on_down, farewell) in
        [(OnDown::Reset, flag::RESET), (OnDown::Reschedule, flag::RESCHEDULE), (OnDown::Keep, 0)]
    {
        let server = VirtualServer { on_down, scheduler: Scheduler::Wrr, ..web() };
        let wanted = World::new().plan(&[(server, pool.clone())]).unwrap();
        let table = wanted.scheduling[&0].build();
        let (maglev, sequence, pool) = parts(&table);
        assert_eq!((maglev, sequence, pool), (&[2; 1009][..], &[2][..], &[2][..]));
        let real = |index| {
            let server: &lb_common::service::RealServer = &wanted.real_servers[&index];
            (server.flags, server.weight, server.max_connections)
        };
        assert_eq!(real(0), (flag::PRESENT | flag::ALIVE, 0, 0));
        assert_eq!(real(1), (flag::PRESENT | farewell, 0, 0));
        assert_eq!(real(2), (flag::PRESENT | flag::ALIVE, 3, 7));
    }
}

#[test]
fn a_removed_real_server_is_leaving_until_it_is_released() {
    let mut world = World::new();
    world.plan(&[(web(), pool(&["10.0.0.11:80", "10.0.0.12:80"]))]).unwrap();
    let wanted = world.plan(&[(web(), pool(&["10.0.0.12:80"]))]).unwrap();
    assert_eq!(wanted.real_servers[&0].flags, flag::PRESENT | flag::RESET);
    assert_eq!(wanted.real_servers[&0].weight, 0);
    assert_eq!(parts(&wanted.scheduling[&0].build()).2, [1]);
    world.registry.release(0);
    let wanted = world.plan(&[(web(), pool(&["10.0.0.12:80"]))]).unwrap();
    assert_eq!(wanted.real_servers.keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_removed_virtual_server_keeps_its_name_while_connections_are_left() {
    let mut world = World::new();
    world.plan(&[(web(), pool(&["10.0.0.11:80"]))]).unwrap();
    let wanted = world.plan(&[]).unwrap();
    assert_eq!(wanted.names[&0], "web");
    assert!(
        wanted.virtual_servers.is_empty() && wanted.scheduling.is_empty() && wanted.v4.services.is_empty()
    );
    world.registry.release(0);
    let wanted = world.plan(&[]).unwrap();
    assert!(wanted.names.is_empty() && wanted.real_servers.is_empty());
}

#[test]
fn the_sorry_server_is_alone_while_it_is_in_force_and_drains_after_that() {
    let server = VirtualServer { sorry_server: Some(address("10.0.0.99:80")), ..web() };
    let mut world = World::new();
    let members = pool(&["10.0.0.11:80", "10.0.0.12:80"]).members;
    for (sorry, taking) in [(false, &[0, 1][..]), (true, &[2]), (false, &[0, 1])] {
        let wanted = world.plan(&[(server.clone(), Pool { members: members.clone(), sorry })]).unwrap();
        assert_eq!(parts(&wanted.scheduling[&0].build()).2, taking);
        assert!(wanted.real_servers.values().all(|real| real.flags == flag::PRESENT | flag::ALIVE));
    }
}

#[test]
fn policies_and_schedulers_become_flags() {
    for (scheduler, number, hash) in [
        (Scheduler::Rr, 1, policy::HASH_PORT),
        (Scheduler::Wrr, 1, policy::HASH_PORT),
        (Scheduler::Lc, 2, policy::HASH_PORT),
        (Scheduler::Wlc, 2, policy::HASH_PORT),
        (Scheduler::Sh, 3, 0),
        (Scheduler::Mh, 3, 0),
    ] {
        for (without_state, bits) in [
            (WithoutState::Adopt, policy::ADOPT),
            (WithoutState::Reset, policy::RESET),
            (WithoutState::Drop, 0),
        ] {
            let server = VirtualServer { scheduler, without_state, ..web() };
            let heavy = PoolMember { weight: 5, ..member("10.0.0.11:80") };
            let wanted = World::new().plan(&[(server, Pool { members: vec![heavy], sorry: false })]).unwrap();
            let virtual_server = wanted.virtual_servers[&0];
            assert_eq!((virtual_server.scheduling, virtual_server.flags), (number, hash | bits));
            let weighted = !matches!(scheduler, Scheduler::Rr | Scheduler::Lc);
            assert_eq!(wanted.real_servers[&0].weight, if weighted { 5 } else { 1 });
            let slots = if scheduler == Scheduler::Mh { 65_537 } else { 1009 };
            assert_eq!(parts(&wanted.scheduling[&0].build()).0.len(), slots);
        }
    }
}

#[test]
fn only_unmistakable_real_servers_are_in_the_reverse_index() {
    let wanted = World::new()
        .plan(&[
            (web(), pool(&["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:0", "10.0.0.14:80"])),
            (virtual_server("other", &["192.0.2.11:80"]), pool(&["10.0.0.12:80", "10.0.0.14:0"])),
            (virtual_server("group", &["192.0.2.12:80", "192.0.2.13:80"]), pool(&["10.0.0.15:80"])),
            (virtual_server("any", &["192.0.2.14:0"]), pool(&["10.0.0.16:80"])),
            (virtual_server("six", &["[2001:db8::10]:80"]), pool(&["[2001:db8:1::11]:8080"])),
        ])
        .unwrap();
    let found: Vec<_> = wanted
        .v4
        .reverse
        .iter()
        .map(|(real, vip)| (std::net::Ipv4Addr::from(real.address), std::net::Ipv4Addr::from(vip.address)))
        .collect();
    assert_eq!(found, [([10, 0, 0, 11].into(), [192, 0, 2, 10].into())]);
    assert_eq!(wanted.v6.reverse.len(), 1);
    assert_eq!((wanted.v4.services.len(), wanted.v6.services.len()), (5, 1));
}

#[test]
fn the_size_of_a_table_does_not_change_when_a_real_server_goes_down() {
    let mut world = World::new();
    let members: Vec<_> = (1..=11).map(|host| member(&format!("10.0.0.{host}:80"))).collect();
    let mut pool = Pool { members, sorry: false };
    for alive in [true, false] {
        pool.members[0].alive = alive;
        let wanted = world.plan(&[(web(), pool.clone())]).unwrap();
        assert_eq!(parts(&wanted.scheduling[&0].build()).0.len(), 2039);
    }
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let mut world = World::new();
    let many: Vec<_> = (0..257).map(|number| format!("10.0.{}.{}:80", number / 256, number % 256)).collect();
    let many = pool(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let error: PlanError = world.plan(&[(web(), many)]).unwrap_err();
    assert_eq!(error.to_string(), "virtual server web: 257 real servers, 256 is the most");
}

#[test]
fn a_virtual_server_of_a_mark_is_on_no_address_and_in_no_reverse_index() {
    let marked = VirtualServer { listen: Listen::Fwmark(7), ..web() };
    let wanted = World::new().plan(&[(marked, pool(&["10.0.0.11:80"]))]).unwrap();
    assert_eq!((wanted.v4.vips.len(), wanted.v4.services.len(), wanted.v4.reverse.len()), (0, 0, 0));
    assert_eq!(wanted.virtual_servers.len(), 1);
}

#[test]
fn persistence_looks_at_addresses_alone() {
    let persistence = Persistence { timeout: Duration::from_secs(300), prefix_v4: 24, prefix_v6: 64 };
    let mut server = VirtualServer { persistence: Some(persistence), ..web() };
    let seen = |server: &VirtualServer| {
        let wanted = World::new().plan(&[(server.clone(), pool(&["10.0.0.11:80"]))]).unwrap();
        let described = wanted.virtual_servers[&0];
        (described.client_prefix, described.flags & policy::HASH_PORT)
    };
    assert_eq!(seen(&server), (24, 0));
    server.persistence = None;
    assert_eq!(seen(&server), (0, policy::HASH_PORT));
}

#[test]
fn only_attached_interfaces_are_wanted() {
    let wanted = World::new().plan(&[]).unwrap();
    assert_eq!(wanted.interfaces.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_vlan_device_is_found_by_its_parent_and_its_tags() {
    let mut world = World::new();
    let (outer, inner) = (Tag { protocol: S_TAG, id: 200 }, Tag { protocol: C_TAG, id: 300 });
    let device = Interface { flags: interface::ATTACHED, parent: 2, outer, inner, ..Interface::default() };
    world.host.interfaces.insert(7, device);
    // The device of a virtual MAC address has no tags.
    let router = Interface { outer: Tag::NONE, inner: Tag::NONE, ..device };
    world.host.interfaces.insert(8, router);
    let wanted = world.plan(&[]).unwrap();
    assert_eq!(wanted.vlans, [(VlanKey { parent: 2, outer, inner }, 7)].into());
}

#[test]
fn a_failover_pool_has_connections_without_state_where_they_began() {
    let mut world = World::new();
    for scheduler in [Scheduler::Fo, Scheduler::Ovf] {
        let mut pool = pool(&["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"]);
        for (member, weight) in pool.members.iter_mut().zip([1, 5, 5]) {
            member.weight = weight;
        }
        let server = VirtualServer { scheduler, ..web() };
        let wanted = world.plan(&[(server, pool)]).unwrap();
        let table = wanted.scheduling[&0].build();
        let (maglev, rest) = table[4..].split_at(table[0] as usize);
        assert!(!maglev.is_empty() && maglev.iter().all(|slot| *slot == 1), "{scheduler:?}");
        assert_eq!(rest, [0, 1, 2], "all are in the pool");
    }
}

#[test]
fn a_real_server_on_a_link_of_this_machine_says_what_else_is_on_it() {
    let mut world = World::new();
    world.host.links = ["192.0.2.10/24", "10.0.0.5/8", "10.0.0.1/24", "10.0.0.2/24", "10.0.1.12/24"]
        .map(|link| link.parse().unwrap())
        .to_vec();
    let reals = ["10.0.0.11:80", "10.0.9.11:80", "172.16.0.9:80", "10.0.1.12:80", "192.0.2.20:80"];
    let wanted = world.plan(&[(web(), pool(&reals))]).unwrap();
    let links = wanted.real_servers.values().map(|real| {
        let text = |words: [u32; 4]| std::net::Ipv4Addr::from(words[0].to_ne_bytes()).to_string();
        (text(real.own), text(real.link))
    });
    let expected = [
        ("10.0.0.1", "255.255.255.0"),
        ("10.0.0.5", "255.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("0.0.0.0", "0.0.0.0"),
        ("192.0.2.10", "255.255.255.0"),
    ];
    assert_eq!(links.collect::<Vec<_>>(), expected.map(|(own, link)| (own.to_owned(), link.to_owned())));
}
