//! Connections whose replies need no entry before there is one: the reverse index knows whose they are.

use lb_common::{
    addr::Protocol,
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::world::{self, DNS, DNS_AGAIN, WEB, WEB_AGAIN, at};

const CLIENT: &str = "198.51.100.7:40000";
const SERVERS: [&str; 2] = ["10.0.0.11:8080", "10.0.0.12:8080"];

cases![
    an_unproven_connection_is_one_entry,
    a_reply_of_a_real_server_that_was_not_asked_is_nobodys,
    a_real_server_that_comes_to_be_shared_is_asked_anew,
    a_real_server_that_is_no_longer_shared_answers_as_before,
    a_new_connection_takes_the_place_of_one_whose_vip_has_moved,
    a_client_on_the_real_servers_link_is_answered,
    a_datagram_is_one_entry_until_it_is_answered,
    a_client_whose_neighbour_is_unknown_is_found_by_its_next_datagram,
    a_datagram_takes_the_replies_of_one_whose_vip_has_moved,
];

/// Only this virtual server has them.
fn only(lab: &mut Lab<'_>, protocol: Protocol, servers: &[&str], vip: &str) {
    lab.change(|memory| {
        for server in servers {
            world::add_reverse(memory, protocol, at(server), at(vip));
        }
    });
}

fn an_unproven_connection_is_one_entry(lab: &mut Lab<'_>) {
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    assert_eq!(lab.entries(), [1, 0, 0]);
    lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::Forwarded);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB);
    assert_eq!(lab.entries(), [1, 0, 0]);
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
    lab.answers(&tcp(server, at(CLIENT), ACK).numbered(5001, 1001), WEB);
}

fn a_reply_of_a_real_server_that_was_not_asked_is_nobodys(lab: &mut Lab<'_>) {
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    let other = SERVERS.map(at).into_iter().find(|other| *other != server).unwrap();
    let stray = tcp(other, at(CLIENT), SYN | ACK).numbered(7000, 1001);
    lab.forwards(&stray, Outcome::StatelessReply, &Packet { source: at(WEB), ..stray.clone() });
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 7001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [1, 0, 0], "it proves nothing");
}

fn a_real_server_that_comes_to_be_shared_is_asked_anew(lab: &mut Lab<'_>) {
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    lab.reaches(&syn, Outcome::NewConnection);
    lab.change(|memory| memory.v4.reverse.clear());
    let server = lab.reaches(&syn, Outcome::NewConnection);
    assert_eq!(lab.entries(), [2, 0, 0]);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB);
}

fn a_real_server_that_is_no_longer_shared_answers_as_before(lab: &mut Lab<'_>) {
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), SYN), Outcome::NewConnection);
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB_AGAIN);
    lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_new_connection_takes_the_place_of_one_whose_vip_has_moved(lab: &mut Lab<'_>) {
    let old = lab.establishes(at(CLIENT), WEB_AGAIN);
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    let mut server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    if server != old {
        // The other one's turn.
        lab.change(|memory| memory.v4.half_open.clear());
        server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    }
    assert_eq!(server, old);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB);
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0], "the real server has only the new one");
}

fn a_client_on_the_real_servers_link_is_answered(lab: &mut Lab<'_>) {
    const AMONG: &str = "10.0.0.13:40000";
    only(lab, Protocol::Tcp, &SERVERS, WEB);
    lab.turns_round(&tcp(at(AMONG), at(WEB), SYN), Outcome::NewConnection);
    assert_eq!(lab.entries(), [2, 0, 0], "its replies name this machine");
}

fn a_datagram_is_one_entry_until_it_is_answered(lab: &mut Lab<'_>) {
    only(lab, Protocol::Udp, &["10.0.0.11:53", "10.0.0.12:5353"], DNS);
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    lab.reaches(&query, Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 0, 1]);
    for _ in 0..2 {
        lab.answers(&reply(server, &query), DNS);
        assert_eq!(lab.entries(), [0, 0, 2]);
    }
    let load = lab.load();
    assert_eq!((lab.opened(), load.inactive, load.active), (1, 0, 1));
}

fn a_datagram_takes_the_replies_of_one_whose_vip_has_moved(lab: &mut Lab<'_>) {
    let (older, query) = (udp(at(CLIENT), at(DNS_AGAIN)), udp(at(CLIENT), at(DNS)));
    let server = lab.reaches(&older, Outcome::NewConnection);
    only(lab, Protocol::Udp, &["10.0.0.11:53", "10.0.0.12:5353"], DNS);
    let before = lab.memory.v4.udp.clone();
    if lab.reaches(&query, Outcome::NewConnection) != server {
        // The other one's turn.
        lab.change(|memory| memory.v4.udp = before);
        assert_eq!(lab.reaches(&query, Outcome::NewConnection), server);
    }
    lab.change_and_renew(|_| {});
    lab.reaches(&query, Outcome::Forwarded);
    lab.answers(&reply(server, &query), DNS);
}

fn a_client_whose_neighbour_is_unknown_is_found_by_its_next_datagram(lab: &mut Lab<'_>) {
    let client = at("198.51.100.9:40000");
    only(lab, Protocol::Udp, &["10.0.0.11:53", "10.0.0.12:5353"], DNS);
    let query = udp(client, at(DNS)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    let answer = reply(server, &query);
    lab.hands_up(&answer, &Packet { source: at(DNS), ..answer.clone() });
    lab.reaches(&query, Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 0, 2]);
    lab.answers(&answer, DNS);
}
