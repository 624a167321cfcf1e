//! One's complement arithmetic (RFC 1071) and incremental update (RFC 1624, equation 3).
//!
//! Sums are taken over 16-bit words as they lie in memory: the result is the same in either byte order as long as it
//! is stored the same way (RFC 1071 section 2, part B).

use lb_common::addr::Address;
use lb_common::connection::ConnectionKey;

/// Folds a sum to 16 bits.
#[must_use]
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Folds the sum of two 16-bit words: it carries once.
#[inline(always)]
const fn fold_two(one: u16, other: u16) -> u16 {
    let sum = one as u32 + other as u32;
    (sum + (sum >> 16)) as u16
}

/// What a sum changes by when `old` becomes `new`: `~m + m'`, folded.
#[must_use]
#[inline(always)]
pub fn delta<A: Address>(old: &ConnectionKey<A>, new: &ConnectionKey<A>) -> u16 {
    difference(old.sum(), new.sum())
}

/// What an IPv4 header's sum changes by when its addresses change and one is taken off its TTL.
#[must_use]
#[inline(always)]
pub fn header_delta<A: Address>(old: &ConnectionKey<A>, new: &ConnectionKey<A>) -> u16 {
    let addresses =
        difference(old.source.sum() + old.destination.sum(), new.source.sum() + new.destination.sum());
    fold_two(addresses, TTL_DECREMENT)
}

/// What an IPv4 header's sum changes by when one is taken off its TTL, the high byte of its word.
pub const TTL_DECREMENT: u16 = !0x0100u16.to_be();

/// What a sum changes by when its part `old` becomes `new`, both unfolded.
#[must_use]
#[inline(always)]
pub const fn difference(old: u32, new: u32) -> u16 {
    fold_two(!fold(old), fold(new))
}

/// A checksum field after its data changed by `delta`.
#[must_use]
#[inline(always)]
pub const fn update(checksum: u16, delta: u16) -> u16 {
    !fold_two(!checksum, delta)
}

/// The folded sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1): what a sender that leaves the checksum
/// to its hardware writes into the field.
#[must_use]
#[inline(always)]
pub fn pseudo_header<A: Address>(source: A, destination: A, protocol: u8, length: u16) -> u16 {
    fold(source.sum() + destination.sum() + (protocol as u16).to_be() as u32 + length.to_be() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: complement of the folded sum of big-endian words.
    fn from_scratch(bytes: &[u8]) -> u16 {
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_holds() {
        // HC = 0xDD2F, m = 0x5555, m' = 0x3285: HC' = 0x0000, where equation 2 of RFC 1141 would give 0xFFFF.
        assert_eq!(update(0xdd2f, fold(!0x5555u16 as u32 + 0x3285)), 0x0000);
    }

    proptest! {
        #[test]
        fn updating_gives_what_summing_from_scratch_gives(mut bytes in prop::collection::vec(any::<u8>(), 4..64), at in 0usize..32, word: u16) {
            let at = (at * 2) % (bytes.len() & !1);
            // A sum of zero has two representations; real headers are never all zero.
            bytes[if at == 0 { 2 } else { 0 }] |= 1;
            let before = from_scratch(&bytes);
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
            prop_assert_eq!(update(before, fold(!old as u32 + word as u32)), from_scratch(&bytes));
        }

        #[test]
        fn taking_one_off_the_ttl_is_the_constant(ttl in 1u8..=255, protocol: u8) {
            let header = [0x45, 0, 0, 0, ttl, protocol, 1, 2];
            let after = [0x45, 0, 0, 0, ttl - 1, protocol, 1, 2];
            let updated = update(from_scratch(&header).to_be(), TTL_DECREMENT);
            prop_assert_eq!(u16::from_be(updated), from_scratch(&after));
        }
    }
}
