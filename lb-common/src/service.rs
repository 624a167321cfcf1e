//! What the controller tells the data plane: interfaces, virtual servers, real servers, settings.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::{Mac, Port, V4, V6},
    connection::TAGGED,
    vlan::Tag,
};

/// What a new connection is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ServiceKey<A> {
    /// The VIP, or the real server in the reverse index.
    pub address: A,
    /// The port; [`Port::ANY`] matches where no other does.
    pub port: Port,
    /// IANA protocol number.
    pub protocol: u16,
}

/// An address that some virtual server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct VipKey<A>(pub A);

const _: () = assert!(size_of::<ServiceKey<V4>>() == 4 + 2 + 2);
const _: () = assert!(size_of::<ServiceKey<V6>>() == 16 + 2 + 2);

/// A virtual server, found by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VirtualServer {
    /// A [`Scheduling`].
    pub scheduling: u32,
    /// [`virtual_server`] bits.
    pub flags: u32,
    /// Bits of a client's address that persistence looks at; 0 without persistence.
    pub client_prefix: u32,
}

/// Bits of [`VirtualServer::flags`].
pub mod virtual_server {
    /// The deterministic choice looks at the client's port too, not only at its address.
    pub const HASH_PORT: u32 = 1;
    /// TCP that is neither known nor a SYN is taken over.
    pub const ADOPT: u32 = 1 << 1;
    /// TCP that is neither known nor a SYN is answered with a reset; without this and `ADOPT` it is dropped.
    pub const RESET: u32 = 1 << 2;
    /// The deterministic choice looks at the address that was asked for, not at the client's.
    pub const HASH_DESTINATION: u32 = 1 << 3;
}

/// How a real server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scheduling {
    /// The next slot of the sequence: rr, wrr.
    Sequence = 1,
    /// The lowest load for its weight: lc, wlc.
    LeastConnection = 2,
    /// The slot of an address: sh, dh, mh.
    Hash = 3,
    /// The fewest active connections for its weight, the new one included: sed.
    ShortestDelay = 4,
    /// One without active connections, else as [`Scheduling::ShortestDelay`]: nq.
    NeverQueue = 5,
    /// The highest weight: fo.
    Failover = 6,
    /// The highest weight that active connections do not exceed: ovf.
    Overflow = 7,
    /// Two at random, the less loaded of them: twos.
    TwoChoices = 8,
}

impl Scheduling {
    /// From the number in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Sequence),
            2 => Some(Self::LeastConnection),
            3 => Some(Self::Hash),
            4 => Some(Self::ShortestDelay),
            5 => Some(Self::NeverQueue),
            6 => Some(Self::Failover),
            7 => Some(Self::Overflow),
            8 => Some(Self::TwoChoices),
            _ => None,
        }
    }
}

/// Where the parts of a scheduling table begin: its first four slots.
///
/// A scheduling table is one array of 32-bit slots that is replaced as a whole: this head, the Maglev table, the round
/// robin sequence, the pool. All but the head are real server indices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedulingHead {
    /// Slots of the Maglev table; 0 when there is no real server.
    pub maglev: u32,
    /// Slots of the sequence.
    pub sequence: u32,
    /// Real servers that take new connections.
    pub pool: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A real server of one virtual server, found by its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RealServer {
    /// Its address as on the wire; IPv4 in the first word.
    pub address: [u32; 4],
    /// Its port; [`Port::ANY`] keeps the client's destination port.
    pub port: Port,
    /// [`real_server`] bits.
    pub flags: u16,
    /// 1..=65535 as the scheduler sees it; 0 takes no new connections.
    pub weight: u32,
    /// Index of its virtual server.
    pub virtual_server: u32,
    /// New connections are refused at this many; 0 is no limit.
    pub max_connections: u32,
    /// This machine's own address on the real server's link, written as `address` is; 0 where they share no link.
    pub own: [u32; 4],
    /// The bits in which all addresses of that link agree, written as `address` is; 0 where they share no link.
    pub link: [u32; 4],
}

const _: () = assert!(size_of::<RealServer>() == 64);

