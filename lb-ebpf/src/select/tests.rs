//! The choices of a pool in any state, compared with what IPVS does with it: its loops, written down as they are.

use std::collections::BTreeMap;

use lb_common::{
    limits::{ATTEMPTS, POOL},
    service::{Load, RealServer, Scheduling, Settings},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::memory::Memory;

/// A real server as IPVS sees it (`struct ip_vs_dest`).
#[derive(Clone, Copy, Debug)]
struct Dest {
    weight: u32,
    active: u64,
    inactive: u64,
    limit: u32,
}

impl Dest {
    fn is_overloaded(&self) -> bool {
        self.limit != 0 && self.active + self.inactive >= u64::from(self.limit)
    }

    fn overhead(&self) -> u64 {
        self.active * 256 + self.inactive
    }
}

fn dest() -> impl Strategy<Value = Dest> {
    let weight = prop_oneof![Just(0), Just(1), 1..10u32, 1..=65_535u32];
    let limit = prop_oneof![3 => Just(0), 1 => 1..20u32];
    (weight, 0..12u64, 0..600u64, limit).prop_map(|(weight, active, inactive, limit)| Dest {
        weight,
        active,
        inactive,
        limit,
    })
}

/// Real server 100 + n is the n-th of the pool.
const FIRST: u32 = 100;

/// Tables of a virtual server with this pool. Its Maglev table and its sequence have one slot for each unit of weight, up to a
/// hundred.
fn tables(pool: &[Dest]) -> Memory {
    let mut memory = Memory { settings: Some(Settings::default()), ..Memory::default() };
    let mut slots = Vec::new();
    let mut members = Vec::new();
    for (index, dest) in (FIRST..).zip(pool) {
        let server = RealServer { weight: dest.weight, max_connections: dest.limit, ..RealServer::default() };
        memory.real_servers.insert(index, server);
        memory.loads.insert(index, Load { active: dest.active, inactive: dest.inactive });
        if dest.weight > 0 {
            slots.extend(std::iter::repeat_n(index, dest.weight.min(100) as usize));
            members.push(index);
        }
    }
    let head = [slots.len() as u32, slots.len() as u32, members.len() as u32, 0];
    memory.scheduling.insert(0, [&head[..], &slots, &slots, &members].concat());
    memory
}

fn selection(scheduling: Scheduling) -> Selection {
    Selection {
        index: 0,
        scheduling: scheduling as u32,
        address: (7, 0),
        port: 40_000,
        choice: Choice::Scheduled,
        client_prefix: 0,
        attempt: 0,
        tried: [NONE; 3],
    }
}

/// Position in the pool of the choice.
fn chosen(memory: &mut Memory, selection: &Selection) -> Option<usize> {
    let index = choose(memory, selection);
    (index != NONE).then(|| (index - FIRST) as usize)
}

/// The choice of IPVS: a walk through the pool that keeps the best so far.
fn ipvs(scheduling: Scheduling, pool: &[Dest]) -> Option<usize> {
    let usable = |dest: &Dest| !dest.is_overloaded() && dest.weight > 0;
    if scheduling == Scheduling::NeverQueue
        && let Some(idle) = pool.iter().position(|dest| usable(dest) && dest.active == 0)
    {
        return Some(idle);
    }
    let mut least: Option<usize> = None;
    for (position, dest) in pool.iter().enumerate() {
        if !usable(dest) || (scheduling == Scheduling::Overflow && dest.active > u64::from(dest.weight)) {
            continue;
        }
        let is_better = |best: &Dest| match scheduling {
            Scheduling::LeastConnection => {
                best.overhead() * u64::from(dest.weight) > dest.overhead() * u64::from(best.weight)
            }
            Scheduling::ShortestDelay | Scheduling::NeverQueue => {
                (best.active + 1) * u64::from(dest.weight) > (dest.active + 1) * u64::from(best.weight)
            }
            Scheduling::Failover | Scheduling::Overflow => dest.weight > best.weight,
            Scheduling::Sequence | Scheduling::Hash | Scheduling::TwoChoices => unreachable!(),
        };
        if least.is_none_or(|best| is_better(&pool[best])) {
            least = Some(position);
        }
    }
    least
}

const SCANNING: [Scheduling; 5] = [
    Scheduling::LeastConnection,
    Scheduling::ShortestDelay,
    Scheduling::NeverQueue,
    Scheduling::Failover,
    Scheduling::Overflow,
];

const OTHERS: [Scheduling; 3] = [Scheduling::Sequence, Scheduling::Hash, Scheduling::TwoChoices];

proptest! {
    #[test]
    fn a_pool_in_any_state_is_scheduled_as_ipvs_does_it(pool in vec(dest(), 0..12)) {
        for scheduling in SCANNING {
            let ours = chosen(&mut tables(&pool), &selection(scheduling));
            prop_assert_eq!(ours, ipvs(scheduling, &pool), "{:?}", scheduling);
        }
    }

    #[test]
    fn an_attempt_after_a_collision_takes_the_next_best(pool in vec(dest(), 0..12)) {
        for scheduling in SCANNING {
            let mut memory = tables(&pool);
            let mut rest = pool.clone();
            let mut selection = selection(scheduling);
            for attempt in 0..ATTEMPTS {
                selection.attempt = attempt;
                let ours = chosen(&mut memory, &selection);
                prop_assert_eq!(ours, ipvs(scheduling, &rest), "{:?}, attempt {}", scheduling, attempt);
                let Some(position) = ours else { break };
                rest[position].weight = 0;
                selection.tried = [FIRST + position as u32, selection.tried[0], selection.tried[1]];
            }
        }
    }

    #[test]
    fn the_last_attempt_finds_whoever_has_room(pool in vec(dest(), 1..12)) {
        for scheduling in OTHERS {
            for choice in [Choice::Scheduled, Choice::Deterministic] {
                let selection = Selection { attempt: ATTEMPTS - 1, choice, ..selection(scheduling) };
                let ours = chosen(&mut tables(&pool), &selection);
                prop_assert_eq!(ours, ipvs(Scheduling::LeastConnection, &pool), "{:?}", scheduling);
            }
        }
    }

    #[test]
    fn nobody_of_weight_0_is_chosen_by_any_scheduler(pool in vec(dest(), 0..12)) {
        for scheduling in SCANNING.into_iter().chain(OTHERS) {
            for choice in [Choice::Scheduled, Choice::Deterministic] {
                for attempt in 0..ATTEMPTS {
                    let selection = Selection { attempt, choice, ..selection(scheduling) };
                    if let Some(position) = chosen(&mut tables(&pool), &selection) {
                        prop_assert!(pool[position].weight > 0, "{:?} chose {}", scheduling, position);
                    }
                }
            }
        }
    }
}

const IDLE: Dest = Dest { weight: 1, active: 0, inactive: 0, limit: 0 };

#[test]
fn the_last_of_the_largest_pool_is_found() {
    let mut pool = vec![Dest { active: 1, ..IDLE }; POOL as usize];
    pool[POOL as usize - 1].active = 0;
    for scheduling in [Scheduling::LeastConnection, Scheduling::ShortestDelay, Scheduling::NeverQueue] {
        assert_eq!(chosen(&mut tables(&pool), &selection(scheduling)), Some(POOL as usize - 1));
    }
}

/// Opens connections that all stay; how many each real server has.
fn holds(pool: &[Dest], scheduling: Scheduling, connections: u32) -> Vec<u64> {
    let mut memory = tables(pool);
    for number in 0..connections {
        let selection = Selection { address: (u64::from(number), 0), ..selection(scheduling) };
        let index = choose(&mut memory, &selection);
        memory.loads.get_mut(&index).unwrap().active += 1;
    }
    memory.loads.values().map(|load| load.active).collect()
}

#[test]
fn proportional_schedulers_are_within_two_percent_over_40_000_connections() {
    const CONNECTIONS: u32 = 40_000;
    let weights = [3, 1, 7, 5];
    let pool = weights.map(|weight| Dest { weight, ..IDLE });
    for scheduling in [
        Scheduling::Sequence,
        Scheduling::LeastConnection,
        Scheduling::Hash,
        Scheduling::ShortestDelay,
        Scheduling::NeverQueue,
        Scheduling::TwoChoices,
    ] {
        for (held, weight) in holds(&pool, scheduling, CONNECTIONS).into_iter().zip(weights) {
            let due = f64::from(CONNECTIONS) * f64::from(weight) / f64::from(weights.iter().sum::<u32>());
            let error = (held as f64 - due).abs() / f64::from(CONNECTIONS);
            assert!(error < 0.02, "{scheduling:?}: {held} instead of {due}");
        }
    }
}

#[test]
fn an_overflowing_pool_fills_one_real_server_after_the_other() {
    let pool = [3, 9, 5].map(|weight| Dest { weight, ..IDLE });
    // As in IPVS, a weight has to be exceeded: each takes one connection more.
    assert_eq!(holds(&pool, Scheduling::Overflow, 10), [0, 10, 0]);
    assert_eq!(holds(&pool, Scheduling::Overflow, 16), [0, 10, 6]);
    assert_eq!(holds(&pool, Scheduling::Overflow, 20), [4, 10, 6]);
    let full = [3, 9, 5].map(|weight| Dest { weight, active: u64::from(weight) + 1, ..IDLE });
    assert_eq!(chosen(&mut tables(&full), &selection(Scheduling::Overflow)), None);
}

#[test]
fn two_random_picks_even_out_what_one_would_not() {
    let spread = |scheduling| {
        let held = holds(&[IDLE; 50], scheduling, 10_000);
        held.iter().max().unwrap() - held.iter().min().unwrap()
    };
    // Balls into bins: the gap of one choice grows with their number, that of two does not (Mitzenmacher 1996).
    assert!(spread(Scheduling::TwoChoices) <= 8, "{}", spread(Scheduling::TwoChoices));
    assert!(spread(Scheduling::Hash) > 20, "{}", spread(Scheduling::Hash));
}

#[test]
fn two_random_picks_follow_the_weights_where_loads_do_not_matter() {
    let pool = [1, 3].map(|weight| Dest { weight, ..IDLE });
    let mut memory = tables(&pool);
    let mut counts = BTreeMap::new();
    for _ in 0..40_000 {
        *counts.entry(chosen(&mut memory, &selection(Scheduling::TwoChoices))).or_insert(0u32) += 1;
    }
    let share = f64::from(counts[&Some(0)]) / 40_000.0;
    assert!((share - 0.25).abs() < 0.02, "{share}");
}

#[test]
fn destination_hashing_sends_a_destination_to_one_real_server_whoever_asks() {
    use lb_common::addr::{Port, V4};

    let mut memory = tables(&[IDLE; 5]);
    let server = VirtualServer {
        scheduling: Scheduling::Hash as u32,
        flags: virtual_server::HASH_DESTINATION,
        client_prefix: 0,
    };
    let mut all = std::collections::BTreeSet::new();
    for destination in 0..20 {
        let mut found = std::collections::BTreeSet::new();
        for client in 0..20 {
            let key = ConnectionKey {
                source: V4::from_wire(client),
                destination: V4::from_wire(destination),
                source_port: Port::new(40_000),
                destination_port: Port::new(80),
            };
            found.insert(choose(&mut memory, &Selection::new(0, &server, &key, Choice::Scheduled)));
        }
        assert_eq!(found.len(), 1, "destination {destination}");
        all.extend(found);
    }
    assert_eq!(all.len(), 5);
}
