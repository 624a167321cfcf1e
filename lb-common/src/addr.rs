//! Addresses and ports as they stand in a packet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address of one family, in network byte order in memory.
pub trait Address: Copy + Eq {
    /// A copy word by word: see [`crate::connection::Connection::copy_from`].
    fn copy_from(&mut self, other: &Self);

    /// The sum of its 16-bit words, unfolded. One's complement sums do not depend on byte order (RFC 1071 section 2).
    fn sum(self) -> u32;

    /// Its 64-bit words for hashing; an IPv4 address fills one.
    fn words(self) -> (u64, u64);

    /// The address with these [`Address::words`].
    fn from_words(words: (u64, u64)) -> Self;

    /// Whether it is `network` where `mask` has ones.
    fn is_within(self, network: Self, mask: Self) -> bool;

    /// The address with only its first `prefix` bits left.
    #[must_use]
    fn masked(self, prefix: u32) -> Self;

    /// Not a possible source of a packet that comes from outside: unspecified, loopback, multicast or broadcast.
    fn is_martian_source(self) -> bool;

    /// The standard library's form.
    fn to_ip(self) -> IpAddr;
}

/// An IPv4 address.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct V4(u32);

/// An IPv6 address.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct V6([u32; 4]);

impl V4 {
    /// From the four bytes of a header, read as a native integer.
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(word: u32) -> Self {
        Self(word)
    }

    /// The four bytes of a header, as a native integer.
    #[must_use]
    #[inline(always)]
    pub const fn to_wire(self) -> u32 {
        self.0
    }
}

impl V6 {
    /// From the sixteen bytes of a header, read as native integers.
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The sixteen bytes of a header, as native integers.
    #[must_use]
    #[inline(always)]
    pub const fn to_wire(self) -> [u32; 4] {
        self.0
    }
}

#[inline(always)]
const fn sum_word(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

impl Address for V4 {
    #[inline(always)]
    fn copy_from(&mut self, other: &Self) {
        self.0 = other.0;
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        sum_word(self.0)
    }

    #[inline(always)]
    fn words(self) -> (u64, u64) {
        (self.0 as u64, 0)
    }

    #[inline(always)]
    fn from_words((word, _): (u64, u64)) -> Self {
        Self(word as u32)
    }

    #[inline(always)]
    fn is_within(self, network: Self, mask: Self) -> bool {
        self.0 & mask.0 == network.0
    }

    #[inline(always)]
    fn masked(self, prefix: u32) -> Self {
        let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - if prefix > 32 { 32 } else { prefix }) };
        Self(self.0 & mask.to_be())
    }

    #[inline(always)]
    fn is_martian_source(self) -> bool {
        let first = u32::from_be(self.0) >> 24;
        first == 0 || first == 127 || first >= 224
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(self.into())
    }
}

impl Address for V6 {
    #[inline(always)]
    fn copy_from(&mut self, other: &Self) {
        self.0[0] = other.0[0];
        self.0[1] = other.0[1];
        self.0[2] = other.0[2];
        self.0[3] = other.0[3];
    }

    #[inline(always)]
    fn sum(self) -> u32 {
        sum_word(self.0[0]) + sum_word(self.0[1]) + sum_word(self.0[2]) + sum_word(self.0[3])
    }

    #[inline(always)]
    fn words(self) -> (u64, u64) {
        let [a, b, c, d] = self.0;
        ((a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64)
    }

    #[inline(always)]
    fn from_words((high, low): (u64, u64)) -> Self {
        Self([(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32])
    }

    #[inline(always)]
    fn is_within(self, network: Self, mask: Self) -> bool {
        let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) = (self.0, network.0, mask.0);
        // Without branches: this is asked for every rule.
        (a & i ^ e) | (b & j ^ f) | (c & k ^ g) | (d & l ^ h) == 0
    }

    #[inline(always)]
    fn masked(self, prefix: u32) -> Self {
        let word = |word: u32, first_bit: u32| {
            if prefix >= first_bit + 32 {
                word
            } else if prefix <= first_bit {
                0
            } else {
                word & (u32::MAX << (first_bit + 32 - prefix)).to_be()
            }
        };
        let [a, b, c, d] = self.0;
        Self([word(a, 0), word(b, 32), word(c, 64), word(d, 96)])
    }

    #[inline(always)]
    fn is_martian_source(self) -> bool {
        let [a, b, c, d] = self.0;
        let multicast = u32::from_be(a) >> 24 == 0xff;
        let unspecified_or_loopback = a == 0 && b == 0 && c == 0 && (d == 0 || d == 1u32.to_be());
        // No router sends them on (RFC 4291 section 2.5.6), and no host speaks IPv6 for IPv4 ones (Linux drops them, too).
        let link_local = u32::from_be(a) >> 22 == 0xfe80 >> 6;
        let mapped = a == 0 && b == 0 && u32::from_be(c) == 0xffff;
        multicast || unspecified_or_loopback || link_local || mapped
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V6(self.into())
    }
}

impl From<Ipv4Addr> for V4 {
    fn from(address: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(address.octets()))
    }
}

