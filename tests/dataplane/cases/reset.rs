//! What becomes of connections whose real server goes, and of segments that belong to none: resets (RFC 9293 section
//! 3.10.7.1), other real servers, silence.

use std::net::SocketAddr;

use lb_common::{
    connection::flags,
    outcome::Outcome,
    service::{real_server, virtual_server},
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{Checksum, Packet, Transport, tcp, udp};
use crate::read::Segment;
use crate::world::{DNS, EMPTY, WEB, WEB_AGAIN, WEB_V6, at, scheduling_table};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
const PSH: u8 = 0x08;

cases![
    a_segment_is_answered_with_a_reset_that_its_sender_believes,
    a_real_servers_segment_is_answered_from_the_client,
    a_reset_has_no_options_no_extension_headers_and_no_padding,
    a_connection_of_ipv6_is_reset_as_one_of_ipv4,
    a_reset_is_never_answered,
    a_segment_with_a_wrong_checksum_is_not_answered,
    a_client_begins_anew_on_a_connection_that_was_reset,
    a_half_open_connection_is_reset_too,
    a_syn_on_a_connection_that_is_half_open_goes_elsewhere,
    a_syn_on_a_connection_that_is_closing_goes_elsewhere,
    a_datagram_goes_to_another_real_server,
    a_rescheduled_connection_goes_to_another_real_server,
    a_kept_connection_goes_on,
    a_segment_without_state_is_answered_where_that_is_the_policy,
    a_segment_without_state_is_dropped_where_there_is_no_policy,
];

const OF_WEB_AGAIN: u32 = 4;

/// Indices of real servers: of [`WEB`] and [`DNS`], in turn, and of [`WEB_V6`].
const WEB_SERVERS: [u32; 2] = [0, 1];
const DNS_SERVERS: [u32; 2] = [2, 3];
const WEB_V6_SERVERS: [u32; 2] = [30, 31];

/// The controller marks real servers.
fn mark(lab: &mut Lab<'_>, servers: &[u32], flags: u16) {
    lab.change_and_renew(|memory| {
        for server in servers {
            memory.real_servers.get_mut(server).unwrap().flags = real_server::PRESENT | flags;
        }
    });
}

/// What is new goes to the second real server of [`WEB`] only.
fn leave_out_the_first(lab: &mut Lab<'_>) {
    lab.change(|memory| drop(memory.scheduling.insert(0, scheduling_table(&[(WEB_SERVERS[1], 1)]))));
}

/// A connection of [`CLIENT`] whose real server, which is returned, is lost.
fn lost(lab: &mut Lab<'_>) -> SocketAddr {
    mark(lab, &WEB_SERVERS, 0);
    let server = lab.establishes(at(CLIENT), WEB);
    assert_eq!(lab.entries(), [0, 2, 0]);
    mark(lab, &WEB_SERVERS, real_server::RESET);
    server
}

fn a_segment_is_answered_with_a_reset_that_its_sender_believes(lab: &mut Lab<'_>) {
    let of_acknowledged = |sequence| Segment { flags: RST, sequence, acknowledgment: 0 };
    let of_other = |acknowledgment| Segment { flags: RST | ACK, sequence: 0, acknowledgment };
    for (flags, sequence, acknowledgment, payload, expected) in [
        (ACK, 1001, 5001, "", of_acknowledged(5001)),
        (ACK | PSH, 1001, 5001, "data", of_acknowledged(5001)),
        (FIN | ACK, 1001, 5001, "data", of_acknowledged(5001)),
        (SYN | ACK, 1001, 0, "", of_acknowledged(0)),
        (ACK, 1001, u32::MAX, "odd", of_acknowledged(u32::MAX)),
        (PSH, 1001, 5001, "data", of_other(1005)),
        (FIN, 1001, 5001, "", of_other(1002)),
        (FIN, 1001, 5001, "odd", of_other(1005)),
        (FIN, u32::MAX, 5001, "odd", of_other(3)),
    ] {
        let server = lost(lab);
        let segment =
            tcp(at(CLIENT), at(WEB), flags).numbered(sequence, acknowledgment).with(payload.as_bytes());
        assert_eq!(lab.resets(&segment), expected, "{segment:?}");
        assert_eq!(lab.resets(&segment), expected, "again: the first one may be lost");
        let of_client = Segment { flags: RST, sequence: 1001, acknowledgment: 0 };
        assert_eq!(lab.resets(&reply(server, &segment)), of_client, "the other end learns it from here, too");
        let states = lab.memory.v4.tcp.values().map(|entry| entry.flags & flags::RST);
        assert_eq!(states.collect::<Vec<_>>(), [flags::RST; 2], "as closed as any other that was reset");
    }
}

fn a_real_servers_segment_is_answered_from_the_client(lab: &mut Lab<'_>) {
    let server = lost(lab);
    let answer = tcp(server, at(CLIENT), ACK).numbered(5001, 1001).with(b"still here");
    assert_eq!(lab.resets(&answer), Segment { flags: RST, sequence: 1001, acknowledgment: 0 });
    let segment = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001);
    assert_eq!(lab.resets(&segment), Segment { flags: RST, sequence: 5001, acknowledgment: 0 });
}

