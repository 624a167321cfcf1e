//! One table: what is changed about a good packet or its instance, and what is said about it.

use std::time::Duration;

use super::*;
use crate::{
    config::vrrp::{Checksum, Notify, Priority, Scope, VirtualAddress},
    vrrp::advert::{Advert, GROUP_V4},
};

fn instance() -> VrrpInstance {
    VrrpInstance {
        name: "outside".into(),
        interface: "eth0".into(),
        virtual_router_id: 51,
        priority: Priority(100),
        version: Version::V3,
        advert_interval: Duration::from_secs(1),
        virtual_ipaddress: vec![VirtualAddress {
            address: "10.99.0.100/24".parse().unwrap(),
            device: "eth0".into(),
            scope: Scope::Global,
        }],
        virtual_routes: vec![],
        virtual_rules: vec![],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: vec![],
        source_address: None,
        checksum: Checksum::PseudoHeader,
        authentication: None,
        trackers: vec![],
        notify: Notify::default(),
    }
}

struct Case {
    instance: VrrpInstance,
    packet: Packet,
    path: Path,
    hop_limit: u8,
}

fn hear(change: impl Fn(&mut Case)) -> Result<Vec<Mismatch>, Reject> {
    let packet = Packet {
        version: Version::V3,
        virtual_router_id: 51,
        advert: Advert { priority: Priority(100), interval: Duration::from_secs(1) },
        addresses: vec![[10, 99, 0, 100].into()],
        checksum: Checksum::PseudoHeader,
        password: None,
    };
    let path = Path { source: [10, 99, 0, 1].into(), destination: GROUP_V4.into() };
    let mut case = Case { instance: instance(), packet, path, hop_limit: 255 };
    change(&mut case);
    let payload = case.packet.encode(case.path);
    let datagram = Datagram { path: case.path, hop_limit: case.hop_limit, payload: &payload };
    accept(&case.instance, &[[10, 99, 0, 2].into()], &datagram).map(|heard| heard.mismatches)
}

fn unicast(case: &mut Case) {
    case.instance.unicast_peers = vec![[10, 99, 0, 1].into()];
    case.path.destination = [10, 99, 0, 2].into();
}

fn version_2(case: &mut Case) {
    case.instance.version = Version::V2;
    case.packet.version = Version::V2;
}

#[test]
fn a_packet_as_configured_is_heard_without_remark() {
    assert_eq!(hear(|_| {}), Ok(vec![]));
    assert_eq!(hear(unicast), Ok(vec![]));
    assert_eq!(hear(version_2), Ok(vec![]));
}

#[test]
fn every_reason_to_refuse_is_found() {
    let pass = |case: &mut Case| case.instance.authentication = Some(Authentication::Pass(*b"secret\0\0"));
    type Change<'a> = &'a dyn Fn(&mut Case);
    let cases: [(&str, Reject, Change<'_>); 11] = [
        ("a router away", Reject::HopLimit, &|case| case.hop_limit = 254),
        ("version 2", Reject::Version, &|case| case.packet.version = Version::V2),
        ("our own", Reject::OwnAddress, &|case| case.path.source = [10, 99, 0, 2].into()),
        ("unicast", Reject::AddressingMode, &|case| case.path.destination = [10, 99, 0, 2].into()),
        ("multicast", Reject::AddressingMode, &|case| {
            unicast(case);
            case.path.destination = GROUP_V4.into();
        }),
        ("a stranger", Reject::UnlistedPeer, &|case| {
            unicast(case);
            case.path.source = [10, 99, 0, 9].into();
        }),
        ("no password", Reject::AuthenticationType, &|case| {
            version_2(case);
            pass(case);
        }),
        ("a password", Reject::AuthenticationType, &|case| {
            version_2(case);
            case.packet.password = Some(*b"secret\0\0");
        }),
        ("another password", Reject::Password, &|case| {
            version_2(case);
            pass(case);
            case.packet.password = Some(*b"secre7\0\0");
        }),
        ("no address", Reject::NoAddress, &|case| case.packet.addresses.clear()),
        ("id 0", Reject::VirtualRouterId, &|case| case.packet.virtual_router_id = 0),
    ];
    for (name, reason, change) in cases {
        assert_eq!(hear(change), Err(reason), "{name}");
    }
}

#[test]
fn a_peer_configured_differently_is_heard_and_named() {
    let other = |case: &mut Case| case.packet.addresses = vec![[10, 99, 0, 101].into()];
    let more = |case: &mut Case| case.packet.addresses.push([10, 99, 0, 101].into());
    let slower = |case: &mut Case| case.packet.advert.interval = Duration::from_secs(2);
    let form = |case: &mut Case| case.packet.checksum = Checksum::Rfc9568;
    assert_eq!(hear(other), Ok(vec![Mismatch::Addresses]));
    assert_eq!(hear(more), Ok(vec![Mismatch::Addresses]));
    assert_eq!(hear(slower), Ok(vec![Mismatch::Interval]));
    assert_eq!(hear(form), Ok(vec![Mismatch::Checksum]));
}
