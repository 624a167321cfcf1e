//! Whose packets a real server answers, where no entry says so: the reverse index knows it of one that has a single virtual
//! server with a single address. Connections to such a real server have no entry for replies before there is one, and nobody
//! else's connection can have these replies.

use lb_common::{
    addr::{Address, Protocol},
    connection::{ConnectionKey, flags},
    counter::Row,
    outcome::Outcome,
    service::ServiceKey,
};

use crate::{
    connection::{self, Standing},
    desk::Desk,
    ip::Ip,
    ownership,
    tables::Tables,
};

/// Makes `original` the tuple of the client whose packet a real server's `reply` answers; false when that is not known.
#[inline(always)]
pub(crate) fn infer<A: Address, T: Tables<A>>(
    tables: &T,
    protocol: Protocol,
    reply: &ConnectionKey<A>,
    original: &mut ConnectionKey<A>,
) -> bool {
    let real = ServiceKey { address: reply.source, port: reply.source_port, protocol: protocol as u16 };
    let Some(service) = tables.reverse(&real) else { return false };
    original.source.copy_from(&reply.destination);
    original.destination.copy_from(&service.address);
    original.source_port = reply.destination_port;
    original.destination_port = service.port;
    true
}

/// Whether replies of the tuple `desk.other_key` are known to answer the client on the desk. Overwrites `desk.key`.
#[inline(always)]
pub(crate) fn are_inferred<A: Address, T: Tables<A>>(tables: &T, desk: &mut Desk<A>) -> bool {
    let datagram = &desk.arrival.datagram;
    infer(tables, datagram.protocol, &desk.other_key, &mut desk.key) && desk.key == datagram.key
}

/// Puts the real server's direction of the UDP connection that the tuple on the desk answers into `desk.entry`; false when it
/// answers nobody.
#[inline(always)]
pub(crate) fn find<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let answers = ask(tables, desk);
    if answers {
        turn(desk);
    }
    answers
}

/// Whether it answers somebody: whom, as `desk.original`, and flags and real server of `desk.entry`. Not inlined, as [`turn`]:
/// neither has to be on the stack below the other.
#[inline(never)]
fn ask<A: Address, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> bool {
    let key = &desk.arrival.datagram.key;
    if !infer(tables, Protocol::Udp, key, &mut desk.original) {
        return false;
    }
    let Some(request) = tables.connection(Protocol::Udp, &desk.original) else { return false };
    // Another real server's, which was not asked.
    if !request.translated.answers(key) {
        return false;
    }
    desk.entry.flags = request.flags | flags::REPLY;
    desk.entry.real_server = request.real_server;
    true
}

/// Makes the rest of `desk.entry`.
#[inline(never)]
fn turn<A: Address>(desk: &mut Desk<A>) {
    let arrival = &desk.arrival;
    desk.other_key.reverse_from(&desk.original);
    let (reply_flags, real_server) = (desk.entry.flags, desk.entry.real_server);
    connection::write(
        &mut desk.entry,
        &arrival.datagram.key,
        &desk.other_key,
        reply_flags,
        real_server,
        arrival.now,
    );
}

/// The first datagram of a real server to a client: adds its direction. `None` when it answers nobody.
#[inline(always)]
pub(crate) fn first_datagram<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> Option<Outcome> {
    if !find(tables, desk) {
        return None;
    }
    if let Some(outcome) = ownership::gate(tables, desk) {
        return Some(outcome);
    }
    if connection::renew(tables, &desk.arrival, &mut desk.entry) != Standing::Alive {
        tables.remove(Protocol::Udp, &desk.original);
        return None;
    }
    let datagram = &desk.arrival.datagram;
    if desk.entry.next_hop.mtu != 0 {
        // Another packet may have done the same.
        let _ = tables.insert(Protocol::Udp, &datagram.key, &desk.entry);
    } else if let Some(request) = tables.connection(Protocol::Udp, &desk.original) {
        // Nobody knows the way to the client. Its next datagram comes from there, and is looked at closely.
        request.generation = 0;
    }
    tables.count(desk.entry.real_server, Row::Replies, datagram.packet_length() as u64);
    Some(Outcome::Forwarded)
}
