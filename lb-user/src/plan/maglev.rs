//! Maglev tables (Eisenbud et al., NSDI 2016, section 3.4), weighted.

use std::net::SocketAddr;

use lb_common::{
    hash::{HashKey, siphash},
    limits::MAGLEV_SLOTS,
};

use super::table::Backend;

/// Primes that a table may have as its size, in ascending order. With the first one, head and pool of ten real servers
/// fit into the same page of memory.
const SIZES: [u32; 7] = [1009, 2039, 4093, 8191, 16_381, 32_749, MAGLEV_SLOTS];

/// Slots for each real server that keep the largest and the smallest share within a percent (section 5.3).
const SLOTS_PER_BACKEND: usize = 100;

const FREE: u32 = u32::MAX;

/// The size of a table that serves only the connections without state.
pub(super) fn size_for(pool: usize) -> u32 {
    let least = pool.saturating_mul(SLOTS_PER_BACKEND);
    SIZES.into_iter().find(|&size| size as usize >= least).unwrap_or(MAGLEV_SLOTS)
}

/// A table of `size` slots, a prime, each the index of one of `backends`; empty when no backend has a weight.
///
/// It depends on the key and on the addresses, ports and weights, neither on the order of the backends nor on their
/// indices, so it means the same on every node.
pub(super) fn build(key: HashKey, backends: &[Backend], size: u32) -> Vec<u32> {
    let mut turns: Vec<Turn> = backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| Turn::new(key, backend, size))
        .collect();
    turns.sort_unstable_by_key(|turn| turn.identity);
    let Some(heaviest) = turns.iter().map(|turn| turn.weight).max() else { return Vec::new() };
    let mut slots = vec![FREE; size as usize];
    let mut free = size;
    // The heaviest fills a slot in every round, the others in proportion: a backend whose share of the rounds so far is
    // used up sits this one out. All fill one in the first round.
    for round in 1u64.. {
        for turn in &mut turns {
            if free == 0 {
                return slots;
            }
            if round * turn.weight >= turn.due {
                turn.due += heaviest;
                turn.fill(&mut slots);
                free -= 1;
            }
        }
    }
    slots
}

/// A backend's walk through its permutation of the slots.
struct Turn {
    identity: [u64; 3],
    index: u32,
    weight: u64,
    /// Of `round * weight`, where the next slot is filled.
    due: u64,
    position: u32,
    skip: u32,
}

impl Turn {
    fn new(key: HashKey, backend: &Backend, size: u32) -> Self {
        let identity = identity(backend.address);
        let [high, low, port] = identity;
        let hash = |purpose: u64| siphash(key, [high, low, purpose << 32 | port]);
        Self {
            identity,
            index: backend.index,
            weight: u64::from(backend.weight),
            due: 0,
            position: (hash(1) % u64::from(size)) as u32,
            skip: (hash(2) % u64::from(size - 1)) as u32 + 1,
        }
    }

    /// Takes the first slot on its way that is free; there must be one.
    fn fill(&mut self, slots: &mut [u32]) {
        let size = slots.len() as u32;
        loop {
            let slot = &mut slots[self.position as usize];
            self.position += self.skip;
            if self.position >= size {
                self.position -= size;
            }
            if *slot == FREE {
                *slot = self.index;
                return;
            }
        }
    }
}

/// Address, the same number on machines of every byte order, and port.
fn identity(address: SocketAddr) -> [u64; 3] {
    let bits = match address {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().to_bits(),
        SocketAddr::V6(v6) => v6.ip().to_bits(),
    };
    [(bits >> 64) as u64, bits as u64, u64::from(address.port())]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const KEY: HashKey = HashKey([7, 11]);

    fn backend(number: u32, weight: u32) -> Backend {
        let address = SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 8080));
        Backend { index: number, address, weight }
    }

    fn shares(slots: &[u32]) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        for slot in slots {
            *shares.entry(*slot).or_default() += 1;
        }
        shares
    }

    #[test]
    fn the_size_is_the_smallest_prime_with_a_hundred_slots_for_each_real_server() {
        for size in SIZES {
            assert!((2..=size.isqrt()).all(|divisor| size % divisor != 0), "{size} is not prime");
        }
        for (pool, size) in [(0, 1009), (10, 1009), (11, 2039), (40, 4093), (256, 32_749), (100_000, 65_537)]
        {
            assert_eq!(size_for(pool), size, "{pool} real servers");
        }
    }

    #[test]
    fn no_real_server_makes_an_empty_table_and_one_has_all_of_it() {
        assert!(build(KEY, &[], 1009).is_empty());
        assert!(build(KEY, &[backend(1, 0)], 1009).is_empty());
        assert_eq!(build(KEY, &[backend(1, 65_535), backend(2, 0)], 1009), vec![1; 1009]);
    }

    #[test]
    fn another_key_makes_another_table() {
        let pool: Vec<_> = (0..10).map(|number| backend(number, 1)).collect();
        assert_ne!(build(KEY, &pool, 1009), build(HashKey([7, 12]), &pool, 1009));
    }

    #[test]
    fn when_one_of_twenty_leaves_few_clients_of_the_others_move() {
        for secret in 0..3 {
            let key = HashKey([secret, 1]);
            let pool: Vec<_> = (0..20).map(|number| backend(number, 1)).collect();
            let before = build(key, &pool, MAGLEV_SLOTS);
            for leaves in 0..20 {
                let left: Vec<_> = pool.iter().filter(|backend| backend.index != leaves).copied().collect();
                let after = build(key, &left, MAGLEV_SLOTS);
                let others = before.iter().zip(&after).filter(|(before, _)| **before != leaves);
                let (moved, others) = others.fold((0, 0), |(moved, others), (before, after)| {
                    (moved + usize::from(before != after), others + 1)
                });
                assert!(
                    moved * 1000 <= others * 6,
                    "{moved} of {others} slots move when {leaves} leaves, at most 0.6 % may"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn every_share_is_within_a_slot_of_its_weight(weights in prop::collection::vec(1..=65_535u32, 1..40)) {
            let pool: Vec<_> = (0..).zip(&weights).map(|(number, weight)| backend(number, *weight)).collect();
            let slots = build(KEY, &pool, MAGLEV_SLOTS);
            let shares = shares(&slots);
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for backend in &pool {
                let exact = f64::from(MAGLEV_SLOTS) * f64::from(backend.weight) / sum as f64;
                let share = shares[&backend.index] as f64;
                // One slot for the first round, one for the round that is not finished.
                prop_assert!((share - exact).abs() <= 2.0, "weight {} has {share}, not {exact}", backend.weight);
            }
        }

        #[test]
        fn neither_order_nor_indices_change_who_has_a_slot(
            weights in prop::collection::vec(0..=100u32, 1..30),
            shift in 0..1000u32,
            seed in any::<u64>(),
        ) {
            let pool: Vec<_> = (0..).zip(&weights).map(|(number, weight)| backend(number, *weight)).collect();
            let mut other: Vec<_> =
                pool.iter().map(|backend| Backend { index: backend.index + shift, ..*backend }).collect();
            other.sort_by_key(|backend| u64::from(backend.index).wrapping_mul(seed | 1));
            let slots = build(KEY, &pool, 1009);
            let shifted: Vec<_> = slots.iter().map(|slot| slot + shift).collect();
            prop_assert_eq!(build(KEY, &other, 1009), shifted);
        }
    }
}
