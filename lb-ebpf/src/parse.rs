//! From a sound IP packet to what a connection is looked up by.

use lb_common::{
    addr::{Address, Port, Protocol},
    connection::ConnectionKey,
    tcp::header::{FIN, RST, SYN},
};

use crate::{
    headers::{Tcp, Udp, protocol},
    ip::{Ip, Network},
    packet::Packet,
    tables::Tables,
    transport::Transport,
};

/// A TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Datagram<A> {
    /// Its addresses and ports.
    pub key: ConnectionKey<A>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Flags of the TCP header; those of an ordinary segment, ACK, for UDP.
    pub flags: u8,
    /// Offset of the IP header in the frame.
    pub network: u16,
    /// Offset of the transport header in the frame.
    pub transport: u16,
    /// Length of the IP packet, in bytes.
    pub length: u32,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The checksum field, as on the wire.
    pub checksum: u16,
}

/// A segment or datagram and the circumstances of its arrival.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Arrival<A> {
    /// What arrived.
    pub datagram: Datagram<A>,
    /// Index of the interface it arrived on.
    pub interface: u32,
    /// [`lb_common::service::Settings::generation`].
    pub generation: u32,
    /// [`lb_common::service::Settings::ticks_per_second`].
    pub ticks_per_second: u32,
    /// [`crate::tables::Common::now`].
    pub now: u32,
    /// Senders there may leave checksums to their hardware.
    pub partial: bool,
}

impl<A: Address> Arrival<A> {
    /// Writes what the settings and the clock say; false before the settings are there.
    #[inline(always)]
    pub fn complete<T: Tables<A>>(&mut self, tables: &T) -> bool {
        let Some(settings) = tables.settings() else { return false };
        self.generation = settings.generation;
        self.ticks_per_second = settings.ticks_per_second;
        self.now = tables.now();
        true
    }
}

/// Why a packet has no datagram that could be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The transport protocol is not TCP or UDP.
    Protocol,
    /// The transport header does not fit or contradicts the packet's length.
    Malformed,
}

impl<A: Ip> Datagram<A> {
    /// Length of the IP packet, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn packet_length(&self) -> usize {
        self.length as usize
    }

    /// Length of the transport header and its payload, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn transport_length(&self) -> usize {
        self.length as usize - (self.transport - self.network) as usize
    }

    /// No TCP connection has these flags: none, SYN with FIN or RST, FIN with RST (RFC 9293 knows no use for them).
    #[inline(always)]
    #[must_use]
    pub fn has_bad_flags(&self) -> bool {
        self.protocol == Protocol::Tcp
            && match self.flags & (SYN | FIN | RST) {
                0 => self.flags == 0,
                SYN | FIN | RST => false,
                _ => true,
            }
    }
}

/// Reads the transport header of a sound packet that is not a fragment.
#[inline(always)]
pub fn datagram<A: Ip, P: Packet>(
    packet: &P,
    offset: usize,
    network: &Network<A>,
) -> Result<Datagram<A>, Unreadable> {
    let transport = network.payload;
    let available = network.end - transport;
    // The first fragment ends before its datagram does.
    let room = if network.fragment { usize::MAX } else { available };
    let (protocol, (source_port, destination_port), flags, checksum) = match network.protocol {
        protocol::TCP => read::<Tcp, P>(packet, transport, available)?,
        protocol::UDP => read::<Udp, P>(packet, transport, room)?,
        _ => return Err(Unreadable::Protocol),
    };
    Ok(Datagram {
        key: ConnectionKey {
            source: network.source,
            destination: network.destination,
            source_port,
            destination_port,
        },
        protocol,
        flags,
        network: offset as u16,
        transport: transport as u16,
        length: (network.end - offset) as u32,
        ttl: network.ttl,
        checksum,
    })
}

/// What the header at `offset` says: protocol, ports, flags, checksum.
#[inline(always)]
fn read<H: Transport, P: Packet>(
    packet: &P,
    offset: usize,
    available: usize,
) -> Result<(Protocol, (Port, Port), u8, u16), Unreadable> {
    match packet.get::<H>(offset) {
        Some(header) if header.fits(available) => {
            Ok((H::PROTOCOL, header.ports(), header.flags(), header.checksum()))
        }
        _ => Err(Unreadable::Malformed),
    }
}
