//! From the first packet of a connection to its last.

use std::net::Ipv4Addr;

use lb_common::{
    addr::{Port, Protocol, V4},
    connection::flags,
    outcome::Outcome,
    service::{ServiceKey, real_server},
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::lab::{CONNECTIONS, Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::world::{self, ALONE, DNS, DNS_V6, UNRESOLVED, UNROUTED, WEB, WEB_AGAIN, WEB_V6, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";

cases![
    a_syn_opens_a_connection,
    a_connection_of_ipv6_works_as_one_of_ipv4,
    data_reach_the_same_real_server_and_come_back,
    a_udp_client_keeps_its_real_server_until_its_entry_is_gone,
    a_syn_sent_again_changes_nothing,
    a_segment_without_state_is_adopted,
    a_segment_without_state_is_dropped_where_that_is_the_policy,
    a_reset_without_state_makes_no_entry,
    an_answer_to_nothing_makes_no_entry,
    a_syn_on_a_closing_connection_starts_anew,
    a_syn_on_an_open_connection_does_not_disturb_it,
    a_connection_whose_real_server_is_gone_starts_anew,
    a_half_closed_connection_goes_on,
    a_full_table_disturbs_nobody,
    while_there_is_no_room_a_connection_needs_no_entry,
    room_for_one_direction_is_no_room,
    half_of_a_udp_connection_is_mended,
    an_unknown_neighbour_is_left_to_the_kernel_until_it_is_known,
    a_real_server_without_a_route_is_left_to_the_kernel,
    a_client_whose_neighbour_is_unknown_is_answered_the_way_it_came,
    a_real_servers_packet_without_an_entry_comes_from_its_vip,
    a_change_of_the_generation_keeps_connections,
    a_connection_outlives_its_vip,
];

fn a_syn_opens_a_connection(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    let server = lab.reaches(&syn, Outcome::NewConnection);
    assert!(["10.0.0.11:8080", "10.0.0.12:8080"].map(at).contains(&server));
    assert_eq!(lab.entries(), [2, 0, 0]);
    let load = lab.load();
    assert_eq!((lab.opened(), load.inactive, load.active), (1, 1, 0));
    lab.answers(&tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), WEB);
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 2, 0]);
    let load = lab.load();
    assert_eq!((lab.opened(), load.inactive, load.active), (1, 0, 1));
}

