//! A full connection table: connections go on without an entry that lasts.
//!
//! While there is no room, whoever opens a connection gets the real server that a packet without state would get. So the
//! connection outlives its half-open entry, which a flood may evict: its later packets reach the same real server.

use crate::{parse::Arrival, tables::Common};

/// How long after a connection found no room the tables count as full. Long against the time a handshake takes: what
/// is begun shortly before must not be begun by the scheduler and go on by the hash.
const SECONDS: u32 = 10;

/// A connection has found no room.
#[inline(always)]
pub(crate) fn note<A, T: Common>(tables: &mut T, arrival: &Arrival<A>) {
    if let Some(since) = tables.pressure() {
        *since = arrival.now.wrapping_add(1);
    }
}

/// Whether connections have found no room lately.
#[inline(always)]
pub(crate) fn is_on<A, T: Common>(tables: &mut T, arrival: &Arrival<A>) -> bool {
    let now = arrival.now.wrapping_add(1);
    tables
        .pressure()
        .is_some_and(|since| *since != 0 && now.wrapping_sub(*since) < SECONDS * arrival.ticks_per_second)
}
