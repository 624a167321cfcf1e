//! Writes a translation into a packet: addresses, ports, checksums, hop, link addresses.

use lb_common::{
    addr::Protocol,
    connection::{ConnectionKey, NextHop},
};

use crate::{
    checksum,
    headers::{Ethernet, Tcp, Udp},
    ip::{Hop, Ip},
    packet::Packet,
    parse::Datagram,
    transport::Transport,
};

/// A translation with its precomputed changes of the checksums.
#[derive(Clone, Copy, Debug)]
pub struct Translation<'a, A> {
    /// What the addresses and ports become.
    pub to: &'a ConnectionKey<A>,
    /// [`checksum::header_delta`].
    pub l3_delta: u16,
    /// [`checksum::delta`].
    pub l4_delta: u16,
}

/// Where the packet goes from here.
#[derive(Clone, Copy, Debug)]
pub enum Exit<'a> {
    /// Onto the wire, to this neighbour.
    Wire(&'a NextHop),
    /// Up to the kernel, which routes it.
    Kernel,
}

/// Who completes the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completion {
    /// It is complete: update it.
    Update,
    /// The sender left it to its hardware and the packet goes onto the wire: compute it.
    Compute,
    /// The sender left it to its hardware and the kernel still knows: keep the field a sum of the pseudo-header.
    Leave,
}

/// Applies `translation` to the packet. `None` when a header is not where it was parsed, which cannot be.
///
/// `partial` says that senders on the ingress interface may leave checksums to their hardware: then a field that holds
/// exactly the sum of the pseudo-header is taken for unfinished. Were it a finished checksum by chance, computing it
/// again gives the same value.
#[inline(always)]
pub fn apply<A: Ip, P: Packet>(
    packet: &mut P,
    datagram: &Datagram<A>,
    translation: Translation<'_, A>,
    exit: Exit<'_>,
    partial: bool,
) -> Option<()> {
    let completion = if partial && is_unfinished(datagram) {
        match exit {
            Exit::Wire(_) => Completion::Compute,
            Exit::Kernel => Completion::Leave,
        }
    } else {
        Completion::Update
    };
    addresses(packet, datagram.network as usize, translation.to, translation.l3_delta, exit)?;
    let checksum = match completion {
        Completion::Update => checksum::update(datagram.checksum, translation.l4_delta),
        Completion::Compute => 0,
        Completion::Leave => pseudo_header(datagram, translation.to),
    };
    write_transport(packet, datagram, translation.to, checksum)?;
    if completion == Completion::Compute && !compute(packet, datagram, translation.to) {
        return None;
    }
    Some(())
}

/// Writes the IP header at `network`, and the link header where the packet goes onto the wire; `delta` is
/// [`checksum::header_delta`]'s.
#[inline(always)]
pub fn addresses<A: Ip, P: Packet>(
    packet: &mut P,
    network: usize,
    to: &ConnectionKey<A>,
    delta: u16,
    exit: Exit<'_>,
) -> Option<()> {
    let hop = match exit {
        Exit::Wire(next_hop) => {
            write_link(packet.get_mut(0)?, next_hop);
            Hop::Counted
        }
        Exit::Kernel => Hop::LeftToKernel,
    };
    A::write(packet, network, to, delta, hop)
}

/// The checksum field holds the sum of the pseudo-header and nothing else.
#[inline(always)]
fn is_unfinished<A: Ip>(datagram: &Datagram<A>) -> bool {
    datagram.checksum == pseudo_header(datagram, &datagram.key)
}

#[inline(always)]
pub(crate) fn pseudo_header<A: Ip>(datagram: &Datagram<A>, key: &ConnectionKey<A>) -> u16 {
    let length = datagram.transport_length() as u16;
    checksum::pseudo_header(key.source, key.destination, datagram.protocol as u8, length)
}

/// The sum of the transport header and its payload.
#[inline(always)]
pub(crate) fn sum<A: Ip, P: Packet>(packet: &P, datagram: &Datagram<A>) -> Option<u16> {
    packet.sum(datagram.transport as usize, datagram.transport_length())
}

#[inline(always)]
fn compute<A: Ip, P: Packet>(packet: &mut P, datagram: &Datagram<A>, to: &ConnectionKey<A>) -> bool {
    let (offset, length, pseudo) =
        (datagram.transport as usize, datagram.transport_length(), pseudo_header(datagram, to));
    match datagram.protocol {
        Protocol::Tcp => finish::<Tcp, P>(packet, offset, length, pseudo),
        Protocol::Udp => finish::<Udp, P>(packet, offset, length, pseudo),
    }
}

/// Writes the checksum of the transport header at `offset` from scratch, with its payload `length` bytes long; the field in the
/// packet is 0, or the other form of it. `pseudo` is the sum of the pseudo-header. False when a header is not where it was
/// parsed, which cannot be.
#[inline(never)]
pub(crate) fn finish<H: Transport, P: Packet>(
    packet: &mut P,
    offset: usize,
    length: usize,
    pseudo: u16,
) -> bool {
    let Some(sum) = packet.sum(offset, length) else { return false };
    let Some(header) = packet.get_mut::<H>(offset) else { return false };
    header.set_checksum(!checksum::fold(pseudo as u32 + sum as u32));
    true
}

#[inline(always)]
pub(crate) const fn write_link(header: &mut Ethernet, next_hop: &NextHop) {
    let ([a, b, c], [d, e, f]) = (next_hop.destination.0, next_hop.source.0);
    header.destination[0] = a;
    header.destination[1] = b;
    header.destination[2] = c;
    header.source[0] = d;
    header.source[1] = e;
    header.source[2] = f;
}

#[inline(always)]
fn write_transport<A: Ip, P: Packet>(
    packet: &mut P,
    datagram: &Datagram<A>,
    to: &ConnectionKey<A>,
    checksum: u16,
) -> Option<()> {
    let offset = datagram.transport as usize;
    match datagram.protocol {
        Protocol::Tcp => packet.get_mut::<Tcp>(offset)?.translate(to, checksum),
        Protocol::Udp => packet.get_mut::<Udp>(offset)?.translate(to, checksum),
    }
    Some(())
}
