//! The two versions of ICMP behind one trait.

use lb_common::addr::{V4, V6};

use crate::{checksum, headers::protocol, ip::Ip};

/// An error as ICMP names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// A version of IP with its ICMP.
pub trait Icmp: Ip {
    /// Its protocol number.
    const PROTOCOL: u8;
    /// Longest IP packet with an error of ours: RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c).
    const LONGEST: usize;
    /// Length of an IP header of ours.
    const HEADER: usize;
    /// Whether addresses are a part of what ICMP's checksum, and it alone, covers.
    const COVERS_ADDRESSES: bool;

    /// Whether this type is an error that quotes a packet.
    fn is_error(kind: u8) -> bool;

    /// Its last hop was here.
    fn time_exceeded() -> Kind;

    /// It is larger than the way takes.
    fn too_big() -> Kind;

    /// Nobody listens on its port.
    fn port_unreachable() -> Kind;

    /// The part of the addresses in the checksum of a message of `length` bytes.
    fn pseudo_header(source: Self, destination: Self, length: u16) -> u16;
}

impl Icmp for V4 {
    const PROTOCOL: u8 = protocol::ICMP;
    const LONGEST: usize = 576;
    const HEADER: usize = 20;
    const COVERS_ADDRESSES: bool = false;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, time exceeded, parameter problem. A redirect is for this machine.
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn time_exceeded() -> Kind {
        Kind { kind: 11, code: 0 }
    }

    #[inline(always)]
    fn too_big() -> Kind {
        Kind { kind: 3, code: 4 }
    }

    #[inline(always)]
    fn port_unreachable() -> Kind {
        Kind { kind: 3, code: 3 }
    }

    #[inline(always)]
    fn pseudo_header(_source: Self, _destination: Self, _length: u16) -> u16 {
        0
    }
}

impl Icmp for V6 {
    const PROTOCOL: u8 = protocol::ICMPV6;
    const LONGEST: usize = 1280;
    const HEADER: usize = 40;
    const COVERS_ADDRESSES: bool = true;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, packet too big, time exceeded, parameter problem.
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn time_exceeded() -> Kind {
        Kind { kind: 3, code: 0 }
    }

    #[inline(always)]
    fn too_big() -> Kind {
        Kind { kind: 2, code: 0 }
    }

    #[inline(always)]
    fn port_unreachable() -> Kind {
        Kind { kind: 1, code: 4 }
    }

    #[inline(always)]
    fn pseudo_header(source: Self, destination: Self, length: u16) -> u16 {
        checksum::pseudo_header(source, destination, protocol::ICMPV6, length)
    }
}
