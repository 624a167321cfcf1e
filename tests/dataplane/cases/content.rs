//! What a translation changes in a packet, and what it keeps.

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};

use crate::lab::{Lab, reply};
use crate::packet::{Checksum, Packet, Transport, tcp, udp};
use crate::world::{ANY_PORT, DNS, DNS_V6, SAME_PORT, UNROUTED, WEB, WEB_V6, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";

cases![
    payloads_of_any_length_are_kept,
    padding_is_no_part_of_the_packet,
    fields_of_the_ip_header_are_kept,
    ip_options_are_kept,
    tcp_options_are_kept,
    extension_headers_are_looked_behind,
    an_absent_udp_checksum_stays_absent,
    a_udp_checksum_that_becomes_zero_is_written_as_ones,
    a_wrong_checksum_stays_wrong,
    a_checksum_left_to_hardware_is_computed,
    a_checksum_left_to_hardware_is_computed_for_ipv6,
    a_checksum_left_to_hardware_is_only_wrong_elsewhere,
    a_checksum_left_to_hardware_stays_so_on_its_way_to_the_kernel,
    a_port_is_kept_or_rewritten_as_the_real_server_says,
    the_last_hop_but_one_arrives,
];

fn payloads_of_any_length_are_kept(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    lab.establishes(at(CLIENT_V6), WEB_V6);
    for length in [0, 1, 3, 1439, 1440, 1459, 1460] {
        let payload: Vec<u8> = (0..length).map(|byte| (byte * 7) as u8).collect();
        lab.reaches(&tcp(at(CLIENT), at(WEB), ACK).with(&payload), Outcome::Forwarded);
        if length <= 1440 {
            lab.reaches(&tcp(at(CLIENT_V6), at(WEB_V6), ACK).with(&payload), Outcome::Forwarded);
        }
    }
}

fn padding_is_no_part_of_the_packet(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    let padded = Packet { trailer: vec![0xee; 6], ..tcp(at(CLIENT), at(WEB), ACK) };
    assert_eq!(padded.bytes().len(), 60);
    lab.reaches(&padded, Outcome::Forwarded);
    let unfinished = Packet { checksum: Checksum::Unfinished, ..reply(server, &padded) };
    let finished = Packet { source: at(WEB), checksum: Checksum::Whole, ..unfinished.clone() };
    lab.forwards(&unfinished, Outcome::Forwarded, &finished);
}

fn fields_of_the_ip_header_are_kept(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    lab.establishes(at(CLIENT_V6), WEB_V6);
    for traffic_class in [0, 1, 2, 3, 0xb8, 0xff] {
        for (identification, dont_fragment) in [(0, true), (0xffff, false), (0x8000, true)] {
            let ack = tcp(at(CLIENT), at(WEB), ACK);
            let packet = Packet { traffic_class, identification, dont_fragment, ..ack };
            lab.reaches(&packet, Outcome::Forwarded);
        }
        lab.reaches(&Packet { traffic_class, ..tcp(at(CLIENT_V6), at(WEB_V6), ACK) }, Outcome::Forwarded);
    }
}

fn ip_options_are_kept(lab: &mut Lab<'_>) {
    let option = |length: usize| [vec![148, 4, 0, 0], vec![1; length - 4]].concat();
    let syn = Packet { options: option(4), ..tcp(at(CLIENT), at(WEB), SYN) };
    let server = lab.reaches(&syn, Outcome::NewConnection);
    lab.answers(&Packet { options: option(40), ..tcp(server, at(CLIENT), SYN | ACK) }, WEB);
    lab.reaches(
        &Packet { options: option(40), ..udp(at(CLIENT), at(DNS)).with(b"query") },
        Outcome::NewConnection,
    );
}

fn tcp_options_are_kept(lab: &mut Lab<'_>) {
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7].to_vec();
    let transport = Transport::Tcp { flags: SYN, sequence: 1, acknowledgment: 0, options };
    lab.reaches(&Packet { transport, ..tcp(at(CLIENT), at(WEB), SYN) }, Outcome::NewConnection);
}

fn extension_headers_are_looked_behind(lab: &mut Lab<'_>) {
    let (hop_by_hop, destination) = ((0, vec![1, 4, 0, 0, 0, 0]), (60, vec![1; 14]));
    let extensions = vec![hop_by_hop, destination];
    let syn = Packet { extensions: extensions.clone(), ..tcp(at(CLIENT_V6), at(WEB_V6), SYN) };
    let server = lab.reaches(&syn, Outcome::NewConnection);
    lab.answers(&Packet { extensions: extensions.clone(), ..tcp(server, at(CLIENT_V6), SYN | ACK) }, WEB_V6);
    let query = udp(at(CLIENT_V6), at(DNS_V6)).with(b"query");
    lab.reaches(&Packet { extensions, ..query }, Outcome::NewConnection);
}

fn an_absent_udp_checksum_stays_absent(lab: &mut Lab<'_>) {
    let query = Packet { checksum: Checksum::Absent, ..udp(at(CLIENT), at(DNS)).with(b"query") };
    let server = lab.reaches(&query, Outcome::NewConnection);
    lab.answers(&reply(server, &query), DNS);
}

