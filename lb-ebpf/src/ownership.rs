//! Whether this node owns a VIP: for one that nodes elect an owner of, only the owner forwards, in either direction.

use lb_common::{connection::flags, outcome::Outcome, service::lease};

use crate::{
    desk::Desk,
    ip::Ip,
    parse::Arrival,
    tables::{Route, Tables},
};

/// Whether packets for this VIP and from it are this node's to forward.
#[inline(always)]
pub(crate) fn is_owned<A: Ip, T: Tables<A>>(tables: &T, vip: A, now: u32) -> bool {
    if tables.settings().is_some_and(|settings| settings.lease == 0) {
        return true;
    }
    let slot = tables.lease_of(vip);
    slot == lease::NONE || lease::holds(tables.lease(slot), now)
}

/// How a packet of the connection in `desk.entry` ends when its VIP is not owned; `None` when it is.
#[inline(never)]
pub(crate) fn gate<A: Ip, T: Tables<A>>(tables: &mut T, desk: &mut Desk<A>) -> Option<Outcome> {
    let arrival = &desk.arrival;
    // A real server's packet with its own address would make the client reset a connection that lives on elsewhere.
    if desk.entry.flags & flags::REPLY != 0 {
        let owned = is_owned(tables, desk.entry.translated.source, arrival.now);
        return if owned { None } else { Some(Outcome::Disowned) };
    }
    if is_owned(tables, arrival.datagram.key.destination, arrival.now) {
        return None;
    }
    Some(refuse(tables, &desk.arrival, &mut desk.entry.next_hop))
}

/// How a packet for a VIP that is not owned ends. Where the VIP still is an address of this machine, the kernel would
/// answer in the owner's place; where it is not, the kernel routes the packet on.
#[inline(always)]
pub(crate) fn refuse<A: Ip, T: Tables<A>>(
    tables: &mut T,
    arrival: &Arrival<A>,
    next_hop: &mut lb_common::connection::NextHop,
) -> Outcome {
    let datagram = &arrival.datagram;
    match tables.route(datagram.protocol, &datagram.key, arrival.interface, next_hop) {
        Route::Via | Route::NeighbourUnknown => Outcome::NotOwner,
        Route::NotForwarded => Outcome::Disowned,
    }
}
