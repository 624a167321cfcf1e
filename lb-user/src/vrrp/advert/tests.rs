//! Golden vectors from real keepalived packets, etherparse as the checksum's oracle, and arbitrary bytes.

use std::{net::IpAddr, time::Duration};

use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn path() -> Path {
    Path { source: [10, 99, 0, 1].into(), destination: GROUP_V4.into() }
}

fn path_v6() -> Path {
    Path { source: "fe80::1".parse().unwrap(), destination: GROUP_V6.into() }
}

fn packet(version: Version, interval: Duration, checksum: Checksum) -> Packet {
    Packet {
        version,
        virtual_router_id: 51,
        advert: Advert { priority: Priority(100), interval },
        addresses: vec![[10, 99, 0, 100].into()],
        checksum,
        password: None,
    }
}

fn golden() -> [(&'static str, Packet, Vec<u8>); 4] {
    let bytes = |text: &str| text.split(' ').map(|each| u8::from_str_radix(each, 16).unwrap()).collect();
    let tenth = Duration::from_millis(10);
    [
        (
            "v2",
            packet(Version::V2, SECOND, Checksum::PseudoHeader),
            bytes("21 33 64 01 00 01 70 03 0a 63 00 64 00 00 00 00 00 00 00 00"),
        ),
        (
            "v3 with pseudo-header",
            packet(Version::V3, SECOND, Checksum::PseudoHeader),
            bytes("31 33 64 01 00 64 74 ad 0a 63 00 64"),
        ),
        (
            "v3 without pseudo-header",
            packet(Version::V3, SECOND, Checksum::Rfc9568),
            bytes("31 33 64 01 00 64 5f a0 0a 63 00 64"),
        ),
        (
            "v3 at 10 ms",
            packet(Version::V3, tenth, Checksum::PseudoHeader),
            bytes("31 33 64 01 00 01 75 10 0a 63 00 64"),
        ),
    ]
}

#[test]
fn what_keepalived_sends_is_what_we_send_and_read() {
    for (name, packet, bytes) in golden() {
        assert_eq!(packet.encode(path()), bytes, "{name}");
        assert_eq!(Packet::decode(&bytes, path()), Ok(packet), "{name}");
    }
}

#[test]
fn any_changed_bit_is_refused() {
    for (name, _, bytes) in golden() {
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Packet::decode(&bad, path()).is_err(), "{name}, bit {bit}");
        }
    }
}

#[test]
fn every_way_to_be_bad_has_its_reason() {
    let change = |at: usize, value: u8, path: Path| {
        let mut bytes = packet(Version::V3, SECOND, Checksum::Rfc9568).encode(path);
        bytes[at] = value;
        whole(bytes)
    };
    let v2 = |at: usize, value: u8| {
        let mut bytes = packet(Version::V2, SECOND, Checksum::Rfc9568).encode(path());
        bytes[at] = value;
        whole(bytes)
    };
    let good = packet(Version::V3, SECOND, Checksum::Rfc9568).encode(path());
    let cases = [
        (vec![], Reject::Truncated),
        (good[..7].to_vec(), Reject::Truncated),
        (good[..11].to_vec(), Reject::Truncated),
        ([&good[..], &[0]].concat(), Reject::TrailingBytes),
        (change(0, 0x41, path()), Reject::UnknownVersion),
        (change(0, 0x32, path()), Reject::Type),
        (change(1, 0, path()), Reject::VirtualRouterId),
        (whole(vec![0x31, 51, 100, 0, 0, 100, 0, 0]), Reject::NoAddress),
        (change(3, 2, path()), Reject::Truncated),
        (change(5, 0, path()), Reject::ZeroInterval),
        ([&good[..11], &[0x65]].concat(), Reject::Checksum),
        (v2(5, 0), Reject::ZeroInterval),
        (v2(4, 2), Reject::UnknownAuthentication),
    ];
    for (bytes, reason) in cases {
        assert_eq!(Packet::decode(&bytes, path()), Err(reason), "{bytes:02x?}");
    }
    let v2_over_v6 = packet(Version::V2, SECOND, Checksum::Rfc9568).encode(path());
    assert_eq!(Packet::decode(&v2_over_v6, path_v6()), Err(Reject::UnknownVersion));
}

#[test]
fn reserved_bits_of_version_3_are_ignored() {
    let mut bytes = packet(Version::V3, SECOND, Checksum::Rfc9568).encode(path());
    bytes[4] |= 0xf0;
    assert_eq!(Packet::decode(&whole(bytes), path()).unwrap().advert.interval, SECOND);
}

#[test]
fn more_addresses_than_the_count_holds_are_left_out() {
    let mut packet = packet(Version::V3, SECOND, Checksum::PseudoHeader);
    packet.addresses = (0..301u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a63_0000 + n))).collect();
    let decoded = Packet::decode(&packet.encode(path()), path()).unwrap();
    assert_eq!(decoded.addresses, packet.addresses[..MAX_ADVERTISED]);
}

/// The bytes with a checksum over the message alone, computed by etherparse.
fn whole(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6..8].fill(0);
    let sum = Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be();
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn any_packet() -> impl Strategy<Value = (Packet, Path)> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
    let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
    let lists = prop_oneof![
        (prop::collection::vec(v4, 1..=255), Just(path())),
        (prop::collection::vec(v6, 1..=255), Just(path_v6())),
    ];
    let header = (1..=255u8, any::<u8>(), any::<bool>(), any::<bool>());
    let rest = (1..=4095u64, 1..=255u64, prop::option::of(any::<[u8; 8]>()));
    (lists, header, rest).prop_map(|((addresses, path), (id, priority, v2, rfc), (cs, secs, password))| {
        let v2 = v2 && path.source.is_ipv4();
        let packet = Packet {
            version: if v2 { Version::V2 } else { Version::V3 },
            virtual_router_id: id,
            advert: Advert {
                priority: Priority(priority),
                interval: if v2 { Duration::from_secs(secs) } else { Duration::from_millis(cs * 10) },
            },
            addresses,
            checksum: if rfc && !v2 && path.source.is_ipv4() {
                Checksum::Rfc9568
            } else {
                Checksum::PseudoHeader
            },
            password: password.filter(|_| v2),
        };
        (packet, path)
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back((packet, path) in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode(path), path), Ok(packet));
    }

    #[test]
    fn etherparse_agrees_on_the_checksum((packet, path) in any_packet()) {
        let bytes = packet.encode(path);
        let mut sum = Sum16BitWords::new().add_slice(&bytes);
        if packet.version == Version::V3 && packet.checksum == Checksum::PseudoHeader {
            for address in [path.source, path.destination] {
                sum = match address {
                    IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                    IpAddr::V6(address) => sum.add_16bytes(address.octets()),
                };
            }
            sum = sum.add_2bytes([0, PROTOCOL]).add_2bytes(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        }
        prop_assert_eq!(sum.ones_complement(), 0);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), v6: bool) {
        let _ = Packet::decode(&bytes, if v6 { path_v6() } else { path() });
    }

    #[test]
    fn bytes_with_a_whole_checksum_are_read_as_written_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 4..48),
    ) {
        let count = u8::try_from(bytes.len() / 4).unwrap();
        let bytes = whole([&[0x31, 7, 9, count, 0, 100, 0, 0][..], &bytes[..usize::from(count) * 4]].concat());
        let packet = Packet::decode(&bytes, path()).unwrap();
        prop_assert_eq!(packet.encode(path()), bytes);
    }
}
