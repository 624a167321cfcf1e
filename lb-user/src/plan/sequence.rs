//! The round robin sequence: smooth and weighted (nginx's algorithm, the ratios of IPVS's wrr).

use lb_common::limits::SEQUENCE_SLOTS;

use super::table::Backend;

/// One round: every backend as often as its weight says, as evenly spread as can be. Backends of weight 0 are not in it.
///
/// Weights are reduced by what they have in common; a round longer than [`SEQUENCE_SLOTS`] is scaled down, and then
/// every backend keeps at least one turn.
pub(super) fn build(backends: &[Backend]) -> Vec<u32> {
    let mut turns: Vec<Turn> = backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| Turn { index: backend.index, weight: i64::from(backend.weight), current: 0 })
        .collect();
    shorten(&mut turns);
    let length: i64 = turns.iter().map(|turn| turn.weight).sum();
    (0..length).filter_map(|_| next(&mut turns, length)).collect()
}

struct Turn {
    index: u32,
    weight: i64,
    current: i64,
}

fn shorten(turns: &mut [Turn]) {
    reduce(turns);
    let sum: i64 = turns.iter().map(|turn| turn.weight).sum();
    let limit = i64::from(SEQUENCE_SLOTS);
    if sum > limit {
        // Rounding and the least of one turn add less than one turn to each.
        let room = limit - turns.len() as i64;
        for turn in &mut *turns {
            turn.weight = ((turn.weight * room + sum / 2) / sum).max(1);
        }
        reduce(turns);
    }
}

fn reduce(turns: &mut [Turn]) {
    let divisor = turns.iter().fold(0, |divisor, turn| gcd(divisor, turn.weight)).max(1);
    for turn in turns {
        turn.weight /= divisor;
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// All gain their weight, the first of the richest takes the turn and pays the whole round for it.
fn next(turns: &mut [Turn], length: i64) -> Option<u32> {
    for turn in &mut *turns {
        turn.current += turn.weight;
    }
    let chosen =
        turns.iter_mut().reduce(|best, turn| if turn.current > best.current { turn } else { best })?;
    chosen.current -= length;
    Some(chosen.index)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    fn pool(weights: &[u32]) -> Vec<Backend> {
        let address = |number: u32| SocketAddr::from(([10, 0, 0, number as u8], 80));
        (0..)
            .zip(weights)
            .map(|(index, &weight)| Backend { index, address: address(index), weight })
            .collect()
    }

    #[test]
    fn sequences_are_those_of_nginx() {
        // The first is the example in nginx's commit 52327e0627f4 ("smooth weighted round-robin balancing").
        for (weights, sequence) in [
            (&[5, 1, 1][..], &[0, 0, 1, 0, 2, 0, 0][..]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[10, 10], &[0, 1]),
            (&[300, 100], &[0, 0, 1, 0]),
            (&[0, 3, 0], &[1]),
            (&[0, 0], &[]),
            (&[], &[]),
        ] {
            assert_eq!(build(&pool(weights)), sequence, "{weights:?}");
        }
    }

    #[test]
    fn a_long_round_is_cut_to_the_limit_and_nobody_is_left_out() {
        let mut weights = vec![65_535; 255];
        weights.push(1);
        let sequence = build(&pool(&weights));
        assert!(sequence.len() <= SEQUENCE_SLOTS as usize);
        assert!(sequence.contains(&255));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn ratios_are_exact_and_turns_are_spread(weights in prop::collection::vec(1..=50u32, 1..20)) {
            let sequence = build(&pool(&weights));
            let sum = weights.iter().sum::<u32>() as usize;
            for (index, weight) in (0..).zip(&weights) {
                let turns: Vec<_> = (0..sequence.len()).filter(|&slot| sequence[slot] == index).collect();
                prop_assert_eq!(turns.len() * sum, sequence.len() * *weight as usize);
                // At every point of the round nobody is further than the pool's size from its due.
                for (taken, slot) in turns.iter().enumerate() {
                    let due = *slot as f64 * f64::from(*weight) / sum as f64;
                    prop_assert!((taken as f64 - due).abs() <= weights.len() as f64);
                }
            }
        }

        #[test]
        fn scaled_ratios_are_close(weights in prop::collection::vec(20_000..=65_535u32, 4..60)) {
            let sequence = build(&pool(&weights));
            prop_assert!(sequence.len() <= SEQUENCE_SLOTS as usize);
            let sum = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>();
            for (index, weight) in (0..).zip(&weights) {
                let share = sequence.iter().filter(|slot| **slot == index).count() as f64 / sequence.len() as f64;
                let exact = f64::from(*weight) / sum;
                prop_assert!((share - exact).abs() <= 0.01 * exact, "{share} instead of {exact}");
            }
        }
    }
}
