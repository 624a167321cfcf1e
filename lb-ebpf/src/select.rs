//! Which real server a new connection gets.

use lb_common::{
    addr::Address,
    connection::ConnectionKey,
    hash::{HashKey, siphash},
    limits::POOL,
    service::{Load, RealServer, Scheduling, VirtualServer, virtual_server},
};

use crate::tables::Common;

/// Slots of the head of a scheduling table, in the order of `SchedulingHead`.
mod head {
    pub(super) const MAGLEV: u32 = 0;
    pub(super) const SEQUENCE: u32 = 1;
    pub(super) const POOL: u32 = 2;
    pub(super) const LENGTH: u32 = 4;
}

/// Whether the choice may follow the scheduler or must be the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the scheduler says.
    Scheduled,
    /// By the Maglev table: a connection of which no state is known.
    Deterministic,
}

/// What a choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Index of the virtual server.
    pub index: u32,
    /// [`VirtualServer::scheduling`].
    pub scheduling: u32,
    /// The client's address, as far as it counts.
    pub source: (u64, u64),
    /// The client's port, where it counts.
    pub port: u16,
    /// Who chooses.
    pub choice: Choice,
    /// A client's connections stay together: its template goes before the choice.
    pub persistent: bool,
    /// 0 for the choice that is meant; more when that one cannot take the connection.
    pub attempt: u32,
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
        let persistent = server.client_prefix != 0;
        let client = if persistent { key.source.masked(server.client_prefix) } else { key.source };
        Self {
            index,
            scheduling: server.scheduling,
            source: client.words(),
            port,
            choice,
            persistent,
            attempt: 0,
        }
    }
}

/// No real server: the virtual server has none that takes new connections.
pub const NONE: u32 = u32::MAX;

/// The index of the chosen real server, or [`NONE`].
#[inline(always)]
pub fn choose<T: Common>(tables: &mut T, selection: &Selection) -> u32 {
    let chosen = match (selection.choice, Scheduling::from_number(selection.scheduling), selection.attempt) {
        (Choice::Scheduled, Some(Scheduling::Sequence), _) => next_in_sequence(tables, selection.index),
        (Choice::Scheduled, Some(Scheduling::LeastConnection), 0) => {
            least_connection(tables, selection.index)
        }
        _ => by_hash(tables, selection),
    };
    chosen.unwrap_or(NONE)
}

/// Whether a real server has reached its connection limit.
#[must_use]
#[inline(always)]
pub const fn is_full(server: &RealServer, load: &Load) -> bool {
    server.max_connections != 0 && load.active + load.inactive >= server.max_connections as u64
}

#[inline(always)]
fn next_in_sequence<T: Common>(tables: &mut T, index: u32) -> Option<u32> {
    let length = tables.scheduling(index, head::SEQUENCE)?;
    let first = head::LENGTH + tables.scheduling(index, head::MAGLEV)?;
    let turn = tables.next_turn(index).checked_rem(length)?;
    tables.scheduling(index, first + turn)
}

#[inline(always)]
fn by_hash<T: Common>(tables: &T, selection: &Selection) -> Option<u32> {
    let length = tables.scheduling(selection.index, head::MAGLEV)?;
    let (high, low) = selection.source;
    let words = [high, low, u64::from(selection.attempt) << 32 | u64::from(selection.port)];
    let hash = siphash(HashKey(tables.settings()?.hash_key), words);
    // Scales instead of dividing: the upper half of a 32 by 32 bit product.
    let slot = ((hash >> 32) * u64::from(length)) >> 32;
    if length == 0 { None } else { tables.scheduling(selection.index, head::LENGTH + slot as u32) }
}

/// The load of IPVS's lc and wlc: an active connection weighs as much as 256 inactive ones (ip_vs_wlc.c).
#[inline(always)]
const fn overhead(load: &Load) -> u64 {
    (load.active << 8) + load.inactive
}

#[inline(always)]
fn least_connection<T: Common>(tables: &mut T, index: u32) -> Option<u32> {
    let maglev = tables.scheduling(index, head::MAGLEV)?;
    let sequence = tables.scheduling(index, head::SEQUENCE)?;
    let pool = tables.scheduling(index, head::POOL)?;
    let first = head::LENGTH + maglev + sequence;
    let mut best = None;
    let mut best_overhead = 0u64;
    let mut best_weight = 0u64;
    for position in 0..POOL {
        if position >= pool {
            break;
        }
        let candidate = tables.scheduling(index, first + position)?;
        let Some(server) = tables.real_server(candidate).copied() else { continue };
        let Some(load) = tables.load(candidate).copied() else { continue };
        if server.weight == 0 || is_full(&server, &load) {
            continue;
        }
        let overhead = overhead(&load);
        // overhead / weight < best_overhead / best_weight, without dividing.
        if best.is_none() || overhead * best_weight < best_overhead * server.weight as u64 {
            best = Some(candidate);
            best_overhead = overhead;
            best_weight = server.weight as u64;
        }
    }
    best
}
