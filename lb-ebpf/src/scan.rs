//! The schedulers that compare all real servers of a pool.

use lb_common::{
    limits::POOL,
    service::{Load, Scheduling},
};

use crate::{
    select::{NONE, Selection, head, is_full},
    tables::Common,
};

/// Whether the scheduler's choice is one of these.
#[inline(always)]
pub(crate) const fn is_for(scheduling: Scheduling) -> bool {
    match scheduling {
        Scheduling::LeastConnection
        | Scheduling::ShortestDelay
        | Scheduling::NeverQueue
        | Scheduling::Failover
        | Scheduling::Overflow => true,
        Scheduling::Sequence | Scheduling::Hash | Scheduling::TwoChoices => false,
    }
}

/// The load of IPVS's lc, wlc and twos: an active connection weighs as much as 256 inactive ones (ip_vs.h,
/// `ip_vs_dest_conn_overhead`).
#[inline(always)]
pub(crate) const fn overhead(load: &Load) -> u64 {
    (load.active << 8) + load.inactive
}

/// It takes no connection.
const NEVER: u64 = u64::MAX;

#[inline(always)]
const fn cost(scheduling: Scheduling, load: &Load, weight: u64) -> u64 {
    match scheduling {
        // ip_vs_sed.c: only active connections count, and the one that is to come.
        Scheduling::ShortestDelay => load.active + 1,
        // ip_vs_nq.c: whoever is idle, however slow.
        Scheduling::NeverQueue if load.active == 0 => 0,
        Scheduling::NeverQueue => load.active + 1,
        // ip_vs_ovf.c: as long as active connections do not exceed the weight.
        Scheduling::Overflow if load.active > weight => NEVER,
        // ip_vs_fo.c: the highest weight.
        Scheduling::Failover | Scheduling::Overflow => 1,
        // ip_vs_lc.c, ip_vs_wlc.c; the others, once their own choices could not take the connection.
        Scheduling::LeastConnection | Scheduling::Sequence | Scheduling::Hash | Scheduling::TwoChoices => {
            overhead(load)
        }
    }
}

/// The score of the candidate in a slot of the pool, if it was not tried before; else [`u64::MAX`].
#[inline(always)]
pub fn untried<T: Common>(tables: &mut T, selection: &Selection, slot: u32) -> u64 {
    let candidate = tables.scheduling(selection.index, slot).unwrap_or(NONE);
    let [last, middle, earliest] = selection.tried;
    if candidate == NONE || candidate == last || candidate == middle || candidate == earliest {
        return NEVER;
    }
    score(tables, candidate, selection.scheduling)
}

/// What a real server costs for its weight, in units of 2^-32: finer than two such fractions can differ, so their order is
/// that of the exact ones. [`u64::MAX`] where it takes no connection.
#[inline(always)]
pub fn score<T: Common>(tables: &mut T, candidate: u32, scheduling: u32) -> u64 {
    let Some(scheduling) = Scheduling::from_number(scheduling) else { return NEVER };
    let Some(server) = tables.real_server(candidate) else { return NEVER };
    let (weight, limit) = (server.weight as u64, server.max_connections);
    let Some(load) = tables.load(candidate) else { return NEVER };
    let cost = cost(scheduling, load, weight);
    if weight == 0 || cost > u32::MAX as u64 || is_full(limit, load) {
        return NEVER;
    }
    (cost << 32) / weight
}

/// The best real server that was not tried before, or [`NONE`]: the first of the pool that has the lowest score.
#[inline(always)]
pub(crate) fn best<T: Common>(tables: &mut T, selection: &Selection) -> u32 {
    let index = selection.index;
    let Some(maglev) = tables.scheduling(index, head::MAGLEV) else { return NONE };
    let Some(sequence) = tables.scheduling(index, head::SEQUENCE) else { return NONE };
    let Some(pool) = tables.scheduling(index, head::POOL) else { return NONE };
    let first = head::LENGTH + maglev + sequence;
    let mut best = NONE;
    let mut best_score = NEVER;
    for position in 0..POOL {
        if position >= pool {
            break;
        }
        let score = tables.score(selection, first + position);
        if score < best_score {
            // Not the position: the verifier would follow every one of them apart.
            best = tables.scheduling(index, first + position).unwrap_or(NONE);
            best_score = score;
        }
    }
    best
}
