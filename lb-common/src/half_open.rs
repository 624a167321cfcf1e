//! The table of half-open connections as it lies in memory: sets of a few ways, in an array that both sides share.
//!
//! A key belongs to one set, which a keyed hash says. The head of a set, one cache line, has a [`Seal`] for each way: whether
//! anything is in it, of which keys that may be, when it was last used, and whether somebody is writing it. So what is not
//! there is not there after one cache line, and whom to evict is known before any entry is read.

use crate::{
    addr::{Address, V4, V6},
    connection::{ConnectionKey, HalfOpen, flags},
};

/// Entries of a set.
pub const WAYS: usize = 8;

/// Where keys belong. Made once, with the tables, and never changed: entries are found by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Placement {
    /// The secret of the last step.
    pub last: u64,
    /// The secret of the sums.
    pub secret: [u32; 10],
    /// Sets of each table; 0 before it is written first.
    pub sets: u32,
    /// Always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Placement>() == 8 + 40 + 4 + 4);

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its set.
    pub set: u32,
    /// What tells it from the others of the set; never 0.
    pub tag: u32,
}

impl Placement {
    /// Where `key` belongs: by a sum of products as in UMAC (NH, RFC 4418 section 5.2.2), which two keys share with a
    /// probability of 2^-32, and one multiplication that spreads it. Nobody sees any of it from outside, and it has to be good
    /// for nothing but spreading keys that somebody else has chosen.
    #[must_use]
    #[inline(always)]
    pub fn place<A: Address>(&self, key: &ConnectionKey<A>) -> Place {
        let [a, b, c, d, e, f, g, h, i, j] = self.secret;
        let ((source, source_low), (destination, destination_low)) =
            (key.source.words(), key.destination.words());
        let ports = (key.source_port.to_wire() as u64) << 16 | key.destination_port.to_wire() as u64;
        let sum = if size_of::<A>() == size_of::<V4>() {
            product(source << 32 | destination, (a, b)).wrapping_add(product(ports, (c, d)))
        } else {
            product(source, (a, b))
                .wrapping_add(product(source_low, (c, d)))
                .wrapping_add(product(destination, (e, f)))
                .wrapping_add(product(destination_low, (g, h)))
                .wrapping_add(product(ports, (i, j)))
        };
        let mixed = (sum ^ (sum >> 32)).wrapping_mul(self.last | 1);
        let set = (((mixed >> 32) * self.sets as u64) >> 32) as u32;
        let tag = (mixed as u32) >> (32 - TAG_BITS);
        Place { set, tag: if tag == 0 { 1 } else { tag } }
    }
}

/// Both halves of a word, each hidden by a secret, multiplied.
#[inline(always)]
const fn product(word: u64, (high, low): (u32, u32)) -> u64 {
    ((word >> 32) as u32).wrapping_add(high) as u64 * (word as u32).wrapping_add(low) as u64
}

/// What the head of a set says about a way, in one word: it changes as a whole or not at all.
///
/// | bits | |
/// |---|---|
/// | 0 | somebody writes the entry |
/// | 1 | the real server has answered |
/// | 2 to 9 | counts changes: an entry whose seal is the same was not changed meanwhile |
/// | 10 to 31 | [`Place::tag`]; 0 where nothing is |
/// | 32 to 63 | when it was last used, in ticks |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Seal(pub u64);

const CLAIMED: u64 = 1;
const ANSWERED: u64 = 1 << 1;
const CHANGE: u64 = 1 << 2;
const CHANGES: u64 = 0x3fc;
const TAG_SHIFT: u32 = 10;
const TAG_BITS: u32 = 32 - TAG_SHIFT;
const TAG: u64 = ((1 << TAG_BITS) - 1) << TAG_SHIFT;

impl Seal {
    /// More than [`Seal::dispensable`] is of any entry.
    pub const MOST: u64 = 1 << 48;

    /// Nothing is in the way.
    #[must_use]
    #[inline(always)]
    pub const fn is_vacant(self) -> bool {
        self.0 & TAG == 0
    }

    /// Somebody is writing the entry: nobody else reads or writes it.
    #[must_use]
    #[inline(always)]
    pub const fn is_claimed(self) -> bool {
        self.0 & CLAIMED != 0
    }

    /// Whether the entry may be that of a key with this tag; it can be read.
    #[must_use]
    #[inline(always)]
    pub const fn holds(self, tag: u32) -> bool {
        self.0 & (TAG | CLAIMED) == (tag as u64) << TAG_SHIFT
    }

    /// Whether an entry of a key with this tag is there, or being written.
    #[must_use]
    #[inline(always)]
    pub const fn concerns(self, tag: u32) -> bool {
        self.0 & TAG == (tag as u64) << TAG_SHIFT
    }

    /// Claimed, for an entry with this tag.
    #[must_use]
    #[inline(always)]
    pub const fn claimed(self, tag: u32) -> Self {
        Self(self.0 & !TAG | (tag as u64) << TAG_SHIFT | CLAIMED)
    }

    /// Of a claimed way, after `half` was written there.
    #[must_use]
    #[inline(always)]
    pub const fn released<A>(self, half: &HalfOpen<A>) -> Self {
        let answered = if half.reply_flags & flags::SYN_ACK != 0 { ANSWERED } else { 0 };
        Self((half.last_used() as u64) << 32 | self.0 & TAG | self.next_change() | answered)
    }

    /// After the entry was removed.
    #[must_use]
    #[inline(always)]
    pub const fn vacated(self) -> Self {
        Self(self.next_change())
    }

    #[inline(always)]
    const fn next_change(self) -> u64 {
        (self.0 & CHANGES).wrapping_add(CHANGE) & CHANGES
    }

    /// How little it is needed: the entry of the highest number goes first, of 0 never. What the real server has answered
    /// lasts eight times as long: a flood of SYNs costs as few handshakes as can be.
    #[must_use]
    #[inline(always)]
    pub const fn dispensable(self, now: u32) -> u64 {
        if self.is_claimed() {
            return 0;
        }
        if self.is_vacant() {
            return Self::MOST;
        }
        // Another CPU may have read a later clock.
        let age = now.wrapping_sub((self.0 >> 32) as u32) as i32;
        let age = if age < 0 { 0 } else { age as u64 };
        1 + if self.0 & ANSWERED == 0 { age << 3 } else { age }
    }
}

/// A way's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Slot<A> {
    /// The client's tuple, or that of a signpost.
    pub key: ConnectionKey<A>,
    /// What is known.
    pub half: HalfOpen<A>,
}

/// The head of a set: a seal for each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Head(pub [Seal; WAYS]);

/// A set.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Set<A> {
    /// Of each way.
    pub seals: Head,
    /// Of each way; means nothing where the seal says that nothing is there.
    pub slots: [Slot<A>; WAYS],
}

const _: () = assert!(size_of::<Set<V4>>() == 64 + WAYS * (12 + 84));
const _: () = assert!(size_of::<Set<V6>>() == 64 + WAYS * (36 + 108));

#[cfg(test)]
mod tests;