/// A field of 0 would say that there is no checksum; one of these payloads makes it 0, and the expected packet, whose
/// checksum is computed from scratch, has ones there.
fn a_udp_checksum_that_becomes_zero_is_written_as_ones(lab: &mut Lab<'_>) {
    let query = udp(at(CLIENT), at(DNS));
    let server = lab.reaches(&query.clone().with(&[0, 0]), Outcome::NewConnection);
    let checksum = |packet: &Packet| {
        let bytes = packet.bytes();
        u16::from_be_bytes([bytes[40], bytes[41]])
    };
    // Adding what the checksum is to the data takes the checksum to zero.
    let translated = Packet { destination: server, ..query.clone() }.with(&[0, 0]);
    let payload = checksum(&translated).to_be_bytes();
    assert_eq!(checksum(&translated.with(&payload)), 0xffff);
    lab.reaches(&query.with(&payload), Outcome::Forwarded);
}

fn a_wrong_checksum_stays_wrong(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT), WEB);
    for error in [1, 0x100, 0x7fff, 0xfffe] {
        let checksum = Checksum::Off(error);
        let request = Packet { checksum, ..tcp(at(CLIENT), at(WEB), ACK).with(b"data") };
        lab.reaches(&request, Outcome::Forwarded);
        lab.answers(&reply(server, &request), WEB);
    }
}

fn a_checksum_left_to_hardware_is_computed(lab: &mut Lab<'_>) {
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    let query = udp(at(CLIENT), at(DNS)).with(b"query");
    let resolver = lab.reaches(&query, Outcome::NewConnection);
    for length in [0, 1, 2, 3, 4, 5, 511, 512, 513, 1023, 1459, 1460] {
        let payload: Vec<u8> = (0..length).map(|byte| (byte * 31 + 5) as u8).collect();
        let segment = tcp(server, at(CLIENT), ACK).with(&payload);
        let datagram = reply(resolver, &query).with(&payload);
        for (packet, vip) in [(segment, WEB), (datagram, DNS)] {
            let unfinished = Packet { checksum: Checksum::Unfinished, ..packet.clone() };
            let finished = Packet { source: at(vip), ..packet };
            lab.forwards(&unfinished, Outcome::Forwarded, &finished);
        }
    }
}

fn a_checksum_left_to_hardware_is_computed_for_ipv6(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(CLIENT_V6), WEB_V6);
    for extensions in [vec![], vec![(0, vec![1, 4, 0, 0, 0, 0])]] {
        let packet = Packet { extensions, ..tcp(server, at(CLIENT_V6), ACK).with(b"seven b") };
        let unfinished = Packet { checksum: Checksum::Unfinished, ..packet.clone() };
        lab.forwards(&unfinished, Outcome::Forwarded, &Packet { source: at(WEB_V6), ..packet });
    }
}

fn a_checksum_left_to_hardware_is_only_wrong_elsewhere(lab: &mut Lab<'_>) {
    lab.establishes(at(CLIENT), WEB);
    let ack = tcp(at(CLIENT), at(WEB), ACK).with(b"data");
    let unfinished = Packet { checksum: Checksum::Unfinished, ..ack };
    let bytes = lab.send(&unfinished).bytes;
    assert!(!crate::read::read(&bytes).unwrap().transport_whole);
}

/// The kernel finishes it: the field has to be the sum of the translated pseudo-header, ports are no part of that.
fn a_checksum_left_to_hardware_stays_so_on_its_way_to_the_kernel(lab: &mut Lab<'_>) {
    let client = at("203.0.113.9:40000");
    let server = lab.reaches(&tcp(client, at(WEB), SYN), Outcome::NewConnection);
    let answer = Packet { checksum: Checksum::Unfinished, ..tcp(server, client, SYN | ACK) };
    lab.hands_up(&answer, &Packet { source: at(WEB), ..answer.clone() });
}

fn a_port_is_kept_or_rewritten_as_the_real_server_says(lab: &mut Lab<'_>) {
    let any_port = std::net::SocketAddr::new(at(ANY_PORT).ip(), 4711);
    for (vip, server) in
        [(any_port, "10.0.0.13:4711"), (at(SAME_PORT), "10.0.0.13:8080"), (at(UNROUTED), "172.16.0.9:8080")]
    {
        let syn = tcp(at(CLIENT), vip, SYN);
        let bytes = lab.send(&syn).bytes;
        assert_eq!(crate::read::read(&bytes).unwrap().destination, at(server));
    }
    let server = lab.reaches(&tcp(at(CLIENT), at(WEB), SYN), Outcome::NewConnection);
    assert_eq!(server.port(), 8080);
}

fn the_last_hop_but_one_arrives(lab: &mut Lab<'_>) {
    let syn = Packet { hops: 2, ..tcp(at(CLIENT), at(WEB), SYN) };
    let server = lab.reaches(&syn, Outcome::NewConnection);
    lab.leaves_alone(&Packet { hops: 1, ..tcp(server, at(CLIENT), SYN | ACK) }, Outcome::TtlExpired);
    lab.answers(&Packet { hops: 2, ..tcp(server, at(CLIENT), SYN | ACK) }, WEB);
    lab.reaches(&Packet { hops: 2, ..tcp(at(CLIENT_V6), at(WEB_V6), SYN) }, Outcome::NewConnection);
}
