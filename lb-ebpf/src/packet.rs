//! Access to the frame, checked against its end at every step.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A header that can lie at any even offset of a frame: aligned to 2 at most.
pub trait Header: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Header for T {}

/// No header begins behind this offset: extension headers of 1 KiB are somebody testing us.
pub const REACH: usize = 1024;

/// A frame, from its Ethernet header on.
///
/// Offsets count from the first byte of the frame, which lies at an even address. Headers are within the first buffer of a frame that has several;
/// what is beyond it is only measured ([`Packet::holds`]) and summed ([`Packet::sum`]).
pub trait Packet {
    /// Index of the interface it arrived on.
    fn interface(&self) -> u32;

    /// Length of the frame's first buffer, in bytes; of the whole frame when it has only one.
    fn length(&self) -> usize;

    /// Whether the whole frame has at least `length` bytes.
    fn holds(&self, length: usize) -> bool;

    /// The header at `offset`, if it is within [`REACH`] and the frame is long enough.
    fn get<T: Header>(&self, offset: usize) -> Option<&T>;

    /// The header at `offset` as in [`Packet::get`], to be changed.
    fn get_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// The folded one's complement sum of `length` bytes from `offset`, odd lengths padded with a zero byte (RFC 1071),
    /// or `None` when the frame is shorter or `length` is above 9216.
    fn sum(&self, offset: usize, length: usize) -> Option<u16>;

    /// Cuts the whole frame to `length` bytes; false when it is shorter or cannot be cut.
    fn truncate(&mut self, length: usize) -> bool;

    /// Takes `length` bytes, an even number, from the front of the frame; false when less than an Ethernet header would be left.
    fn shrink(&mut self, length: usize) -> bool;

    /// Puts `length` bytes, an even number, before the frame; what they hold is still to be written. False when there is no room.
    fn grow(&mut self, length: usize) -> bool;
}
