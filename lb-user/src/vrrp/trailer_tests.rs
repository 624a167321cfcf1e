//! Vectors made with Python's hmac from the layout in keepalived's sources; RFC 4231 judges the digest itself.

use proptest::prelude::*;

use super::*;
use crate::{
    config::vrrp::{Checksum, Priority, Version},
    vrrp::advert::{Advert, GROUP_V4, GROUP_V6, Packet, Path},
};

const V4: Path =
    Path { source: IpAddr::V4(std::net::Ipv4Addr::new(10, 99, 0, 1)), destination: IpAddr::V4(GROUP_V4) };

fn key(id: u8) -> Key {
    Key { id, secret: (0..32).collect() }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn packet(version: Version, addresses: &[&str]) -> Packet {
    Packet {
        version,
        virtual_router_id: 51,
        advert: Advert { priority: Priority(100), interval: Duration::from_secs(1) },
        addresses: addresses.iter().map(|each| each.parse().unwrap()).collect(),
        checksum: Checksum::PseudoHeader,
        password: None,
    }
}

/// Half a second, and the eighth in it.
const SEQUENCE: Sequence = Sequence(0x6a3d_5e00_8000_0007);

#[test]
fn the_bytes_are_those_of_the_draft() {
    let v6 = Path { source: "fe80::1".parse().unwrap(), destination: GROUP_V6.into() };
    let cases = [
        (
            packet(Version::V3, &["10.99.0.100"]),
            V4,
            "31336401006474ad0a630064010100006a3d5e00800000075325bb1e7c24b6e8e96578ba12c962b2",
        ),
        (
            packet(Version::V2, &["10.99.0.100"]),
            V4,
            "21336401000170030a6300640000000000000000010100006a3d5e008000000770c385854a213d79bbb46a597a302f69",
        ),
        (
            packet(Version::V3, &["fe80::100", "2001:db8::100"]),
            v6,
            "313364020064162afe80000000000000000000000000010020010db8000000000000000000000100010100006a3d5e0080000007ebf1b385228cb942cf84ea5e3af06e56",
        ),
    ];
    for (packet, path, hex) in cases {
        let sent = packet.encode_signed(path, |message| sign(&key(1), SEQUENCE, path.source, message));
        assert_eq!(sent, bytes(hex));
        let (length, trailer) = split(&sent, path.source);
        assert_eq!(Packet::decode_signed(&sent, length, path), Ok(packet));
        assert_eq!(verify(&[key(2), key(1)], path.source, &sent[..length], trailer.unwrap()), Ok(SEQUENCE));
    }
}

#[test]
fn the_digest_is_that_of_rfc_4231() {
    let mut hmac = <Hmac<Sha256>>::new_from_slice(b"Jefe").unwrap();
    hmac.update(b"what do ya want for nothing?");
    let wanted = bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_eq!(hmac.finalize().into_bytes().to_vec(), wanted);
}

fn signed() -> Vec<u8> {
    let packet = packet(Version::V3, &["10.99.0.100"]);
    packet.encode_signed(V4, |message| sign(&key(1), SEQUENCE, V4.source, message))
}

#[test]
fn a_trailer_proves_nothing_for_another_key_sender_or_message() {
    let sent = signed();
    let check = |keys: &[Key], source: IpAddr, sent: &[u8]| {
        let (length, trailer) = split(sent, source);
        verify(keys, source, &sent[..length], trailer.unwrap())
    };
    let other = Key { id: 1, secret: vec![7; 32] };
    assert_eq!(check(&[other], V4.source, &sent), Err(Reject::Signature));
    assert_eq!(check(&[key(2)], V4.source, &sent), Err(Reject::UnknownKey));
    assert_eq!(check(&[key(1)], [10, 99, 0, 2].into(), &sent), Err(Reject::Signature));
    for at in 0..sent.len() {
        let mut changed = sent.clone();
        changed[at] ^= 1;
        let (length, trailer) = split(&changed, V4.source);
        let result = trailer.map(|trailer| verify(&[key(1)], V4.source, &changed[..length], trailer));
        let wanted = match at {
            // Another count of addresses: no longer as long as a packet with a trailer. The checksum is not covered.
            3 => None,
            6 | 7 => Some(Ok(SEQUENCE)),
            12 | 14 | 15 => Some(Err(Reject::Trailer)),
            13 => Some(Err(Reject::UnknownKey)),
            _ => Some(Err(Reject::Signature)),
        };
        assert_eq!(result, wanted, "byte {at}");
    }
}

#[test]
fn what_was_heard_before_or_is_too_old_is_not_heard() {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let window = Duration::from_secs(5);
    let (one, two) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut marks = Marks::default();
    let sent = Sequence::at(at(1000));
    assert_eq!(marks.admit(one, sent, at(1000), window), Ok(()));
    assert_eq!(marks.admit(one, sent, at(1001), window), Err(Reject::Replayed));
    assert_eq!(marks.admit(two, sent, at(1001), window), Ok(()));
    assert_eq!(marks.admit(one, Sequence(sent.0 + 1), at(1001), window), Ok(()));
    assert_eq!(marks.admit(one, sent, at(1005), window), Err(Reject::Replayed));
    assert_eq!(marks.admit(one, sent, at(1006), window), Err(Reject::Stale));
    assert_eq!(marks.admit(one, Sequence::at(at(1012)), at(1006), window), Err(Reject::Stale));
    // Its clock was put back, and ours went on.
    assert_eq!(marks.admit(one, Sequence::at(at(1005)), at(1006), window), Ok(()));
    let wrapped = Sequence::at(at((1 << 32) + 1));
    assert_eq!(marks.admit(one, Sequence::at(at((1 << 32) - 1)), at(1 << 32), window), Ok(()));
    assert_eq!(marks.admit(one, wrapped, at(1 << 32), window), Ok(()));
}

#[test]
fn a_sender_goes_on_where_its_clock_does_not() {
    let at = |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1000) + Duration::from_millis(millis);
    let window = Duration::from_secs(5);
    let next = |last, millis| Sequence::after(Some(last), at(millis), window);
    let first = Sequence::after(None, at(500), window);
    assert_eq!(first, Sequence(1000 << 32 | 0x8000 << 16));
    assert_eq!(next(first, 500), Sequence(first.0 + 1));
    assert_eq!(next(first, 0), Sequence(first.0 + 1));
    assert_eq!(next(first, 501), Sequence::at(at(501)));
    let far = Sequence::at(at(7000));
    assert_eq!(next(far, 0), Sequence::at(at(0)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(packet in prop::collection::vec(any::<u8>(), 0..100), v6: bool) {
        let source = if v6 { "fe80::1".parse().unwrap() } else { V4.source };
        let (length, trailer) = split(&packet, source);
        prop_assert!(length <= packet.len());
        if let Some(trailer) = trailer {
            prop_assert!(verify(&[key(1)], source, &packet[..length], trailer).is_err());
        }
    }
}
