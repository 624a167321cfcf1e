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

/// What a real server costs; the lowest cost for its weight is chosen, the first of the pool where several have it.
#[inline(always)]
const fn cost(scheduling: Scheduling, load: &Load, weight: u64) -> u64 {
    match scheduling {
        // ip_vs_sed.c: only active connections count, and the one that is to come.
        Scheduling::ShortestDelay => load.active + 1,
        // ip_vs_nq.c: whoever is idle, however slow.
        Scheduling::NeverQueue => {
            if load.active == 0 {
                0
            } else {
                load.active + 1
            }
        }
        // ip_vs_fo.c: the highest weight.
        Scheduling::Failover => 1,
        // ip_vs_ovf.c: as long as active connections do not exceed the weight.
        Scheduling::Overflow => {
            if load.active > weight {
                NEVER
            } else {
                1
            }
        }
        // ip_vs_lc.c, ip_vs_wlc.c; the others, once their own choices could not take the connection.
        Scheduling::LeastConnection | Scheduling::Sequence | Scheduling::Hash | Scheduling::TwoChoices => {
            overhead(load)
        }
    }
}

/// The best real server that was not tried before and is not full, or [`NONE`].
#[inline(always)]
pub(crate) fn best<T: Common>(tables: &mut T, selection: &Selection, scheduling: Scheduling) -> u32 {
    let index = selection.index;
    let (Some(maglev), Some(sequence), Some(pool)) = (
        tables.scheduling(index, head::MAGLEV),
        tables.scheduling(index, head::SEQUENCE),
        tables.scheduling(index, head::POOL),
    ) else {
        return NONE;
    };
    let first = head::LENGTH + maglev + sequence;
    let [last, middle, earliest] = selection.tried;
    let mut best = NONE;
    let mut best_cost = 0u64;
    let mut best_weight = 0u64;
    for position in 0..POOL {
        if position >= pool {
            break;
        }
        let Some(candidate) = tables.scheduling(index, first + position) else { break };
        if candidate == last || candidate == middle || candidate == earliest {
            continue;
        }
        let Some(server) = tables.real_server(candidate).copied() else { continue };
        let Some(load) = tables.load(candidate).copied() else { continue };
        let weight = server.weight as u64;
        let cost = cost(scheduling, &load, weight);
        if weight == 0 || cost == NEVER || is_full(&server, &load) {
            continue;
        }
        // cost / weight < best_cost / best_weight, without dividing.
        if best == NONE || cost * best_weight < best_cost * weight {
            best = candidate;
            best_cost = cost;
            best_weight = weight;
        }
    }
    best
}
