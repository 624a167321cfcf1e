//! ICMP errors about translated packets.

use std::net::SocketAddr;

use lb_common::{
    addr::Protocol,
    outcome::Outcome,
    service::real_server,
    tcp::header::{ACK, SYN},
};

use crate::icmp::{Message, quote};
use crate::lab::{Lab, reply};
use crate::packet::{Checksum, Packet, tcp, udp};
use crate::world::{self, DNS, DNS_V6, ROUTER, WEB, WEB_V6, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
/// A router among the real servers.
const INSIDE_ROUTER: &str = "10.0.0.13";

cases![
    an_error_about_a_reply_reaches_the_real_server,
    an_error_about_a_request_reaches_the_client_from_the_vip,
    an_error_about_a_request_goes_before_every_reply,
    a_quote_of_eight_bytes_is_enough,
    errors_of_every_kind_are_translated,
    errors_of_icmpv6_are_translated,
    a_half_open_connection_has_errors_too,
    a_quote_may_have_options_and_extension_headers,
    an_absent_checksum_in_a_quote_stays_absent,
    what_is_no_error_about_a_connection_passes,
    an_error_about_a_real_server_that_is_gone_passes,
    the_last_hop_of_an_error_is_the_kernels,
    an_error_changes_nothing,
];

/// Fragmentation needed, on a way that takes 1400 bytes.
fn error(from: SocketAddr, to: SocketAddr, quote: Vec<u8>) -> Message {
    let (kind, code) = if to.is_ipv4() { (3, 4) } else { (2, 0) };
    Message { from: from.ip(), to: to.ip(), hops: 64, kind, code, rest: 1400, quote }
}

#[track_caller]
fn translates(lab: &mut Lab<'_>, message: &Message, expected: &Message) {
    let (interface, frame) = message.arriving();
    let ended = lab.frame(interface, &frame);
    assert_eq!(ended.verdict.outcome(), Outcome::IcmpTranslated, "{message:?}");
    assert_eq!(ended.bytes, expected.leaving(), "{message:?}");
}

#[track_caller]
fn passes(lab: &mut Lab<'_>, message: &Message) {
    let (interface, frame) = message.arriving();
    let ended = lab.frame(interface, &frame);
    assert_eq!((ended.verdict.outcome(), ended.bytes), (Outcome::Icmp, frame), "{message:?}");
}

/// An address of a host that has no port here.
fn host(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 0)
}

fn an_error_about_a_reply_reaches_the_real_server(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let sent = tcp(server, at(CLIENT), ACK).with(&[7; 1440]);
    let seen = Packet { source: at(WEB), ..sent.clone() };
    for from in [host(ROUTER), at(CLIENT)] {
        for length in [548, 128, 40] {
            translates(
                lab,
                &error(from, at(WEB), quote(&seen, length)),
                &error(from, server, quote(&sent, length)),
            );
        }
    }
}

fn an_error_about_a_request_reaches_the_client_from_the_vip(lab: &mut Lab<'_>) {
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    let seen = Packet { destination: server, ..query.clone() };
    // As Linux's NAT has it: a router's error seems to come from the VIP, too.
    for from in [server, host(INSIDE_ROUTER)] {
        let unreachable = |message: Message| Message { code: 3, rest: 0, ..message };
        translates(
            lab,
            &unreachable(error(from, at(CLIENT), quote(&seen, 548))),
            &unreachable(error(at(DNS), at(CLIENT), quote(&query, 548))),
        );
    }
}

fn an_error_about_a_request_goes_before_every_reply(lab: &mut Lab<'_>) {
    let alone = at("[2001:db8:2::b]:5353");
    lab.change(|memory| world::add_reverse(memory, Protocol::Udp, alone, at(DNS_V6)));
    let query = udp(at(CLIENT_V6), at(DNS_V6)).with(b"query");
    assert_eq!(lab.reaches(&query, Outcome::NewConnection), alone);
    let seen = Packet { destination: alone, ..query.clone() };
    let unreachable = |message: Message| Message { kind: 1, code: 4, rest: 0, ..message };
    translates(
        lab,
        &unreachable(error(alone, at(CLIENT_V6), quote(&seen, 548))),
        &unreachable(error(at(DNS_V6), at(CLIENT_V6), quote(&query, 548))),
    );
}

fn a_quote_of_eight_bytes_is_enough(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let sent = tcp(server, at(CLIENT), ACK).with(&[7; 100]);
    let seen = Packet { source: at(WEB), ..sent.clone() };
    // Routers quote words; half a checksum would stay as it is.
    for transport in (8..=24).step_by(2) {
        let cut = |packet| quote(packet, 20 + transport);
        translates(lab, &error(host(ROUTER), at(WEB), cut(&seen)), &error(host(ROUTER), server, cut(&sent)));
    }
    for length in 0..28 {
        passes(lab, &error(host(ROUTER), at(WEB), quote(&seen, length)));
    }
}

fn errors_of_every_kind_are_translated(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let sent = tcp(server, at(CLIENT), ACK);
    let seen = Packet { source: at(WEB), ..sent.clone() };
    for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (11, 1), (12, 0)] {
        let of_kind = |to, packet| Message { kind, code, ..error(host(ROUTER), to, quote(packet, 548)) };
        translates(lab, &of_kind(at(WEB), &seen), &of_kind(server, &sent));
    }
}

