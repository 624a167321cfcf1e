//! A packet of a TCP connection whose handshake is not proven yet, or a real server's first datagram.

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
    connection::{self, Progress, RealAddress, Standing},
    desk::Desk,
    half_open,
    headers::Tcp,
    ip::Ip,
    ownership,
    packet::Packet,
    pressure, replies,
    tables::{Refused, Tables},
};

/// Brings the connection forward. `None` when there is no such connection, or no more.
#[inline(never)]
pub(crate) fn unproven<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Option<Outcome> {
    if desk.arrival.datagram.protocol == Protocol::Udp {
        return replies::first_datagram(tables, desk);
    }
    if !half_open::find(tables, desk) {
        return None;
    }
    if desk.arrival.datagram.has_bad_flags() {
        return Some(Outcome::BadTcpFlags);
    }
    if let Some(outcome) = ownership::gate(tables, desk) {
        return Some(outcome);
    }
    let begins = desk.arrival.datagram.flags & (SYN | ACK) == SYN;
    // What its real server has refused, and what eviction has left only half of, starts afresh.
    let standing = if begins && !may_begin_again(tables, desk) {
        Standing::Gone
    } else {
        connection::renew(tables, &desk.arrival, &mut desk.entry)
    };
    if standing != Standing::Alive {
        half_open::remove(tables, desk);
        // A client that repeats its SYN gets another real server at once.
        return if standing == Standing::Reset && !begins { Some(Outcome::Reset) } else { None };
    }
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    desk.entry.flags |= connection::seen(datagram.flags);
    desk.entry.last_seen = arrival.now;

    let header: &Tcp = packet.get(datagram.transport as usize)?;
    let (sequence, acknowledgment) = (header.sequence.get(), header.acknowledgment.get());
    let progress = connection::progress(
        desk.entry.flags,
        datagram.flags,
        acknowledgment,
        desk.other.flags,
        desk.server_sequence,
    );
    if progress == Progress::Answered {
        desk.entry.flags |= flags::SYN_ACK;
        desk.server_sequence = sequence;
    }
    let outcome = if progress == Progress::Proven { promote(tables, desk) } else { Outcome::Forwarded };
    if progress != Progress::Proven || outcome != Outcome::Forwarded {
        half_open::keep(tables, desk);
    }
    let reply = desk.entry.flags & flags::REPLY != 0;
    let bytes = desk.arrival.datagram.packet_length() as u64;
    tables.count(desk.entry.real_server, Row::of(reply), bytes);
    Some(outcome)
}

/// Whether a repeated SYN belongs to the connection.
#[inline(always)]
fn may_begin_again<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    !TcpState::of(desk.entry.flags, desk.other.flags).gives_way_to_syn() && half_open::is_whole(tables, desk)
}

/// Moves the connection to the established table, if that has room.
#[inline(always)]
fn promote<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> Outcome {
    // The key of the opposite direction.
    let is_reply = desk.entry.flags & flags::REPLY != 0;
    let key = &desk.arrival.datagram.key;
    let opposite = if is_reply { &desk.original } else { &desk.other_key };
    match connection::promote(tables, key, &desk.entry, opposite, &desk.other) {
        Ok(()) => half_open::remove(tables, desk),
        Err(Refused::Full) => {
            pressure::note(tables, &desk.arrival);
            return Outcome::TableFull;
        }
        // Another packet has done the same.
        Err(Refused::Exists) => {}
    }
    Outcome::Forwarded
}
