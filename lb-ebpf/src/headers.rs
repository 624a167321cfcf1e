//! Headers as they lie in a frame.
//!
//! Frames begin at even addresses and headers are made of 16-bit words, so nothing here is aligned to more than 2: a 32-bit
//! field is two words. What is only carried along stays as it is on the wire (`u16`, [`Wire32`]); numbers are [`Be16`] and
//! [`Be32`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 32-bit field as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Wire32([u16; 2]);

impl Wire32 {
    /// The four bytes as a native integer.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        if cfg!(target_endian = "little") {
            self.0[0] as u32 | (self.0[1] as u32) << 16
        } else {
            (self.0[0] as u32) << 16 | self.0[1] as u32
        }
    }

    /// The field with these four bytes.
    #[must_use]
    #[inline(always)]
    pub const fn new(word: u32) -> Self {
        let (low, high) = (word as u16, (word >> 16) as u16);
        Self(if cfg!(target_endian = "little") { [low, high] } else { [high, low] })
    }
}

/// A 16-bit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// Its value.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The field with this value.
    #[must_use]
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be())
    }

    /// The two bytes as they are.
    #[must_use]
    #[inline(always)]
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

/// A 32-bit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be32(Wire32);

impl Be32 {
    /// Its value.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0.get())
    }

    /// The field with this value.
    #[must_use]
    #[inline(always)]
    pub const fn new(value: u32) -> Self {
        Self(Wire32::new(value.to_be()))
    }
}

/// Ethernet II.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub destination: [u16; 3],
    /// Source address.
    pub source: [u16; 3],
    /// What follows.
    pub ether_type: Be16,
}

/// A VLAN tag (IEEE 802.1Q section 9.6) and what follows it. It lies where an untagged frame has its ether type.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vlan {
    /// Ether type of the tag.
    pub protocol: Be16,
    /// Priority (4 bits), VLAN id (12 bits).
    pub control: Be16,
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
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
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
    pub checksum: u16,
    /// Source address.
    pub source: Wire32,
    /// Destination address.
    pub destination: Wire32,
}

/// IPv6 (RFC 8200).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
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
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extension {
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Length in 8 bytes, without the first 8.
    pub length: u8,
}

/// The fragment header of IPv6 (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fragment {
    /// Kind of the header that follows.
    pub next_header: u8,
    /// Always 0.
    pub reserved: u8,
    /// Offset in 8 bytes (13 bits), reserved (2), more fragments (1).
    pub offset_more: Be16,
    /// Identification.
    pub identification: Wire32,
}

/// ICMP (RFC 792) and ICMPv6 (RFC 4443).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Icmp {
    /// What it is.
    pub kind: u8,
    /// What kind of that.
    pub code: u8,
    /// Checksum.
    pub checksum: u16,
    /// In an error the MTU (RFC 1191 section 4, RFC 4443 section 3.2), a pointer, or 0.
    pub rest: Be32,
}

/// TCP without options (RFC 9293).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
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
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// UDP (RFC 768).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length with this header.
    pub length: Be16,
    /// Checksum; 0 over IPv4 means none.
    pub checksum: u16,
}

macro_rules! fronts {
    ($($(#[$doc:meta])* $name:ident: $network:ty $(, $transport:ty)?;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// The link header.
            pub ethernet: Ethernet,
            /// The IP header.
            pub network: $network,
            $(/// The transport header.
            pub transport: $transport,)?
        }
    )+};
}

fronts! {
    /// A frame of IPv4 without tags, up to its options.
    FrontV4: Ipv4;
    /// A frame of IPv6 without tags, up to its extension headers.
    FrontV6: Ipv6;
    /// TCP over IPv4, without tags and IP options.
    TcpV4: Ipv4, Tcp;
    /// UDP over IPv4, without tags and IP options.
    UdpV4: Ipv4, Udp;
    /// TCP over IPv6, without tags and extension headers.
    TcpV6: Ipv6, Tcp;
    /// UDP over IPv6, without tags and extension headers.
    UdpV6: Ipv6, Udp;
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
