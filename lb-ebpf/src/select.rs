//! Which real server a new connection gets.
//!
//! The schedulers are those of IPVS. Where IPVS walks through the pool on every choice though the algorithm does not ask
//! for it (wrr, sh, dh, mh, twos), a table that the controller has built answers at once.

use lb_common::{
    addr::Address,
    connection::ConnectionKey,
    hash::{HashKey, siphash},
    limits::ATTEMPTS,
    service::{Load, Scheduling, VirtualServer, virtual_server},
};

use crate::{
    scan::{self, overhead},
    tables::Common,
};

/// Slots of the head of a scheduling table, in the order of `SchedulingHead`.
pub(crate) mod head {
    pub(crate) const MAGLEV: u32 = 0;
    pub(crate) const SEQUENCE: u32 = 1;
    pub(crate) const POOL: u32 = 2;
    pub(crate) const LENGTH: u32 = 4;
}

/// Whether the choice may follow the scheduler or must be the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the scheduler says.
    Scheduled,
    /// By the Maglev table: a connection of which no state is known, or for which there is no room.
    Deterministic,
}

/// What a choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Index of the virtual server.
    pub index: u32,
    /// [`VirtualServer::scheduling`].
    pub scheduling: u32,
    /// The address that is hashed, as far as it counts.
    pub address: (u64, u64),
    /// The client's port, where it counts.
    pub port: u16,
    /// Who chooses.
    pub choice: Choice,
    /// Bits of the client's address whose connections stay together: their template goes before the choice. 0 without.
    pub client_prefix: u32,
    /// 0 for the choice that is meant; more when that one cannot take the connection.
    pub attempt: u32,
    /// What the attempts before have chosen, the last one first; [`NONE`] where there was none.
    pub tried: [u32; ATTEMPTS as usize - 1],
}

impl Selection {
    /// For a new connection to the virtual server at `index`.
    #[inline(always)]
    pub fn new<A: Address>(
        index: u32,
        server: &VirtualServer,
        key: &ConnectionKey<A>,
        choice: Choice,
    ) -> Self {
        let port = if server.flags & virtual_server::HASH_PORT != 0 { key.source_port.number() } else { 0 };
        let address = if server.flags & virtual_server::HASH_DESTINATION != 0 {
            key.destination
        } else if server.client_prefix != 0 {
            key.source.masked(server.client_prefix)
        } else {
            key.source
        };
        Self {
            index,
            scheduling: server.scheduling,
            address: address.words(),
            port,
            choice,
            client_prefix: server.client_prefix,
            attempt: 0,
            tried: [NONE; 3],
        }
    }
}

/// No real server: the virtual server has none that takes new connections.
pub const NONE: u32 = u32::MAX;

/// The index of the chosen real server, or [`NONE`].
///
/// When a choice cannot take the connection, the next attempt follows the scheduler again: to the next best, the next turn,
/// another slot. The last attempt looks through the whole pool, so nobody is refused while there is room somewhere.
#[inline(always)]
pub fn choose<T: Common>(tables: &mut T, selection: &Selection) -> u32 {
    let Some(scheduling) = Scheduling::from_number(selection.scheduling) else { return NONE };
    let scheduled = selection.choice == Choice::Scheduled;
    if selection.attempt + 1 == ATTEMPTS || (scheduled && scan::is_for(scheduling)) {
        return scan::best(tables, selection);
    }
    match scheduling {
        Scheduling::Sequence if scheduled => next_in_sequence(tables, selection.index).unwrap_or(NONE),
        Scheduling::TwoChoices if scheduled => less_loaded_of_two(tables, selection.index),
        _ => by_hash(tables, selection).unwrap_or(NONE),
    }
}

/// Whether a real server has reached its limit of connections, `max_connections`.
#[must_use]
#[inline(always)]
pub const fn is_full(limit: u32, load: &Load) -> bool {
    limit != 0 && load.active + load.inactive >= limit as u64
}

#[inline(always)]
fn next_in_sequence<T: Common>(tables: &mut T, index: u32) -> Option<u32> {
    let length = tables.scheduling(index, head::SEQUENCE)?;
    let first = head::LENGTH + tables.scheduling(index, head::MAGLEV)?;
    let turn = tables.next_turn(index).checked_rem(length)?;
    tables.scheduling(index, first + turn)
}

/// Two real servers at random, each as likely as its weight says (ip_vs_twos.c). One round of the sequence has every real
/// server as often as its weight, so a random turn of it is such a choice.
#[inline(always)]
fn less_loaded_of_two<T: Common>(tables: &mut T, index: u32) -> u32 {
    let one = random_turn(tables, index);
    let other = random_turn(tables, index);
    let Some(server) = tables.real_server(one).copied() else { return other };
    let Some(load) = tables.load(one).copied() else { return other };
    let Some(other_server) = tables.real_server(other).copied() else { return one };
    let Some(other_load) = tables.load(other).copied() else { return one };
    let is_lighter =
        overhead(&load) * other_server.weight as u64 > overhead(&other_load) * server.weight as u64;
    let takes_other = !is_full(other_server.max_connections, &other_load)
        && (is_lighter || is_full(server.max_connections, &load));
    if takes_other { other } else { one }
}

/// What a random slot of the sequence names, or [`NONE`].
#[inline(always)]
fn random_turn<T: Common>(tables: &mut T, index: u32) -> u32 {
    let Some(maglev) = tables.scheduling(index, head::MAGLEV) else { return NONE };
    let Some(length) = tables.scheduling(index, head::SEQUENCE) else { return NONE };
    let turn = scaled(tables.random(), length);
    if turn >= length {
        return NONE;
    }
    tables.scheduling(index, head::LENGTH + maglev + turn).unwrap_or(NONE)
}

#[inline(always)]
fn by_hash<T: Common>(tables: &T, selection: &Selection) -> Option<u32> {
    let length = tables.scheduling(selection.index, head::MAGLEV)?;
    let (high, low) = selection.address;
    let words = [high, low, u64::from(selection.attempt) << 32 | u64::from(selection.port)];
    let hash = siphash(HashKey(tables.settings()?.hash_key), words);
    let slot = scaled((hash >> 32) as u32, length);
    if length == 0 { None } else { tables.scheduling(selection.index, head::LENGTH + slot) }
}

/// A number below `length` from one of all 32-bit numbers, without dividing: the upper half of a product.
#[inline(always)]
const fn scaled(number: u32, length: u32) -> u32 {
    ((number as u64 * length as u64) >> 32) as u32
}

#[cfg(test)]
mod tests;
