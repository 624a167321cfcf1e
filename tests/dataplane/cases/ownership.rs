//! VIPs that nodes elect an owner of: only the owner forwards, in either direction.

use std::net::IpAddr;

use lb_common::{
    addr::{Port, Protocol, V4},
    outcome::Outcome,
    service::{ServiceKey, lease},
    tcp::header::{ACK, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::world::{DNS, WEB, WEB_AGAIN, at};

const CLIENT: &str = "198.51.100.7:40000";
const SLOT: u32 = 3;
/// Longer than any test.
const LONG: u32 = 1 << 24;

cases![
    an_owner_forwards_both_ways,
    a_new_connection_for_a_vip_of_another_node_is_not_opened,
    a_vip_that_another_node_owns_is_left_to_the_kernels_routes,
    a_connection_stops_both_ways_when_its_vip_is_lost_and_goes_on_when_it_is_back,
    a_half_open_connection_stops_too,
    udp_stops_too,
    a_lease_that_runs_out_stops_its_connections_by_itself,
    a_vip_without_a_lease_goes_on_when_that_of_another_runs_out,
    a_real_servers_packet_without_an_entry_is_not_translated_for_another_node,
    a_real_servers_answer_to_this_machine_is_the_kernels_whoever_owns_the_vip,
    a_port_without_a_virtual_server_is_the_kernels_whoever_owns_the_vip,
];

/// A TCP service of IPv4.
fn key(service: &str) -> ServiceKey<V4> {
    let IpAddr::V4(ip) = at(service).ip() else { panic!("{service} is not of IPv4") };
    let port = Port::new(at(service).port());
    ServiceKey { address: ip.into(), port, protocol: Protocol::Tcp as u16 }
}

/// The VIP of `service` is elected, and this node's lease ends so many ticks from now; with none it is not held.
fn elected(lab: &mut Lab<'_>, service: &str, ends: Option<u32>) {
    let vip = key(service).address;
    lab.change(|memory| {
        memory.now = LONG;
        memory.v4.leased.insert(vip, SLOT);
        let end = ends.map_or(lease::NOT_HELD, |ticks| lease::until(memory.now, ticks));
        memory.leases.insert(SLOT, end);
        let settings = memory.settings.as_mut().unwrap();
        settings.generation += 1;
        settings.lease = if ends.is_some() { end } else { lease::until(memory.now, LONG) };
    });
}

/// The lease has ended and nobody has said so: the process hangs.
fn lapsed(lab: &mut Lab<'_>) {
    lab.change(|memory| {
        let ended = memory.now - 1;
        memory.leases.insert(SLOT, ended);
        memory.settings.as_mut().unwrap().lease = ended;
    });
}

fn request() -> Packet {
    tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001).with(b"GET / HTTP/1.1\r\n\r\n")
}

fn an_owner_forwards_both_ways(lab: &mut Lab<'_>) {
    elected(lab, WEB, Some(LONG));
    let server = lab.establishes(at(CLIENT), WEB);
    assert_eq!(lab.reaches(&request(), Outcome::Forwarded), server);
    lab.answers(&reply(server, &request()).with(b"HTTP/1.1 200 OK\r\n\r\n"), WEB);
}

fn a_new_connection_for_a_vip_of_another_node_is_not_opened(lab: &mut Lab<'_>) {
    elected(lab, WEB, None);
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB), SYN), Outcome::Disowned);
    lab.leaves_alone(&request(), Outcome::Disowned);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_vip_that_another_node_owns_is_left_to_the_kernels_routes(lab: &mut Lab<'_>) {
    const ELSEWHERE: &str = "198.18.0.5:80";
    lab.change(|memory| {
        let index = memory.v4.services[&key(WEB)];
        memory.v4.services.insert(key(ELSEWHERE), index);
        memory.v4.vips.push(key(ELSEWHERE).address);
    });
    elected(lab, ELSEWHERE, None);
    lab.leaves_alone(&tcp(at(CLIENT), at(ELSEWHERE), SYN), Outcome::NotOwner);
}

