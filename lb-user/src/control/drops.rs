//! What `xlb drops` shows: one JSON object to a line.

use std::{net::IpAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When, by the wall clock.
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
    /// Interface it came from; its number when it is gone.
    pub interface: String,
    /// Why, by the name that is counted.
    pub outcome: String,
    /// Bytes of its frame.
    pub length: u32,
    /// What its headers say.
    pub packet: Packet,
    /// The frame's first bytes, in hexadecimal digits.
    pub headers: String,
    /// Dropped packets before it that are not shown: there were too many at once.
    pub missed: u64,
}

/// What the headers of a packet say, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// VLAN tags, the outermost first.
    pub vlans: Vec<u16>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `arp` or an IANA protocol number; none when there is no IP header to be read.
    pub protocol: Option<String>,
    /// Who has sent it.
    pub source: Option<IpAddr>,
    /// Its port.
    pub source_port: Option<u16>,
    /// Where to.
    pub destination: Option<IpAddr>,
    /// Its port.
    pub destination_port: Option<u16>,
    /// TCP flags, such as `SYN`.
    pub flags: Vec<String>,
    /// Where in a larger packet it belongs.
    pub fragment: Option<Fragment>,
    /// What is wrong with a header, if one cannot be read.
    pub malformed: Option<String>,
}

/// A part of a larger packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Of the larger packet.
    pub identification: u32,
    /// Bytes before it.
    pub offset: u32,
    /// Others come behind it.
    pub more: bool,
}