fn a_reset_has_no_options_no_extension_headers_and_no_padding(lab: &mut Lab<'_>) {
    let segment = tcp(at(CLIENT), at(WEB), FIN).with(b"data");
    let timestamps = Transport::Tcp { flags: FIN, sequence: 1000, acknowledgment: 0, options: vec![1; 12] };
    let expected = Segment { flags: RST | ACK, sequence: 0, acknowledgment: 1005 };
    for unusual in [
        Packet { options: vec![1; 4], ..segment.clone() },
        Packet { options: vec![1; 40], ..segment.clone() },
        Packet { transport: timestamps.clone(), ..segment.clone() },
        Packet { options: vec![1; 8], transport: timestamps, ..segment.clone() },
        Packet { trailer: vec![0xee; 6], ..segment.clone() },
        Packet { traffic_class: 0xff, hops: 2, dont_fragment: false, ..segment.clone() },
    ] {
        lost(lab);
        assert_eq!(lab.resets(&unusual), expected, "{unusual:?}");
    }
    lost(lab);
    let largest = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001).with(&[0xa5; 1460]);
    lab.resets(&largest);
}

fn a_connection_of_ipv6_is_reset_as_one_of_ipv4(lab: &mut Lab<'_>) {
    let segment = tcp(at(CLIENT_V6), at(WEB_V6), ACK).numbered(1001, 5001).with(b"data");
    let behind = |bodies: &[usize]| Packet {
        extensions: bodies.iter().map(|length| (60, vec![1; *length])).collect(),
        ..segment.clone()
    };
    for segment in [segment.clone(), behind(&[6]), behind(&[6, 14, 30])] {
        mark(lab, &WEB_V6_SERVERS, 0);
        lab.establishes(at(CLIENT_V6), WEB_V6);
        assert_eq!(lab.memory.v6.tcp.len(), 2);
        mark(lab, &WEB_V6_SERVERS, real_server::RESET);
        let expected = Segment { flags: RST, sequence: 5001, acknowledgment: 0 };
        assert_eq!(lab.resets(&segment), expected, "{segment:?}");
    }
}

fn a_reset_is_never_answered(lab: &mut Lab<'_>) {
    for flags in [RST, RST | ACK] {
        lost(lab);
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB), flags).numbered(1001, 5001), Outcome::WithoutState);
        assert_eq!(lab.entries(), [0, 2, 0], "until the real server has learned it");
    }
}

/// Whoever its damaged header names must not be reset.
fn a_segment_with_a_wrong_checksum_is_not_answered(lab: &mut Lab<'_>) {
    let server = lost(lab);
    for (from, to) in [(at(CLIENT), at(WEB)), (server, at(CLIENT)), (at("198.51.100.8:1"), at(EMPTY))] {
        let segment = tcp(from, to, ACK).numbered(1001, 5001).with(b"odd");
        for error in [1, 0x8000, 0xfffe] {
            let damaged = Packet { checksum: Checksum::Off(error), ..segment.clone() };
            lab.leaves_alone(&damaged, Outcome::BadChecksum);
        }
    }
    let unfinished = Packet { checksum: Checksum::Unfinished, ..tcp(server, at(CLIENT), ACK) };
    assert_eq!(
        lab.send(&unfinished).verdict.outcome(),
        Outcome::Reset,
        "left to this host, which is no damage"
    );
    let elsewhere = Packet { checksum: Checksum::Unfinished, ..tcp(at(CLIENT), at(WEB), ACK) };
    lab.leaves_alone(&elsewhere, Outcome::BadChecksum);
}

