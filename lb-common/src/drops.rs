//! What is told of a dropped packet.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a frame's beginning that are told, a power of two: enough for two VLAN tags, IPv6 with extensions, and TCP.
pub const HEADERS: usize = 128;

/// Bytes of the ring buffer.
pub const BUFFER: u32 = 256 * 1024;

/// A dropped packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DroppedFrame {
    /// When, in nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
    /// Index of the interface it came from.
    pub interface: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// Dropped packets that this CPU has not told of since the last one it has.
    pub missed: u32,
    /// Number of the outcome.
    pub outcome: u16,
    /// Bytes of `headers` that are the frame's; what is behind them means nothing.
    pub captured: u16,
    /// The frame's first bytes.
    pub headers: [u8; HEADERS],
}

const _: () = assert!(size_of::<DroppedFrame>() == 8 + 3 * 4 + 2 * 2 + HEADERS);

impl DroppedFrame {
    /// The bytes of the frame that are there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.headers.get(..usize::from(self.captured)).unwrap_or(&self.headers)
    }
}
