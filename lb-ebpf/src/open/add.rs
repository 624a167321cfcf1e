//! The entries of a new connection: one where its replies are inferred, else one for each direction.

use lb_common::{addr::Protocol, connection::flags, counter::Row, tcp::TcpState};

use crate::{
    connection,
    desk::Desk,
    half_open,
    ip::Ip,
    replies,
    tables::{Refused, Tables},
};

/// What became of the entries of a new connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Added {
    /// They are in the tables.
    Done,
    /// Nothing was added: its replies would be another connection's.
    Taken,
    /// Nothing was added: there is no room.
    Full,
}

impl Added {
    /// From the number of the variant.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Taken,
            _ => Self::Full,
        }
    }
}

/// Adds the connection of `desk.entry`.
#[inline(always)]
pub fn add<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> Added {
    desk.other_key.reverse_from(&desk.entry.translated);
    let inferred = replies::are_inferred(tables, desk);
    if !inferred && is_taken(tables, desk) {
        return Added::Taken;
    }
    match insert(tables, desk, inferred) {
        Ok(()) => Added::Done,
        Err(Refused::Exists) => Added::Taken,
        Err(Refused::Full) => Added::Full,
    }
}

/// Adds `desk.entry`, and before it an entry of the replies, unless these are inferred: if that is refused, nothing was added.
#[inline(always)]
fn insert<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>, inferred: bool) -> Result<(), Refused> {
    let protocol = desk.arrival.datagram.protocol;
    match protocol {
        Protocol::Tcp => half_open::add(tables, desk, !inferred)?,
        Protocol::Udp => insert_datagram(tables, desk, inferred)?,
    }
    let real_server = desk.entry.real_server;
    tables.count(real_server, Row::Opened, desk.arrival.datagram.packet_length() as u64);
    if let Some(load) = tables.load(real_server) {
        match protocol {
            Protocol::Tcp => load.inactive = load.inactive.wrapping_add(1),
            Protocol::Udp => load.active = load.active.wrapping_add(1),
        }
    }
    Ok(())
}

#[inline(always)]
fn insert_datagram<A: Ip, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    inferred: bool,
) -> Result<(), Refused> {
    let arrival = &desk.arrival;
    let key = &arrival.datagram.key;
    if !inferred {
        desk.key.reverse_from(key);
        let reply_flags = desk.entry.flags | flags::REPLY;
        let other = &mut desk.other;
        connection::write(
            other,
            &desk.other_key,
            &desk.key,
            reply_flags,
            desk.entry.real_server,
            arrival.now,
        );
        other.next_hop.copy_from(&desk.way_back);
        tables.insert(Protocol::Udp, &desk.other_key, other)?;
    }
    let added = tables.insert(Protocol::Udp, key, &desk.entry);
    if added.is_err() && !inferred {
        tables.remove(Protocol::Udp, &desk.other_key);
    }
    added
}

/// Whether replies from the chosen real server are already another connection's: another VIP in front of the same real
/// server, and a client that uses one port for both. What is left of this connection itself, or of one that is closing, is
/// removed.
#[inline(always)]
fn is_taken<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let protocol = desk.arrival.datagram.protocol;
    if protocol == Protocol::Tcp && tables.half_open(&desk.other_key, &mut desk.half) {
        desk.key.reverse_from(&desk.half.connection.translated);
        if desk.key != desk.arrival.datagram.key && half_open::owns_replies(tables, desk) {
            return true;
        }
        tables.remove_half_open(&desk.other_key);
    }
    let key = &desk.arrival.datagram.key;
    let Some(reply) = tables.connection(protocol, &desk.other_key) else { return false };
    let reply_flags = reply.flags;
    desk.key.reverse_from(&reply.translated);
    if desk.key != *key
        && let Some(owner) = tables.connection(protocol, &desk.key)
        && (protocol == Protocol::Udp
            // A port that another client has just used is not given to a new one: the real server might take it for the old.
            || desk.entry.flags & flags::SOURCE_NAT != 0
            || !TcpState::of(owner.flags, reply_flags).gives_way_to_syn())
    {
        return true;
    }
    connection::remove(tables, protocol, &desk.key, &desk.other_key);
    false
}