impl From<V4> for Ipv4Addr {
    fn from(address: V4) -> Self {
        address.0.to_ne_bytes().into()
    }
}

impl From<Ipv6Addr> for V6 {
    fn from(address: Ipv6Addr) -> Self {
        zerocopy::transmute!(address.octets())
    }
}

impl From<V6> for Ipv6Addr {
    fn from(address: V6) -> Self {
        let octets: [u8; 16] = zerocopy::transmute!(address);
        octets.into()
    }
}

/// A transport port in network byte order in memory.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Port(u16);

impl Port {
    /// Any port, or no port.
    pub const ANY: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }

    /// From the two bytes of a header, read as a native integer.
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(word: u16) -> Self {
        Self(word)
    }

    /// The two bytes of a header, as a native integer.
    #[must_use]
    #[inline(always)]
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

/// A transport protocol, with its IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// An Ethernet address. Three 16-bit words: copying six bytes at once becomes a call in BPF code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Mac(pub [u16; 3]);

impl From<[u8; 6]> for Mac {
    fn from(bytes: [u8; 6]) -> Self {
        Self(zerocopy::transmute!(bytes))
    }
}

impl From<Mac> for [u8; 6] {
    fn from(mac: Mac) -> Self {
        zerocopy::transmute!(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_value_through_the_wire_form() {
        let v4 = Ipv4Addr::new(192, 0, 2, 10);
        assert_eq!(Ipv4Addr::from(V4::from(v4)), v4);
        assert_eq!(V4::from(v4).to_wire().to_ne_bytes(), [192, 0, 2, 10]);
        let v6: Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(Ipv6Addr::from(V6::from(v6)), v6);
        assert_eq!(V6::from_words(V6::from(v6).words()), V6::from(v6));
        assert_eq!(V4::from_words(V4::from(v4).words()), V4::from(v4));
        assert_eq!(Port::new(80).to_wire().to_ne_bytes(), [0, 80]);
    }

    #[test]
    fn masking_agrees_with_integer_arithmetic() {
        let v4 = Ipv4Addr::new(203, 0, 113, 77);
        for prefix in 0..=32 {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let expected = Ipv4Addr::from_bits(v4.to_bits() & mask);
            assert_eq!(Ipv4Addr::from(V4::from(v4).masked(prefix)), expected, "/{prefix}");
            let mask = V4::from_wire(u32::MAX).masked(prefix);
            assert!(V4::from(v4).is_within(V4::from(expected), mask), "/{prefix}");
        }
        let v6: Ipv6Addr = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
        for prefix in 0..=128 {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            let expected = Ipv6Addr::from_bits(v6.to_bits() & mask);
            assert_eq!(Ipv6Addr::from(V6::from(v6).masked(prefix)), expected, "/{prefix}");
            let mask = V6::from_wire([u32::MAX; 4]).masked(prefix);
            assert!(V6::from(v6).is_within(V6::from(expected), mask), "/{prefix}");
            let flipped = Ipv6Addr::from_bits(v6.to_bits() ^ 1u128.rotate_right(prefix.max(1)));
            assert_eq!(V6::from(flipped).is_within(V6::from(expected), mask), prefix == 0);
        }
    }

    #[test]
    fn martian_sources_are_those_that_cannot_come_from_outside() {
        for (address, martian) in [
            ("0.0.0.0", true),
            ("127.0.0.1", true),
            ("224.0.0.18", true),
            ("255.255.255.255", true),
            ("10.0.0.1", false),
            ("198.51.100.7", false),
        ] {
            assert_eq!(
                V4::from(address.parse::<Ipv4Addr>().unwrap()).is_martian_source(),
                martian,
                "{address}"
            );
        }
        for (address, martian) in [
            ("::", true),
            ("::1", true),
            ("ff02::12", true),
            ("fe80::1", true),
            ("febf:ffff::1", true),
            ("fec0::1", false),
            ("::ffff:198.51.100.7", true),
            ("::fffe:198.51.100.7", false),
            ("2001:db8::1", false),
            ("::2", false),
        ] {
            assert_eq!(
                V6::from(address.parse::<Ipv6Addr>().unwrap()).is_martian_source(),
                martian,
                "{address}"
            );
        }
    }
}
