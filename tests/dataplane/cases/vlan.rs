//! Frames with VLAN tags, and frames larger than a page.

use lb_common::{
    outcome::{Disposition, Outcome},
    service::virtual_server,
    tcp::header::{ACK, SYN},
    vlan::{C_TAG, S_TAG},
};

use super::answers::is_answered;
use crate::icmp::{Message, quote};
use crate::lab::{Lab, reply};
use crate::packet::{Checksum, Packet, Tag, tcp, udp};
use crate::world::{
    DNS, DNS_V6, INSIDE, JUMBO, OFFICE, OUTSIDE, STORAGE, STORAGE_V6, STORE, UNRESOLVED, WEB, WEB_V6,
    arriving, at, virtual_server_of,
};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
/// In [`OFFICE`].
const TAGGED: &str = "198.51.100.39:40000";
const TAGGED_V6: &str = "[2001:db8:3::7]:40000";

cases![
    a_tagged_client_reaches_an_untagged_real_server_and_is_answered_with_its_tag,
    an_untagged_client_reaches_a_real_server_behind_two_tags,
    a_packet_goes_from_one_vlan_to_another,
    a_tag_without_a_vlan_is_none,
    tags_that_nobody_has_pass,
    tagged_frames_that_are_not_ip_pass,
    tagged_frames_for_another_mac_address_pass,
    truncated_tags_pass,
    what_is_not_ours_passes_with_its_tags,
    what_the_kernel_delivers_has_the_tags_it_came_with,
    a_reset_goes_back_with_the_tags_of_what_it_answers,
    an_icmp_answer_goes_back_with_the_tags_of_what_it_answers,
    an_icmp_error_from_a_vlan_is_translated,
    a_vlan_device_that_is_gone_is_unknown,
    frames_larger_than_a_page_are_translated,
];

fn a_tagged_client_reaches_an_untagged_real_server_and_is_answered_with_its_tag(lab: &mut Lab<'_>) {
    for (client, web, dns) in [(TAGGED, WEB, DNS), (TAGGED_V6, WEB_V6, DNS_V6)] {
        let server = lab.establishes(at(client), web);
        let ack = tcp(at(client), at(web), ACK).with(b"a request");
        lab.answers(&reply(server, &ack).with(b"an answer"), web);
        let question = udp(at(client), at(dns)).with(b"a question");
        let server = lab.reaches(&question, Outcome::NewConnection);
        lab.answers(&reply(server, &question), dns);
        assert_eq!(lab.reaches(&question, Outcome::Forwarded), server);
    }
}

fn an_untagged_client_reaches_a_real_server_behind_two_tags(lab: &mut Lab<'_>) {
    for (client, vip) in [(CLIENT, STORAGE), (CLIENT_V6, STORAGE_V6)] {
        let server = lab.establishes(at(client), vip);
        let ack = tcp(at(client), at(vip), ACK).with(b"a request");
        assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
        lab.answers(&reply(server, &ack).with(b"an answer"), vip);
    }
}

fn a_packet_goes_from_one_vlan_to_another(lab: &mut Lab<'_>) {
    for (client, vip) in [(TAGGED, STORAGE), (TAGGED_V6, STORAGE_V6)] {
        let server = lab.establishes(at(client), vip);
        // Its priority ends here.
        let mut urgent = tcp(at(client), at(vip), ACK);
        urgent.vlans = vec![(C_TAG, 7 << 13 | 1 << 12 | 100)];
        assert_eq!(lab.reaches(&urgent, Outcome::Forwarded), server);
        lab.answers(&reply(server, &tcp(at(client), at(vip), ACK)), vip);
    }
}

fn a_tag_without_a_vlan_is_none(lab: &mut Lab<'_>) {
    const URGENT: Tag = (C_TAG, 5 << 13);
    let server = lab.establishes(at(CLIENT), WEB);
    let from_vlan = lab.establishes(at(TAGGED), WEB);
    for (client, server, vlans) in [
        (CLIENT, server, vec![URGENT]),
        (CLIENT, server, vec![(S_TAG, 0), URGENT]),
        (TAGGED, from_vlan, vec![URGENT, (C_TAG, 100)]),
        (TAGGED, from_vlan, vec![(C_TAG, 100), URGENT]),
    ] {
        let ack = Packet { vlans, ..tcp(at(client), at(WEB), ACK) };
        assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
    }
}

