//! Frames for the MAC address of a virtual router: those of this node's are its own, others pass or are dropped.

use lb_common::{
    addr::Mac,
    outcome::Outcome,
    service::lease,
    tcp::header::{ACK, SYN},
    virtual_mac::VirtualMacKey,
};

use super::answers::is_answered;
use crate::lab::{Lab, reply};
use crate::packet::{Packet, tcp, udp};
use crate::world::{DNS, INSIDE, OFFICE, OUTSIDE, UNRESOLVED, WEB, WEB_V6, at};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT_V6: &str = "[2001:db8:1::7]:40000";
/// In the VLAN on the interface outside.
const TAGGED: &str = "198.51.100.39:40000";
/// The addresses of virtual router 51 for both families.
const V4: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const V6: [u8; 6] = [0, 0, 0x5e, 0, 2, 51];
const SLOT: u32 = 5;
/// Longer than any test.
const LONG: u32 = 1 << 24;

cases![
    the_master_takes_frames_for_its_virtual_mac_address,
    a_real_servers_frame_for_the_virtual_mac_address_is_translated,
    a_virtual_mac_address_in_a_vlan_is_the_vlans,
    virtual_mac_addresses_of_others_pass,
    frames_for_a_virtual_mac_address_that_another_node_has_are_dropped,
    a_lease_that_runs_out_ends_the_virtual_mac_address,
    the_interfaces_own_mac_address_goes_on_beside_it,
    what_the_kernel_is_to_deliver_keeps_the_virtual_mac_address,
    what_is_not_balanced_passes_to_the_virtual_routers_device,
    an_answer_comes_from_the_virtual_mac_address,
];

/// Interfaces outside and inside, and the VLAN outside, have virtual router 51 of both families, whose lease ends so many
/// ticks from now.
fn elected(lab: &mut Lab<'_>, ends: Option<u32>) {
    lab.change(|memory| {
        memory.now = LONG;
        for interface in [OUTSIDE, INSIDE, OFFICE].map(|wire| u32::from(wire.index)) {
            for mac in [V4, V6] {
                let key = VirtualMacKey::new(interface, Mac::from(mac)).unwrap();
                memory.virtual_macs.insert(key, SLOT);
            }
        }
        let end = ends.map_or(lease::NOT_HELD, |ticks| lease::until(memory.now, ticks));
        memory.leases.insert(SLOT, end);
        memory.settings.as_mut().unwrap().lease = lease::until(memory.now, LONG);
    });
}

/// The packet for this address.
fn to(mac: [u8; 6], packet: &Packet) -> Packet {
    Packet { link_destination: mac, link_source: [2, 0, 0, 1, 0, 9], ..packet.clone() }
}

fn the_master_takes_frames_for_its_virtual_mac_address(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    for (mac, client, web) in [(V4, CLIENT, WEB), (V6, CLIENT_V6, WEB_V6)] {
        let (client, web) = (at(client), at(web));
        let server = lab.reaches(&to(mac, &tcp(client, web, SYN)), Outcome::NewConnection);
        let answer = tcp(server, client, SYN | ACK).numbered(5000, 1001);
        lab.forwards(&answer, Outcome::Forwarded, &Packet { source: web, ..answer.clone() });
        let ack = to(mac, &tcp(client, web, ACK).numbered(1001, 5001));
        for _ in 0..3 {
            assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
        }
    }
    assert_eq!(lab.entries(), [0, 2, 0]);
}

fn a_real_servers_frame_for_the_virtual_mac_address_is_translated(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    let question = udp(at(CLIENT), at(DNS)).with(b"a question");
    let server = lab.reaches(&to(V4, &question), Outcome::NewConnection);
    lab.answers(&to(V4, &reply(server, &question).with(b"an answer")), DNS);
}

fn a_virtual_mac_address_in_a_vlan_is_the_vlans(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    let syn = to(V4, &tcp(at(TAGGED), at(WEB), SYN));
    lab.reaches(&syn, Outcome::NewConnection);
    lab.change(|memory| memory.virtual_macs.retain(|key, _| key.interface != u32::from(OFFICE.index)));
    lab.leaves_alone(&syn, Outcome::ForeignMac);
}

fn virtual_mac_addresses_of_others_pass(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    for mac in
        [[0, 0, 0x5e, 0, 1, 52], [0, 0, 0x5e, 0, 3, 51], [0, 0, 0x5e, 1, 1, 51], [1, 0, 0x5e, 0, 1, 51]]
    {
        for packet in [tcp(at(CLIENT), at(WEB), SYN), tcp(at(CLIENT_V6), at(WEB_V6), SYN)] {
            lab.leaves_alone(&to(mac, &packet), Outcome::ForeignMac);
        }
    }
    lab.change(|memory| memory.virtual_macs.retain(|key, _| key.interface == u32::from(INSIDE.index)));
    lab.leaves_alone(&to(V4, &tcp(at(CLIENT), at(WEB), SYN)), Outcome::ForeignMac);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn frames_for_a_virtual_mac_address_that_another_node_has_are_dropped(lab: &mut Lab<'_>) {
    elected(lab, None);
    for packet in [
        tcp(at(CLIENT), at(WEB), SYN),
        tcp(at(CLIENT), at("203.0.113.9:80"), SYN),
        udp(at("10.0.0.11:53"), at(CLIENT)),
    ] {
        lab.leaves_alone(&to(V4, &packet), Outcome::Disowned);
    }
    lab.leaves_alone(&to(V6, &tcp(at(CLIENT_V6), at(WEB_V6), SYN)), Outcome::Disowned);
    assert_eq!(lab.entries(), [0, 0, 0]);
}

fn a_lease_that_runs_out_ends_the_virtual_mac_address(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    let server = lab.establishes(at(CLIENT), WEB);
    let ack = to(V4, &tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001));
    assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
    lab.change(|memory| {
        let ended = memory.now - 1;
        memory.leases.insert(SLOT, ended);
    });
    lab.leaves_alone(&ack, Outcome::Disowned);
}

fn the_interfaces_own_mac_address_goes_on_beside_it(lab: &mut Lab<'_>) {
    elected(lab, None);
    let server = lab.establishes(at(CLIENT), WEB);
    let ack = tcp(at(CLIENT), at(WEB), ACK).numbered(1001, 5001);
    assert_eq!(lab.reaches(&ack, Outcome::Forwarded), server);
}

fn what_the_kernel_is_to_deliver_keeps_the_virtual_mac_address(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    let syn = to(V4, &tcp(at(CLIENT), at(UNRESOLVED), SYN));
    lab.hands_up(&syn, &Packet { destination: at("10.0.0.14:8080"), ..syn.clone() });
}

fn what_is_not_balanced_passes_to_the_virtual_routers_device(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    lab.leaves_alone(&to(V4, &tcp(at(CLIENT), at("198.51.100.1:22"), SYN)), Outcome::NoService);
}

fn an_answer_comes_from_the_virtual_mac_address(lab: &mut Lab<'_>) {
    elected(lab, Some(LONG));
    let last = Packet { hops: 1, ..tcp(at(CLIENT), at(WEB), SYN) };
    is_answered(lab, &to(V4, &last), Outcome::TimeExceeded, (11, 0), 0);
}
