//! What the balancer answers itself, and what it leaves to the kernel.

use lb_common::{
    outcome::Outcome,
    service::virtual_server,
    tcp::header::{ACK, FIN, RST, SYN},
};
use lb_ebpf::limit::{ANSWERS, Bucket};

use crate::icmp::{LINK, Message};
use crate::lab::{Lab, reply};
use crate::packet::{Checksum, Packet, tcp, udp};
use crate::reset;
use crate::world::{DNS, DNS_V6, EMPTY, NARROW_MTU, SAME_PORT, WEB, WEB_V6, arriving, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";

cases![
    tcp_without_a_real_server_is_reset_at_once,
    udp_without_a_real_server_has_no_port,
    a_client_out_of_hops_learns_that_from_the_vip,
    a_request_too_large_for_the_way_is_answered_with_what_fits,
    a_reply_too_large_for_the_way_is_the_kernels_as_it_came,
    segments_joined_on_the_way_are_the_kernels_to_divide,
    an_answer_quotes_no_more_than_it_may,
];

/// A client's packet arrives and is answered so, the way it came.
#[track_caller]
pub(super) fn is_answered(lab: &mut Lab<'_>, packet: &Packet, outcome: Outcome, kind: (u8, u8), rest: u32) {
    let (wire, arrived) = arriving(packet);
    let frame = arrived.bytes();
    let (from, to) = (packet.destination.ip(), packet.source.ip());
    let most = if from.is_ipv4() { 576 - 28 } else { 1280 - 48 };
    let network = arrived.link().len();
    let length = frame.len() - network - packet.trailer.len();
    let quote = frame[network..][..length.min(most)].to_vec();
    let message = Message { from, to, hops: 64, kind: kind.0, code: kind.1, rest, quote };
    let link = [&frame[6..12], &frame[..6], &frame[12..network]].concat();
    let ended = lab.frame(wire.on.into(), &frame);
    assert_eq!((ended.verdict.outcome(), ended.verdict.interface()), (outcome, wire.on), "{packet:?}");
    assert_eq!(ended.bytes, [link, message.network()].concat(), "{packet:?}");
}

fn tcp_without_a_real_server_is_reset_at_once(lab: &mut Lab<'_>) {
    for flags in [SYN, ACK, FIN | ACK] {
        let segment = tcp(at(CLIENT), at(EMPTY), flags).with(b"early");
        let (wire, arrived) = arriving(&segment);
        let ended = lab.send(&segment);
        assert_eq!((ended.verdict.outcome(), ended.verdict.interface()), (Outcome::Refused, wire.index));
        reset::check(&arrived.bytes(), &ended.bytes).unwrap();
    }
    lab.leaves_alone(&tcp(at(CLIENT), at(EMPTY), RST), Outcome::WithoutState);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn udp_without_a_real_server_has_no_port(lab: &mut Lab<'_>) {
    lab.change(|memory| memory.scheduling.values_mut().for_each(|table| *table = vec![0; 4]));
    for length in [0, 1, 7, 519, 520, 521, 1400] {
        let payload = vec![0xa5; length];
        for checksum in [Checksum::Whole, Checksum::Off(3)] {
            let query = Packet { checksum, ..udp(at(CLIENT), at(DNS)).with(&payload) };
            is_answered(lab, &query, Outcome::Refused, (3, 3), 0);
            let query = Packet { checksum, ..udp(at(CLIENT_V6), at(DNS_V6)).with(&payload) };
            is_answered(lab, &query, Outcome::Refused, (1, 4), 0);
        }
    }
    let padded = Packet { trailer: vec![0xee; 18], ..udp(at(CLIENT), at(DNS)) };
    is_answered(lab, &padded, Outcome::Refused, (3, 3), 0);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_client_out_of_hops_learns_that_from_the_vip(lab: &mut Lab<'_>) {
    for hops in [0, 1] {
        let out = |packet: Packet| Packet { hops, ..packet };
        is_answered(lab, &out(tcp(at(CLIENT), at(WEB), SYN)), Outcome::TimeExceeded, (11, 0), 0);
        is_answered(lab, &out(udp(at(CLIENT), at(DNS)).with(b"probe")), Outcome::TimeExceeded, (11, 0), 0);
        is_answered(lab, &out(tcp(at(CLIENT_V6), at(WEB_V6), SYN)), Outcome::TimeExceeded, (3, 0), 0);
    }
    assert_eq!(lab.entries(), [0, 0, 0], "what did not leave opens nothing");
    let server = lab.establishes(at(CLIENT), WEB);
    let data = Packet { hops: 1, ..tcp(at(CLIENT), at(WEB), ACK).with(b"data") };
    is_answered(lab, &data, Outcome::TimeExceeded, (11, 0), 0);
    lab.leaves_alone(&reply(server, &data), Outcome::TtlExpired);
}

fn a_request_too_large_for_the_way_is_answered_with_what_fits(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), SAME_PORT);
    lab.establishes(at(CLIENT_V6), WEB_V6);
    // The second real server is the one with the narrow way.
    let second = at("[2001:db8:1::7]:40001");
    lab.establishes(second, WEB_V6);
    let data = |length| tcp(at(CLIENT), at(SAME_PORT), ACK).with(&vec![7; length]);
    let data_v6 = |length| tcp(second, at(WEB_V6), ACK).with(&vec![7; length]);
    lab.reaches(&data(1360), Outcome::Forwarded);
    lab.reaches(&data_v6(1340), Outcome::Forwarded);
    for more in [1, 2, 100] {
        is_answered(lab, &data(1360 + more), Outcome::TooBig, (3, 4), NARROW_MTU.into());
        is_answered(lab, &data_v6(1340 + more), Outcome::TooBig, (2, 0), NARROW_MTU.into());
    }
    let divisible = Packet { dont_fragment: false, ..data(1361) };
    lab.hands_up(&divisible, &Packet { destination: server, ..divisible.clone() });
}

fn a_reply_too_large_for_the_way_is_the_kernels_as_it_came(lab: &mut Lab<'_>) {
    let client = at("198.51.100.8:40000");
    let server = lab.establishes(client, WEB);
    let large = tcp(server, client, ACK).with(&[7; 1361]);
    lab.leaves_alone(&large, Outcome::Oversized);
    let divisible = Packet { dont_fragment: false, ..large };
    lab.hands_up(&divisible, &Packet { source: at(WEB), ..divisible.clone() });
}

fn segments_joined_on_the_way_are_the_kernels_to_divide(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let joined = tcp(at(CLIENT), at(WEB), ACK).with(&[7; 2920]);
    lab.hands_up(&joined, &Packet { destination: server, ..joined.clone() });
}

fn an_answer_quotes_no_more_than_it_may(lab: &mut Lab<'_>) {
    lab.change(|memory| memory.scheduling.values_mut().for_each(|table| *table = vec![0; 4]));
    for length in [519, 520, 521, 1203, 1204, 1205, 1452] {
        let query = udp(at(CLIENT), at(DNS)).with(&vec![1; length]);
        assert!(lab.send(&query).bytes.len() <= LINK + 576, "{length}");
        let query = udp(at(CLIENT_V6), at(DNS_V6)).with(&vec![1; length]);
        assert!(lab.send(&query).bytes.len() <= LINK + 1280, "{length}");
    }
}

/// On the host alone: the kernel has a clock of its own.
#[test]
fn answers_are_limited_and_what_is_beyond_is_dropped() {
    let mut lab = Lab::on_host();
    lab.change(|memory| memory.answers = Some(Bucket { tokens: ANSWERS, refilled: memory.now }));
    let syn = tcp(at(CLIENT), at(EMPTY), SYN);
    for _ in 0..ANSWERS {
        assert_eq!(lab.send(&syn).verdict.outcome(), Outcome::Refused);
    }
    lab.leaves_alone(&syn, Outcome::AnswerLimited);
    lab.leaves_alone(&Packet { hops: 1, ..tcp(at(CLIENT), at(WEB), SYN) }, Outcome::AnswerLimited);
    lab.change(|memory| {
        memory.virtual_servers.values_mut().for_each(|server| server.flags = virtual_server::RESET);
    });
    lab.leaves_alone(&tcp(at(CLIENT), at(WEB), ACK), Outcome::AnswerLimited);
    // The others go on.
    lab.establishes(at(CLIENT), WEB);
}

/// On the host alone: routes of the kernel stay as they are.
#[test]
fn a_way_that_has_become_wider_is_used() {
    let mut lab = Lab::on_host();
    let server = lab.establishes(at(CLIENT), SAME_PORT);
    lab.change(|memory| memory.v4.routes.values_mut().for_each(|hop| hop.mtu = 1500));
    let data = tcp(at(CLIENT), at(SAME_PORT), ACK).with(&[7; 1460]);
    assert_eq!(lab.reaches(&data, Outcome::Forwarded), server);
}
