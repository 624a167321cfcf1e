//! The keyed hash behind every deterministic choice: SipHash-1-3 over a few 64-bit words.
//!
//! Keyed, so that nobody without the cluster's secret can aim connections at one real server; the same on every node
//! that has the secret.

/// The 128-bit key, derived from the cluster's secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey(pub [u64; 2]);

/// SipHash-1-3 of `words`, taken as little-endian bytes (Aumasson and Bernstein, 2012; one compression and three
/// finalization rounds, as in the kernel's `siphash_1u64` family with fewer rounds and in Rust's default hasher).
#[must_use]
#[inline(always)]
pub fn siphash<const N: usize>(key: HashKey, words: [u64; N]) -> u64 {
    let [k0, k1] = key.0;
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for word in words {
        state = compress(state, word);
    }
    state = compress(state, (N as u64 * 8) << 56);
    let [v0, v1, v2, v3] = state;
    let [v0, v1, v2, v3] = round(round(round([v0, v1, v2 ^ 0xff, v3])));
    v0 ^ v1 ^ v2 ^ v3
}

#[inline(always)]
fn compress([v0, v1, v2, v3]: [u64; 4], word: u64) -> [u64; 4] {
    let [v0, v1, v2, v3] = round([v0, v1, v2, v3 ^ word]);
    [v0 ^ word, v1, v2, v3]
}

#[inline(always)]
fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    #[test]
    fn agrees_with_an_independent_siphash_1_3() {
        for seed in 0..1000u64 {
            let key = HashKey([seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), !seed]);
            let words = [seed, seed << 32 | 7, seed.rotate_left(11)];
            let mut oracle = siphasher::sip::SipHasher13::new_with_keys(key.0[0], key.0[1]);
            for word in words {
                oracle.write(&word.to_le_bytes());
            }
            assert_eq!(siphash(key, words), oracle.finish());
        }
    }
}