/// Bits of [`RealServer::flags`].
pub mod real_server {
    /// The entry is in use. A connection whose real server is not present goes to another one.
    pub const PRESENT: u16 = 1;
    /// Down or removed: connections are answered with a reset.
    pub const RESET: u16 = 1 << 1;
    /// Down or removed: connections are rescheduled at their next packet.
    pub const RESCHEDULE: u16 = 1 << 2;
    /// Neither down nor removed, whatever its weight. Packets do not ask for it: a controller that starts again begins with it.
    pub const ALIVE: u16 = 1 << 3;
}

/// Live connections of a real server; counted up by the data plane, recounted by the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Load {
    /// Connections in state established (TCP) or alive (UDP).
    pub active: u64,
    /// Connections in every other state.
    pub inactive: u64,
}

/// An interface that the program is attached to, or a device on one: of a VLAN, or of a virtual router's MAC address; found by
/// its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// Its address; frames for others are not ours.
    pub mac: Mac,
    /// [`interface`] bits; 0 means not attached.
    pub flags: u16,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Its row in the outcome counters; 0 of a device on another interface, whose frames are counted where they arrive.
    pub slot: u16,
    /// Of a device on another interface, index of the interface that its frames arrive and leave on; else 0.
    pub parent: u16,
    /// The outer tag of a VLAN device's frames; of other devices none.
    pub outer: Tag,
    /// The inner one, if they have two.
    pub inner: Tag,
}

impl Interface {
    /// Whether it is the device of a virtual router: what the kernel routes through it leaves through its parent.
    #[must_use]
    #[inline(always)]
    pub const fn is_virtual_router(&self) -> bool {
        self.parent != 0 && self.outer.id == 0
    }

    /// What [`crate::connection::NextHop::interface`] is for packets that leave through this interface, whose index is
    /// given.
    #[must_use]
    #[inline(always)]
    pub const fn exit(&self, index: u32) -> u16 {
        index as u16 | if self.parent == 0 { 0 } else { TAGGED }
    }
}

const _: () = assert!(size_of::<Interface>() == 6 + 2 + 2 + 2 + 2 + 4 + 4);

/// Bits of [`Interface::flags`].
pub mod interface {
    /// The program sees what arrives here and may send here.
    pub const ATTACHED: u16 = 1;
    /// Its peers are on this host (veth, tap, virtio): they may leave checksums to the receiver.
    pub const VIRTUAL: u16 = 1 << 1;
}

/// What holds for every packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// The [`crate::hash::HashKey`].
    pub hash_key: [u64; 2],
    /// Entries verified at another generation verify their route and real server at their next packet. Never 0.
    pub generation: u32,
    /// Ticks of the clock a second (the kernel's HZ).
    pub ticks_per_second: u32,
    /// [`crate::layout::VERSION`] of whoever made the maps; 0 before they are written first.
    pub version: u32,
    /// [`settings`] bits.
    pub flags: u32,
    /// The tick at which the first [`lease`] that is held ends; until then all of them are good. 0 when no VIP needs one.
    pub lease: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Settings {
    /// Whether leases have to be looked at one by one.
    #[must_use]
    #[inline(always)]
    pub const fn has_lapsed(&self, now: u32) -> bool {
        self.lease != lease::NOT_HELD && !lease::holds(self.lease, now)
    }
}

/// Ownership of VIPs that nodes elect an owner of: a slot for each election, in which the owner notes the tick until which
/// it certainly is the only one.
pub mod lease {
    /// The slot of a VIP that needs no lease.
    pub const NONE: u32 = 0;
    /// What is in the slot of an election that somebody else has won.
    pub const NOT_HELD: u32 = 0;

    /// Whether a lease that ends at this tick is good now. Ticks wrap around.
    #[must_use]
    #[inline(always)]
    pub const fn holds(end: u32, now: u32) -> bool {
        end != NOT_HELD && now.wrapping_sub(end) as i32 <= 0
    }

    /// The tick `ticks` from now as the end of a lease.
    #[must_use]
    pub const fn until(now: u32, ticks: u32) -> u32 {
        // The one that means something else ends a tick early.
        match now.wrapping_add(ticks) {
            NOT_HELD => u32::MAX,
            end => end,
        }
    }
}

const _: () = assert!(size_of::<Settings>() == 16 + 4 + 4 + 4 + 4 + 4 + 4);

/// Bits of [`Settings::flags`].
pub mod settings {
    /// Some destination of a firewall mark is more than one address: packets that are for no VIP may carry a mark, too.
    pub const WIDE_MARKS: u32 = 1;
}
