//! Connections as the tables hold them: two entries each, one for every direction; one while they are half open.
//!
//! An entry is found by a packet's addresses and ports and says what they become. The entry of the opposite direction
//! is found by the translated tuple with its ends exchanged, so neither needs to name the other.

use crate::addr::{Address, Mac, Port, V4, V6};

/// What a packet is looked up by. The protocol is not a part of it: each protocol has its own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ConnectionKey<A> {
    /// The packet's source address.
    pub source: A,
    /// The packet's destination address.
    pub destination: A,
    /// The packet's source port.
    pub source_port: Port,
    /// The packet's destination port.
    pub destination_port: Port,
}

const _: () = assert!(size_of::<ConnectionKey<V4>>() == 4 + 4 + 2 + 2);
const _: () = assert!(size_of::<ConnectionKey<V6>>() == 16 + 16 + 2 + 2);

impl<A: Address> ConnectionKey<A> {
    /// The same tuple seen from the other end.
    #[must_use]
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Whether `other` is the same tuple seen from the other end.
    #[inline(always)]
    pub fn answers(&self, other: &Self) -> bool {
        self.source == other.destination
            && self.destination == other.source
            && self.source_port == other.destination_port
            && self.destination_port == other.source_port
    }

    /// Makes it `other` seen from the other end.
    #[inline(always)]
    pub fn reverse_from(&mut self, other: &Self) {
        self.source.copy_from(&other.destination);
        self.destination.copy_from(&other.source);
        self.source_port = other.destination_port;
        self.destination_port = other.source_port;
    }

    /// A copy field by field: see [`Connection::copy_from`].
    #[inline(always)]
    pub fn copy_from(&mut self, other: &Self) {
        self.source.copy_from(&other.source);
        self.destination.copy_from(&other.destination);
        self.source_port = other.source_port;
        self.destination_port = other.destination_port;
    }

    /// The sum of its 16-bit words, unfolded.
    #[inline(always)]
    pub fn sum(&self) -> u32 {
        self.source.sum()
            + self.destination.sum()
            + self.source_port.to_wire() as u32
            + self.destination_port.to_wire() as u32
    }
}

/// How a packet leaves this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NextHop {
    /// Destination of the frame.
    pub destination: Mac,
    /// Source of the frame: the address of the egress interface.
    pub source: Mac,
    /// Index of the egress interface, below [`crate::limits::INTERFACES`]; with [`TAGGED`] that of a VLAN device.
    pub interface: u16,
    /// Always 0.
    pub reserved: u16,
    /// Largest IP packet that fits, in bytes; 0 when the next hop is not known, and then nothing else counts.
    pub mtu: u16,
}

/// Bit of [`NextHop::interface`]: packets leave through a VLAN device, with its tags.
pub const TAGGED: u16 = 1 << 15;

const _: () = assert!(crate::limits::INTERFACES <= TAGGED as u32);