fn a_connection_of_ipv6_works_as_one_of_ipv4(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT_V6), WEB_V6);
    let request = tcp(at(CLIENT_V6), at(WEB_V6), ACK).with(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(lab.reaches(&request, Outcome::Forwarded), server);
    lab.answers(&reply(server, &request).with(b"HTTP/1.1 200 OK\r\n\r\n"), WEB_V6);
    let query = udp(at(CLIENT_V6), at(DNS_V6)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    lab.answers(&reply(server, &query).with(b"answer!"), DNS_V6);
}

fn data_reach_the_same_real_server_and_come_back(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let length = |packet: &Packet| 40 + packet.payload.len() as u64;
    let before = lab
        .memory
        .traffic
        .values()
        .fold([0; 2], |sum, [to, from, _]| [sum[0] + to.bytes, sum[1] + from.bytes]);
    let mut sent = [0; 2];
    for round in 0..100u32 {
        let request = tcp(at(CLIENT), at(WEB), ACK)
            .numbered(1001 + round, 5001)
            .with(&vec![round as u8; round as usize]);
        assert_eq!(lab.reaches(&request, Outcome::Forwarded), server);
        let answer = reply(server, &request).with(&vec![0xa5; 14 * round as usize]);
        lab.answers(&answer, WEB);
        sent = [sent[0] + length(&request), sent[1] + length(&answer)];
    }
    let after = lab
        .memory
        .traffic
        .values()
        .fold([0; 2], |sum, [to, from, _]| [sum[0] + to.bytes, sum[1] + from.bytes]);
    assert_eq!(after, [before[0] + sent[0], before[1] + sent[1]]);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_udp_client_keeps_its_real_server_until_its_entry_is_gone(lab: &mut Lab<'_>) {
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let first = lab.reaches(&query, Outcome::NewConnection);
    for _ in 0..10 {
        assert_eq!(lab.reaches(&query, Outcome::Forwarded), first);
        lab.answers(&reply(first, &query).with(b"answer"), DNS);
    }
    assert_eq!(lab.entries(), [0, 0, 2]);
    lab.change(|memory| memory.v4.udp.clear());
    let second = lab.reaches(&query, Outcome::NewConnection);
    assert_ne!(first, second, "round robin goes on");
    lab.answers(&reply(second, &query), DNS);
}

fn a_syn_sent_again_changes_nothing(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    let server = lab.reaches(&syn, Outcome::NewConnection);
    for _ in 0..5 {
        assert_eq!(lab.reaches(&syn, Outcome::Forwarded), server);
    }
    assert_eq!(lab.entries(), [2, 0, 0]);
    assert_eq!(lab.opened(), 1);
}

fn a_segment_without_state_is_adopted(lab: &mut Lab<'_>) {
    let data = tcp(at(CLIENT), at(WEB), ACK).numbered(77, 88).with(b"more");
    let server = lab.reaches(&data, Outcome::Adopted);
    assert_eq!(lab.reaches(&data, Outcome::Forwarded), server);
    assert_eq!(lab.entries(), [2, 0, 0], "the client alone proves nothing");
    lab.change(|memory| memory.v4.half_open.clear());
    assert_eq!(lab.reaches(&data, Outcome::Adopted), server, "the choice is deterministic");
    lab.answers(&reply(server, &data), WEB);
    assert_eq!(lab.entries(), [0, 2, 0], "the real server goes along");
    assert_eq!(lab.reaches(&data, Outcome::Forwarded), server);
}

fn a_segment_without_state_is_dropped_where_that_is_the_policy(lab: &mut Lab<'_>) {
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB_AGAIN), ACK), Outcome::WithoutState);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_reset_without_state_makes_no_entry(lab: &mut Lab<'_>) {
    for flags in [RST, RST | ACK] {
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB), flags), Outcome::WithoutState);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn an_answer_to_nothing_makes_no_entry(lab: &mut Lab<'_>) {
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB), SYN | ACK), Outcome::WithoutState);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_syn_on_a_closing_connection_starts_anew(lab: &mut Lab<'_>) {
    for (ours, theirs) in [(FIN | ACK, FIN | ACK), (RST, ACK), (ACK, RST | ACK)] {
        let first = lab.establishes(at(CLIENT), WEB);
        lab.reaches(&tcp(at(CLIENT), at(WEB), ours), Outcome::Forwarded);
        lab.answers(&tcp(first, at(CLIENT), theirs), WEB);
        assert_eq!(lab.entries(), [0, 2, 0], "a reset does not delete at once");
        let total = lab.opened();
        let second = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
        assert_ne!(first, second, "round robin goes on");
        assert_eq!(lab.entries(), [2, 0, 0]);
        assert_eq!(lab.opened(), total + 1);
        lab.change(|memory| memory.v4.half_open.clear());
    }
}

fn a_syn_on_an_open_connection_does_not_disturb_it(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::Forwarded), server);
    assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Forwarded), server);
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_connection_whose_real_server_is_gone_starts_anew(lab: &mut Lab<'_>) {
    for flag in [0, real_server::PRESENT | real_server::RESCHEDULE] {
        let first = lab.establishes(at(CLIENT), WEB);
        let index = u32::from(first != at("10.0.0.11:8080"));
        lab.change_and_renew(|memory| {
            memory.real_servers.get_mut(&index).unwrap().flags = flag;
            memory.scheduling.insert(0, world::scheduling_table(&[(1 - index, 1)]));
        });
        let second = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
        assert_ne!(first, second);
        lab.change_and_renew(|memory| {
            *memory = world::memory(CONNECTIONS);
        });
    }
}

fn a_half_closed_connection_goes_on(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let end = tcp(at(CLIENT), at(WEB), FIN | ACK);
    assert_eq!(lab.reaches(&end, Outcome::Forwarded), server);
    for _ in 0..100 {
        lab.answers(&reply(server, &end).with(b"still sending"), WEB);
        assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), ACK), Outcome::Forwarded), server);
    }
    assert_eq!(lab.entries(), [0, 2, 0]);
    assert_eq!(lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::Forwarded), server, "it is not closing");
}

