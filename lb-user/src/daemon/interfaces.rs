//! What the data plane has to know of the host's links.

use std::collections::BTreeMap;

use anyhow::Context as _;
use lb_common::{
    addr::Mac,
    limits::{ATTACHED_INTERFACES, INTERFACES},
    service::{Interface, interface},
    virtual_mac::VirtualMacKey,
};

use crate::{
    config::vrrp::Vrrp,
    host::{links::Link, macvlans::Macvlan, vlans::Vlan},
};

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
        found.extend(link.macvlans.iter().filter_map(|device| of_router(device, description.flags)));
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

/// The device of a virtual MAC address: where the kernel's routes lead through it, packets leave through its parent. None when
/// there is no room for its index: the kernel then sends them.
fn of_router(device: &Macvlan, flags: u16) -> Option<(u32, Interface)> {
    let description = Interface {
        mac: Mac::from(device.mac),
        flags,
        mtu: u16::try_from(device.mtu).unwrap_or(u16::MAX),
        parent: u16::try_from(device.parent).ok()?,
        ..Interface::default()
    };
    (device.index < INTERFACES).then_some((device.index, description))
}

/// Which lease makes frames for a virtual MAC address this node's, by where they arrive; `slot` is that of an instance.
pub(super) fn virtual_macs(
    vrrp: &Vrrp,
    links: &[Link],
    slot: impl Fn(&str) -> Option<u32>,
) -> BTreeMap<VirtualMacKey, u32> {
    let index = |name: &str| {
        let vlans = links.iter().flat_map(|link| &link.vlans).map(|vlan| (&vlan.name, vlan.index));
        let mut all = links.iter().map(|link| (&link.name, link.index)).chain(vlans);
        all.find(|(known, _)| *known == name).map(|(_, index)| index)
    };
    let all = vrrp.instances.iter().filter_map(|instance| {
        let wanted = instance.virtual_mac.as_ref()?;
        let key = VirtualMacKey::new(index(&wanted.parent)?, Mac::from(wanted.address))?;
        Some((key, slot(&instance.name)?))
    });
    all.collect()
}

/// Interface indices by name.
pub(super) fn names(links: &[Link]) -> BTreeMap<String, u32> {
    links.iter().map(|link| (link.name.clone(), link.index)).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::vlan::{C_TAG, Tag};

    use super::*;
    use crate::config::{Host, parse};

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
            macvlans: Vec::new(),
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
    fn a_virtual_mac_address_is_known_by_its_interface_or_vlan_device_and_its_device_leads_to_that() {
        let vlan = Vlan {
            index: 9,
            name: "eth3.100".to_owned(),
            mac: [4; 6],
            mtu: 1400,
            outer: Tag { protocol: C_TAG, id: 100 },
            inner: Tag::NONE,
        };
        let device = Macvlan {
            index: 11,
            name: "vrrp.51".to_owned(),
            mac: [0, 0, 0x5e, 0, 1, 51],
            mtu: 1400,
            parent: 9,
            up: false,
        };
        let links = [Link { vlans: vec![vlan], macvlans: vec![device], ..link(3) }];
        let found = describe(&links, &BTreeMap::new()).unwrap();
        assert_eq!(slots(&found), [(3, 1), (9, 0), (11, 0)]);
        assert!(found[&11].is_virtual_router() && found[&11].parent == 9);
        assert!(!found[&9].is_virtual_router() && !found[&3].is_virtual_router());

        let text = "global.interfaces = [\"eth3\"]\n".to_owned()
            + &[("a", "eth3", 51), ("b", "eth3.100", 52), ("c", "eth4", 53)].map(instance).concat();
        let vrrp = parse(&text, &Host::imagined("lb1")).0.unwrap().vrrp;
        let slot = |name: &str| Some(u32::from(name.as_bytes()[0]));
        let all = virtual_macs(&vrrp, &links, slot);
        let key = |interface, id| VirtualMacKey::new(interface, Mac::from([0, 0, 0x5e, 0, 1, id])).unwrap();
        assert_eq!(all, [(key(3, 51), 97), (key(9, 52), 98)].into(), "no program runs on eth4");
    }

    fn instance((name, interface, id): (&str, &str, u8)) -> String {
        format!(
            "[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvirtual_router_id = {id}\n\
             virtual_ipaddress = \"192.0.2.{id}\"\nuse_vmac = true\n"
        )
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
