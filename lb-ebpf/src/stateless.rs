//! A packet that is not for a VIP and has no entry: a real server's reply whose connection is known nowhere, or a packet that
//! is none of our business.

use lb_common::{connection::flags, outcome::Outcome};

use crate::{
    connection,
    desk::Desk,
    ip::Ip,
    ownership, replies,
    tables::{Route, Tables},
};

/// Translates a real server's packet by the reverse index.
#[inline(never)]
pub(crate) fn reply<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> Outcome {
    let arrival = &desk.arrival;
    let datagram = &arrival.datagram;
    let key = &datagram.key;
    if !replies::infer(tables, datagram.protocol, key, &mut desk.original) {
        return Outcome::NoService;
    }
    desk.key.reverse_from(&desk.original);
    connection::write(&mut desk.entry, key, &desk.key, flags::REPLY, 0, arrival.now);
    let route = tables.route(datagram.protocol, &desk.key, arrival.interface, &mut desk.entry.next_hop);
    // This machine's own traffic with the real server, health checks among it, is not forwarded and stays as it is.
    if route == Route::NotForwarded {
        return Outcome::NoService;
    }
    if !ownership::is_owned(tables, desk.key.source, desk.arrival.now) {
        return Outcome::Disowned;
    }
    if route == Route::Via { Outcome::StatelessReply } else { Outcome::NoService }
}
