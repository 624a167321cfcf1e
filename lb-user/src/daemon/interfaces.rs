//! What the data plane has to know of the host's links.

use std::collections::BTreeMap;

use anyhow::Context as _;
use lb_common::{
    addr::Mac,
    limits::{ATTACHED_INTERFACES, INTERFACES},
    service::{Interface, interface},
};

use crate::host::{links::Link, vlans::Vlan};

/// What the data plane has to know of the links. An interface keeps its row of counters for as long as it is attached.
pub(super) fn describe(
    links: &[Link],
    before: &BTreeMap<u32, Interface>,
) -> anyhow::Result<BTreeMap<u32, Interface>> {
    let mut slots: Vec<u16> = before.values().map(|interface| interface.slot).collect();
    let mut found = BTreeMap::new();
    for link in links {
        anyhow::ensure!(
            link.index < INTERFACES,
            "interface {} has index {}, above the {INTERFACES} the data plane has room for: make it again after a reboot",
            link.name,
            link.index
        );
        let slot = match before.get(&link.index) {
            Some(interface) if interface.slot != 0 => interface.slot,
            // Row 0 is for packets on interfaces that are not attached.
            _ => (1..ATTACHED_INTERFACES as u16)
                .find(|slot| !slots.contains(slot))
                .with_context(|| format!("more than {} interfaces", ATTACHED_INTERFACES - 1))?,
        };
        slots.push(slot);
        let virtual_ = if link.is_virtual { interface::VIRTUAL } else { 0 };
        let description = Interface {
            mac: Mac::from(link.mac),
            flags: interface::ATTACHED | virtual_,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            slot,
            ..Interface::default()
        };
        found.insert(link.index, description);
        found.extend(link.vlans.iter().filter_map(|vlan| on_top(vlan, link.index, description.flags)));
    }
    Ok(found)
}

/// A VLAN device as the data plane has to know it; none when it has no room for its index, and then its frames pass.
fn on_top(vlan: &Vlan, parent: u32, flags: u16) -> Option<(u32, Interface)> {
    if vlan.index >= INTERFACES {
        tracing::warn!("{} has index {}: its frames are not balanced", vlan.name, vlan.index);
        return None;
    }
    let description = Interface {
        mac: Mac::from(vlan.mac),
        flags,
        mtu: u16::try_from(vlan.mtu).unwrap_or(u16::MAX),
        slot: 0,
        parent: u16::try_from(parent).ok()?,
        outer: vlan.outer,
        inner: vlan.inner,
    };
    Some((vlan.index, description))
}

/// Interface indices by name.
pub(super) fn names(links: &[Link]) -> BTreeMap<String, u32> {
    links.iter().map(|link| (link.name.clone(), link.index)).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::vlan::{C_TAG, Tag};

    use super::*;

    fn link(index: u32) -> Link {
        let name = format!("eth{index}");
        Link {
            index,
            name,
            mac: [2; 6],
            mtu: 1500,
            up: true,
            is_virtual: false,
            xdp: None,
            vlans: Vec::new(),
        }
    }

    fn slots(found: &BTreeMap<u32, Interface>) -> Vec<(u32, u16)> {
        found.iter().map(|(&index, interface)| (index, interface.slot)).collect()
    }

    #[test]
    fn an_interface_keeps_its_row_of_counters_whoever_comes_and_goes() {
        let first = describe(&[link(7), link(3)], &BTreeMap::new()).unwrap();
        assert_eq!(slots(&first), [(3, 2), (7, 1)]);
        let second = describe(&[link(3), link(5), link(7)], &first).unwrap();
        assert_eq!(slots(&second), [(3, 2), (5, 3), (7, 1)]);
        let third = describe(&[link(9), link(5)], &describe(&[link(5)], &second).unwrap()).unwrap();
        assert_eq!(slots(&third), [(5, 3), (9, 1)]);
    }

    #[test]
    fn a_vlan_device_is_described_by_its_parent_and_its_tag_and_has_no_counters() {
        let tag = Tag { protocol: C_TAG, id: 100 };
        let vlan = |index| Vlan {
            index,
            name: format!("eth3.{index}"),
            mac: [4; 6],
            mtu: 1400,
            outer: tag,
            inner: Tag::NONE,
        };
        let parent = Link { vlans: vec![vlan(9), vlan(INTERFACES)], is_virtual: true, ..link(3) };
        let found = describe(&[parent], &BTreeMap::new()).unwrap();
        assert_eq!(slots(&found), [(3, 1), (9, 0)]);
        let expected = Interface {
            mac: Mac::from([4; 6]),
            flags: interface::ATTACHED | interface::VIRTUAL,
            mtu: 1400,
            slot: 0,
            parent: 3,
            outer: tag,
            inner: Tag::NONE,
        };
        assert_eq!(found[&9], expected);
        let alone = describe(&[link(9)], &found).unwrap();
        assert_ne!(alone[&9].slot, 0, "attached to itself it is counted");
    }

    #[test]
    fn there_are_rows_for_all_interfaces_but_those_that_are_not_attached() {
        let most = ATTACHED_INTERFACES - 1;
        let links: Vec<Link> = (1..=most + 1).map(link).collect();
        assert_eq!(describe(&links[..most as usize], &BTreeMap::new()).unwrap().len(), most as usize);
        assert!(describe(&links, &BTreeMap::new()).is_err());
    }

    #[test]
    fn an_index_that_the_data_plane_has_no_room_for_is_refused_by_name() {
        let error = describe(&[link(INTERFACES)], &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().starts_with("interface eth16384 has index 16384"), "{error}");
    }
}
