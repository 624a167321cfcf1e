//! Packet and byte counters, one copy for each CPU.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was counted on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes: of the frame for outcomes, of the IP packet for real servers (as IPVS counts).
    pub bytes: u64,
}

impl Counter {
    /// One more packet of `bytes` bytes.
    #[inline(always)]
    pub const fn add(&mut self, bytes: u64) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

impl core::iter::Sum for Counter {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters
            .fold(Self::default(), |a, b| Self { packets: a.packets + b.packets, bytes: a.bytes + b.bytes })
    }
}
