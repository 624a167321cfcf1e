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

/// What is counted of a real server: its rows in the traffic table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Row {
    /// Packets from clients.
    Requests = 0,
    /// Packets to clients.
    Replies = 1,
    /// Packets that opened a connection.
    Opened = 2,
}

impl Row {
    /// Rows of each real server.
    pub const EACH: u32 = 3;

    /// By direction.
    #[must_use]
    #[inline(always)]
    pub const fn of(reply: bool) -> Self {
        if reply { Self::Replies } else { Self::Requests }
    }

    /// Where the row of a real server is.
    #[must_use]
    #[inline(always)]
    pub const fn index(self, real_server: u32) -> u32 {
        real_server * Self::EACH + self as u32
    }
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
