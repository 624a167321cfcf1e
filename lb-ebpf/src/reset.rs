//! Answers a TCP segment with a reset, so that its sender learns at once that nobody is there any more.

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, FIN, RST, SYN},
};

use crate::{
    checksum,
    headers::{Be16, Be32, Ethernet, Tcp, protocol},
    ip::Ip,
    packet::Packet,
    parse::Arrival,
    rewrite,
    verdict::Verdict,
};

/// Turns the segment into a reset to its sender (RFC 9293 section 3.10.7.1) and sends it back where it came from; it then ends
/// as `sent`. A reset is never answered.
#[inline(never)]
pub(crate) fn answer<A: Ip, P: Packet>(packet: &mut P, arrival: &Arrival<A>, sent: Outcome) -> Verdict {
    if arrival.datagram.flags & RST != 0 {
        return Outcome::WithoutState.into();
    }
    if !is_whole(packet, arrival) {
        return Outcome::BadChecksum.into();
    }
    match write(packet, arrival) {
        Some(()) => Verdict::sent(sent, arrival.interface as u16),
        None => Outcome::Unwritable.into(),
    }
}

/// Whether the segment's checksum is right, or left to this host. Its addresses and ports may be damaged too; whoever they
/// name by chance must not be reset (RFC 9293 section 3.1: the receiver checks it).
#[inline(always)]
fn is_whole<A: Ip, P: Packet>(packet: &P, arrival: &Arrival<A>) -> bool {
    let datagram = &arrival.datagram;
    let pseudo = rewrite::pseudo_header(datagram, &datagram.key);
    (arrival.partial && datagram.checksum == pseudo)
        || rewrite::sum(packet, datagram)
            .is_some_and(|sum| checksum::fold(u32::from(pseudo) + u32::from(sum)) == 0xffff)
}

#[inline(always)]
fn write<A: Ip, P: Packet>(packet: &mut P, arrival: &Arrival<A>) -> Option<()> {
    let datagram = &arrival.datagram;
    let segment: &Tcp = packet.get(datagram.transport as usize)?;
    let header_length = (segment.data_offset >> 4) as u32 * 4;
    let controls = u32::from(datagram.flags & FIN != 0) + u32::from(datagram.flags & SYN != 0);
    let occupied = datagram.transport_length() as u32 - header_length + controls;
    let (sequence, acknowledgment, flags) = if datagram.flags & ACK != 0 {
        (segment.acknowledgment.get(), 0, RST)
    } else {
        (0, segment.sequence.get().wrapping_add(occupied), RST | ACK)
    };

    let ethernet: &mut Ethernet = packet.get_mut(0)?;
    for word in 0..3 {
        core::mem::swap(&mut ethernet.destination[word], &mut ethernet.source[word]);
    }
    let key = datagram.key.reversed();
    let length = size_of::<Tcp>();
    let offset = A::compose(packet, datagram.network as usize, &key, protocol::TCP, length as u16)?;
    let reset: &mut Tcp = packet.get_mut(offset)?;
    reset.source_port = key.source_port.to_wire();
    reset.destination_port = key.destination_port.to_wire();
    reset.sequence = Be32::new(sequence);
    reset.acknowledgment = Be32::new(acknowledgment);
    reset.data_offset = 5 << 4;
    reset.flags = flags;
    reset.window = Be16::new(0);
    reset.urgent = Be16::new(0);
    let words = |number: u32| u32::from(number.to_be() as u16) + (number.to_be() >> 16);
    let header = u32::from(key.source_port.to_wire())
        + u32::from(key.destination_port.to_wire())
        + words(sequence)
        + words(acknowledgment)
        + u32::from((5 << 12 | u16::from(flags)).to_be());
    let pseudo = checksum::pseudo_header(key.source, key.destination, protocol::TCP, length as u16);
    reset.checksum = !checksum::fold(checksum::fold(header) as u32 + pseudo as u32);
    packet.truncate(offset + length).then_some(())
}
