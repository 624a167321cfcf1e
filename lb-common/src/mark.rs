//! The classifier of firewall marks: the rules of every destination, as the data plane asks them.

use core::cmp::{Ordering, Reverse};

use crate::{
    addr::{Address, V4, V6},
    limits::MARK_RULES,
};

/// [`MarkRule::virtual_server`] of a mark that nobody serves: the packet is not ours.
pub const NOBODY: u32 = u32::MAX;

/// Destinations, as the longest-prefix map finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkPrefix<A> {
    /// Bits of `address` that count.
    pub length: u32,
    /// The rest of it is 0.
    pub address: A,
}

/// One rule: what a packet for its destination must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MarkRule<A> {
    /// The source with `source_mask`.
    pub source: A,
    /// Bits of the source that count; none of them is every source.
    pub source_mask: A,
    /// Index of the interface it arrives on; 0 is every one.
    pub interface: u32,
    /// Index of the virtual server that the mark belongs to, or [`NOBODY`].
    pub virtual_server: u32,
    /// First destination port, as a number.
    pub first_port: u16,
    /// Last destination port, as a number.
    pub last_port: u16,
    /// IANA protocol number.
    pub protocol: u16,
    /// Always 0.
    pub reserved: u16,
}

/// All rules whose destinations include that of the entry, in the order of the file. An entry is replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MarkRules<A> {
    /// How many there are.
    pub count: u32,
    /// The rules, then unused ones.
    pub rules: [MarkRule<A>; MARK_RULES as usize],
}

const _: () = assert!(size_of::<MarkRule<V4>>() == 4 + 4 + 4 + 4 + 2 + 2 + 2 + 2);
const _: () = assert!(size_of::<MarkRule<V6>>() == 16 + 16 + 4 + 4 + 2 + 2 + 2 + 2);
const _: () = assert!(size_of::<MarkRules<V4>>() == 4 + 24 * MARK_RULES as usize);
const _: () = assert!(size_of::<MarkRules<V6>>() == 4 + 48 * MARK_RULES as usize);

impl<A: Copy> MarkRule<A> {
    /// One that fills a place behind the last rule. `zero` is the address 0.
    #[must_use]
    pub const fn unused(zero: A) -> Self {
        Self {
            source: zero,
            source_mask: zero,
            interface: 0,
            virtual_server: NOBODY,
            first_port: 0,
            last_port: 0,
            protocol: 0,
            reserved: 0,
        }
    }
}

impl<A: Address> MarkRules<A> {
    /// These rules, as many as there is room for.
    #[must_use]
    pub fn new(rules: &[MarkRule<A>], unused: MarkRule<A>) -> Self {
        let mut table = Self { count: 0, rules: [unused; MARK_RULES as usize] };
        for (slot, rule) in table.rules.iter_mut().zip(rules) {
            *slot = *rule;
            table.count += 1;
        }
        table
    }

    /// The rules in use.
    #[must_use]
    pub fn used(&self) -> &[MarkRule<A>] {
        &self.rules[..(self.count.min(MARK_RULES)) as usize]
    }
}

/// Narrow ones first: who writes prefixes in this order, and removes them in the opposite one, changes all the rules of a
/// destination at once.
impl<A: Ord> Ord for MarkPrefix<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        (Reverse(self.length), &self.address).cmp(&(Reverse(other.length), &other.address))
    }
}

impl<A: Ord> PartialOrd for MarkPrefix<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
