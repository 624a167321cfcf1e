//! The MAC address of a virtual router, and the device that has it.

use std::fmt;

/// `use_vmac` of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualMac {
    /// Name of the device, unique.
    pub device: String,
    /// The interface that it is made on.
    pub parent: String,
    /// The same on all nodes.
    pub address: [u8; 6],
    /// Whether an IPv6 address is put on it.
    pub ipv6: bool,
}

impl VirtualMac {
    /// The address of a virtual router (RFC 9568 section 7.3).
    #[must_use]
    pub fn address(virtual_router_id: u8, ipv6: bool) -> [u8; 6] {
        [0x00, 0x00, 0x5e, 0x00, if ipv6 { 2 } else { 1 }, virtual_router_id]
    }

    /// Whether both mean one device, whatever addresses are on it.
    #[must_use]
    pub fn is_device_of(&self, other: &Self) -> bool {
        self.device == other.device && self.parent == other.parent && self.address == other.address
    }

    /// What its device is called when nobody says: as keepalived does for IPv4.
    #[must_use]
    pub fn default_device(virtual_router_id: u8, ipv6: bool) -> String {
        format!("vrrp{}.{virtual_router_id}", if ipv6 { "6" } else { "" })
    }
}

/// The address alone.
impl fmt::Display for VirtualMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address.map(|byte| format!("{byte:02x}")).join(":"))
    }
}
