//! A client's connections stay together.

use std::net::SocketAddr;

use lb_common::{
    outcome::Outcome,
    service::real_server,
    tcp::header::{ACK, SYN},
};

use crate::lab::Lab;
use crate::packet::tcp;
use crate::world::{
    MARKED, MARKED_TLS, PERSISTENT, PERSISTENT_ANY, PERSISTENT_V6, STRIDE, at, scheduling_table,
    virtual_server_of,
};

const FIRST: &str = "10.0.0.11:85";
const SECOND: &str = "10.0.0.12:85";

cases![
    clients_of_one_network_have_one_real_server,
    other_networks_have_their_own,
    a_client_of_a_mark_has_one_real_server_on_all_its_ports,
    every_port_of_an_address_has_one_real_server,
    a_specific_port_has_a_template_of_its_own,
    a_network_of_ipv6_has_one_real_server,
    who_loses_its_real_server_gets_another_and_stays_there,
    a_drained_real_server_keeps_what_it_has_and_gets_nothing_new,
    a_full_real_server_loses_the_client,
    a_template_means_no_other_real_server_with_its_index,
    a_forgotten_client_is_chosen_for_anew,
    taken_over_connections_follow_the_template,
    taken_over_connections_of_a_network_agree_without_a_template,
    a_collision_goes_elsewhere_and_leaves_the_client_bound,
    nobody_is_bound_to_nobody,
];

/// A new connection; the real server that it got.
fn connects(lab: &mut Lab<'_>, client: &str, vip: &str) -> SocketAddr {
    lab.reaches(&tcp(at(client), at(vip), SYN), Outcome::NewConnection)
}

/// The index of the first real server of a virtual server.
fn first_of(listens: &str) -> u32 {
    virtual_server_of(listens) * STRIDE
}

fn clients_of_one_network_have_one_real_server(lab: &mut Lab<'_>) {
    let server = connects(lab, "198.18.0.1:40000", PERSISTENT);
    for number in 0..40 {
        let client = format!("198.18.0.{}:{}", number % 16, 41_000 + number);
        assert_eq!(connects(lab, &client, PERSISTENT), server);
    }
    assert_eq!(lab.memory.v4.templates.len(), 1);
}

fn other_networks_have_their_own(lab: &mut Lab<'_>) {
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(FIRST));
    assert_eq!(connects(lab, "198.51.100.7:40000", PERSISTENT), at(SECOND));
    assert_eq!(connects(lab, "198.51.100.8:40000", PERSISTENT), at(SECOND));
    assert_eq!(connects(lab, "198.18.0.2:40000", PERSISTENT), at(FIRST));
}

fn a_client_of_a_mark_has_one_real_server_on_all_its_ports(lab: &mut Lab<'_>) {
    let mut servers = Vec::new();
    for host in 0..8 {
        let client = |port| format!("198.18.0.{host}:{port}");
        let plain = connects(lab, &client(40_000), MARKED);
        assert_eq!(plain.port(), 80);
        for port in 40_001..40_004 {
            assert_eq!(connects(lab, &client(port), MARKED_TLS), SocketAddr::new(plain.ip(), 443));
            assert_eq!(connects(lab, &client(port), MARKED), plain);
        }
        servers.push(plain.ip());
    }
    assert_eq!(servers.iter().filter(|ip| **ip == at(FIRST).ip()).count(), 4, "{servers:?}");
}

fn every_port_of_an_address_has_one_real_server(lab: &mut Lab<'_>) {
    for client in ["198.18.0.1", "198.18.0.2"] {
        let mut ips = Vec::new();
        for port in [22, 443, 8080, 65_535] {
            let vip = SocketAddr::new(at(PERSISTENT_ANY).ip(), port);
            let server = connects(lab, &format!("{client}:40000"), &vip.to_string());
            assert_eq!(server.port(), port);
            ips.push(server.ip());
        }
        assert!(ips.iter().all(|ip| *ip == ips[0]), "{ips:?}");
    }
}

fn a_specific_port_has_a_template_of_its_own(lab: &mut Lab<'_>) {
    // The cursors of the two virtual servers are made to differ.
    connects(lab, "198.51.100.7:40000", PERSISTENT);
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(SECOND));
    assert_eq!(connects(lab, "198.18.0.1:40000", "192.0.2.70:81"), at("10.0.0.11:81"));
    assert_eq!(lab.memory.v4.templates.len(), 3);
}

fn a_network_of_ipv6_has_one_real_server(lab: &mut Lab<'_>) {
    let server = connects(lab, "[2001:db8:1::7]:40000", PERSISTENT_V6);
    for port in 40_001..40_005 {
        assert_eq!(connects(lab, &format!("[2001:db8:1::7]:{port}"), PERSISTENT_V6), server);
    }
    assert_eq!(lab.memory.v6.templates.len(), 1);
}

/// A real server goes down, and its connections are rescheduled.
fn goes_down(lab: &mut Lab<'_>, listens: &str, which: u32) {
    let (index, first) = (virtual_server_of(listens), first_of(listens));
    lab.change_and_renew(|memory| {
        let real = memory.real_servers.get_mut(&(first + which)).unwrap();
        (real.weight, real.flags) = (0, real_server::PRESENT | real_server::RESCHEDULE);
        memory.scheduling.insert(index, scheduling_table(&[(first + 1 - which, 1)]));
    });
}

