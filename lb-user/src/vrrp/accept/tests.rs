//! One table: what is changed about a good packet or its instance, and what is said about it.

use std::time::Duration;

use super::*;
use crate::{
    config::vrrp::{Announce, Checksum, Hmac, Key, Notify, Priority, Scope, VirtualAddress},
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
        virtual_mac: None,
        virtual_routes: vec![],
        virtual_rules: vec![],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: vec![],
        source_address: None,
        checksum: Checksum::PseudoHeader,
        authentication: None,
        trackers: vec![],
        announce: Announce::default(),
        notify: Notify::default(),
    }
}

struct Case {
    instance: VrrpInstance,
    packet: Packet,
    path: Path,
    hop_limit: u8,
}

fn packet() -> Packet {
    Packet {
        version: Version::V3,
        virtual_router_id: 51,
        advert: Advert { priority: Priority(100), interval: Duration::from_secs(1) },
        addresses: vec![[10, 99, 0, 100].into()],
        checksum: Checksum::PseudoHeader,
        password: None,
    }
}

fn path() -> Path {
    Path { source: [10, 99, 0, 1].into(), destination: GROUP_V4.into() }
}

fn hear(change: impl Fn(&mut Case)) -> Result<Vec<Mismatch>, Reject> {
    let mut case = Case { instance: instance(), packet: packet(), path: path(), hop_limit: 255 };
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

#[test]
fn a_trailer_is_heard_where_one_is_wanted() {
    use Reject::{AuthenticationType, Signature, Unsigned};
    let key = |id, byte| Key { id, secret: vec![byte; 32] };
    let hmac = |keys: &[Key], mode| Some(Authentication::Hmac(Hmac { keys: keys.to_vec(), mode }));
    let (old, new) = (key(1, 7), key(2, 9));
    let both = [old.clone(), new.clone()];
    let cases = [
        (hmac(&both, Mode::Enforce), Some(&old), Ok(true)),
        (hmac(&both, Mode::Enforce), Some(&new), Ok(true)),
        (hmac(&both, Mode::Enforce), None, Err(Unsigned)),
        (hmac(&both, Mode::Permissive), None, Ok(false)),
        (hmac(&both, Mode::ReceiveOnly), None, Ok(false)),
        (hmac(&both, Mode::ReceiveOnly), Some(&new), Ok(true)),
        (hmac(&[key(2, 8)], Mode::Permissive), Some(&new), Err(Signature)),
        (None, Some(&old), Err(AuthenticationType)),
        (None, None, Ok(false)),
        (Some(Authentication::Pass([7; 8])), Some(&old), Err(AuthenticationType)),
    ];
    for (authentication, signed, wanted) in cases {
        let mut ours = instance();
        ours.authentication = authentication;
        let (path, packet) = (path(), packet());
        let sequence = Sequence::at(std::time::UNIX_EPOCH);
        let payload = packet.encode_signed(path, |message| {
            signed.map_or_else(Vec::new, |key| trailer::sign(key, sequence, path.source, message))
        });
        let datagram = Datagram { path, hop_limit: 255, payload: &payload };
        let heard = accept(&ours, &[], &datagram).map(|heard| heard.sequence.is_some());
        assert_eq!(heard, wanted, "{:?} {:?}", ours.authentication, signed.map(|key| key.id));
    }
}
