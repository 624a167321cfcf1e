//! Headers as they lie in a frame: any alignment, fields that are only carried along as they are on the wire.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    byteorder::{
        big_endian::{U16 as Be16, U32 as Be32},
        native_endian::{U16 as Wire16, U32 as Wire32},
    },
};

/// Ethernet II.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub destination: [Wire16; 3],
    /// Source address.
    pub source: [Wire16; 3],
    /// What follows.
    pub ether_type: Be16,
}

/// Values of [`Ethernet::ether_type`].
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// IPv4 without options (RFC 791).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits), header length in 32-bit words (4 bits).
    pub version_length: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Length of the packet with this header.
    pub total_length: Be16,
    /// Identification.
    pub identification: Be16,
    /// Flags (3 bits), fragment offset in 8 bytes (13 bits).
    pub fragment: Be16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: Wire16,
    /// Source address.
    pub source: Wire32,
    /// Destination address.
    pub destination: Wire32,
}

/// IPv6 (RFC 8200).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: Be32,
    /// Length of what follows this header.
    pub payload_length: Be16,
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [Wire32; 4],
    /// Destination address.
    pub destination: [Wire32; 4],
}

/// The common beginning of IPv6 extension headers (RFC 8200 section 4).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Length in 8 bytes, without the first 8.
    pub length: u8,
}

/// TCP without options (RFC 9293).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source_port: Wire16,
    /// Destination port.
    pub destination_port: Wire16,
    /// Sequence number.
    pub sequence: Be32,
    /// Acknowledgment number.
    pub acknowledgment: Be32,
    /// Header length in 32-bit words (4 bits), reserved.
    pub data_offset: u8,
    /// Flags: see `lb_common::tcp::header`.
    pub flags: u8,
    /// Receive window.
    pub window: Be16,
    /// Checksum.
    pub checksum: Wire16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// UDP (RFC 768).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source_port: Wire16,
    /// Destination port.
    pub destination_port: Wire16,
    /// Length with this header.
    pub length: Be16,
    /// Checksum; 0 over IPv4 means none.
    pub checksum: Wire16,
}

/// Values of [`Ipv4::protocol`] and [`Ipv6::next_header`].
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}
