//! Fragments of packets for a VIP, and of replies.

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};

use crate::fragments::cut;
use crate::lab::{Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::world::{DNS, DNS_V6, WEB, arriving, at, leaving};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
const FOREIGN: &str = "198.51.100.1:80";

cases![
    a_datagram_in_fragments_reaches_one_real_server_and_is_answered_in_fragments,
    fragments_of_ipv6_are_translated,
    tcp_in_fragments_is_translated,
    a_later_fragment_before_the_first_is_dropped,
    fragments_of_others_pass,
    a_first_fragment_too_short_for_its_header_is_dropped,
    an_identification_used_again_belongs_to_the_newer_packet,
    what_the_kernel_gets_the_first_fragment_of_it_gets_whole,
    a_whole_packet_with_a_fragment_header_is_whole,
];

/// The frames a packet arrives in, cut.
fn pieces(packet: &Packet, size: usize, identification: u32) -> (u32, Vec<Vec<u8>>) {
    let (wire, packet) = arriving(packet);
    (wire.index.into(), cut(&packet.bytes(), size, identification))
}

/// A packet arrives in fragments, which leave as those of `expected`.
#[track_caller]
fn forwards(lab: &mut Lab<'_>, packet: &Packet, first: Outcome, expected: &Packet, identification: u32) {
    let (interface, arriving) = pieces(packet, 1400, identification);
    let leaving = cut(&leaving(expected).bytes(), 1400, identification);
    for (position, (frame, expected)) in arriving.iter().zip(leaving).enumerate() {
        let ended = lab.frame(interface, frame);
        let outcome = if position == 0 { first } else { Outcome::Forwarded };
        assert_eq!((ended.verdict.outcome(), &ended.bytes), (outcome, &expected), "fragment {position}");
    }
}

#[track_caller]
fn ends(lab: &mut Lab<'_>, interface: u32, frame: &[u8], outcome: Outcome) {
    let ended = lab.frame(interface, frame);
    assert_eq!((ended.verdict.outcome(), ended.bytes.as_slice()), (outcome, frame));
}

fn a_datagram_in_fragments_reaches_one_real_server_and_is_answered_in_fragments(lab: &mut Lab<'_>) {
    for port in 40_000..40_004u32 {
        let query = udp(format!("198.51.100.7:{port}").parse().unwrap(), at(DNS)).with(&[7; 4000]);
        let (interface, frames) = pieces(&query, 1400, port);
        assert_eq!(frames.len(), 3);
        let first = lab.frame(interface, &frames[0]);
        assert_eq!(first.verdict.outcome(), Outcome::NewConnection);
        let server = if first.bytes[33] == 11 { "10.0.0.11:53" } else { "10.0.0.12:5353" };
        let expected = Packet { destination: at(server), ..query.clone() };
        forwards(lab, &query, Outcome::Forwarded, &expected, port);
        let answer = reply(at(server), &query).with(&[9; 3000]);
        forwards(lab, &answer, Outcome::Forwarded, &Packet { source: at(DNS), ..answer.clone() }, 7);
    }
}

fn fragments_of_ipv6_are_translated(lab: &mut Lab<'_>) {
    let query = udp(at(CLIENT_V6), at(DNS_V6)).with(&[7; 4000]);
    let server = at("[2001:db8:2::b]:5353");
    let expected = Packet { destination: server, ..query.clone() };
    forwards(lab, &query, Outcome::NewConnection, &expected, 0x1234_5678);
    // Options for the destination are in the part that is cut; options for hops would not be.
    let query = Packet { extensions: vec![(60, vec![1; 14])], ..query };
    forwards(lab, &query, Outcome::Forwarded, &Packet { destination: server, ..query.clone() }, 2);
    let answer = reply(server, &query).with(&[9; 3000]);
    forwards(lab, &answer, Outcome::Forwarded, &Packet { source: at(DNS_V6), ..answer.clone() }, 3);
}

fn tcp_in_fragments_is_translated(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let data = tcp(at(CLIENT), at(WEB), ACK).with(&[7; 1460]);
    forwards(lab, &data, Outcome::Forwarded, &Packet { destination: server, ..data.clone() }, 1);
    let syn = tcp(at("198.51.100.8:1"), at(WEB), SYN).with(&[7; 1460]);
    let (interface, frames) = pieces(&syn, 1400, 2);
    assert_eq!(lab.frame(interface, &frames[0]).verdict.outcome(), Outcome::NewConnection);
    assert_eq!(lab.frame(interface, &frames[1]).verdict.outcome(), Outcome::Forwarded);
}

fn a_later_fragment_before_the_first_is_dropped(lab: &mut Lab<'_>) {
    for (client, vip) in [(CLIENT, DNS), (CLIENT_V6, DNS_V6)] {
        let query = udp(at(client), at(vip)).with(&[7; 3000]);
        let (interface, frames) = pieces(&query, 1400, 1);
        for frame in frames[1..].iter().rev() {
            ends(lab, interface, frame, Outcome::FragmentUnknown);
        }
        // Sent again in order, all of it arrives; after its time it is unknown again.
        assert_eq!(lab.frame(interface, &frames[0]).verdict.outcome(), Outcome::NewConnection);
        assert_eq!(lab.frame(interface, &frames[1]).verdict.outcome(), Outcome::Forwarded);
        assert_eq!(lab.frame(interface, &frames[2]).verdict.outcome(), Outcome::Forwarded);
    }
}

/// On the host alone: the kernel has a clock of its own.
#[test]
fn fragments_are_known_for_half_a_minute() {
    let mut lab = Lab::on_host();
    let query = udp(at(CLIENT), at(DNS)).with(&[7; 3000]);
    let (interface, frames) = pieces(&query, 1400, 1);
    lab.frame(interface, &frames[0]);
    lab.memory.now += 30 * 250 - 1;
    assert_eq!(lab.frame(interface, &frames[1]).verdict.outcome(), Outcome::Forwarded);
    lab.memory.now += 1;
    ends(&mut lab, interface, &frames[1], Outcome::FragmentUnknown);
}

fn fragments_of_others_pass(lab: &mut Lab<'_>) {
    let large = udp(at(CLIENT), at(FOREIGN)).with(&[7; 3000]);
    let (interface, frames) = pieces(&large, 1400, 1);
    for (frame, outcome) in frames.iter().zip([Outcome::NoService, Outcome::Fragment, Outcome::Fragment]) {
        ends(lab, interface, frame, outcome);
    }
    assert!(lab.memory.v4.fragments.is_empty());
    // A large ping to the VIP is the kernel's.
    for mut frame in pieces(&udp(at(CLIENT), at(DNS)).with(&[7; 3000]), 1400, 1).1 {
        frame[23] = 1;
        ends(lab, interface, &frame, Outcome::Fragment);
    }
}

fn a_first_fragment_too_short_for_its_header_is_dropped(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    for (vip, tiny, overlap) in [
        (WEB, Outcome::MalformedTransport, Outcome::MalformedTransport),
        (FOREIGN, Outcome::MalformedForeign, Outcome::Fragment),
    ] {
        let (interface, frames) = pieces(&tcp(at(CLIENT), at(vip), ACK).with(b"data"), 8, 1);
        ends(lab, interface, &frames[0], tiny);
        // At offset 8 it would lie over the flags (RFC 3128).
        ends(lab, interface, &frames[1], overlap);
    }
}

fn an_identification_used_again_belongs_to_the_newer_packet(lab: &mut Lab<'_>) {
    let queries = [CLIENT, "198.51.100.7:40001"].map(|client| udp(at(client), at(DNS)).with(&[7; 3000]));
    for server in ["10.0.0.11:53", "10.0.0.12:5353"].iter().cycle().take(2).zip(&queries) {
        let (server, query) = server;
        let expected = Packet { destination: at(server), ..query.clone() };
        forwards(lab, query, Outcome::NewConnection, &expected, 1);
    }
    let again = Packet { destination: at("10.0.0.11:53"), ..queries[0].clone() };
    forwards(lab, &queries[0], Outcome::Forwarded, &again, 1);
}

fn what_the_kernel_gets_the_first_fragment_of_it_gets_whole(lab: &mut Lab<'_>) {
    let (interface, frames) = pieces(&udp(at(CLIENT), at("192.0.2.10:54")).with(&[7; 3000]), 1400, 1);
    for frame in &frames {
        ends(lab, interface, frame, Outcome::NoService);
    }
}

fn a_whole_packet_with_a_fragment_header_is_whole(lab: &mut Lab<'_>) {
    let query = udp(at(CLIENT_V6), at(DNS_V6)).with(b"query");
    let expected = Packet { destination: at("[2001:db8:2::b]:5353"), ..query.clone() };
    for outcome in [Outcome::NewConnection, Outcome::Forwarded] {
        forwards(lab, &query, outcome, &expected, 9);
    }
    assert!(lab.memory.v6.fragments.is_empty());
}