fn a_full_table_disturbs_nobody(lab: &mut Lab<'_>) {
    let client = |number: usize| at(&format!("198.51.100.7:{}", 10_000 + number));
    let fit = CONNECTIONS;
    let servers: Vec<_> = (0..fit).map(|number| lab.establishes(client(number), WEB)).collect();
    assert_eq!(lab.memory.v4.tcp.len(), 2 * fit);
    let late = client(fit);
    let server = lab.reaches(&tcp(late, at(WEB), SYN), Outcome::NewConnection);
    lab.answers(&tcp(server, late, SYN | ACK).numbered(5000, 1001), WEB);
    let ack = tcp(late, at(WEB), ACK).numbered(1001, 5001);
    for _ in 0..3 {
        assert_eq!(lab.reaches(&ack, Outcome::TableFull), server);
    }
    assert_eq!(lab.memory.v4.tcp.len(), 2 * fit, "no half of a connection is left");
    lab.answers(&reply(server, &ack), WEB);
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(lab.reaches(&tcp(client(number), at(WEB), ACK), Outcome::Forwarded), *server);
    }
    lab.change(|memory| memory.v4.tcp.clear());
    assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
    assert_eq!(lab.memory.v4.tcp.len(), 2, "it is promoted once there is room");
}

fn while_there_is_no_room_a_connection_needs_no_entry(lab: &mut Lab<'_>) {
    let client = |number: usize| at(&format!("198.51.100.7:{}", 10_000 + number));
    for number in 0..CONNECTIONS {
        lab.establishes(client(number), WEB);
    }
    let first = client(CONNECTIONS);
    let server = lab.reaches(&tcp(first, at(WEB), SYN), Outcome::NewConnection);
    lab.answers(&tcp(server, first, SYN | ACK).numbered(5000, 1001), WEB);
    lab.reaches(&tcp(first, at(WEB), ACK).numbered(1001, 5001), Outcome::TableFull);
    // One that only adopts, and one that does not otherwise.
    for vip in [WEB, WEB_AGAIN] {
        for number in CONNECTIONS + 1..CONNECTIONS + 4 {
            let late = client(number);
            let server = lab.reaches(&tcp(late, at(vip), SYN), Outcome::TableFull);
            for _ in 0..3 {
                lab.change(|memory| memory.v4.half_open.clear());
                assert_eq!(lab.reaches(&tcp(late, at(vip), ACK), Outcome::TableFull), server);
            }
            lab.change(|memory| memory.v4.half_open.clear());
        }
    }
    assert_eq!(lab.memory.v4.tcp.len(), 2 * CONNECTIONS);
}

fn half_of_a_udp_connection_is_mended(lab: &mut Lab<'_>) {
    for reply_lost in [true, false] {
        let query = udp(at(CLIENT), at(DNS)).with(b"query");
        let server = lab.reaches(&query, Outcome::NewConnection);
        let answer = reply(server, &query).with(b"answer");
        lab.change_and_renew(|memory| {
            memory.v4.udp.retain(|_, entry| (entry.flags & flags::REPLY == 0) == reply_lost);
        });
        assert_eq!(lab.entries(), [0, 0, 1]);
        if reply_lost {
            assert_eq!(lab.reaches(&query, Outcome::Forwarded), server);
        } else {
            lab.answers(&answer, DNS);
        }
        assert_eq!(lab.entries(), [0, 0, 2]);
        lab.answers(&answer, DNS);
        assert_eq!(lab.reaches(&query, Outcome::Forwarded), server);
        lab.change(|memory| memory.v4.udp.clear());
    }
}

#[test]
fn a_udp_connection_in_use_is_mended_within_a_second() {
    let mut lab = Lab::on_host();
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let server = lab.reaches(&query, Outcome::NewConnection);
    lab.memory.v4.udp.retain(|_, entry| entry.flags & flags::REPLY == 0);
    lab.reaches(&query, Outcome::Forwarded);
    assert_eq!(lab.entries(), [0, 0, 1], "on the short way nobody looks");
    lab.memory.now += lab.memory.settings.unwrap().ticks_per_second;
    assert_eq!(lab.reaches(&query, Outcome::Forwarded), server);
    assert_eq!(lab.entries(), [0, 0, 2]);
    lab.answers(&reply(server, &query), DNS);
}

