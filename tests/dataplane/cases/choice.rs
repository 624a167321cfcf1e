//! Which real server a connection gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::{
    counter::Row,
    outcome::Outcome,
    tcp::header::{ACK, RST, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{tcp, udp};
use crate::world::{
    ALONE, ANY_PORT, DNS, DNS_AGAIN, HASHED, LEAST, LIMITED, ONE_ARM, SAME_PORT, WEB, WEB_AGAIN, WEIGHTED,
    at, scheduling_table,
};

const CLIENT: &str = "198.51.100.7:40000";

cases![
    one_connection_has_one_real_server,
    weights_are_respected_in_turn,
    weights_are_respected_by_hash,
    weights_are_respected_by_load,
    a_service_on_a_port_goes_before_one_on_any_port,
    the_same_client_port_on_two_vips_gets_two_real_servers,
    a_client_port_that_only_one_real_server_could_take_twice_is_refused,
    the_same_client_port_on_two_vips_is_not_mixed_for_udp,
    a_closed_connection_does_not_keep_its_port,
    real_servers_and_clients_on_one_wire_work,
    a_full_real_server_is_passed_over,
];

fn one_connection_has_one_real_server(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    for _ in 0..1000 {
        assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Forwarded), server);
    }
}

/// Opens connections from many ports and addresses; the share of each real server.
fn shares(lab: &mut Lab<'_>, vip: &str, connections: u32) -> BTreeMap<SocketAddr, f64> {
    // A twin has to agree in every single choice, which is slow and says more: fewer of them do.
    let connections = if lab.has_twin() { connections / 10 } else { connections };
    let mut counts = BTreeMap::new();
    for number in 0..connections {
        let client = at(&format!("198.18.0.{}:{}", number % 16, 1024 + number / 16));
        let server = lab.reaches(&tcp(client, at(vip), SYN), Outcome::NewConnection);
        *counts.entry(server).or_insert(0) += 1;
        // Sets of the table of half-open connections that are full would forget, each twin another connection.
        if number % 1_000 == 0 {
            lab.change(|memory| memory.v4.half_open.clear());
        }
    }
    counts.into_iter().map(|(server, count)| (server, f64::from(count) / f64::from(connections))).collect()
}

#[track_caller]
fn assert_three_to_one(shares: &BTreeMap<SocketAddr, f64>) {
    let shares: Vec<f64> = shares.values().copied().collect();
    assert!(shares.len() == 2 && (shares[0] - 0.75).abs() < 0.02, "{shares:?}");
}

fn weights_are_respected_in_turn(lab: &mut Lab<'_>) {
    assert_three_to_one(&shares(lab, WEIGHTED, 40_000));
}

fn weights_are_respected_by_hash(lab: &mut Lab<'_>) {
    assert_three_to_one(&shares(lab, HASHED, 40_000));
}

fn weights_are_respected_by_load(lab: &mut Lab<'_>) {
    assert_three_to_one(&shares(lab, LEAST, 40_000));
}

fn a_service_on_a_port_goes_before_one_on_any_port(lab: &mut Lab<'_>) {
    let server = lab.reaches(&tcp(at(CLIENT), at(SAME_PORT), SYN), Outcome::NewConnection);
    assert_eq!((server, lab.memory.traffic[&4][Row::Opened as usize].packets), (at("10.0.0.13:8080"), 1));
    let other = SocketAddr::new(at(ANY_PORT).ip(), 8081);
    let server = lab.reaches(&tcp(at(CLIENT), other, SYN), Outcome::NewConnection);
    assert_eq!((server, lab.memory.traffic[&6][Row::Opened as usize].packets), (at("10.0.0.13:8081"), 1));
}

fn the_same_client_port_on_two_vips_gets_two_real_servers(lab: &mut Lab<'_>) {
    for turn in 0..2 {
        lab.change(|memory| {
            memory.v4.tcp.clear();
            memory.cursors.entry(4).or_default().set(turn);
        });
        let first = lab.establishes(at(CLIENT), WEB);
        let second = lab.establishes(at(CLIENT), WEB_AGAIN);
        assert_ne!(first, second);
        lab.answers(&tcp(first, at(CLIENT), ACK), WEB);
        lab.answers(&tcp(second, at(CLIENT), ACK), WEB_AGAIN);
        assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Forwarded), first);
        assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), ACK), Outcome::Forwarded), second);
    }
}

fn a_client_port_that_only_one_real_server_could_take_twice_is_refused(lab: &mut Lab<'_>) {
    lab.change(|memory| {
        memory.scheduling.insert(0, scheduling_table(&[(0, 1)]));
    });
    let server = lab.establishes(at(CLIENT), ALONE);
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB), SYN), Outcome::Collision);
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Collision);
    assert_eq!(lab.entries(), [0, 2, 0]);
    lab.answers(&tcp(server, at(CLIENT), ACK), ALONE);
    let client = at("198.51.100.8:40000");
    let server = lab.reaches(&tcp(client, at(ALONE), SYN), Outcome::NewConnection);
    lab.leaves_alone(&tcp(client, at(WEB), SYN), Outcome::Collision);
    lab.answers(&tcp(server, client, SYN | ACK), ALONE);
}

fn the_same_client_port_on_two_vips_is_not_mixed_for_udp(lab: &mut Lab<'_>) {
    let again = udp(at(CLIENT), at(DNS_AGAIN)).with(b"query");
    let server = lab.reaches(&again, Outcome::NewConnection);
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let other = lab.reaches(&query, Outcome::NewConnection);
    assert_ne!(server, other);
    lab.answers(&reply(server, &again), DNS_AGAIN);
    lab.answers(&reply(other, &query), DNS);
    lab.change(|memory| {
        memory.v4.udp.clear();
        memory.scheduling.insert(1, scheduling_table(&[(2, 1)]));
    });
    lab.reaches(&query, Outcome::NewConnection);
    lab.leaves_alone(&again, Outcome::Collision);
    lab.answers(&reply(server, &query), DNS);
}

fn a_closed_connection_does_not_keep_its_port(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), ALONE);
    lab.answers(&tcp(server, at(CLIENT), RST), ALONE);
    lab.change(|memory| {
        memory.scheduling.insert(0, scheduling_table(&[(0, 1)]));
    });
    assert_eq!(lab.establishes(at(CLIENT), WEB), server);
    lab.answers(&tcp(server, at(CLIENT), ACK), WEB);
}

fn real_servers_and_clients_on_one_wire_work(lab: &mut Lab<'_>) {
    // It is behind a router of that wire: the real server cannot answer it but through its gateway.
    let client = at("198.18.0.7:40000");
    let server = lab.establishes(client, ONE_ARM);
    assert_eq!(server, at("198.51.100.13:8080"));
    lab.answers(&tcp(server, client, ACK).with(b"data"), ONE_ARM);
}

fn a_full_real_server_is_passed_over(lab: &mut Lab<'_>) {
    let client = |number| at(&format!("198.51.100.7:{}", 40_000 + number));
    let servers: Vec<_> = (0..4)
        .map(|number| lab.reaches(&tcp(client(number), at(LIMITED), SYN), Outcome::NewConnection))
        .collect();
    for server in ["10.0.0.11:84", "10.0.0.12:84"] {
        assert_eq!(servers.iter().filter(|chosen| **chosen == at(server)).count(), 2);
    }
    assert_eq!(lab.send(&tcp(client(4), at(LIMITED), SYN)).verdict.outcome(), Outcome::Refused);
    assert_eq!(lab.reaches(&tcp(client(0), at(LIMITED), SYN), Outcome::Forwarded), servers[0]);
}
