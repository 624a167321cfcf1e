//! Where a TCP connection is until its handshake is proven: in one entry, by its client's tuple.
//!
//! The real server's packets find it by the tuple that they are known to answer (`replies`). Where that is not known,
//! because several virtual servers share the real server or the source is translated too, a second entry stands at the
//! reply's tuple and shows the way: a signpost.

pub mod set;

use lb_common::{
    addr::{Address, Protocol},
    connection::{ConnectionKey, HalfOpen, flags},
    tcp::header::{ACK, SYN},
};

use crate::{
    connection,
    desk::Desk,
    replies,
    tables::{Refused, Tables},
};

/// Puts the connection of the tuple on the desk there: `desk.entry` is the direction of that tuple, `desk.other` the opposite
/// one, `desk.original` the client's tuple, `desk.other_key` the real server's. False when there is none.
#[inline(never)]
pub(crate) fn find<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    // Who begins a connection does not answer one.
    if desk.arrival.datagram.flags & (SYN | ACK) != SYN
        && replies::infer(tables, Protocol::Tcp, &desk.arrival.datagram.key, &mut desk.original)
        && is_answered(tables, desk)
    {
        take(desk, true);
        return true;
    }
    desk.original.copy_from(&desk.arrival.datagram.key);
    if !tables.half_open(&desk.original, &mut desk.half) {
        return false;
    }
    if desk.half.connection.flags & flags::REPLY == 0 {
        take(desk, false);
        return true;
    }
    desk.original.reverse_from(&desk.half.connection.translated);
    if is_answered(tables, desk) {
        take(desk, true);
        return true;
    }
    false
}

/// Puts the entry of the client's tuple `desk.original` into `desk.half`; false when there is none, or when the packet is not
/// its real server's: another one does not have this connection.
#[inline(always)]
fn is_answered<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let half = &mut desk.half;
    tables.half_open(&desk.original, half)
        && half.connection.flags & flags::REPLY == 0
        && half.connection.translated.answers(&desk.arrival.datagram.key)
}

/// Takes `desk.half` apart into both directions.
#[inline(never)]
fn take<A: Address>(desk: &mut Desk<A>, is_reply: bool) {
    let half = &desk.half;
    let (request, reply) =
        if is_reply { (&mut desk.other, &mut desk.entry) } else { (&mut desk.entry, &mut desk.other) };
    request.copy_from(&half.connection);
    desk.other_key.reverse_from(&half.connection.translated);
    reply.translated.reverse_from(&desk.original);
    reply.l3_delta = half.reply_l3_delta;
    reply.l4_delta = half.reply_l4_delta;
    reply.next_hop.copy_from(&half.way_back);
    reply.flags = half.reply_flags;
    reply.generation = half.reply_generation;
    reply.last_seen = half.answered;
    reply.real_server = half.connection.real_server;
    desk.server_sequence = half.server_sequence;
}

/// Keeps what has become of `desk.entry` and of the sequence number; a signpost on its way was used, too.
#[inline(always)]
pub(crate) fn keep<A: Address, T: Tables<A>>(tables: &mut T, desk: &Desk<A>) {
    let entry = &desk.entry;
    if entry.flags & flags::REPLY == 0 {
        tables.change_half_open(&desk.original, |stored| stored.connection.copy_from(entry));
        return;
    }
    tables.change_half_open(&desk.original, |stored| {
        stored.server_sequence = desk.server_sequence;
        stored.reply_flags = entry.flags;
        stored.answered = entry.last_seen;
        stored.way_back.copy_from(&entry.next_hop);
        stored.reply_generation = entry.generation;
    });
    if desk.other.flags & flags::SIGNPOST != 0 {
        tables.change_half_open(&desk.other_key, |signpost| {
            signpost.reply_flags = entry.flags;
            signpost.connection.last_seen = entry.last_seen;
        });
    }
}

/// Whether the real server's packets find the client's connection on the desk.
#[inline(always)]
pub(crate) fn is_whole<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    replies::are_inferred(tables, desk) || tables.half_open(&desk.other_key, &mut desk.half)
}

/// Removes the connection on the desk.
#[inline(always)]
pub(crate) fn remove<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) {
    tables.remove_half_open(&desk.original);
    if (desk.entry.flags | desk.other.flags) & flags::SIGNPOST != 0 {
        tables.remove_half_open(&desk.other_key);
    }
}

/// Adds the connection of `desk.entry`, whose replies have the tuple `desk.other_key`: the signpost first, if it takes one.
/// If anything is refused, nothing was added.
#[inline(always)]
pub(crate) fn add<A: Address, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    signpost: bool,
) -> Result<(), Refused> {
    let arrival = &desk.arrival;
    let key = &arrival.datagram.key;
    let half = &mut desk.half;
    let at_reply = &mut half.connection;
    desk.key.reverse_from(key);
    let reply_flags = desk.entry.flags | flags::REPLY;
    connection::write(at_reply, &desk.other_key, &desk.key, reply_flags, desk.entry.real_server, arrival.now);
    at_reply.next_hop.copy_from(&desk.way_back);
    half.reply_l3_delta = at_reply.l3_delta;
    half.reply_l4_delta = at_reply.l4_delta;
    half.way_back.copy_from(&desk.way_back);
    half.reply_flags = reply_flags;
    half.reply_generation = 0;
    half.answered = arrival.now;
    half.server_sequence = 0;
    if signpost {
        insert(tables, &desk.other_key, half)?;
        desk.entry.flags |= flags::SIGNPOST;
    }
    half.connection.copy_from(&desk.entry);
    let added = insert(tables, key, half);
    if added.is_err() && signpost {
        tables.remove_half_open(&desk.other_key);
    }
    added
}

/// Adds an entry. A connection that is evicted for it is no load any more.
#[inline(always)]
fn insert<A: Address, T: Tables<A>>(
    tables: &mut T,
    key: &ConnectionKey<A>,
    half: &HalfOpen<A>,
) -> Result<(), Refused> {
    let evicted = tables.insert_half_open(key, half)?;
    if let Some(load) = tables.load(evicted) {
        load.inactive = load.inactive.saturating_sub(1);
    }
    Ok(())
}

/// Whether the connection of the client's tuple `desk.key` has the replies of the tuple `desk.other_key`.
#[inline(always)]
pub(crate) fn owns_replies<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    tables.half_open(&desk.key, &mut desk.half) && desk.half.connection.translated.answers(&desk.other_key)
}