fn room_for_one_direction_is_no_room(lab: &mut Lab<'_>) {
    let client = |number: usize| at(&format!("198.51.100.7:{}", 10_000 + number));
    for number in 0..CONNECTIONS {
        lab.establishes(client(number), WEB);
    }
    let full = lab.memory.v4.tcp.len();
    lab.change(|memory| memory.v4.tcp.retain(|key, _| key.source_port != Port::new(10_000)));
    assert_eq!(lab.memory.v4.tcp.len(), full - 1);
    let late = client(CONNECTIONS);
    let server = lab.reaches(&tcp(late, at(WEB), SYN), Outcome::NewConnection);
    lab.answers(&tcp(server, late, SYN | ACK).numbered(5000, 1001), WEB);
    lab.reaches(&tcp(late, at(WEB), ACK).numbered(1001, 5001), Outcome::TableFull);
    assert_eq!(lab.memory.v4.tcp.len(), full - 1, "no half of a connection is left");
}

fn an_unknown_neighbour_is_left_to_the_kernel_until_it_is_known(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(UNRESOLVED), SYN);
    let translated = Packet { destination: at("10.0.0.14:8080"), ..syn.clone() };
    lab.hands_up(&syn, &translated);
    assert_eq!(lab.entries(), [2, 0, 0]);
    lab.hands_up(&syn, &translated);
    assert_eq!(lab.entries(), [2, 0, 0]);
    lab.answers(&tcp(at("10.0.0.14:8080"), at(CLIENT), SYN | ACK).numbered(5000, 1001), UNRESOLVED);
}

fn a_real_server_without_a_route_is_left_to_the_kernel(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(UNROUTED), SYN);
    lab.hands_up(&syn, &Packet { destination: at("172.16.0.9:8080"), ..syn.clone() });
}

fn a_client_whose_neighbour_is_unknown_is_answered_the_way_it_came(lab: &mut Lab<'_>) {
    // Its neighbour entry is missing, but its frame says where it is: here, behind the router.
    let client = at("198.51.100.9:40000");
    let server = lab.establishes(client, WEB);
    lab.answers(&tcp(server, client, ACK).with(b"hello"), WEB);
}

fn a_real_servers_packet_without_an_entry_comes_from_its_vip(lab: &mut Lab<'_>) {
    let key = |address: [u8; 4], port| ServiceKey {
        address: V4::from(Ipv4Addr::from(address)),
        port: Port::new(port),
        protocol: Protocol::Tcp as u16,
    };
    let packet = tcp(at("10.0.0.11:8080"), at(CLIENT), ACK);
    lab.leaves_alone(&packet, Outcome::NoService);
    lab.change(|memory| {
        memory.v4.reverse.insert(key([10, 0, 0, 11], 8080), key([192, 0, 2, 20], 81));
    });
    let from_vip = Packet { source: at(ALONE), ..packet.clone() };
    lab.forwards(&packet, Outcome::StatelessReply, &from_vip);
    let own = tcp(at("10.0.0.11:8080"), at("10.0.0.1:50000"), ACK);
    lab.leaves_alone(&own, Outcome::NoService);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_change_of_the_generation_keeps_connections(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let request = tcp(at(CLIENT), at(WEB), ACK);
    for _ in 0..3 {
        lab.change_and_renew(|_| {});
        assert_eq!(lab.reaches(&request, Outcome::Forwarded), server);
        lab.answers(&reply(server, &request), WEB);
    }
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_connection_outlives_its_vip(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    lab.change(|memory| {
        memory.v4.vips.clear();
        memory.v4.services.clear();
        memory.v4.reverse.clear();
        memory.real_servers.clear();
    });
    lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), Outcome::Forwarded);
    lab.answers(&tcp(server, at(CLIENT), ACK).numbered(5001, 1001), WEB);
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB_AGAIN), SYN), Outcome::NoService);
}
