//! VLAN tags, and what the VLAN device of a tagged frame is looked up by.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A tag as Linux tells VLAN devices apart; its priority is no part of it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Tag {
    /// Its ether type: [`C_TAG`] or [`S_TAG`].
    pub protocol: u16,
    /// VLAN id, 1..=4095; 0 is no tag.
    pub id: u16,
}

impl Tag {
    /// No tag.
    pub const NONE: Self = Self { protocol: 0, id: 0 };
}

/// Ether type of a customer's tag (IEEE 802.1Q).
pub const C_TAG: u16 = 0x8100;
/// Ether type of a provider's tag (IEEE 802.1ad).
pub const S_TAG: u16 = 0x88a8;

/// Bits of a tag's control field that are the VLAN id; the rest is its priority.
pub const ID: u16 = 0x0fff;

/// Where a tagged frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct VlanKey {
    /// Index of the interface that the frame was received on.
    pub parent: u32,
    /// The outermost tag with a VLAN id.
    pub outer: Tag,
    /// The one within it, if there is one.
    pub inner: Tag,
}

const _: () = assert!(size_of::<VlanKey>() == 4 + 4 + 4);