fn tags_that_nobody_has_pass(lab: &mut Lab<'_>) {
    let vlans: [&[Tag]; 7] = [
        &[(C_TAG, 101)],
        &[(S_TAG, 100)],
        &[(C_TAG, 4095)],
        &[(C_TAG, 100), (C_TAG, 300)],
        &[(S_TAG, 200)],
        // That of the other interface.
        &[(S_TAG, 200), (C_TAG, 300)],
        &[(C_TAG, 0), (C_TAG, 0), (C_TAG, 100)],
    ];
    for tags in vlans {
        for packet in [tcp(at(TAGGED), at(WEB), SYN), tcp(at(TAGGED_V6), at(WEB_V6), SYN)] {
            lab.leaves_alone(&Packet { vlans: tags.to_vec(), ..packet }, Outcome::UnknownVlan);
        }
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn tagged_frames_that_are_not_ip_pass(lab: &mut Lab<'_>) {
    let mut packet = tcp(at(TAGGED), at(WEB), SYN);
    for vlans in [vec![(C_TAG, 100)], vec![(C_TAG, 0), (C_TAG, 100)]] {
        packet.vlans = vlans;
        let (wire, arrived) = arriving(&packet);
        let mut frame = arrived.bytes();
        let at = arrived.link().len() - 2;
        frame[at..at + 2].copy_from_slice(&[8, 6]);
        let ended = lab.frame(wire.on.into(), &frame);
        assert_eq!((ended.verdict.outcome(), ended.bytes), (Outcome::NotIp, frame));
    }
}

fn tagged_frames_for_another_mac_address_pass(lab: &mut Lab<'_>) {
    for mac in [[2, 0, 0, 0, 9, 9], [0xff; 6], OUTSIDE.mac] {
        let packet = Packet { link_destination: mac, ..tcp(at(TAGGED), at(WEB), SYN) };
        lab.leaves_alone(&packet, Outcome::ForeignMac);
    }
    let untagged = Packet { link_destination: OFFICE.mac, ..tcp(at(CLIENT), at(WEB), SYN) };
    lab.leaves_alone(&untagged, Outcome::ForeignMac);
}

fn truncated_tags_pass(lab: &mut Lab<'_>) {
    for packet in [tcp(at(TAGGED), at(WEB), SYN), tcp(at("10.0.0.43:8080"), at(CLIENT), ACK)] {
        let (wire, arrived) = arriving(&packet);
        let frame = arrived.bytes();
        for length in 0..frame.len() {
            let ended = lab.frame(wire.on.into(), &frame[..length]);
            let outcome = ended.verdict.outcome();
            assert_ne!(outcome.disposition(), Disposition::Send, "{length} bytes");
            if length < arrived.link().len() {
                assert_eq!(outcome, Outcome::NotIp, "{length} bytes");
            }
            if outcome.disposition() == Disposition::Pass {
                assert_eq!(ended.bytes, frame[..length]);
            }
        }
    }
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn what_is_not_ours_passes_with_its_tags(lab: &mut Lab<'_>) {
    lab.leaves_alone(&tcp(at(TAGGED), at("198.51.100.33:22"), SYN), Outcome::NoService);
    lab.leaves_alone(&udp(at("[2001:db8:4::b]:1"), at("[2001:db8:4::1]:2")), Outcome::NoService);
    let client = at(TAGGED);
    let server = lab.establishes(client, STORAGE);
    let last = Packet { hops: 1, ..tcp(server, client, ACK) };
    lab.leaves_alone(&last, Outcome::TtlExpired);
}

fn what_the_kernel_delivers_has_the_tags_it_came_with(lab: &mut Lab<'_>) {
    let mut syn = tcp(at(TAGGED), at(UNRESOLVED), SYN);
    syn.vlans = vec![(C_TAG, 3 << 13 | 100)];
    lab.hands_up(&syn, &Packet { destination: at("10.0.0.14:8080"), ..syn.clone() });
}

fn a_reset_goes_back_with_the_tags_of_what_it_answers(lab: &mut Lab<'_>) {
    let server = lab.establishes(at(TAGGED), STORAGE);
    let web = virtual_server_of(WEB);
    lab.change(|memory| memory.virtual_servers.get_mut(&web).unwrap().flags = virtual_server::RESET);
    lab.resets(&tcp(at(TAGGED), at(WEB), ACK));
    // The same of two tags: its real server is lost.
    let lost = crate::world::STRIDE * virtual_server_of(STORAGE);
    lab.change_and_renew(|memory| {
        let real_server = memory.real_servers.get_mut(&lost).unwrap();
        real_server.flags |= lb_common::service::real_server::RESET;
    });
    lab.resets(&tcp(server, at(TAGGED), ACK));
}

fn an_icmp_answer_goes_back_with_the_tags_of_what_it_answers(lab: &mut Lab<'_>) {
    let last = Packet { hops: 1, ..tcp(at(TAGGED), at(WEB), SYN) };
    is_answered(lab, &last, Outcome::TimeExceeded, (11, 0), 0);
    let last = Packet { hops: 1, ..tcp(at(TAGGED_V6), at(WEB_V6), SYN) };
    is_answered(lab, &last, Outcome::TimeExceeded, (3, 0), 0);
    lab.establishes(at(TAGGED), WEB);
    let large = tcp(at(TAGGED), at(WEB), ACK).with(&[7; 8000]);
    is_answered(lab, &large, Outcome::TooBig, (3, 4), 1500);
}

fn an_icmp_error_from_a_vlan_is_translated(lab: &mut Lab<'_>) {
    let (client, vip) = (at(TAGGED), at(STORAGE));
    let server = lab.establishes(client, STORAGE);
    let about = |from, to| quote(&tcp(from, to, ACK), 28);
    let message = Message {
        from: client.ip(),
        to: vip.ip(),
        hops: 64,
        kind: 3,
        code: 3,
        rest: 0,
        quote: about(vip, client),
    };
    let (interface, frame) = message.arriving();
    let ended = lab.frame(interface, &frame);
    let expected = Message { to: server.ip(), quote: about(server, client), ..message };
    assert_eq!(ended.verdict.outcome(), Outcome::IcmpTranslated);
    assert_eq!(ended.bytes, expected.leaving());
}

fn a_vlan_device_that_is_gone_is_unknown(lab: &mut Lab<'_>) {
    lab.establishes(at(TAGGED), WEB);
    lab.change_and_renew(|memory| {
        let office = u32::from(OFFICE.index);
        memory.vlans.retain(|_, index| *index != office);
        memory.interfaces.remove(&office);
    });
    lab.leaves_alone(&tcp(at(TAGGED), at(WEB), ACK), Outcome::UnknownVlan);
}

fn frames_larger_than_a_page_are_translated(lab: &mut Lab<'_>) {
    assert_eq!((STORE.on, OFFICE.mtu, STORE.mtu), (INSIDE.index, JUMBO, JUMBO));
    for (client, vip, most) in [(TAGGED, STORAGE, 8960), (TAGGED_V6, STORAGE_V6, 8940)] {
        let server = lab.establishes(at(client), vip);
        for length in [3000, 3457, 4096, 8191, most] {
            let payload: Vec<u8> = (0..length).map(|byte| (byte * 7) as u8).collect();
            let segment = tcp(at(client), at(vip), ACK).with(&payload);
            assert_eq!(lab.reaches(&segment, Outcome::Forwarded), server, "{length} bytes");
            let whole = reply(server, &segment);
            lab.answers(&whole, vip);
            let unfinished = Packet { checksum: Checksum::Unfinished, ..whole.clone() };
            lab.forwards(&unfinished, Outcome::Forwarded, &Packet { source: at(vip), ..whole });
        }
    }
}