impl NextHop {
    /// A copy field by field: see [`Connection::copy_from`].
    #[inline(always)]
    pub const fn copy_from(&mut self, other: &Self) {
        let ([a, b, c], [d, e, f]) = (other.destination.0, other.source.0);
        self.destination.0[0] = a;
        self.destination.0[1] = b;
        self.destination.0[2] = c;
        self.source.0[0] = d;
        self.source.0[1] = e;
        self.source.0[2] = f;
        self.interface = other.interface;
        self.reserved = other.reserved;
        self.mtu = other.mtu;
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Connection<A> {
    /// What the packet's addresses and ports become.
    pub translated: ConnectionKey<A>,
    /// Change of the IPv4 header's sum, TTL decrement included (RFC 1624); unused for IPv6.
    pub l3_delta: u16,
    /// Change of the TCP or UDP sum.
    pub l4_delta: u16,
    /// Cached route of the translated packet; valid while `generation` is the current one.
    pub next_hop: NextHop,
    /// What this direction has seen: [`flags`].
    pub flags: u16,
    /// The [`crate::service::Settings::generation`] at which `next_hop` and the real server were last verified.
    pub generation: u32,
    /// Time of the last packet, in ticks, at most one second old.
    pub last_seen: u32,
    /// Index of the real server.
    pub real_server: u32,
}

impl<A: Address> Connection<A> {
    /// Nothing yet, in a place where something will be.
    #[must_use]
    pub fn unused() -> Self {
        let zero = A::from_words((0, 0));
        let translated = ConnectionKey {
            source: zero,
            destination: zero,
            source_port: Port::ANY,
            destination_port: Port::ANY,
        };
        Self {
            translated,
            l3_delta: 0,
            l4_delta: 0,
            next_hop: NextHop::default(),
            flags: 0,
            generation: 0,
            last_seen: 0,
            real_server: 0,
        }
    }

    /// A copy field by field. Copying the whole of it from one map to another becomes a call of a subprogram that copies
    /// byte by byte.
    #[inline(always)]
    pub fn copy_from(&mut self, other: &Self) {
        self.translated.copy_from(&other.translated);
        self.l3_delta = other.l3_delta;
        self.l4_delta = other.l4_delta;
        self.next_hop.copy_from(&other.next_hop);
        self.flags = other.flags;
        self.generation = other.generation;
        self.last_seen = other.last_seen;
        self.real_server = other.real_server;
    }
}

const _: () = assert!(size_of::<NextHop>() == 6 + 6 + 2 + 2 + 2);
const _: () = assert!(size_of::<Connection<V4>>() == 12 + 2 + 2 + 18 + 2 + 4 + 4 + 4);
const _: () = assert!(size_of::<Connection<V6>>() == 36 + 2 + 2 + 18 + 2 + 4 + 4 + 4);

/// Bits of [`Connection::flags`].
pub mod flags {
    /// The direction from the real server to the client.
    pub const REPLY: u16 = 1;
    /// A FIN was seen in this direction.
    pub const FIN: u16 = 1 << 1;
    /// A RST was seen in this direction.
    pub const RST: u16 = 1 << 2;
    /// In [`HalfOpen::reply_flags`](super::HalfOpen::reply_flags): the SYN-ACK was seen and its sequence number kept.
    pub const SYN_ACK: u16 = 1 << 3;
    /// Taken over without having seen its beginning.
    pub const ADOPTED: u16 = 1 << 4;
    /// The source is translated too (hairpin).
    pub const SOURCE_NAT: u16 = 1 << 5;
    /// Of a half-open connection: a signpost stands at its reply's tuple.
    pub const SIGNPOST: u16 = 1 << 6;
}

/// A TCP connection whose handshake is not proven yet: both directions, found by the client's tuple. An entry with
/// [`flags::REPLY`] is a signpost at the reply's tuple instead: where its `connection.translated` came from is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HalfOpen<A> {
    /// What the client's direction will be.
    pub connection: Connection<A>,
    /// [`Connection::l3_delta`] of the real server's direction.
    pub reply_l3_delta: u16,
    /// [`Connection::l4_delta`] of the real server's direction.
    pub reply_l4_delta: u16,
    /// [`Connection::next_hop`] of the real server's direction.
    pub way_back: NextHop,
    /// [`Connection::flags`] of the real server's direction.
    pub reply_flags: u16,
    /// [`Connection::generation`] of the real server's direction.
    pub reply_generation: u32,
    /// Time of the real server's last packet, in ticks; before there is one, that of the client's first.
    pub answered: u32,
    /// Once [`flags::SYN_ACK`] is set: the sequence number of the real server's SYN-ACK.
    pub server_sequence: u32,
}

impl<A> HalfOpen<A> {
    /// When either direction was last used.
    #[must_use]
    #[inline(always)]
    pub const fn last_used(&self) -> u32 {
        let (asked, answered) = (self.connection.last_seen, self.answered);
        if answered.wrapping_sub(asked) as i32 > 0 { answered } else { asked }
    }
}

impl<A: Address> HalfOpen<A> {
    /// As [`Connection::unused`].
    #[must_use]
    pub fn unused() -> Self {
        Self {
            connection: Connection::unused(),
            reply_l3_delta: 0,
            reply_l4_delta: 0,
            way_back: NextHop::default(),
            reply_flags: 0,
            reply_generation: 0,
            answered: 0,
            server_sequence: 0,
        }
    }

    /// A copy field by field: see [`Connection::copy_from`].
    #[inline(always)]
    pub fn copy_from(&mut self, other: &Self) {
        self.connection.copy_from(&other.connection);
        self.reply_l3_delta = other.reply_l3_delta;
        self.reply_l4_delta = other.reply_l4_delta;
        self.way_back.copy_from(&other.way_back);
        self.reply_flags = other.reply_flags;
        self.reply_generation = other.reply_generation;
        self.answered = other.answered;
        self.server_sequence = other.server_sequence;
    }
}

const _: () = assert!(size_of::<HalfOpen<V4>>() == 48 + 2 + 2 + 18 + 2 + 4 + 4 + 4);
const _: () = assert!(size_of::<HalfOpen<V6>>() == 72 + 2 + 2 + 18 + 2 + 4 + 4 + 4);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_entry_of_each_family_fits_the_memory_that_the_documentation_names() {
        // A preallocated hash element adds 48 bytes, its bucket 16 (kernel/bpf/hashtab.c); keys are rounded up to 8.
        let per_direction = |key: usize, value: usize| 48 + 16 + key.next_multiple_of(8) + value;
        assert_eq!(2 * per_direction(size_of::<ConnectionKey<V4>>(), size_of::<Connection<V4>>()), 256);
        assert_eq!(2 * per_direction(size_of::<ConnectionKey<V6>>(), size_of::<Connection<V6>>()), 352);
    }

    #[test]
    fn reversing_twice_is_the_same_tuple() {
        let key = ConnectionKey {
            source: V4::from(Ipv4Addr::new(198, 51, 100, 7)),
            destination: V4::from(Ipv4Addr::new(192, 0, 2, 10)),
            source_port: Port::new(40_000),
            destination_port: Port::new(80),
        };
        assert_eq!(key.reversed().reversed(), key);
        assert_eq!(key.reversed().sum(), key.sum());
    }
}
