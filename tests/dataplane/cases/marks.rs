//! Which packets carry a firewall mark, and whose.

use std::net::SocketAddr;

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};

use crate::lab::Lab;
use crate::packet::{Packet, tcp, udp};
use crate::world::{INSIDE, MARKED, MARKED_TLS, MARKED_WIDE, OUTSIDE, at, virtual_server_of};

const CLIENT: &str = "198.51.100.7:40000";
/// Of no network that a rule names.
const ELSEWHERE: &str = "203.0.113.9:40000";

cases![
    ports_of_one_mark_have_one_pool_and_keep_their_number,
    what_no_rule_matches_is_not_ours,
    the_first_rule_that_matches_wins_even_for_nobody,
    rules_of_wider_destinations_keep_their_place_in_the_file,
    a_rule_may_name_sources_and_an_interface,
    replies_and_later_packets_need_no_rule,
    a_service_on_the_address_goes_before_the_mark,
    new_rules_are_in_force_for_the_next_connection,
];

fn syn(client: &str, vip: SocketAddr) -> Packet {
    tcp(at(client), vip, SYN)
}

/// An address and port in the marked network.
fn wide(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

fn ports_of_one_mark_have_one_pool_and_keep_their_number(lab: &mut Lab<'_>) {
    let plain = lab.reaches(&syn(CLIENT, at(MARKED)), Outcome::NewConnection);
    let tls = lab.reaches(&syn(CLIENT, at(MARKED_TLS)), Outcome::NewConnection);
    assert_eq!((plain.port(), tls.port()), (80, 443));
    assert_eq!(plain.ip(), tls.ip());
}

fn what_no_rule_matches_is_not_ours(lab: &mut Lab<'_>) {
    for vip in ["192.0.2.60:79", "192.0.2.60:81", "192.0.2.60:444", "192.0.2.130:7999", "192.0.2.200:8100"] {
        lab.leaves_alone(&syn(CLIENT, at(vip)), Outcome::NoService);
    }
    lab.leaves_alone(&udp(at(CLIENT), at(MARKED)), Outcome::NoService);
    // No VIP: nothing but what a rule matches is touched, malformed or not.
    lab.leaves_alone(&tcp(at(CLIENT), wide(200, 22), ACK), Outcome::NoService);
    let mut short = syn(CLIENT, at(MARKED_WIDE)).bytes();
    short[..6].copy_from_slice(&OUTSIDE.mac);
    short.truncate(40);
    assert_eq!(lab.frame(OUTSIDE.index.into(), &short).verdict.outcome(), Outcome::MalformedForeign);
}

fn the_first_rule_that_matches_wins_even_for_nobody(lab: &mut Lab<'_>) {
    let barred = "198.18.0.9:40000";
    lab.leaves_alone(&syn(barred, at(MARKED_TLS)), Outcome::NoService);
    lab.reaches(&syn(barred, at(MARKED)), Outcome::NewConnection);
    lab.leaves_alone(&syn(CLIENT, wide(130, 8010)), Outcome::NoService);
    // The narrow rule is for the narrow destination.
    assert_eq!(lab.reaches(&syn(CLIENT, wide(144, 8010)), Outcome::NewConnection), at("10.0.0.13:86"));
}

fn rules_of_wider_destinations_keep_their_place_in_the_file(lab: &mut Lab<'_>) {
    for (number, vip) in
        [wide(130, 8000), wide(130, 8099), wide(130, 8050), wide(255, 8050)].iter().enumerate()
    {
        let client = format!("198.51.100.7:{}", 40_001 + number);
        assert_eq!(lab.reaches(&syn(&client, *vip), Outcome::NewConnection), at("10.0.0.13:86"), "{vip}");
    }
    assert_eq!(lab.reaches(&syn(CLIENT, wide(130, 8100)), Outcome::NewConnection).port(), 8100);
    lab.leaves_alone(&syn(CLIENT, wide(144, 8100)), Outcome::NoService);
}

fn a_rule_may_name_sources_and_an_interface(lab: &mut Lab<'_>) {
    lab.leaves_alone(&syn(ELSEWHERE, wide(144, 8005)), Outcome::NoService);
    assert_eq!(lab.reaches(&syn(ELSEWHERE, wide(130, 8050)), Outcome::NewConnection).port(), 8050);
    let inside = Packet { link_destination: INSIDE.mac, ..syn("198.18.0.3:40000", wide(144, 8005)) };
    let ended = lab.frame(INSIDE.index.into(), &inside.bytes());
    assert_eq!(ended.verdict.outcome(), Outcome::NoService);
    lab.reaches(&syn("198.18.0.3:40000", wide(144, 8005)), Outcome::NewConnection);
}

fn replies_and_later_packets_need_no_rule(lab: &mut Lab<'_>) {
    for vip in [MARKED, MARKED_WIDE] {
        let server = lab.establishes(at(CLIENT), vip);
        lab.change(|memory| memory.v4.marks.clear());
        lab.answers(&tcp(server, at(CLIENT), ACK).with(b"page"), vip);
        assert_eq!(lab.reaches(&tcp(at(CLIENT), at(vip), ACK), Outcome::Forwarded), server);
        lab.change(|memory| *memory = crate::world::memory(crate::lab::CONNECTIONS));
    }
}

fn a_service_on_the_address_goes_before_the_mark(lab: &mut Lab<'_>) {
    let vip = at(MARKED);
    lab.change(|memory| {
        let any = lb_common::service::ServiceKey {
            address: "192.0.2.60".parse::<std::net::Ipv4Addr>().unwrap().into(),
            port: lb_common::addr::Port::ANY,
            protocol: lb_common::addr::Protocol::Tcp as u16,
        };
        memory.v4.services.insert(any, virtual_server_of(crate::world::SAME_PORT));
    });
    assert_eq!(lab.reaches(&syn(CLIENT, vip), Outcome::NewConnection), at("10.0.0.13:8080"));
}

fn new_rules_are_in_force_for_the_next_connection(lab: &mut Lab<'_>) {
    lab.leaves_alone(&syn(CLIENT, wide(130, 8010)), Outcome::NoService);
    lab.change(|memory| {
        let tables = memory.v4.marks.values_mut();
        let rules = tables.flat_map(|table| &mut table.rules).filter(|rule| rule.first_port == 8010);
        rules.for_each(|rule| rule.virtual_server = virtual_server_of(crate::world::WEB));
    });
    assert_eq!(lab.reaches(&syn(CLIENT, wide(130, 8010)), Outcome::NewConnection).port(), 8080);
    lab.change(|memory| memory.v4.marks.clear());
    lab.leaves_alone(&syn("198.51.100.8:40000", wide(130, 8010)), Outcome::NoService);
    lab.leaves_alone(&syn("198.51.100.8:40000", at(MARKED)), Outcome::NoService);
}
