//! What is not ours, and what is ours and broken.

use lb_common::{
    outcome::{Disposition, Outcome},
    tcp::header::{ACK, SYN},
};

use crate::lab::Lab;
use crate::packet::{Packet, tcp, udp};
use crate::read::read;
use crate::world::{DNS, DNS_V6, INSIDE, OUTSIDE, WEB, WEB_V6, arriving, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
const FOREIGN: &str = "198.51.100.1:80";
const FOREIGN_V6: &str = "[2001:db8:1::1]:80";

cases![
    packets_for_others_pass,
    frames_that_are_not_ip_pass,
    protocols_that_are_not_balanced_pass,
    a_port_without_a_service_passes,
    frames_for_another_mac_address_pass,
    an_interface_that_is_not_described_passes,
    broken_packets_for_a_vip_are_dropped_and_for_others_pass,
    truncated_packets_never_come_out_malformed,
    a_vip_that_talks_to_itself_is_dropped,
    martian_sources_are_dropped,
    the_balancers_own_connections_to_real_servers_are_its_own,
];

fn packets_for_others_pass(lab: &mut Lab<'_>) {
    for packet in [
        tcp(at(CLIENT), at(FOREIGN), SYN),
        udp(at(CLIENT), at("10.0.0.11:53")),
        tcp(at(CLIENT), at("10.0.0.11:8080"), ACK),
        udp(at(CLIENT), at("224.0.0.251:5353")),
        tcp(at(CLIENT_V6), at(FOREIGN_V6), SYN),
    ] {
        lab.leaves_alone(&packet, Outcome::NoService);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

/// A SYN from the client to [`WEB`] as bytes.
fn syn() -> Vec<u8> {
    arriving(&tcp(at(CLIENT), at(WEB), SYN)).1.bytes()
}

#[track_caller]
fn passes(lab: &mut Lab<'_>, frame: &[u8], outcome: Outcome) {
    let ended = lab.frame(OUTSIDE.index.into(), frame);
    assert_eq!(ended.verdict.outcome(), outcome);
    assert_eq!(outcome.disposition(), Disposition::Pass);
    assert_eq!(ended.bytes, frame);
}

fn frames_that_are_not_ip_pass(lab: &mut Lab<'_>) {
    for ether_type in [0x0806u16, 0x88cc, 0x8847, 0x05dc, 0] {
        let mut frame = syn();
        frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
        passes(lab, &frame, Outcome::NotIp);
    }
}

fn protocols_that_are_not_balanced_pass(lab: &mut Lab<'_>) {
    for (protocol, outcome) in [
        (1, Outcome::Icmp),
        (2, Outcome::OtherProtocol),
        (50, Outcome::OtherProtocol),
        (112, Outcome::OtherProtocol),
    ] {
        let mut frame = syn();
        frame[23] = protocol;
        passes(lab, &frame, outcome);
        let mut frame = arriving(&tcp(at(CLIENT_V6), at(WEB_V6), SYN)).1.bytes();
        frame[20] = if protocol == 1 { 58 } else { protocol };
        passes(lab, &frame, outcome);
    }
}

fn a_port_without_a_service_passes(lab: &mut Lab<'_>) {
    for packet in [
        tcp(at(CLIENT), at("192.0.2.20:8000"), SYN),
        udp(at(CLIENT), at("192.0.2.10:54")),
        tcp(at(CLIENT_V6), at("[2001:db8::10]:81"), SYN),
    ] {
        lab.leaves_alone(&packet, Outcome::NoService);
    }
}

fn frames_for_another_mac_address_pass(lab: &mut Lab<'_>) {
    for mac in [[2, 0, 0, 0, 9, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 18], INSIDE.mac] {
        let packet = Packet { link_destination: mac, ..tcp(at(CLIENT), at(WEB), SYN) };
        lab.leaves_alone(&packet, Outcome::ForeignMac);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn an_interface_that_is_not_described_passes(lab: &mut Lab<'_>) {
    let frame = syn();
    let ended = lab.frame(1, &frame);
    assert_eq!((ended.verdict.outcome(), ended.bytes), (Outcome::UnattachedInterface, frame));
}

/// A way to break a packet.
type Damage = fn(&mut [u8]);

fn broken_packets_for_a_vip_are_dropped_and_for_others_pass(lab: &mut Lab<'_>) {
    let ip: [(&str, Damage); 5] = [
        ("version", |frame| frame[14] = 0x55),
        ("header length below its minimum", |frame| frame[14] = 0x44),
        ("total length beyond the frame", |frame| frame[16..18].copy_from_slice(&[0x0f, 0xff])),
        ("total length below the header", |frame| frame[16..18].copy_from_slice(&[0, 19])),
        ("header length above the total length", |frame| {
            frame[14] = 0x4f;
            frame[16..18].copy_from_slice(&[0, 40]);
        }),
    ];
    let in_tcp: [(&str, Damage); 3] = [
        ("data offset below its minimum", |frame| frame[46] = 0x40),
        ("data offset beyond the packet", |frame| frame[46] = 0xf0),
        ("packet within the header", |frame| frame[16..18].copy_from_slice(&[0, 39])),
    ];
    let in_udp: [(&str, Damage); 2] = [
        ("length below its minimum", |frame| frame[38..40].copy_from_slice(&[0, 7])),
        ("length beyond the packet", |frame| frame[38..40].copy_from_slice(&[0, 60])),
    ];
    let ipv6: [(&str, Damage); 2] = [
        ("version", |frame| frame[14] = 0x55),
        ("payload length beyond the frame", |frame| frame[18..20].copy_from_slice(&[1, 0])),
    ];
    let segment = |vip: &str| tcp(at(CLIENT), at(vip), SYN).with(b"abcd");
    let datagram = |vip: &str| udp(at(CLIENT), at(vip)).with(b"abcd");
    let segment_v6 = |vip: &str| tcp(at(CLIENT_V6), at(vip), SYN).with(b"abcd");
    let foreign = [segment(FOREIGN), datagram(FOREIGN), segment_v6(FOREIGN_V6)];
    for (ours, foreign, damages, outcome) in [
        (segment(WEB), &foreign[0], &ip[..], Outcome::MalformedIp),
        (segment(WEB), &foreign[0], &in_tcp[..], Outcome::MalformedTransport),
        (datagram(DNS), &foreign[1], &in_udp[..], Outcome::MalformedTransport),
        (segment_v6(WEB_V6), &foreign[2], &ipv6[..], Outcome::MalformedIp),
    ] {
        for (name, damage) in damages {
            for (packet, expected) in [(&ours, outcome), (foreign, Outcome::MalformedForeign)] {
                let mut frame = arriving(packet).1.bytes();
                damage(&mut frame);
                let ended = lab.frame(OUTSIDE.index.into(), &frame);
                assert_eq!((ended.verdict.outcome(), &ended.bytes), (expected, &frame), "{name}");
            }
        }
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn truncated_packets_never_come_out_malformed(lab: &mut Lab<'_>) {
    for packet in [
        tcp(at(CLIENT), at(WEB), SYN),
        udp(at(CLIENT), at(DNS)).with(b"a question"),
        tcp(at(CLIENT_V6), at(WEB_V6), SYN),
        udp(at(CLIENT_V6), at(DNS_V6)).with(b"a question"),
        Packet { extensions: vec![(0, vec![1; 6])], ..tcp(at(CLIENT_V6), at(WEB_V6), SYN) },
    ] {
        let frame = arriving(&packet).1.bytes();
        for length in 0..frame.len() {
            let ended = lab.frame(OUTSIDE.index.into(), &frame[..length]);
            assert_eq!(ended.bytes, frame[..length], "{length} of {packet:?}");
            assert_ne!(ended.verdict.outcome().disposition(), Disposition::Send, "{length} of {packet:?}");
        }
        assert!(lab.memory.v4.half_open.is_empty() && lab.memory.v6.half_open.is_empty());
        assert!(read(&frame).is_some());
    }
}

fn a_vip_that_talks_to_itself_is_dropped(lab: &mut Lab<'_>) {
    for vip in [WEB, WEB_V6] {
        for port in [at(vip).port(), 4711] {
            let mut source = at(vip);
            source.set_port(port);
            lab.leaves_alone(&tcp(source, at(vip), SYN), Outcome::Land);
        }
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn martian_sources_are_dropped(lab: &mut Lab<'_>) {
    for source in ["0.0.0.0:1", "127.0.0.1:1", "224.0.0.1:1", "255.255.255.255:1", "240.0.0.1:1"] {
        lab.leaves_alone(&tcp(at(source), at(WEB), SYN), Outcome::MartianSource);
        lab.leaves_alone(&udp(at(source), at(DNS)), Outcome::MartianSource);
    }
    for source in ["[::]:1", "[::1]:1", "[ff02::1]:1", "[fe80::7]:1", "[::ffff:198.51.100.7]:1"] {
        lab.leaves_alone(&tcp(at(source), at(WEB_V6), SYN), Outcome::MartianSource);
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn the_balancers_own_connections_to_real_servers_are_its_own(lab: &mut Lab<'_>) {
    let answer = tcp(at("10.0.0.11:8080"), at("10.0.0.1:50000"), SYN | ACK);
    lab.leaves_alone(&answer, Outcome::NoService);
    lab.establishes(at(CLIENT), WEB);
    lab.leaves_alone(&answer, Outcome::NoService);
}
