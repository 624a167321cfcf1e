//! VRRP's decoder and its checks under libFuzzer: an input is one packet and where it came from.
//!
//! What may be heard is told again here from RFC 9568 and RFC 3768 by plain arithmetic, checksums by etherparse. What was
//! read is written again: but for what is ignored, the bytes are the same.
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding ends the process")]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the daemon's own files, where they are public and more is used"
)]

#[path = "../../lb-user/src/config"]
mod config {
    pub mod vrrp;
    pub mod vrrp_key;
    pub mod vrrp_mac;
    pub mod vrrp_routes;
    pub mod vrrp_track;
}
#[path = "../../lb-user/src/vrrp"]
mod vrrp {
    pub mod accept;
    pub mod advert;
    pub mod checksum;
    pub mod reject;
    pub mod trailer;
}

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use etherparse::checksum::Sum16BitWords;
use libfuzzer_sys::fuzz_target;

use crate::config::vrrp::{
    Announce, Authentication, Checksum, Notify, Priority, Scope, Version, VirtualAddress, VrrpInstance,
};
use crate::vrrp::accept::{Datagram, accept};
use crate::vrrp::advert::{GROUP_V4, GROUP_V6, Packet, Path};

const PASSWORD: [u8; 8] = *b"secret\0\0";

/// How a packet came, from the first byte of an input.
#[derive(Clone, Copy)]
struct Way(u8);

impl Way {
    fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }

    fn is_ipv6(self) -> bool {
        self.has(0)
    }

    fn is_unicast(self) -> bool {
        self.has(1)
    }

    fn hop_limit(self) -> u8 {
        if self.has(2) { 254 } else { 255 }
    }

    /// Whether it comes from ourselves.
    fn is_own(self) -> bool {
        self.has(3)
    }

    /// Chance never hits a checksum: it is made whole, in this form.
    fn mended(self) -> Option<Checksum> {
        match self.0 >> 4 & 3 {
            0 | 1 => Some(Checksum::PseudoHeader),
            2 => Some(Checksum::Rfc9568),
            _ => None,
        }
    }

    /// Whether what we are configured for is the same way.
    fn is_expected(self) -> bool {
        !self.has(6)
    }

    fn has_password(self) -> bool {
        self.has(7)
    }

    fn path(self) -> Path {
        let group = if self.is_ipv6() { GROUP_V6.into() } else { GROUP_V4.into() };
        let destination = if self.is_unicast() { self.ours() } else { group };
        Path { source: if self.is_own() { self.ours() } else { self.near(1) }, destination }
    }

    /// Our own address.
    fn ours(self) -> IpAddr {
        self.near(2)
    }

    fn near(self, last: u8) -> IpAddr {
        match self.is_ipv6() {
            true => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
            false => [10, 99, 0, last].into(),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&way, payload)) = input.split_first() else { return };
    let way = Way(way);
    let path = way.path();
    let mut payload = payload.to_vec();
    if let Some(form) = way.mended() {
        mend(&mut payload, path, form);
    }

    let decoded = Packet::decode(&payload, path);
    assert_eq!(decoded.is_ok(), is_valid(&payload, path), "{decoded:?} of {payload:02x?}");
    if let Ok(packet) = &decoded {
        let written = packet.encode(path);
        assert_eq!(without_ignored(&written), without_ignored(&payload), "{packet:?}");
        assert_eq!(Packet::decode(&written, path).as_ref(), Ok(packet), "{written:02x?}");
    }

    let instance = instance(way, payload.first().copied().unwrap_or_default());
    let datagram = Datagram { path, hop_limit: way.hop_limit(), payload: &payload };
    let heard = accept(&instance, &[way.ours()], &datagram);
    let expected = decoded.ok().filter(|packet| {
        let password = way.has_password().then_some(PASSWORD);
        way.hop_limit() == 255 && way.is_expected() && !way.is_own() && packet.password == password
    });
    assert_eq!(heard.ok().map(|heard| heard.packet), expected);
});

/// An instance for packets that come this way, or that are sent the other way.
fn instance(way: Way, first: u8) -> VrrpInstance {
    let version = if first >> 4 == 2 { Version::V2 } else { Version::V3 };
    let source = way.path().source;
    let listens_to_peers = way.is_unicast() == way.is_expected();
    VrrpInstance {
        name: "outside".into(),
        interface: "eth0".into(),
        virtual_router_id: 51,
        priority: Priority(100),
        version,
        advert_interval: Duration::from_secs(1),
        virtual_ipaddress: vec![VirtualAddress {
            address: source.into(),
            device: "eth0".into(),
            scope: Scope::Global,
        }],
        virtual_mac: None,
        virtual_routes: vec![],
        virtual_rules: vec![],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: if listens_to_peers { vec![source] } else { vec![] },
        source_address: None,
        checksum: Checksum::PseudoHeader,
        authentication: way.has_password().then_some(Authentication::Pass(PASSWORD)),
        trackers: vec![],
        announce: Announce::default(),
        notify: Notify::default(),
    }
}

/// RFC 9568 section 7.1 and RFC 3768 section 7.1, as far as the bytes go.
fn is_valid(bytes: &[u8], path: Path) -> bool {
    let &[first, router, _, count, high, low, _, _, ..] = bytes else { return false };
    let version = first >> 4;
    let ipv6 = path.source.is_ipv6();
    let length = match (version, ipv6) {
        (2, false) => 8 + usize::from(count) * 4 + 8,
        (3, false) => 8 + usize::from(count) * 4,
        (3, true) => 8 + usize::from(count) * 16,
        _ => return false,
    };
    let whole = |form| sum(bytes, path, form) == 0;
    let summed = match (version, ipv6) {
        (2, _) => whole(Checksum::Rfc9568),
        (_, false) => whole(Checksum::Rfc9568) || whole(Checksum::PseudoHeader),
        (_, true) => whole(Checksum::PseudoHeader),
    };
    let timed = if version == 2 { high <= 1 && low > 0 } else { high & 0xf > 0 || low > 0 };
    first & 0xf == 1 && bytes.len() == length && summed && router > 0 && count > 0 && timed
}

/// What the checksum's field lacks, by etherparse.
fn sum(bytes: &[u8], path: Path, form: Checksum) -> u16 {
    let mut sum = Sum16BitWords::new().add_slice(bytes);
    if form == Checksum::PseudoHeader {
        for address in [path.source, path.destination] {
            sum = match address {
                IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                IpAddr::V6(address) => sum.add_16bytes(address.octets()),
            };
        }
        sum = sum.add_2bytes([0, 112]).add_2bytes((bytes.len() as u16).to_be_bytes());
    }
    sum.ones_complement()
}

fn mend(bytes: &mut [u8], path: Path, form: Checksum) {
    if bytes.len() >= 8 {
        let form = if bytes[0] >> 4 == 2 { Checksum::Rfc9568 } else { form };
        bytes[6..8].fill(0);
        let sum = sum(bytes, path, form);
        bytes[6..8].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// Without the reserved bits of version 3, the data of no authentication of version 2, and the checksum over them.
fn without_ignored(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[6..8].fill(0);
    match bytes[0] >> 4 {
        2 if bytes[4] == 0 => {
            let data = bytes.len() - 8;
            bytes[data..].fill(0);
        }
        3 => bytes[4] &= 0xf,
        _ => {}
    }
    bytes
}
