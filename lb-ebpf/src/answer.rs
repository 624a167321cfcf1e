//! Packets that are answered here, in place of what they asked for: TCP resets and ICMP errors.

use lb_common::{addr::Protocol, outcome::Outcome, tcp::header::RST};

use crate::{
    checksum,
    desk::Desk,
    headers::{Be32, Ethernet, Icmp as Message},
    icmp::{Icmp, Kind},
    packet::Packet,
    parse::Datagram,
    reset,
    tables::Tables,
    verdict::Verdict,
};

/// Whether a packet that ends so is to be answered.
#[inline(always)]
#[must_use]
pub(crate) const fn is_asked_for(outcome: u32) -> bool {
    outcome == Outcome::Reset as u32
        || outcome == Outcome::NoRealServer as u32
        || outcome == Outcome::TimeExceeded as u32
        || outcome == Outcome::TooBig as u32
}

/// Answers the packet on the desk by how it ended, and sends it back where it came from.
///
/// Resets and ICMP errors get no answer (RFC 9293 section 3.10.7.1, RFC 1122 section 3.2.2): the former are refused here, the
/// latter do not come here, and neither do packets to or from groups, or fragments but the first.
#[inline(always)]
pub(crate) fn answer<A: Icmp, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &mut T,
    desk: &Desk<A>,
    outcome: u32,
) -> Verdict {
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    let resets = outcome == Outcome::Reset as u32;
    // Whoever has a connection learns of its end; segments of none can be invented in any number.
    if resets && (desk.known || datagram.flags & RST != 0) {
        return reset::answer(packet, arrival, Outcome::Reset);
    }
    let refused = outcome == Outcome::NoRealServer as u32;
    if refused && datagram.protocol == Protocol::Tcp && datagram.flags & RST != 0 {
        return Outcome::NoRealServer.into();
    }
    if !tables.may_answer(arrival.now, arrival.ticks_per_second) {
        return Outcome::AnswerLimited.into();
    }
    if resets {
        return reset::answer(packet, arrival, Outcome::Reset);
    }
    if refused && datagram.protocol == Protocol::Tcp {
        return reset::answer(packet, arrival, Outcome::Refused);
    }
    let (sent, kind, rest) = if refused {
        (Outcome::Refused, A::port_unreachable(), 0)
    } else if outcome == Outcome::TooBig as u32 {
        (Outcome::TooBig, A::too_big(), desk.entry.next_hop.mtu as u32)
    } else {
        (Outcome::TimeExceeded, A::time_exceeded(), 0)
    };
    match compose(packet, datagram, kind, rest) {
        Some(()) => Verdict::sent(sent, arrival.interface as u16),
        None => Outcome::Unwritable.into(),
    }
}

/// Puts the packet, cut to what may be quoted, behind headers that take it back to its sender.
#[inline(always)]
fn compose<A: Icmp, P: Packet>(
    packet: &mut P,
    datagram: &Datagram<A>,
    Kind { kind, code }: Kind,
    rest: u32,
) -> Option<()> {
    let network = datagram.network as usize;
    let headers = A::HEADER + size_of::<Message>();
    let quoted = core::cmp::min(datagram.packet_length(), A::LONGEST - headers);
    if !packet.truncate(network + quoted) {
        return None;
    }
    let quote = packet.sum(network, quoted)?;
    if !packet.grow(headers) {
        return None;
    }
    move_link(packet, headers, network)?;
    let key = datagram.key.reversed();
    let length = (size_of::<Message>() + quoted) as u16;
    let at = A::compose(packet, network, &key, A::PROTOCOL, length)?;
    let message: &mut Message = packet.get_mut(at)?;
    message.kind = kind;
    message.code = code;
    message.rest = Be32::new(rest);
    let first = ((kind as u16) << 8 | code as u16).to_be();
    let rest = rest.to_be();
    let sum = quote as u32 + first as u32 + (rest >> 16) + (rest & 0xffff);
    let pseudo = A::pseudo_header(key.source, key.destination, length);
    message.checksum = !checksum::fold(sum + pseudo as u32);
    Some(())
}

/// Moves the link header of `length` bytes forward by `distance`, its ends exchanged.
#[inline(always)]
fn move_link<P: Packet>(packet: &mut P, distance: usize, length: usize) -> Option<()> {
    /// Ethernet with two tags.
    const LONGEST: usize = size_of::<Ethernet>() + 8;
    for at in (0..LONGEST).step_by(2) {
        if at >= length {
            break;
        }
        let word = *packet.get::<u16>(distance + at)?;
        *packet.get_mut::<u16>(at)? = word;
    }
    let ethernet: &mut Ethernet = packet.get_mut(0)?;
    for word in 0..3 {
        core::mem::swap(&mut ethernet.destination[word], &mut ethernet.source[word]);
    }
    Some(())
}