fn a_connection_stops_both_ways_when_its_vip_is_lost_and_goes_on_when_it_is_back(lab: &mut Lab<'_>) {
    elected(lab, WEB, Some(LONG));
    let server = lab.establishes(at(CLIENT), WEB);
    elected(lab, WEB, None);
    let answer = reply(server, &request()).with(b"HTTP/1.1 200 OK\r\n\r\n");
    for _ in 0..3 {
        lab.leaves_alone(&request(), Outcome::Disowned);
        lab.leaves_alone(&answer, Outcome::Disowned);
    }
    assert_eq!(lab.entries(), [0, 2, 0]);
    elected(lab, WEB, Some(LONG));
    assert_eq!(lab.reaches(&request(), Outcome::Forwarded), server);
    lab.answers(&answer, WEB);
}

fn a_half_open_connection_stops_too(lab: &mut Lab<'_>) {
    elected(lab, WEB, Some(LONG));
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    let server = lab.reaches(&syn, Outcome::NewConnection);
    elected(lab, WEB, None);
    lab.leaves_alone(&syn, Outcome::Disowned);
    lab.leaves_alone(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), Outcome::Disowned);
}

fn udp_stops_too(lab: &mut Lab<'_>) {
    elected(lab, DNS, Some(LONG));
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    lapsed(lab);
    lab.leaves_alone(&query, Outcome::Disowned);
    lab.leaves_alone(&reply(server, &query).with(b"answer"), Outcome::Disowned);
}

fn a_lease_that_runs_out_stops_its_connections_by_itself(lab: &mut Lab<'_>) {
    elected(lab, WEB, Some(LONG));
    let server = lab.establishes(at(CLIENT), WEB);
    lab.reaches(&request(), Outcome::Forwarded);
    lapsed(lab);
    lab.leaves_alone(&request(), Outcome::Disowned);
    lab.leaves_alone(&reply(server, &request()).with(b"HTTP/1.1 200 OK\r\n\r\n"), Outcome::Disowned);
}

fn a_vip_without_a_lease_goes_on_when_that_of_another_runs_out(lab: &mut Lab<'_>) {
    elected(lab, WEB, Some(LONG));
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), SYN), Outcome::NewConnection);
    lapsed(lab);
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB_AGAIN);
    lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), ACK).numbered(1001, 5001), Outcome::Forwarded);
    lab.reaches(&tcp(at(CLIENT), at(WEB_AGAIN), ACK).numbered(1001, 5001), Outcome::Forwarded);
}

fn a_real_servers_packet_without_an_entry_is_not_translated_for_another_node(lab: &mut Lab<'_>) {
    elected(lab, WEB, None);
    const REAL: &str = "10.0.0.11:8080";
    lab.change(|memory| _ = memory.v4.reverse.insert(key(REAL), key(WEB)));
    lab.leaves_alone(&tcp(at(REAL), at(CLIENT), ACK).with(b"late"), Outcome::Disowned);
}

fn a_real_servers_answer_to_this_machine_is_the_kernels_whoever_owns_the_vip(lab: &mut Lab<'_>) {
    elected(lab, WEB, None);
    const REAL: &str = "10.0.0.11:8080";
    const BALANCER: &str = "10.0.0.1:50000";
    lab.change(|memory| _ = memory.v4.reverse.insert(key(REAL), key(WEB)));
    lab.leaves_alone(&tcp(at(REAL), at(BALANCER), SYN | ACK).numbered(5000, 1001), Outcome::NoService);
}

fn a_port_without_a_virtual_server_is_the_kernels_whoever_owns_the_vip(lab: &mut Lab<'_>) {
    elected(lab, WEB_AGAIN, None);
    lab.leaves_alone(&tcp(at(CLIENT), at("192.0.2.20:22"), SYN), Outcome::NoService);
}