fn errors_of_icmpv6_are_translated(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT_V6), WEB_V6);
    let (client, router) = (at(CLIENT_V6), host("2001:db8:1::9"));
    let sent = tcp(server, client, ACK).with(&[7; 1400]);
    let seen = Packet { source: at(WEB_V6), ..sent.clone() };
    let query = udp(client, at(DNS_V6)).with(b"query");
    let resolver = lab.reaches(&query, Outcome::NewConnection);
    let asked = Packet { destination: resolver, ..query.clone() };
    for (kind, code) in [(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)] {
        for length in [1232, 60, 48] {
            let of_kind = |from, to, packet| Message { kind, code, ..error(from, to, quote(packet, length)) };
            translates(lab, &of_kind(router, at(WEB_V6), &seen), &of_kind(router, server, &sent));
            translates(lab, &of_kind(resolver, client, &asked), &of_kind(at(DNS_V6), client, &query));
        }
    }
}

fn a_half_open_connection_has_errors_too(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    let server = lab.reaches(&syn, Outcome::NewConnection);
    let seen = Packet { destination: server, ..syn.clone() };
    translates(
        lab,
        &error(server, at(CLIENT), quote(&seen, 548)),
        &error(at(WEB), at(CLIENT), quote(&syn, 548)),
    );
    assert_eq!(lab.entries(), [2, 0, 0]);
}

fn a_quote_may_have_options_and_extension_headers(lab: &mut Lab<'_>) {
    for (client, vip, options, extensions) in [
        (CLIENT, WEB, vec![1; 40], vec![]),
        (CLIENT_V6, WEB_V6, vec![], vec![(0, vec![1; 6]), (60, vec![1; 14])]),
    ] {
        let server = lab.establishes(at(client), vip);
        let sent = Packet { options, extensions, ..tcp(server, at(client), ACK).with(b"data") };
        let seen = Packet { source: at(vip), ..sent.clone() };
        translates(
            lab,
            &error(at(client), at(vip), quote(&seen, 548)),
            &error(at(client), server, quote(&sent, 548)),
        );
    }
}

fn an_absent_checksum_in_a_quote_stays_absent(lab: &mut Lab<'_>) {
    let query = Packet { checksum: Checksum::Absent, ..udp(at(CLIENT), at(DNS)).with(b"query") };
    let server = lab.reaches(&query, Outcome::NewConnection);
    let seen = Packet { destination: server, ..query.clone() };
    translates(
        lab,
        &error(server, at(CLIENT), quote(&seen, 28)),
        &error(at(DNS), at(CLIENT), quote(&query, 28)),
    );
}

fn what_is_no_error_about_a_connection_passes(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    lab.establishes(at(CLIENT_V6), WEB_V6);
    let seen = tcp(at(WEB), at(CLIENT), ACK);
    let about = |packet: &Packet| error(host(ROUTER), at(WEB), quote(packet, 548));
    // Echo, redirect, router advertisement; packet too big, neighbour solicitation and echo of IPv6.
    for kind in [0, 5, 8, 9] {
        passes(lab, &Message { kind, ..about(&seen) });
    }
    let of_v6 = error(at(CLIENT_V6), at(WEB_V6), quote(&tcp(at(WEB_V6), at(CLIENT_V6), ACK), 548));
    for kind in [0, 128, 129, 133, 134, 135, 136, 137] {
        passes(lab, &Message { kind, ..of_v6.clone() });
    }
    // Another client's port, another protocol, a packet that the VIP did not send, one that went to somebody else.
    passes(lab, &about(&tcp(at(WEB), at("198.51.100.7:40001"), ACK)));
    passes(lab, &about(&udp(at(WEB), at(CLIENT))));
    passes(lab, &about(&tcp(server, at(CLIENT), ACK)));
    passes(lab, &error(host(ROUTER), at("198.51.100.1:0"), quote(&seen, 548)));
    // The quote is a later fragment, is of the other family, has no sound header.
    let mut later = about(&seen);
    later.quote[6..8].copy_from_slice(&[0x20, 0x05]);
    passes(lab, &later);
    passes(lab, &Message { quote: of_v6.quote, ..about(&seen) });
    let mut short = about(&seen);
    short.quote[0] = 0x44;
    passes(lab, &short);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn an_error_about_a_real_server_that_is_gone_passes(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    for flags in
        [0, real_server::PRESENT | real_server::RESET, real_server::PRESENT | real_server::RESCHEDULE]
    {
        lab.change_and_renew(|memory| {
            memory.real_servers.values_mut().for_each(|server| server.flags = flags);
        });
        passes(lab, &error(host(ROUTER), at(WEB), quote(&tcp(at(WEB), at(CLIENT), ACK), 548)));
    }
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn the_last_hop_of_an_error_is_the_kernels(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let about = error(host(ROUTER), at(WEB), quote(&tcp(at(WEB), at(CLIENT), ACK), 548));
    let (interface, frame) = Message { hops: 1, ..about.clone() }.arriving();
    let ended = lab.frame(interface, &frame);
    assert_eq!((ended.verdict.outcome(), ended.bytes), (Outcome::TtlExpired, frame));
    let original = error(host(ROUTER), server, quote(&tcp(server, at(CLIENT), ACK), 548));
    translates(lab, &Message { hops: 2, ..about }, &Message { hops: 2, ..original });
}

fn an_error_changes_nothing(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    lab.change_and_renew(|memory| memory.now += 10_000);
    let before = lab.memory.v4.tcp.clone();
    let sent = tcp(server, at(CLIENT), ACK);
    let seen = Packet { source: at(WEB), ..sent.clone() };
    translates(
        lab,
        &error(host(ROUTER), at(WEB), quote(&seen, 548)),
        &error(host(ROUTER), server, quote(&sent, 548)),
    );
    assert_eq!(lab.memory.v4.tcp, before);
    lab.answers(&reply(server, &tcp(at(CLIENT), at(WEB), ACK)), WEB);
}
