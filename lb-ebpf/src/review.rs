//! A packet of a known connection that changes it, or whose entry was verified at another generation.

use lb_common::{
    addr::Protocol,
    connection::flags,
    counter::Row,
    outcome::Outcome,
    tcp::{
        TcpState,
        header::{ACK, SYN},
    },
};

use crate::{
    connection::{self, RealAddress, Standing},
    desk::Desk,
    forward::touch,
    half_open,
    ip::Ip,
    open, ownership,
    packet::Packet,
    replies,
    tables::Tables,
};

/// Notes what the packet says about its connection and verifies the entry. `None` when there is no connection, or no more:
/// the packet starts afresh.
#[inline(never)]
pub(crate) fn review<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Option<Outcome> {
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    if !desk.known {
        return None;
    }
    // The real server answers a connection that has the tuple of an older one's replies: the older one is no more.
    let anew = datagram.protocol == Protocol::Tcp
        && datagram.flags & (SYN | ACK) == SYN | ACK
        && half_open::find(tables, desk);
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    desk.entry.copy_from(tables.connection(datagram.protocol, &datagram.key)?);
    desk.other_key.reverse_from(&desk.entry.translated);
    let verified = desk.entry.generation == arrival.generation;
    if anew && desk.original != desk.other_key {
        connection::remove(tables, datagram.protocol, &datagram.key, &desk.other_key);
        return None;
    }
    if datagram.has_bad_flags() {
        return Some(Outcome::BadTcpFlags);
    }
    if let Some(outcome) = ownership::gate(tables, desk) {
        return Some(outcome);
    }
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    let begins = datagram.flags & (SYN | ACK) == SYN;
    if begins {
        let other = tables.connection(datagram.protocol, &desk.other_key).map_or(0, |other| other.flags);
        if TcpState::of(desk.entry.flags, other).gives_way_to_syn() {
            connection::remove(tables, datagram.protocol, &datagram.key, &desk.other_key);
            return None;
        }
    }
    let standing = connection::renew(tables, arrival, &mut desk.entry);
    if standing == Standing::Reset && !begins {
        // The other end is answered alike when it sends: both entries stay for as long as a closed connection's do.
        if let Some(stored) = tables.connection(datagram.protocol, &datagram.key) {
            stored.flags |= flags::RST;
            stored.last_seen = arrival.now;
        }
        return Some(Outcome::Reset);
    }
    if standing != Standing::Alive {
        // A client that begins anew gets another real server at once.
        connection::remove(tables, datagram.protocol, &datagram.key, &desk.other_key);
        return None;
    }
    desk.entry.flags |= connection::seen(datagram.flags);
    touch(&mut desk.entry, arrival.now, arrival.ticks_per_second);
    if datagram.protocol == Protocol::Udp {
        let other = tables.connection(Protocol::Udp, &desk.other_key);
        if other.is_none_or(|other| !other.translated.answers(&datagram.key)) {
            mend(packet, tables, desk, verified);
        }
    }
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    if let Some(stored) = tables.connection(datagram.protocol, &datagram.key) {
        stored.flags |= desk.entry.flags;
        stored.next_hop.copy_from(&desk.entry.next_hop);
        stored.generation = desk.entry.generation;
        stored.last_seen = desk.entry.last_seen;
    }
    let reply = desk.entry.flags & flags::REPLY != 0;
    tables.count(desk.entry.real_server, Row::of(reply), datagram.packet_length() as u64);
    Some(Outcome::Forwarded)
}

/// Adds the opposite direction again. The table of UDP evicts what was not looked up for the longest time, and one direction
/// may be used much more than the other; that it was looked up just now keeps it from that, too. Replies that
/// are inferred are left to be added by the first of them, unless the way to the client is not known without (`verified`).
#[inline(never)]
fn mend<A: Ip, P: Packet, T: Tables<A>>(packet: &P, tables: &mut T, desk: &mut Desk<A>, verified: bool) {
    // What is left of an older connection.
    tables.remove(Protocol::Udp, &desk.other_key);
    if verified && replies::are_inferred(tables, desk) {
        return;
    }
    open::learn_way_back(packet, tables, desk);
    let arrival = &desk.arrival;
    desk.key.reverse_from(&arrival.datagram.key);
    let other = &mut desk.other;
    let other_flags = desk.entry.flags ^ flags::REPLY;
    connection::write(other, &desk.other_key, &desk.key, other_flags, desk.entry.real_server, arrival.now);
    if other_flags & flags::REPLY != 0 {
        other.next_hop.copy_from(&desk.way_back);
    }
    // Another packet may have done the same.
    let _ = tables.insert(Protocol::Udp, &desk.other_key, other);
}
