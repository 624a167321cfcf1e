//! The filter before all tables: whether a packet with these addresses can be ours.
//!
//! A bit for every place. VIPs are marked as destinations, real servers as sources. Most packets of others have neither
//! bit, and no table is asked for them. A bit that is set without need costs such a packet the lookups, nothing else. So bits
//! are only ever added: connections of an address outlive its place in the configuration.

use crate::addr::Address;

/// 64-bit words of the filter: 8 KiB, which stay in the cache that is next to the CPU.
pub const WORDS: u32 = 1024;

/// The place of a destination: its word and its bit there.
#[must_use]
#[inline(always)]
pub fn destination<A: Address>(address: A) -> (u32, u64) {
    split(hash(address))
}

/// The place of a source: its word and its bit there. Not the one it has as a destination: what goes to a real server
/// directly is not ours.
#[must_use]
#[inline(always)]
pub fn source<A: Address>(address: A) -> (u32, u64) {
    split(!hash(address))
}

/// The upper bits of a product with the golden ratio (Knuth, volume 3, 6.4): neighbouring addresses are spread out.
#[inline(always)]
fn hash<A: Address>(address: A) -> u32 {
    let (high, low) = address.words();
    ((high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32
}

#[inline(always)]
const fn split(hash: u32) -> (u32, u64) {
    (hash >> 6 & (WORDS - 1), 1 << (hash & 63))
}
