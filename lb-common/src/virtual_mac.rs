//! MAC addresses of virtual routers: the same on every node that may own one (RFC 9568 section 7.3).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Mac;

/// The first four bytes of all of them: 00-00-5E is IANA's.
const PREFIX: [u16; 2] = [u16::from_ne_bytes([0x00, 0x00]), u16::from_ne_bytes([0x5e, 0x00])];

/// What the election behind a virtual router's frames is looked up by.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VirtualMacKey {
    /// Index of the interface, or VLAN device, that the frame was received on.
    pub interface: u32,
    /// The last two bytes of the address: 1 or 2 for the address family, and the virtual router id.
    pub router: u16,
    /// Always 0.
    pub reserved: u16,
}

const _: () = assert!(size_of::<VirtualMacKey>() == 4 + 2 + 2);

impl VirtualMacKey {
    /// Of a frame for `mac` that arrived on `interface`; none when that is no virtual router's address.
    #[must_use]
    #[inline(always)]
    pub const fn new(interface: u32, mac: Mac) -> Option<Self> {
        let [first, second, router] = mac.0;
        if first != PREFIX[0] || second != PREFIX[1] {
            return None;
        }
        Some(Self { interface, router, reserved: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_virtual_routers_are_told_from_others_and_from_each_other() {
        let key = |bytes: [u8; 6]| VirtualMacKey::new(2, Mac::from(bytes));
        let v4 = key([0, 0, 0x5e, 0, 1, 51]).unwrap();
        assert_eq!((v4.interface, v4.router.to_ne_bytes()), (2, [1, 51]));
        assert_ne!(key([0, 0, 0x5e, 0, 2, 51]), Some(v4));
        assert_ne!(key([0, 0, 0x5e, 0, 1, 52]), Some(v4));
        for other in [[0, 0, 0x5e, 1, 1, 51], [1, 0, 0x5e, 0, 0, 18], [2, 0, 0x5e, 0, 1, 51], [0xff; 6]] {
            assert_eq!(key(other), None);
        }
    }
}
