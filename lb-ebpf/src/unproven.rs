//! A packet of a TCP connection whose handshake is not proven yet.

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
    headers::Tcp,
    ip::Ip,
    ownership,
    packet::Packet,
    pressure,
    tables::{Refused, Tables},
};

/// Brings the connection forward. `None` when there is no such connection, or no more.
#[inline(never)]
pub(crate) fn unproven<A: Ip + RealAddress, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &mut T,
    desk: &mut Desk<A>,
) -> Option<Outcome> {
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    let key = &datagram.key;
    if datagram.protocol != Protocol::Tcp {
        return None;
    }
    desk.entry.copy_from(&tables.half_open(key)?.connection);
    desk.other_key = desk.entry.translated.reversed();
    if datagram.has_bad_flags() {
        return Some(Outcome::BadTcpFlags);
    }
    if let Some(outcome) = ownership::gate(tables, desk) {
        return Some(outcome);
    }
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    let key = &datagram.key;
    let (mut other_flags, mut server_sequence) = (0, 0);
    let other = tables.half_open(&desk.other_key);
    let complete = other.is_some();
    if let Some(other) = other {
        desk.other.connection.copy_from(&other.connection);
        other_flags = other.connection.flags;
        server_sequence = other.server_sequence;
    }
    // What eviction has left only half of, what a reset has ended, and what lost its real server starts afresh.
    let refused =
        datagram.flags & (SYN | ACK) == SYN && TcpState::of(desk.entry.flags, other_flags).gives_way_to_syn();
    let standing = if !complete || refused {
        Standing::Gone
    } else {
        connection::renew(tables, arrival, &mut desk.entry)
    };
    if standing != Standing::Alive {
        connection::remove_half_open(tables, key, &desk.other_key);
        // A client that repeats its SYN gets another real server at once.
        let begins = datagram.flags & (SYN | ACK) == SYN;
        return if standing == Standing::Reset && !begins { Some(Outcome::Reset) } else { None };
    }
    desk.entry.flags |= connection::seen(datagram.flags);
    desk.entry.last_seen = arrival.now;

    let header: &Tcp = packet.get(datagram.transport as usize)?;
    let (sequence, acknowledgment) = (header.sequence.get(), header.acknowledgment.get());
    let progress =
        connection::progress(desk.entry.flags, datagram.flags, acknowledgment, other_flags, server_sequence);
    if progress == Progress::Answered {
        desk.entry.flags |= flags::SYN_ACK;
    }
    if let Some(stored) = tables.half_open(key) {
        stored.connection.copy_from(&desk.entry);
        if progress == Progress::Answered {
            stored.server_sequence = sequence;
        }
    }
    let mut outcome = Outcome::Forwarded;
    if progress == Progress::Proven {
        match connection::promote(tables, key, &desk.entry, &desk.other_key, &desk.other.connection) {
            Ok(()) => connection::remove_half_open(tables, key, &desk.other_key),
            Err(Refused::Full) => {
                pressure::note(tables, arrival);
                outcome = Outcome::TableFull;
            }
            Err(Refused::Exists) => {}
        }
    }
    let reply = desk.entry.flags & flags::REPLY != 0;
    tables.count(desk.entry.real_server, Row::of(reply), datagram.packet_length() as u64);
    Some(outcome)
}
