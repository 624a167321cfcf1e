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
            write_link(packet, next_hop)?;
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

/// Writes the checksum from scratch; the field in the packet is 0, or the other form of it.
#[inline(never)]
fn compute<A: Ip, P: Packet>(packet: &mut P, datagram: &Datagram<A>, to: &ConnectionKey<A>) -> bool {
    let Some(sum) = sum(packet, datagram) else { return false };
    let checksum = !checksum::fold(pseudo_header(datagram, to) as u32 + sum as u32);
    write_transport(packet, datagram, to, checksum).is_some()
}

#[inline(always)]
fn write_link<P: Packet>(packet: &mut P, next_hop: &NextHop) -> Option<()> {
    let header: &mut Ethernet = packet.get_mut(0)?;
    let ([a, b, c], [d, e, f]) = (next_hop.destination.0, next_hop.source.0);
    header.destination[0] = a;
    header.destination[1] = b;
    header.destination[2] = c;
    header.source[0] = d;
    header.source[1] = e;
    header.source[2] = f;
    Some(())
}

#[inline(always)]
fn write_transport<A: Ip, P: Packet>(
    packet: &mut P,
    datagram: &Datagram<A>,
    to: &ConnectionKey<A>,
    checksum: u16,
) -> Option<()> {
    match datagram.protocol {
        Protocol::Tcp => {
            let header: &mut Tcp = packet.get_mut(datagram.transport as usize)?;
            header.source_port = to.source_port.to_wire();
            header.destination_port = to.destination_port.to_wire();
            header.checksum = checksum;
        }
        Protocol::Udp => {
            let header: &mut Udp = packet.get_mut(datagram.transport as usize)?;
            header.source_port = to.source_port.to_wire();
            header.destination_port = to.destination_port.to_wire();
            // 0 means that there is none (RFC 768), and stays; a computed 0 is written as its other form.
            if datagram.checksum != 0 {
                header.checksum = if checksum == 0 { 0xffff } else { checksum };
            }
        }
    }
    Some(())
}