fn comes_back(lab: &mut Lab<'_>, listens: &str, which: u32) {
    let (index, first) = (virtual_server_of(listens), first_of(listens));
    lab.change_and_renew(|memory| {
        let real = memory.real_servers.get_mut(&(first + which)).unwrap();
        (real.weight, real.flags) = (1, real_server::PRESENT);
        memory.scheduling.insert(index, scheduling_table(&[(first, 1), (first + 1, 1)]));
    });
}

fn who_loses_its_real_server_gets_another_and_stays_there(lab: &mut Lab<'_>) {
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(FIRST));
    assert_eq!(connects(lab, "198.51.100.7:40000", PERSISTENT), at(SECOND));
    goes_down(lab, PERSISTENT, 0);
    assert_eq!(connects(lab, "198.18.0.1:40001", PERSISTENT), at(SECOND));
    assert_eq!(connects(lab, "198.51.100.7:40001", PERSISTENT), at(SECOND));
    comes_back(lab, PERSISTENT, 0);
    for port in 40_002..40_006 {
        assert_eq!(connects(lab, &format!("198.18.0.2:{port}"), PERSISTENT), at(SECOND));
    }
}

fn a_drained_real_server_keeps_what_it_has_and_gets_nothing_new(lab: &mut Lab<'_>) {
    let client = "198.18.0.1:40000";
    assert_eq!(lab.establishes(at(client), PERSISTENT), at(FIRST));
    let (index, first) = (virtual_server_of(PERSISTENT), first_of(PERSISTENT));
    lab.change(|memory| {
        memory.real_servers.get_mut(&first).unwrap().weight = 0;
        memory.scheduling.insert(index, scheduling_table(&[(first + 1, 1)]));
    });
    assert_eq!(connects(lab, "198.18.0.1:40001", PERSISTENT), at(SECOND));
    assert_eq!(lab.reaches(&tcp(at(client), at(PERSISTENT), ACK), Outcome::Forwarded), at(FIRST));
}

fn a_full_real_server_loses_the_client(lab: &mut Lab<'_>) {
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(FIRST));
    lab.change(|memory| memory.loads.get_mut(&first_of(PERSISTENT)).unwrap().active = 50);
    assert_eq!(connects(lab, "198.18.0.1:40001", PERSISTENT), at(SECOND));
    lab.change(|memory| memory.loads.get_mut(&first_of(PERSISTENT)).unwrap().active = 0);
    assert_eq!(connects(lab, "198.18.0.1:40002", PERSISTENT), at(SECOND));
}

fn a_template_means_no_other_real_server_with_its_index(lab: &mut Lab<'_>) {
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(FIRST));
    let (index, first) = (virtual_server_of(PERSISTENT), first_of(PERSISTENT));
    lab.change(|memory| {
        memory.real_servers.get_mut(&first).unwrap().virtual_server = 0;
        memory.scheduling.insert(index, scheduling_table(&[(first + 1, 1)]));
    });
    assert_eq!(connects(lab, "198.18.0.1:40001", PERSISTENT), at(SECOND));
    lab.change(|memory| {
        memory.real_servers.remove(&(first + 1));
        memory.scheduling.insert(index, scheduling_table(&[]));
    });
    let syn = tcp(at("198.18.0.1:40002"), at(PERSISTENT), SYN);
    assert_eq!(lab.send(&syn).verdict.outcome(), Outcome::Refused);
}

fn a_forgotten_client_is_chosen_for_anew(lab: &mut Lab<'_>) {
    assert_eq!(connects(lab, "198.18.0.1:40000", PERSISTENT), at(FIRST));
    lab.change(|memory| memory.v4.templates.clear());
    assert_eq!(connects(lab, "198.18.0.1:40001", PERSISTENT), at(SECOND));
}

fn taken_over_connections_follow_the_template(lab: &mut Lab<'_>) {
    for host in 0..8 {
        let client = |port| format!("198.18.0.{host}:{port}");
        let server = connects(lab, &client(40_000), "192.0.2.70:81");
        let taken = tcp(at(&client(40_001)), at("192.0.2.70:81"), ACK);
        assert_eq!(lab.reaches(&taken, Outcome::Adopted), server);
    }
}

fn taken_over_connections_of_a_network_agree_without_a_template(lab: &mut Lab<'_>) {
    let mut servers = Vec::new();
    for number in 0..16 {
        let client = at(&format!("198.18.0.{number}:{}", 40_000 + number));
        servers.push(lab.reaches(&tcp(client, at(PERSISTENT), ACK), Outcome::Adopted));
        lab.change(|memory| memory.v4.templates.clear());
    }
    assert!(servers.iter().all(|server| *server == servers[0]), "{servers:?}");
}

fn a_collision_goes_elsewhere_and_leaves_the_client_bound(lab: &mut Lab<'_>) {
    let client = "198.18.0.1:40000";
    assert_eq!(connects(lab, client, MARKED_TLS), at("10.0.0.11:443"));
    assert_eq!(connects(lab, client, "192.0.2.70:443"), at("10.0.0.12:443"));
    assert_eq!(connects(lab, "198.18.0.1:40001", "192.0.2.70:444"), at("10.0.0.11:444"));
}

fn nobody_is_bound_to_nobody(lab: &mut Lab<'_>) {
    lab.change(|memory| {
        memory.scheduling.insert(virtual_server_of(PERSISTENT), scheduling_table(&[]));
    });
    let syn = tcp(at("198.18.0.1:40000"), at(PERSISTENT), SYN);
    assert_eq!(lab.send(&syn).verdict.outcome(), Outcome::Refused);
    assert_eq!(lab.memory.v4.templates.len(), 0);
}
