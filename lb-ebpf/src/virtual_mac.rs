//! Frames for the MAC address of a virtual router: its master takes them as its own (RFC 9568 section 6.4.3).

use lb_common::{addr::Mac, outcome::Outcome, service::lease, virtual_mac::VirtualMacKey};

use crate::tables::Common;

/// How a frame ends that is not for the interface's own MAC address; `None` when it goes on, because this node is the master
/// of the virtual router whose address it is.
///
/// That of another node is dropped: the kernel may have the virtual router's device still, after this node's daemon was
/// killed, and would answer or forward beside the new master. Not inlined, so that the ways below the caller have its stack.
#[inline(never)]
pub(crate) fn gate<T: Common>(tables: &T, interface: u32, destination: Mac) -> Option<Outcome> {
    let Some(key) = VirtualMacKey::new(interface, destination) else { return Some(Outcome::ForeignMac) };
    match tables.virtual_mac(&key) {
        None => Some(Outcome::ForeignMac),
        Some(slot) if lease::holds(tables.lease(slot), tables.now()) => None,
        Some(_) => Some(Outcome::Disowned),
    }
}
