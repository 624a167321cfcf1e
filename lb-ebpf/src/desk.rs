//! Memory the longer ways work in. The kernel gives a program 512 bytes of stack, too little for a few IPv6 entries; this
//! lies in a map of its own, one for each CPU.

use lb_common::{
    addr::{Address, Protocol, V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    template::TemplateKey,
};

use crate::{
    parse::{Arrival, Datagram},
    vlan::Tags,
};

/// A place for the entries of one packet. Whatever is read from it was written for the same packet before.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Desk<A> {
    /// The packet.
    pub arrival: Arrival<A>,
    /// Whether the short way has found its connection.
    pub known: bool,
    /// The packet's direction.
    pub entry: Connection<A>,
    /// The opposite direction.
    pub other: Connection<A>,
    /// What the opposite direction is looked up by.
    pub other_key: ConnectionKey<A>,
    /// An entry that is to be added.
    pub half: HalfOpen<A>,
    /// The client's tuple of a connection that is not proven.
    pub original: ConnectionKey<A>,
    /// [`HalfOpen::server_sequence`].
    pub server_sequence: u32,
    /// Where the packet came from.
    pub way_back: NextHop,
    /// A tuple that is only needed for a moment.
    pub key: ConnectionKey<A>,
    /// Whose template is looked for.
    pub template: TemplateKey<A>,
}

/// Where the desk of a family is found when a packet needs it. Most do not.
pub trait Desks<A> {
    /// The desk.
    fn desk(&mut self) -> Option<&mut Desk<A>>;
}

impl Desks<V4> for Workspace {
    #[inline(always)]
    fn desk(&mut self) -> Option<&mut Desk<V4>> {
        Some(&mut self.v4)
    }
}

impl Desks<V6> for Workspace {
    #[inline(always)]
    fn desk(&mut self) -> Option<&mut Desk<V6>> {
        Some(&mut self.v6)
    }
}

/// A desk for each family.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Workspace {
    /// IPv4.
    pub v4: Desk<V4>,
    /// IPv6.
    pub v6: Desk<V6>,
    /// Tags that were taken off the frame.
    pub tags: Tags,
}

impl Default for Workspace {
    fn default() -> Self {
        Self { v4: empty(), v6: empty(), tags: Tags::default() }
    }
}

fn empty<A: Address>() -> Desk<A> {
    let entry = Connection::<A>::unused();
    let key = entry.translated;
    let datagram = Datagram {
        key,
        protocol: Protocol::Tcp,
        flags: 0,
        network: 0,
        transport: 0,
        length: 0,
        ttl: 0,
        checksum: 0,
    };
    let arrival =
        Arrival { datagram, interface: 0, partial: false, generation: 0, ticks_per_second: 0, now: 0 };
    Desk {
        arrival,
        known: false,
        entry,
        other: entry,
        half: HalfOpen::unused(),
        original: key,
        server_sequence: 0,
        way_back: NextHop::default(),
        other_key: key,
        key,
        template: TemplateKey { client: key.source, virtual_server: 0 },
    }
}