fn a_client_begins_anew_on_a_connection_that_was_reset(lab: &mut Lab<'_>) {
    lost(lab);
    lab.resets(&tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001));
    mark(lab, &WEB_SERVERS[..1], real_server::RESET);
    mark(lab, &WEB_SERVERS[1..], 0);
    leave_out_the_first(lab);
    assert_eq!(lab.establishes(at(CLIENT), WEB), at("10.0.0.12:8080"));
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_half_open_connection_is_reset_too(lab: &mut Lab<'_>) {
    for from_client in [true, false] {
        mark(lab, &WEB_SERVERS, 0);
        let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
        mark(lab, &WEB_SERVERS, real_server::RESET);
        let (segment, expected) = if from_client {
            (tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001), 5001)
        } else {
            (tcp(server, at(CLIENT), SYN | ACK).numbered(5000, 1001), 1001)
        };
        assert_eq!(lab.resets(&segment), Segment { flags: RST, sequence: expected, acknowledgment: 0 });
        assert_eq!(lab.entries(), [0, 0, 0]);
    }
}

fn a_syn_on_a_connection_that_is_half_open_goes_elsewhere(lab: &mut Lab<'_>) {
    let syn = tcp(at(CLIENT), at(WEB), SYN);
    let first = lab.reaches(&syn, Outcome::NewConnection);
    mark(lab, &WEB_SERVERS[..1], real_server::RESET);
    assert_ne!(lab.reaches(&syn, Outcome::NewConnection), first);
    assert_eq!(lab.entries(), [2, 0, 0]);
}

fn a_syn_on_a_connection_that_is_closing_goes_elsewhere(lab: &mut Lab<'_>) {
    let first = lab.establishes(at(CLIENT), WEB);
    lab.answers(&tcp(first, at(CLIENT), RST), WEB);
    mark(lab, &WEB_SERVERS[..1], real_server::RESET);
    assert_ne!(lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection), first);
    assert_eq!(lab.entries(), [2, 0, 0]);
}

fn a_datagram_goes_to_another_real_server(lab: &mut Lab<'_>) {
    for (client, flags) in [(CLIENT, real_server::RESET), ("198.51.100.8:40000", real_server::RESCHEDULE)] {
        let query = udp(at(client), at(DNS)).with(b"query");
        let first = lab.reaches(&query, Outcome::NewConnection);
        mark(lab, &DNS_SERVERS[..1], flags);
        let second = lab.reaches(&query, Outcome::NewConnection);
        assert_ne!(first, second);
        lab.leaves_alone(&reply(first, &query), Outcome::NoService);
        lab.answers(&reply(second, &query).with(b"answer"), DNS);
    }
}

fn a_rescheduled_connection_goes_to_another_real_server(lab: &mut Lab<'_>) {
    let first = lab.establishes(at(CLIENT), WEB);
    leave_out_the_first(lab);
    mark(lab, &WEB_SERVERS[..1], real_server::RESCHEDULE);
    let data = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001).with(b"data");
    let second = lab.reaches(&data, Outcome::Adopted);
    assert_ne!(first, second);
    assert_eq!(lab.entries(), [2, 0, 0], "nothing is left of the first");
    assert_eq!(lab.reaches(&data, Outcome::Forwarded), second);
}

fn a_kept_connection_goes_on(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    leave_out_the_first(lab);
    mark(lab, &WEB_SERVERS[..1], 0);
    let data = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001).with(b"data");
    assert_eq!(lab.reaches(&data, Outcome::Forwarded), server);
    lab.answers(&reply(server, &data), WEB);
    assert_ne!(lab.establishes(at("198.51.100.7:40001"), WEB), server);
}

fn a_segment_without_state_is_answered_where_that_is_the_policy(lab: &mut Lab<'_>) {
    lab.change(|memory| {
        memory.virtual_servers.get_mut(&OF_WEB_AGAIN).unwrap().flags = virtual_server::RESET;
    });
    let segment = |flags| tcp(at(CLIENT), at(WEB_AGAIN), flags).numbered(77, 88).with(b"more");
    for flags in [ACK, FIN | ACK, SYN | ACK] {
        let expected = Segment { flags: RST, sequence: 88, acknowledgment: 0 };
        assert_eq!(lab.resets(&segment(flags)), expected);
    }
    for (flags, acknowledgment) in [(PSH, 81), (FIN, 82)] {
        let expected = Segment { flags: RST | ACK, sequence: 0, acknowledgment };
        assert_eq!(lab.resets(&segment(flags)), expected);
    }
    for flags in [RST, RST | ACK] {
        lab.leaves_alone(&segment(flags), Outcome::WithoutState);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
    lab.establishes(at(CLIENT), WEB_AGAIN);
}

fn a_segment_without_state_is_dropped_where_there_is_no_policy(lab: &mut Lab<'_>) {
    for flags in [ACK, FIN | ACK, SYN | ACK, PSH, FIN, RST] {
        lab.leaves_alone(&tcp(at(CLIENT), at(WEB_AGAIN), flags), Outcome::WithoutState);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}
